"""Exports of FiftyOne for classification: a folder of images, and a JSON file that tells the label of each.

Its other exports are known forms: class folders, COCO's JSON, tables.
"""

import re
from pathlib import Path
from typing import Any

from alexnet.data.sources.listing import collect
from alexnet.data.sources.source import SEPARATOR, FolderFiles, Options, Record, Source
from alexnet.data.sources.tables import locate_images
from alexnet.errors import SourceError
from alexnet.files.documents import parse_json
from alexnet.text.wording import counted

LABELS = "labels.json"
_BEGINNING = re.compile(rb'\s*\{\s*"(classes|labels)"\s*:')


def is_fiftyone(root: Path) -> bool:
    """Whether root is such a JSON file, or the folder with one; COCO's begins with other words."""
    path = root / LABELS if root.is_dir() else root
    if not path.is_file() or path.suffix != ".json":
        return False
    with path.open("rb") as file:
        return _BEGINNING.match(file.read(64)) is not None


def find_in_fiftyone(root: Path, options: Options) -> Source:
    """The images of an export; where a label is a list, as of Classifications, an image has any number of classes.

    {"classes": [names] or null, "labels": {name of the image without suffix: label}}, where a label is a name, a
    position in classes, {"label": one of these, ...}, a list of these, or null for none.

    Raises:
        SourceError: it is not such a file, or a label is none of these.
    """
    path = root / LABELS if root.is_dir() else root
    try:
        document = parse_json(path.read_bytes())
        classes, labels = document.get("classes"), dict(document["labels"])
        if not isinstance(classes, list | None):
            raise ValueError("classes are no list")
        found = {str(image): _read_label(label, classes) for image, label in labels.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as problem:
        raise SourceError(
            f"{path} cannot be read as an export of FiftyOne ({problem}). It needs labels, each a name, a position in "
            "classes, or a list of these."
        ) from None
    several = options.labels == "several" or (
        options.labels is None and any(isinstance(label, list) for label in labels.values())
    )
    records = []
    for image, names in found.items():
        if not several and len(names) != 1:
            raise SourceError(
                f"{path}: {image} has {counted(len(names), 'label')}, and needs one. Remove it; or give --labels "
                "several, so that a picture may have any number."
            )
        records.append(Record(image, SEPARATOR.join(names), None, several=tuple(names) if several else None))
    records = locate_images(path, path.parent, records, range(1, len(records) + 1), called="image")
    used = {name for record in records for name in record.classes}
    names = [name for name in map(str, classes or ()) if name in used]
    return collect(root, "fiftyone", FolderFiles(path.parent), records, options, class_names=names or None)


def _read_label(label: Any, classes: list[Any] | None) -> list[str]:
    """The classes of an image, each once."""
    if label is None:
        return []
    if isinstance(label, list):
        return list(dict.fromkeys(name for each in label for name in _read_label(each, classes)))
    if isinstance(label, dict):
        return _read_label(label["label"], classes)
    if isinstance(label, str):
        return [label]
    if not isinstance(label, int) or isinstance(label, bool) or classes is None or not 0 <= label < len(classes):
        raise ValueError(f"{label!r} is no label")
    return [str(classes[label])]
