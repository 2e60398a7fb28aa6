"""The place where a store is to be made: empty, with the very store that is asked for, or with something else."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet.data.sources.source import Source
from alexnet.data.store.format import PARTIAL_SUFFIX, damaged, read_file
from alexnet.data.store.label_sets import list_sets
from alexnet.data.store.reader import Store, open_store
from alexnet.data.video.clip import find_clip
from alexnet.errors import StoreError
from alexnet.files.documents import Form, find_misfit, is_whole, parse_json
from alexnet.text.class_names import TITLES_FILE

_REPORT: Form = {"duplicates?": {"across_splits?": is_whole}}


def find_same_store(target: Path, images: Source, provenance: Mapping[str, Any]) -> Store | None:
    """Return the store at target if it is the one that these images and options make, or None if nothing is there.

    Paths, sizes and labels of all images, the readable names of the classes and every option must be the same; versions
    of the program and its libraries may differ.

    Raises:
        StoreError: something else is there; of another store the message tells what differs.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    try:
        store = open_store(target)
    except StoreError:
        raise StoreError(f"{target} exists and is not a store. Choose another --out, or remove it first.") from None
    differences = _differences(store, images, provenance)
    if differences:
        raise StoreError(
            f"{target} exists and was made from other images or with other options: {'; '.join(differences)}. Choose "
            f"another --out, or remove it: rm -r {target}"
        )
    remains = target.with_name(target.name + PARTIAL_SUFFIX)
    if remains.is_dir() and not (remains / "store").exists():  # prepare was killed after publishing
        shutil.rmtree(remains)
    return store


def read_report(store: Store) -> dict[str, Any]:
    """Return what prepare wrote about the images of a store: those kept, left out and passed over.

    Raises:
        StoreError: it is missing or damaged.
    """
    record = store.header["report"]
    data = read_file(store.path, record)
    try:
        report: dict[str, Any] = parse_json(data)
        misfit = find_misfit(report, _REPORT)
    except ValueError as problem:
        misfit = str(problem)
    if misfit is not None:
        raise damaged(store.path / record["file"], f"is no report of prepare ({misfit or 'its kind'})")
    return report


def _differences(store: Store, images: Source, provenance: Mapping[str, Any]) -> list[str]:
    """Return the differences: of options, or if these are the same, of images."""
    recorded = store.provenance
    before = {"source": recorded.get("source"), "kind": recorded.get("kind"), **recorded.get("options", {})}
    now = {"source": provenance["source"], "kind": provenance["kind"], **provenance["options"]}
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if "size" in changed:  # the number of images in a shard follows from it
        changed = [name for name in changed if name != "shard_rows"]
    if changed:
        return [f"{name.replace('_', ' ')} was {_say(before.get(name))}, is {_say(now.get(name))}" for name in changed]
    if recorded.get("listing_sha256") != provenance["listing_sha256"] or not _has_same_labels(store, images):
        return ["the images are not the same"]
    if store.class_names != images.class_names:
        return ["the names of the classes are not the same"]
    if images.class_titles not in (tuple(store.header["class_titles"]), store.class_titles):
        return [
            f"the readable names of the classes are not the same (to change them alone, put the table into the "
            f"store, as {store.path / TITLES_FILE})"
        ]
    return []


def _has_same_labels(store: Store, images: Source) -> bool:
    """Whether every image of the store has its split, label and group still; some may have been left out of it."""
    if set(store.splits) != set(images.splits):
        return False
    for name, entries in images.splits.items():
        labels, split = dict(entries), store.splits[name]
        own = list_sets(split.label_sets) if split.has_sets else split.labels.tolist()
        paths = list(map(find_clip, split.paths)) if "every" in store.provenance.get("options", {}) else split.paths
        if any(labels.get(path) != label for path, label in zip(paths, own, strict=True)):
            return False
        groups = () if split.groups is None or not images.groups else zip(paths, split.groups, strict=True)
        if any(images.groups.get(path) != group for path, group in groups):
            return False
    return True


def _say(value: Any) -> str:
    return "none" if value is None else str(value)
