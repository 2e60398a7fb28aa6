"""The page of a store, and the list of its images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.description.page import LISTED_CLASSES, Description, Facts, Table, command, describe_path, name_classes
from alexnet.errors import StoreError
from alexnet.files.documents import parse_json
from alexnet.files.writing import is_locked
from alexnet.text.commands import recall_command, start_training
from alexnet.text.wording import counted, say_bytes

if TYPE_CHECKING:
    from alexnet.data.store.reader import Store


def describe_store(path: Path, *, verify: bool = False, every: bool = False) -> Description:
    """Return what a store holds.

    Args:
        verify: Read every byte and compare checksums.
        every: List all classes.
    Raises:
        StoreError: it is no store, or damaged.
    """
    from alexnet.data.store.reader import open_store

    store = open_store(path)
    if verify:
        store.verify()
    splits = {name: len(split) for name, split in store.splits.items()}
    what = ", ".join(f"{counted(count, 'image')} for {_PURPOSES.get(name, name)}" for name, count in splits.items())
    listed = every or len(store.class_names) <= LISTED_CLASSES + 2
    facts = [
        ("what", f"a store: {what}"),
        ("images", f"{store.size} x {store.size} pixels, {_CODECS[store.header['codec']]}; {_say_size(store)} in all"),
        ("source", _describe_source(store)),
        ("classes", f"{len(store.class_names):,}, below" if listed else name_classes(store.class_titles, every=False)),
    ]
    if store.has_sets:
        facts.append(("labels", "any number of classes in a picture; below, pictures with each"))
    if all(split.groups is not None for split in store.splits.values()):
        groups = {name: len(set(split.groups or ())) for name, split in store.splits.items()}
        facts.append(("groups", ", ".join(f"{name} {count:,}" for name, count in groups.items())))
    if not listed:
        facts.append(("per class", "; ".join(f"{name}: {_describe_spread(split.per_class_counts, store.class_titles)}"
                                             for name, split in store.splits.items())))  # fmt: skip
    mean, spread = store.mean_image.mean((0, 1)), store.color_eigenvalues**0.5
    facts += [
        ("mean colour", f"{_numbers(mean)} (R, G, B of 0 to 255), subtracted from inputs"),
        ("colour axes", f"standard deviations {_numbers(spread)}; colour noise follows them"),
        ("fingerprint", store.fingerprint),
        ("checked", "that every byte is the one of the fingerprint" if verify else "that all files have their sizes"),
    ]
    if not verify:
        facts.append(("check bytes", command("info", path, "--verify")))
    if "page" in store.header:
        facts.append(("report", str(path / str(store.header["page"]["file"]))))
    if start := start_training(path, store.size):
        facts.append(("next", start))
    parts: list[Facts | Table] = [Facts(facts, str(path))]
    if listed:
        names = [store.class_names, *([store.class_titles] if store.class_titles != store.class_names else [])]
        counts = [[f"{count:,}" for count in split.per_class_counts] for split in store.splits.values()]
        rows = [list(row) for row in zip(*names, *counts, strict=True)]
        parts.append(Table([*("class", "name")[: len(names)], *splits], rows))
    values: dict[str, Any] = {
        "kind": "store",
        "path": str(path),
        "splits": splits,
        "size": store.size,
        "class_names": list(store.class_names),
        **({"labels": "sets"} if store.has_sets else {}),
        "color_eigenvalues": store.color_eigenvalues.tolist(),
        "fingerprint": store.fingerprint,
        "provenance": store.provenance,
    }
    return Description(values, parts)


def is_partial(path: Path) -> bool:
    """Whether a folder is a store that prepare has begun."""
    return (path / JOB).is_file() and (path / PARTS).is_dir()


def describe_partial(path: Path) -> Description:
    """Return how far a store is that prepare has begun.

    Raises:
        StoreError: what it records is damaged.
    """
    try:
        job = parse_json((path / JOB).read_bytes())
        parts = [parse_json(part.read_bytes()) for part in sorted((path / PARTS).glob("*.json"))]
        images = sum(len(part["labels"]) for part in parts)
        skipped = sum(len(part["skipped"]) for part in parts)
        source, side = f"{job['source']} ({job['kind']})", int(job["size"])
    except (ValueError, KeyError, TypeError) as problem:
        raise StoreError(
            f"{path}: is an unfinished store that is damaged ({problem}). Delete it and begin again."
        ) from None
    again, is_growing = recall_command(path), is_locked(path / PARTIAL_LOCK)
    left_out = f", {skipped:,} left out" if skipped else ""
    facts = [
        ("what", "a store that is being prepared now" if is_growing else "an unfinished store"),
        ("so far", f"{counted(images, 'image')} in {counted(len(parts), 'finished part')}{left_out}"),
        ("images", f"{side} x {side} pixels"),
        ("source", source),
    ]
    if not is_growing:
        facts.append(("next", again or "the same prepare again, with these images and options; it continues"))
    return describe_path(path, "unfinished store", facts, images=images, parts=len(parts), preparing=is_growing)


def list_images(what: str) -> Iterator[dict[str, str]]:
    """Yield split, class name, readable name and original path of every image of a store, in its order.

    Raises:
        StoreError: it is no store, or damaged.
    """
    from alexnet.data.sources.source import SEPARATOR
    from alexnet.data.store.label_sets import list_sets
    from alexnet.data.store.reader import open_store
    from alexnet.text.names import escape_name

    store = open_store(what)
    for name, split in store.splits.items():
        sets = list_sets(split.label_sets) if split.has_sets else [(label,) for label in split.labels.tolist()]
        for own, path in zip(sets, split.paths, strict=True):
            yield {
                "split": name,
                "class": escape_name(SEPARATOR.join(store.class_names[label] for label in own)),
                "name": escape_name(SEPARATOR.join(store.class_titles[label] for label in own)),
                "path": escape_name(path),
            }


JOB, PARTS, PARTIAL_LOCK = "job.json", "parts", "lock"
"""Names in an unfinished store, see `data.prepare.partial`."""
_PURPOSES = {"train": "training", "val": "validation", "test": "testing"}
_CODECS = {"raw": "uncompressed", "jpeg": "as JPEG"}


def _say_size(store: "Store") -> str:
    return say_bytes(sum(int(record["bytes"]) for record in store.file_records()))


def _describe_source(store: "Store") -> str:
    """Where the images came from, what was left out, and how validation images were chosen."""
    recorded = store.provenance
    options = recorded.get("options", {})
    words = [f"{recorded['source']}" if "source" in recorded else "not recorded"]
    if "kind" in recorded:
        words[0] += f" ({recorded['kind']})"
    if recorded.get("skipped"):
        words.append(f"{counted(int(recorded['skipped']), 'image')} left out")
    for split, aim in (("val", ""), ("test", " for testing")):
        if (fraction := options.get(f"{split}_fraction")) is not None:
            whole = f" in whole groups ({options['group']})" if "group" in options else ""
            words.append(f"{100 * fraction:g} % of each class set aside{aim}{whole}, seed {options.get('seed', 0)}")
    if "classes_at" in options:
        words.append(f"class folders at depth {options['classes_at']}")
    if options.get("val_list") is not None:
        words.append(f"validation images as in {options['val_list']}")
    return "; ".join(words)


def _describe_spread(counts: Sequence[int], titles: Sequence[str]) -> str:
    """The smallest and the largest class."""
    least, most = min(counts), max(counts)
    if least == most:
        return f"{least:,} each"
    return f"{least:,} ({titles[counts.index(least)]}) to {most:,} ({titles[counts.index(most)]})"


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:.1f}" for value in values)
