"""Which images of a store are the same file twice, inside a split or in two of them."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xxhash

from alexnet.errors import ImageError
from alexnet.files.writing import check_file
from alexnet.text.names import escape_name
from alexnet.text.wording import counted

LISTED_GROUPS = 1000
"""Groups of equal files that a report names."""
LISTED_MEMBERS = 20
"""Files of a group that a report names: a picture that says "not available" may be there a hundred thousand times."""


def find_duplicates(
    paths: Mapping[str, Sequence[str]],
    labels: Mapping[str, Sequence[int | tuple[int, ...]]],
    digests: Mapping[str, Sequence[str]],
    read: Callable[[str], bytes],
) -> dict[str, Any]:
    """Groups of images whose files have equal bytes, as plain values for the report.

    Files of equal digests are read again and compared whole.

    Args:
        paths, labels, digests: By split, one for each image in the order of the store.
        read: Path of an image -> its bytes.
    Returns:
        "files": images that equal an earlier one; "across_splits" and "across_classes": groups that span two or more;
        "groups": the first LISTED_GROUPS groups, those across splits first, each a list of "SPLIT: PATH"; of more than
        LISTED_MEMBERS the first, and "and 7 more".
    """
    members = [(split, row) for split, listed in digests.items() for row in range(len(listed))]
    keys = np.frombuffer(bytes.fromhex("".join("".join(listed) for listed in digests.values())), "<u8").reshape(-1, 2)
    order = np.lexsort(keys.T)
    ordered = keys[order]
    repeats = np.flatnonzero((ordered[1:] == ordered[:-1]).all(1)) + 1
    groups: list[list[tuple[str, int]]] = []
    previous = -1
    for place in repeats.tolist():
        if place != previous + 1:
            groups.append([members[order[place - 1]]])
        groups[-1].append(members[order[place]])
        previous = place
    groups = [equal for group in groups for equal in _compare_whole(group, paths, read)]
    splits = list(digests)
    groups = sorted(sorted(group, key=lambda member: (splits.index(member[0]), member[1])) for group in groups)
    across = [group for group in groups if len({split for split, _ in group}) > 1]
    inside = [group for group in groups if len({split for split, _ in group}) == 1]
    conflicting = [group for group in groups if len({labels[split][row] for split, row in group}) > 1]
    return {
        "files": sum(len(group) - 1 for group in groups),
        "across_splits": len(across),
        "across_classes": len(conflicting),
        "groups": [
            [f"{split}: {escape_name(paths[split][row])}" for split, row in group[:LISTED_MEMBERS]]
            + [f"and {len(group) - LISTED_MEMBERS:,} more"] * (len(group) > LISTED_MEMBERS)
            for group in [*across, *inside][:LISTED_GROUPS]
        ],
    }


def digest_file(data: bytes) -> str:
    """XXH3 of a file, 32 hexadecimal digits. Files that differ have different ones, unless made on purpose."""
    return xxhash.xxh3_128_hexdigest(data)


def digest_whole(path: str) -> tuple[int, str]:
    """Return the size of a file in bytes and its digest, as `digest_file` makes it, whatever the size.

    Raises:
        OSError: it cannot be read, or is a pipe or device.
    """
    num_bytes = check_file(path)
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(2**22):
            digest.update(block)
    return num_bytes, digest.hexdigest()


def _compare_whole(
    group: Sequence[tuple[str, int]], paths: Mapping[str, Sequence[str]], read: Callable[[str], bytes]
) -> list[list[tuple[str, int]]]:
    """Return the members of a group whose whole files are equal, in groups of two and more."""
    equal: dict[bytes, list[tuple[str, int]]] = {}
    for split, row in group:
        with contextlib.suppress(OSError, ImageError):  # the file is gone, so it cannot be compared
            equal.setdefault(hashlib.sha256(read(paths[split][row])).digest(), []).append((split, row))
    return [members for members in equal.values() if len(members) > 1]


def describe_duplicates(duplicates: Mapping[str, Any], *, has_sets: bool = False) -> list[str]:
    """Sentences for people; none where there are no duplicates."""
    sentences = []
    if duplicates["across_splits"]:
        sentences.append(
            f"Leakage: {counted(duplicates['across_splits'], 'file')} in more than one split, so the error measured on "
            f"validation images is too low. The first: {' = '.join(duplicates['groups'][0])}. Remove one of each."
        )
    if duplicates["files"]:
        sentences.append(f"With the same bytes as an earlier image: {counted(duplicates['files'], 'image')}.")
    if duplicates["across_classes"]:
        where = "Labelled in more than one way" if has_sets else "In more than one class"
        sentences.append(f"{where}: {counted(duplicates['across_classes'], 'file')}; one of the labels is wrong.")
    return sentences
