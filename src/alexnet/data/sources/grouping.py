"""Images that belong together, such as those of one patient, stand on one side of the division into two splits."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet.errors import ConfigError, SourceError
from alexnet.text.class_names import normalize_name
from alexnet.text.wording import counted, shorten

if TYPE_CHECKING:
    from alexnet.data.sources.source import Record

FOLDER = "folder"
"""What a user names so that images in folders of one name belong together."""


@dataclass(frozen=True)
class Grouping:
    """Which images belong together.

    Args:
        rule: FOLDER for the name of the folder that an image is in; the name of a column of a table; else a regular
            expression, of which the first group, or where it has none the whole match, anywhere in the path, counts.
    Raises:
        ConfigError: rule is no regular expression.
    """

    rule: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.rule)
        except re.error as error:
            raise ConfigError(
                f"--group {self.rule}: is no regular expression ({error}). Accepted are a regular expression such as "
                "'(p[0-9]+)_', folder, or a column of the table."
            ) from None

    def find(self, record: "Record") -> str:
        """The group of an image.

        Raises:
            SourceError: the expression is not found in its path.
        """
        if record.group is not None:
            return normalize_name(record.group)
        path = normalize_name(record.path)
        if self.rule == FOLDER:
            return path.split("/")[-2] if "/" in path else ""
        found = re.search(normalize_name(self.rule), path)
        if found is None:
            raise SourceError(
                f"--group {self.rule}: is not found in {record.path}. Every image needs a group; give an expression "
                "that fits all paths."
            )
        return next((part for part in found.groups() if part is not None), found[0])

    def name_groups(self, splits: "Mapping[str, Sequence[Record]]") -> dict[str, str]:
        """Return the group of each image, by its path."""
        return {record.path: self.find(record) for records in splits.values() for record in records}

    def check_apart(self, splits: "Mapping[str, Sequence[Record]]") -> None:
        """Refuse splits that share a group.

        Raises:
            SourceError: a group stands in two of them.
        """
        seen: dict[str, tuple[str, str]] = {}
        crossing: dict[str, tuple[str, str]] = {}
        for split, records in splits.items():
            for record in records:
                group = self.find(record)
                other, path = seen.setdefault(group, (split, record.path))
                if other != split:
                    crossing.setdefault(group, (f"{other}: {path}", f"{split}: {record.path}"))
        if crossing:
            name, (one, two) = next(iter(crossing.items()))
            raise SourceError(
                f"--group {self.rule}: {counted(len(crossing), 'group')} in more than one split. The first is {name}: "
                f"{one} and {two}. Move the images of a group to one side, or divide with --val-fraction."
            )


def divide_by_group(
    root: Path,
    records: "Sequence[Record]",
    grouping: Grouping,
    fraction: float,
    seed: int,
    notes: list[str],
    *,
    aim: str = "validation",
) -> set[str]:
    """Paths of the images of whole groups that are set aside, near the fraction of each class.

    Groups are met in the order of a digest of (seed, group). Each is taken that brings the numbers of images of its
    classes nearer to the fraction; then, of every class that has none yet, the first group that can be spared. No class
    loses all its images.

    Raises:
        SourceError: no group can be spared.
    """
    found = [grouping.find(record) for record in records]
    chosen = choose_groups(records, found, fraction, seed)
    aside = [record for record, group in zip(records, found, strict=True) if group in chosen]
    if not chosen:
        names = sorted(set(found))
        raise SourceError(
            f"{root}: --group {grouping.rule} makes {counted(len(names), 'group')} of {counted(len(records), 'image')}"
            f" ({shorten(names, 3)}), and without any of them a class would have no training images. Give an "
            "expression that tells more groups apart."
        )
    notes.append(
        f"By --group {grouping.rule}: {len(chosen):,} of {counted(len(set(found)), 'group')} set aside for {aim}, "
        f"{len(aside):,} of {counted(len(records), 'image')} ({100 * len(aside) / len(records):.0f} %)."
    )
    without = sorted(
        {name for record in records for name in record.classes} - {name for record in aside for name in record.classes}
    )
    if without:
        notes.append(
            f"Without {aim} images, as no group of theirs can be spared: "
            f"{counted(len(without), 'class', 'classes')} ({shorten(without)})."
        )
    return {record.path for record in aside}


def choose_groups(records: "Sequence[Record]", names: Sequence[str], fraction: float, seed: int) -> set[str]:
    """The groups that are set aside, see `divide_by_group`; none where none can be spared.

    Args:
        names: The group of each record. Images without a class are a class of their own.
    """
    totals: Counter[str] = Counter()
    groups: dict[str, Counter[str]] = {}
    for record, group in zip(records, names, strict=True):
        groups.setdefault(group, Counter()).update(record.classes or ("",))
        totals.update(record.classes or ("",))
    wanted = {name: count_aside(total, fraction) for name, total in totals.items()}
    taken: Counter[str] = Counter()
    chosen: set[str] = set()
    order = sorted(groups, key=lambda group: digest(seed, group))

    def can_spare(group: str) -> bool:
        return all(taken[name] + count < totals[name] for name, count in groups[group].items())

    def brings_nearer(group: str) -> bool:
        return (
            sum(
                abs(taken[name] + count - wanted[name]) - abs(taken[name] - wanted[name])
                for name, count in groups[group].items()
            )
            < 0
        )

    def take(group: str) -> None:
        chosen.add(group)
        taken.update(groups[group])

    for group in order:
        if can_spare(group) and brings_nearer(group):
            take(group)
    for name in sorted(totals):
        spare = next((group for group in order if name in groups[group] and can_spare(group)), None)
        if not taken[name] and spare is not None:
            take(spare)
    return chosen


def count_aside(total: int, fraction: float) -> int:
    """How many of the images of a class are set aside: to nearest, at least one and never all."""
    return min(max(int(total * fraction + 0.5), 1), total - 1)


def digest(seed: int, name: str) -> bytes:
    """What decides, for a path or a group, in which order they are set aside."""
    return hashlib.sha256(f"{seed}\n{normalize_name(name)}".encode(errors="surrogateescape")).digest()
