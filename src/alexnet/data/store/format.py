"""The store's format: names of files, the header and its checksum, and the checks that every reader makes.

docs/formats.md describes the same for people who read a store without this package.
"""

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from alexnet.errors import StoreError
from alexnet.files.arrays import read_npy
from alexnet.files.documents import FILE, Form, find_misfit, is_text, is_whole, numbers, parse_json
from alexnet.files.origin import origin_of
from alexnet.files.record import find_damage, header_checksum, new_checksum
from alexnet.files.writing import recall_places
from alexnet.text.commands import command, recall_command
from alexnet.text.names import escape_name

FORMAT = "alexnet-store"
VERSION = 3
SETS_VERSION = 4
"""Version of a store whose images have any number of labels; readers that know one label per image refuse it."""
HEADER_NAME = "store.json"
CODECS = ("raw", "jpeg")
PARTIAL_SUFFIX = ".partial"  # prepare works in OUT.partial and renames it when all is written and checked
TRAIN = "train"
VAL = "val"
TEST = "test"


def _is_share(value: Any) -> bool:
    return value is None or numbers()(value)


SHARD: Form = {**FILE, "rows": is_whole, "checksums?": FILE, "index?": FILE}
SPLIT: Form = {
    "count": is_whole,
    "per_class": [is_whole],
    "labels?": FILE,
    "label_sets?": FILE,
    "paths": FILE,
    "groups?": FILE,
    "shards": [SHARD],
}
HEADER: Form = {
    "size": lambda value: is_whole(value) and 0 < value < 2**16,
    "codec": is_text,
    "class_names": [is_text],
    "class_titles": [is_text],
    "splits": {TRAIN: SPLIT, "*": SPLIT},
    "statistics": {
        "num_images": is_whole,
        "color_mean": numbers(3),
        "color_covariance": numbers(3, 3),
        "color_eigenvalues": numbers(3),
        "color_eigenvectors": numbers(3, 3),
        "mean_image": FILE,
    },
    "report": FILE,
    "page?": FILE,
    "provenance": {
        "source?": is_text,
        "kind?": is_text,
        "skipped?": is_whole,
        "options?": {"val_fraction?": _is_share, "test_fraction?": _is_share},
    },
    "checksum": is_text,
}
"""What the header must be; a forged one may have a checksum that fits."""


def choose_reported(splits: Container[str]) -> str:
    """Return which of the splits that hold images is reported where none is named: test, else val.

    The rate, the epoch and perhaps more were chosen on validation images, so an error on them looks lower than it is.
    """
    return TEST if TEST in splits else VAL


def check_file(folder: Path, record: Mapping[str, Any], *, every_byte: bool = False) -> None:
    """Compare the size of a listed file with its record, and every byte if asked.

    Raises:
        StoreError: the file is missing or differs.
    """
    origin = origin_of(folder) if every_byte else None
    damage = origin.find_damage(record) if origin else find_damage(folder, record, every_byte=every_byte)
    if damage:
        raise damaged(folder / record["file"], damage)


def read_file(folder: Path, record: Mapping[str, Any]) -> bytes:
    """The bytes of a listed file, which agree with its record.

    Raises:
        StoreError: the file is missing or differs.
    """
    path = folder / str(record["file"])
    origin = origin_of(folder)
    while True:
        try:
            if origin is not None:
                origin.bring([record])
            data = path.read_bytes()
        except OSError as error:
            raise damaged(path, f"cannot be read ({error.strerror})") from None
        if new_checksum(data).hexdigest() == record["xxh3"]:
            return data
        if origin is None:
            raise damaged(path, "has other bytes than when it was written")
        path.unlink()  # what is brought is compared: the disk of the cache has changed it


