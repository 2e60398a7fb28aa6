"""WebDataset shards: tar archives in which the files of one example share a name and differ in their suffix."""

import json
import re
from pathlib import Path

from alexnet.data.sources.archives import Archive, Mounted, open_archive
from alexnet.data.sources.division import find_split_in_name
from alexnet.data.sources.folders import has_image_suffix
from alexnet.data.sources.listing import collect
from alexnet.data.sources.source import Options, Record, Source
from alexnet.errors import ImageError, SourceError
from alexnet.files.documents import parse_json
from alexnet.files.writing import decode_text

LABEL_SUFFIXES = ("cls", "json")
JSON_FIELDS = ("label", "class", "cls", "class_name", "wnid")


def list_shards(root: Path) -> list[Path]:
    """The tar files of a folder, or the one that root is."""
    if root.is_dir():
        return sorted(path for path in root.glob("*.tar") if not path.name.startswith("."))
    return [root] if root.suffix == ".tar" and root.is_file() else []


def is_webdataset(root: Path) -> bool:
    """Whether the first shard begins with examples: an image and, under the same name, its class."""
    import tarfile

    for path in list_shards(root)[:1]:
        try:
            with tarfile.open(path, "r:") as tar:
                names = [member.name for member, _ in zip(tar, range(64), strict=False) if member.isreg()]
        except (OSError, tarfile.TarError):
            return False
        keys = {key for key, suffix in map(_divide, names) if suffix in LABEL_SUFFIXES}
        return any(has_image_suffix(name) and _divide(name)[0] in keys for name in names)
    return False


def find_shards(root: Path, options: Options) -> Source:
    """The images of WebDataset shards, in their order.

    Of KEY.jpg (or another image) the class is the text in KEY.cls, or a field of KEY.json: one of JSON_FIELDS. Where
    KEY.cls holds a number, and KEY.json beside it a class_name, the class has this name. A shard whose name begins with
    train, val or test belongs to that split.
    """
    archives: dict[str, Archive] = {}
    records = []
    for path in list_shards(root):
        archive = open_archive(path)
        archives[path.name] = archive
        split = find_split_in_name(path.name)
        labels: dict[str, str] = {}
        records_beside: dict[str, str] = {}
        images: dict[str, str] = {}
        for name in archive.names():
            key, suffix = _divide(name)
            if suffix == "json":
                records_beside[key] = name
            if suffix in LABEL_SUFFIXES and (suffix == "cls" or key not in labels):
                labels[key] = name
            elif has_image_suffix(name):
                images[key] = name
            else:
                archive.ignored["not an image"] += 1
        for key, name in images.items():
            if key not in labels:
                archive.ignored["image without a class"] += 1
                continue
            class_name = _read_label(path, archive, labels[key])
            if class_name.isdecimal() and labels[key] != records_beside.get(key, labels[key]):
                class_name = _read_name(archive, records_beside[key]) or class_name
            records.append(Record(f"{path.name}/{name}", class_name, split))
    files = Mounted(archives)
    return collect(root, "webdataset", files, records, options, ignored=files.ignored())


def _divide(name: str) -> tuple[str, str]:
    """Key and suffix: WebDataset parts them at the first dot of the file's name."""
    found = re.match(r"(.*?[^/]*?)\.([^/]*)$", name)
    return (found[1], found[2].lower()) if found else (name, "")


def _read_name(archive: Archive, name: str) -> str | None:
    """The class_name in the record of an image, if it has one."""
    try:
        found = parse_json(archive.read(name))["class_name"]
    except (ValueError, TypeError, KeyError, OSError, ImageError):
        return None
    return found if isinstance(found, str) and found else None


def _read_label(shard: Path, archive: Archive, name: str) -> str:
    try:
        text = decode_text(archive.read(name)).strip()
        if not name.endswith(".json"):
            if text:
                return text
            raise ValueError("it is empty")
        fields = json.loads(text)
        return str(next(fields[field] for field in JSON_FIELDS if field in fields))
    except (ValueError, TypeError, OSError, ImageError, StopIteration) as error:
        reason = str(error) or f"it has none of the fields {', '.join(JSON_FIELDS)}"
        raise SourceError(f"{shard}: {name} does not tell a class ({reason}). Write the class into it.") from None
