"""COCO's JSON: images, annotations and categories, of which a picture may have any number.

Boxes and outlines are passed over: what counts is which categories a picture has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alexnet.data.sources.division import find_split
from alexnet.data.sources.fiftyone import LABELS
from alexnet.data.sources.listing import collect
from alexnet.data.sources.source import SEPARATOR, FolderFiles, Options, Record, Source
from alexnet.data.sources.tables import locate_images
from alexnet.errors import SourceError
from alexnet.files.documents import parse_json
from alexnet.text.class_names import find_repeat
from alexnet.text.wording import counted, shorten

FOLDER = "annotations"
"""Beside the folders of the images, in COCO's own layout."""


def is_coco(root: Path) -> bool:
    """Whether root is a JSON file, or a folder with some of instances in COCO's layout or in FiftyOne's."""
    return (root.is_file() and root.suffix.lower() == ".json") or bool(_list_files(root))


def find_in_coco(root: Path, options: Options) -> Source:
    """The images of a JSON file, or of ROOT/annotations/instances_<split>….json, with the categories of each.

    Images lie beside the file, or beside its folder where that is called FOLDER; what is not found by its file_name is
    looked for below. A file whose name tells a split, as instances_val2017.json, is of that split where there are
    several. Categories without any picture are no classes. With --labels one every picture has one category.

    Raises:
        SourceError: it is not such a file, or a part of it contradicts another.
    """
    files = [root] if root.is_file() else _list_files(root)
    top = files[0].parent.parent if files[0].parent.name == FOLDER else files[0].parent
    records: list[Record] = []
    known: dict[int, str] = {}
    for path in files:
        found, categories = _read(path, find_split(_name_split(path)) if len(files) > 1 else None, options)
        if known and categories != known:
            raise SourceError(f"{path} has other categories than {files[0]}. Give files of one set.")
        known = categories
        records += locate_images(path, top, found, range(1, len(found) + 1), called="image")
    there = {name for record in records for name in record.classes}
    names = [name for _, name in sorted(known.items()) if name in there]
    source = collect(top, "coco", FolderFiles(top), records, options, class_names=names)
    unseen = [name for name in known.values() if name not in there]
    if unseen:
        note = f"Without pictures, so no classes: {counted(len(unseen), 'category', 'categories')} ({shorten(unseen)})."
        return replace(source, notes=(*source.notes, note))
    return source


def _list_files(root: Path) -> list[Path]:
    """The files of instances in a folder of COCO's own layout whose names tell a split; or FiftyOne's one file."""
    if (root / LABELS).is_file() and (root / "data").is_dir():
        return [root / LABELS]
    found = sorted((root / FOLDER).glob("instances_*.json"))
    return [path for path in found if find_split(_name_split(path)) is not None]


def _name_split(path: Path) -> str:
    """The word for a split in a name such as instances_val2017.json."""
    return path.stem.rpartition("_")[2].rstrip("0123456789")


def _read(path: Path, split: str | None, options: Options) -> tuple[list[Record], dict[int, str]]:
    """A record for each image of a file, and its categories by their ids."""
    try:
        document = parse_json(path.read_bytes())
        images, annotations, listed = (document[part] for part in ("images", "annotations", "categories"))
        categories = {int(each["id"]): str(each["name"]) for each in listed}
        names = {int(each["id"]): str(each["file_name"]) for each in images}
        pairs = [(int(each["image_id"]), int(each["category_id"])) for each in annotations]
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as problem:
        reason = f"it lacks {problem}" if isinstance(problem, KeyError) else problem
        raise SourceError(
            f"{path} cannot be read as COCO's instances ({reason}). It needs images with id and file_name, categories "
            "with id and name, and annotations with image_id and category_id."
        ) from None
    _refuse_repeats(path, images, "image", "file_name", names)
    _refuse_repeats(path, listed, "category", "name", categories)
    sets: dict[int, set[int]] = {image: set() for image in names}
    for number, (image, category) in enumerate(pairs):
        if image not in sets or category not in categories:
            what = f"image {image}" if image not in sets else f"category {category}"
            raise SourceError(
                f"{path}: annotation {number} is of {what}, which is not listed. Add it, or remove its annotations."
            )
        sets[image].add(category)
    records = []
    for image, name in names.items():
        classes = [categories[category] for category in sorted(sets[image])]
        joined = SEPARATOR.join(classes)
        if options.labels == "one" and len(classes) != 1:
            raise SourceError(
                f"{path}: {name} has {counted(len(classes), 'category', 'categories')}, and --labels one needs one for "
                "each picture. Leave it out, so that a picture may have any number."
            )
        several = None if options.labels == "one" else tuple(classes)
        records.append(Record(name.replace("\\", "/"), joined, split, several=several))
    return records, categories


def _refuse_repeats(
    path: Path, listed: Sequence[Mapping[str, Any]], what: str, field: str, by_id: Mapping[int, str]
) -> None:
    """Refuse two entries of one id or one name."""
    if len(by_id) < len(listed):
        ids = [int(each["id"]) for each in listed]
        raise SourceError(f"{path}: the {what} {max(ids, key=ids.count)} is listed twice. Give each an id of its own.")
    names = list(by_id.values())
    if repeat := find_repeat(names):
        raise SourceError(f"{path}: {field} {names[repeat[0]]} stands twice. Give each {what} one of its own.")