def list_shard_files(shard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The records of a shard: of its images, and of the file that checks and finds each of them."""
    yield shard
    yield shard["index" if "index" in shard else "checksums"]


def read_header(folder: Path) -> dict[str, Any]:
    """The header of a finished store, checked against its own checksum.

    Raises:
        StoreError: folder is no store, is unfinished, or its header is damaged or of another version.
    """
    path = folder / HEADER_NAME
    try:
        text = path.read_bytes()
    except OSError:
        raise _not_a_store(folder) from None
    try:
        header = parse_json(text)
    except ValueError:
        raise damaged(path, "is not valid JSON") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise StoreError(f"{path} is not the header of a store. Make one: {_make()}")
    version = header.get("version")
    if version not in (VERSION, SETS_VERSION):
        raise StoreError(
            f"{folder} is a store of version {version!r:.40}; this alexnet reads versions {VERSION} and "
            f"{SETS_VERSION}. Update alexnet, or prepare the images again with this one."
        )
    if header.get("checksum") != header_checksum(header):
        raise damaged(path, "does not agree with its own checksum")
    misfit = find_misfit(header, HEADER)
    if misfit is None and header["codec"] not in CODECS:
        raise StoreError(
            f"{folder} keeps its images as {header['codec']!r}; this alexnet reads: {', '.join(CODECS)}. "
            "Update alexnet, or prepare the images again with this one."
        )
    misfit = _contradiction(header) if misfit is None else misfit
    if misfit is not None:
        raise damaged(path, f"lacks a field or has one of the wrong kind ({escape_name(misfit)[:80]!r})")
    return header


def _contradiction(header: Mapping[str, Any]) -> str | None:
    """Where a header contradicts itself, as `find_misfit`."""
    if ("labels" in header) != (header["version"] == SETS_VERSION):
        return "labels"
    has_sets, names = header["version"] == SETS_VERSION, header["class_names"]
    if len(header["class_titles"]) != len(names) or not names:
        return "class_titles"
    beside = "index" if header["codec"] == "jpeg" else "checksums"
    for name, split in header["splits"].items():
        if len(split["per_class"]) != len(names):
            return f"splits.{name}.per_class"
        if sum(shard["rows"] for shard in split["shards"]) != split["count"]:
            return f"splits.{name}.count"
        if ("label_sets" if has_sets else "labels") not in split:
            return f"splits.{name}.labels"
        if any(beside not in shard for shard in split["shards"]):
            return f"splits.{name}.shards.{beside}"
    return None


def find_store(environment: Mapping[str, Any], folder: Path) -> Path | str | None:
    """Return where the store is that the environment of a run in `folder` names; None where it is not found.

    It is the first of the recorded places with a store of the recorded fingerprint, else the first that exists.
    """
    places = recall_places("store", environment, folder)
    for place in places:
        if isinstance(place, str):  # an address is not asked for what may not be wanted
            return place
        try:
            if read_header(place)["checksum"] == environment.get("store_fingerprint"):
                return place
        except StoreError:
            continue
    return places[0] if places else None


def find_start(environment: Mapping[str, Any], folder: Path) -> Path | str | None:
    """Return where the model is that a run in `folder` started from; "MODEL" if it is gone, None without one."""
    places = recall_places("start", environment, folder)
    return places[0] if places else "MODEL" if environment.get("start") else None


def _not_a_store(folder: Path) -> StoreError:
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    if folder.name.endswith(PARTIAL_SUFFIX) or (not folder.exists() and partial.is_dir()):
        unfinished = folder if folder.name.endswith(PARTIAL_SUFFIX) else partial
        known = recall_command(unfinished)
        goes_on = f": {known}" if known else "."
        return StoreError(
            f"{unfinished} is an unfinished store. Run the same prepare command again; it continues{goes_on}"
        )
    if not folder.exists():
        return StoreError(f"{folder} does not exist. Make a store: {_make(out=folder)}")
    if not folder.is_dir():
        return StoreError(f"{folder} is a file; a store is a folder. Make one: {_make()}")
    return StoreError(f"{folder} is not a store: it has no {HEADER_NAME}. Make one: {_make(folder)}")


def _make(images: str | Path = "PHOTOS", out: str | Path = "STORE") -> str:
    return command("prepare", images, out=out)


def load_array(folder: Path, record: Mapping[str, Any], *, mapped: bool = False) -> NDArray[Any]:
    """The array in a listed .npy file, read whole and compared with its record, or mapped read-only; never unpickled.

    Raises:
        StoreError: it differs from its record, or is no .npy file of plain numbers.
    """
    path = folder / record["file"]
    try:
        return read_npy(path, mapped="r") if mapped else read_npy(read_file(folder, record))
    except StoreError:
        raise
    except (OSError, ValueError) as error:
        raise damaged(path, f"cannot be read ({error})") from None


def damaged(path: Path, what: str) -> StoreError:
    """Return the error for a damaged file of a store; `what` completes "PATH ..."."""
    if origin_of(path) is not None:
        return StoreError(
            f"{path} {what}. The store is damaged, or was replaced meanwhile: give the same command again."
        )
    return StoreError(f"{path} {what}. The store is damaged: prepare the images again, or copy it again.")
