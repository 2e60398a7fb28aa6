"""The page of an index of features."""

from pathlib import Path

from alexnet.description.page import Description, describe_path, name_classes
from alexnet.files.writing import is_locked
from alexnet.retrieval.index.format import HEADER_NAME, LOCK
from alexnet.text.commands import command, recall_command
from alexnet.text.wording import counted


def is_index(path: Path) -> bool:
    """Whether a folder is an index, or one that was begun."""
    return (path / HEADER_NAME).exists() or (recall_command(path) or "").startswith("alexnet search index ")


def describe_index(path: Path, *, verify: bool = False, every: bool = False) -> Description:
    """Return what an index holds.

    Args:
        verify: Read every byte and compare checksums.
        every: Name all classes.
    Raises:
        SearchError: it is damaged.
    """
    from alexnet.retrieval.index.reader import read_index  # loads PyTorch

    again, is_growing = recall_command(path), is_locked(path / LOCK)
    state = "an index that is being made now" if is_growing else "an unfinished index"
    if not (path / HEADER_NAME).exists():
        facts = [("what", f"{state}; nothing is saved yet"), *([("next", again)] if again and not is_growing else [])]
        return describe_path(path, "index", facts, finished=False, images=0)
    index = read_index(path)
    if verify:
        index.verify()
    header, count = index.header, counted(len(index), "image")
    size, removed = sum(record["bytes"] for record in index.file_records()), index.num_rows - len(index)
    codes = [f"{bits} bits ({known['method']})" for bits, known in header["codes"].items()]
    facts = [
        ("what", f"an index of {count}" if header["finished"] else f"{state}: {count} so far"),
        ("features", f"{index.dimensions:,} of {index.layer}, {header['features']['dtype']}"),
        ("model", f"{header['model']['path']} ({header['model']['dialect']})"),
        *([("classes", name_classes(sorted(index.class_names), every=every))] if index.class_names else []),
        ("codes", ", ".join(codes) or "none"),
        (
            "size",
            f"{size:,} bytes, of which {counted(removed, 'removed row')} still take room"
            if removed
            else f"{size:,} bytes",
        ),
        ("checked", "that every byte is as it was written" if verify else "that all files have their sizes"),
    ]
    if header["finished"]:
        facts.append(("next", command("search", "query", path, "picture.jpg")))
        facts.append(("", command("search", "info", path)))
    elif not is_growing:
        model, features = header["model"], header["features"]
        options = {"layer": index.layer, "dtype": features["dtype"], "precision": model["precision"], "out": path}
        facts.append(("next", again or command("search", "index", model["path"], "IMAGES", **options)))
    return describe_path(
        path,
        "index",
        facts,
        finished=header["finished"],
        images=len(index),
        removed_rows=removed,
        layer=index.layer,
        dimensions=index.dimensions,
        dtype=header["features"]["dtype"],
        classes=len(index.class_names),
        codes={bits: known["method"] for bits, known in header["codes"].items()},
        model=header["model"],
        bytes=size,
    )
