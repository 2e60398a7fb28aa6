"""The place where an index is to be made: empty, with the very index that is asked for, or with something else."""

import os
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from alexnet.data.video.clip import find_clip
from alexnet.errors import ImageError, SearchError
from alexnet.files.origin import address_of
from alexnet.retrieval.index.changes import sole_writer
from alexnet.retrieval.index.format import FORMAT, HEADER_NAME, LOCK, VERSION
from alexnet.retrieval.index.images import ImageFiles, StoreImages, key_of
from alexnet.retrieval.index.reader import Index, read_index
from alexnet.text.commands import command, recall_command, record_command
from alexnet.text.names import escape_name
from alexnet.text.wording import counted


def begin_index(
    stack: ExitStack, out: Path, model: Path, description: dict[str, Any], features: dict[str, Any]
) -> dict[str, Any]:
    """Create the folder, or find the index that is there; lock it until the stack closes, and return its header.

    Args:
        model: File of the weights, which a new header names.
        description, features: What is to be made, as in a header.
    Raises:
        SearchError: an index of another model or other features is there, a damaged one, or something else.
    """
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if out.exists() and (not out.is_dir() or (names and not {HEADER_NAME, LOCK} & names)):
        raise SearchError(f"{out} exists and is not an index. Choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    stack.enter_context(sole_writer(out))
    if (out / HEADER_NAME).exists():
        header = read_index(out).header
        _check_options(out, header, description, features)
        return header
    record_command(out)
    return {
        "format": FORMAT,
        "version": VERSION,
        "finished": False,
        "features": features,
        "model": {
            "path": escape_name(address_of(model) or str(model.absolute())),
            **{key: description[key] for key in ("weights_sha256", "dialect", "precision", "alexnet")},
        },
        "preprocessing": description["preprocessing"],
        "class_names": [],
        "class_titles": {},
        "sources": [],
        "next_id": 0,
        "next_part": 0,
        "parts": [],
        "removed": None,
        "codes": {},
    }


def find_unread(index: Index, images: ImageFiles | StoreImages, size: int) -> tuple[int, list[str]]:
    """Return how many images a finished index of these images holds, and why it lacks some of them.

    Images are compared by path and size, those of a store by its fingerprint; only what the index lacks is read.

    Raises:
        SearchError: it is the index of other images; the message tells how they differ.
    """
    sources = index.header["sources"]
    lines = [index.entry(row).origin for row in index.rows().tolist()]
    held = {key_of(sources[line["source"]], line): line for line in lines}
    given = images.keys()
    unread: list[str] = []
    differences: list[str] = []
    for item in images.items(size, {}, (place for place, key in enumerate(given) if key not in held)):
        if isinstance(item, ImageError):
            unread.append(str(item))
        elif item is not None:
            differences.append(f"it lacks {escape_name(item.line['path'])}")
            break  # one example is enough; there may be a million
    changed = sum(_has_other_size(held[key]) for key in given if key in held)
    if changed:
        differences.append(f"{_count_of_its_images(changed)} of another size now, or gone")
    add = command("search", "add", index.path, "IMAGES")
    advice = f"Add what it lacks: {add}; or choose" if differences else "Choose"
    others = len(held.keys() - set(given))
    if others:
        differences.append(f"{_count_of_its_images(others)} not among these")
    if differences:
        raise SearchError(
            f"{index.path} is a finished index of other images: {'; '.join(differences)}. {advice} another --out, or "
            f"delete it first: rm -r {shlex.quote(str(index.path))}"
        )
    return len(index), unread


def _check_options(out: Path, header: dict[str, Any], description: dict[str, Any], features: dict[str, Any]) -> None:
    model, before = header["model"], header["features"]
    if not header["finished"]:
        if model["weights_sha256"] != description["weights_sha256"] or before != features:
            known = recall_command(out)
            raise SearchError(
                f"{out} is an unfinished index of other weights or features (layer {before['layer']}, "
                f"{before['dtype']}). Give its own command again, or choose another --out."
                + (f" Its own was: {known}" if known else "")
            )
        return
    compared = {
        "weights": (f"{model['weights_sha256'][:12]}…", f"{description['weights_sha256'][:12]}…"),
        "precision": (model["precision"], description["precision"]),
        **{name: (before[name], features[name]) for name in ("layer", "dtype")},
    }
    differences = [f"its {name}: {was}, now {now}" for name, (was, now) in compared.items() if was != now]
    if differences:
        raise SearchError(
            f"{out} is a finished index made with other options: {'; '.join(differences)}. Choose another --out, or "
            f"delete it first: rm -r {shlex.quote(str(out))}"
        )


def _count_of_its_images(number: int) -> str:
    return counted(number, "of its images is", "of its images are")


def _has_other_size(line: dict[str, Any]) -> bool:
    """Whether a file is gone or has another size than when it was indexed; images of a store are fixed by its key."""
    if "bytes" not in line:
        return False
    try:
        place = line["path"] if os.path.exists(line["path"]) else find_clip(line["path"])
        return bool(os.stat(place).st_size != line["bytes"])
    except OSError:
        return True
