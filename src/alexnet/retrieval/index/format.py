"""The index's format: names of files, the header and its checksum, and the checks that every reader makes.

docs/formats.md describes the same for people who read an index without this package.
"""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import SearchError
from alexnet.files.arrays import read_npy
from alexnet.files.documents import (
    FILE,
    Form,
    either,
    find_misfit,
    is_bool,
    is_inside,
    is_text,
    is_whole,
    parse_json,
)
from alexnet.files.record import find_damage, header_checksum
from alexnet.files.writing import write_text
from alexnet.text.commands import command, recall_command
from alexnet.text.names import escape_name

FORMAT = "alexnet-index"
VERSION = 2
HEADER_NAME = "index.json"
WRITING = ".writing"
"""Folder of the part under construction."""
LOCK = ".lock"
DTYPES: dict[str, type[np.float32] | type[np.float16]] = {"float32": np.float32, "float16": np.float16}
FEATURES, IDS, LABELS, PIXELS, IMAGES = "features.npy", "ids.npy", "labels.npy", "pixels.npy", "images.jsonl"
"""Files of a part."""
NO_LABEL = -1
FILES = "files"
"""Kind of a source of files that lie anywhere; of others the header names the store."""


def _is_source(value: Any) -> bool:
    return find_misfit(value, {"kind": either(FILES)}) is None or find_misfit(value, STORE) is None


STORE: Form = {"kind": is_text, "path": is_text, "fingerprint": is_text}
CODES: Form = {"method": is_text, "version": is_whole, "encoder": FILE, "parts": {"*": FILE}}
HEADER: Form = {
    "finished": is_bool,
    "features": {"layer": is_text, "dimensions": is_whole, "dtype": either(*DTYPES)},
    "model": {"path": is_text, "weights_sha256": is_text, "dialect": is_text, "precision": is_text},
    "class_names": [is_text],
    "class_titles?": {"*": is_text},
    "sources": [_is_source],
    "next_id": is_whole,
    "next_part": is_whole,
    "parts": [
        {"name": is_inside, "rows": is_whole, **dict.fromkeys(("features", "ids", "labels", "pixels", "images"), FILE)}
    ],
    "removed": lambda value: value is None or find_misfit(value, {**FILE, "count": is_whole}) is None,
    "codes": {"*": CODES},
    "checksum": is_text,
}
"""What the header must be; a forged one may have a checksum that fits."""

LINE: Form = {
    "path": is_text,
    "split": is_text,
    "source": is_whole,
    "row?": is_whole,
    "bytes?": is_whole,
    "digest?": is_text,
}
"""What the line of an image must be."""


def write_header(folder: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the header at once, which is what makes a change of the index real; return it with its checksum."""
    fields = {key: value for key, value in header.items() if key != "checksum"}
    fields["checksum"] = header_checksum(fields)
    write_text(folder / HEADER_NAME, json.dumps(fields, indent=1) + "\n")
    return fields


def read_header(folder: Path) -> dict[str, Any]:
    """Return the header of an index, checked against its own checksum.

    Raises:
        SearchError: folder is no index, was left before its first part, or its header is damaged or of another version.
    """
    path = folder / HEADER_NAME
    try:
        header = parse_json(path.read_bytes())
    except OSError:
        raise _not_an_index(folder) from None
    except ValueError:
        raise damaged(folder, HEADER_NAME, "is not valid JSON") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise SearchError(f"{path} is not the header of an index. Make one: {_make('INDEX')}")
    if header.get("version") != VERSION:
        raise SearchError(
            f"{folder} is an index of version {header.get('version')!r:.40}; this alexnet reads version {VERSION}. "
            f"Update alexnet, or {_make_again(folder)}"
        )
    if header.get("checksum") != header_checksum(header):
        raise damaged(folder, HEADER_NAME, "does not agree with its own checksum")
    misfit = find_misfit(header, HEADER)
    if misfit is None:
        misfit = next((f"codes.{bits}" for bits in header["codes"] if not re.fullmatch("[1-9][0-9]{0,5}", bits)), None)
    if misfit is not None:
        raise damaged(folder, HEADER_NAME, f"lacks a field or has one of the wrong kind ({escape_name(misfit)[:80]!r})")
    return header


def _not_an_index(folder: Path) -> SearchError:
    if not folder.exists():
        return SearchError(f"{folder} does not exist. Make an index: {_make(folder)}")
    if not folder.is_dir():
        return SearchError(f"{folder} is a file; an index is a folder. Make one: {_make('INDEX')}")
    if (folder / LOCK).exists():
        return SearchError(
            f"{folder} is an unfinished index, left before its first images. {say_how_it_goes_on(folder)}"
        )
    return SearchError(f"{folder} is not an index: it has no {HEADER_NAME}. Make one: {_make('INDEX', folder)}")


def say_how_it_goes_on(folder: Path) -> str:
    """Return the sentence about continuing an unfinished index, with the command where it is recorded."""
    known = recall_command(folder)
    return f"Give the same command again; it continues{f': {known}' if known else '.'}"


def _make(out: str | Path, images: str | Path = "IMAGES") -> str:
    return command("search", "index", "MODEL", images, out=out)


def check_file(folder: Path, record: Mapping[str, Any], *, every_byte: bool = False) -> None:
    """Compare the size of a listed file with its record, and every byte if asked.

    Raises:
        SearchError: the file is missing or differs.
    """
    damage = find_damage(folder, record, every_byte=every_byte)
    if damage:
        raise damaged(folder, record["file"], damage)


def load_array(
    folder: Path, record: Mapping[str, Any], shape: tuple[int, ...], dtype: Any, *, mapped: bool = False
) -> NDArray[Any]:
    """Return the array in a listed .npy file, read whole or mapped; writing to a mapped one does not reach the file.

    What is read whole is compared with its checksum; mapped are the features, whose bytes `Index.verify` compares.

    Raises:
        SearchError: it differs from its record, or is no .npy file of this shape and type.
    """
    path = folder / record["file"]
    if not mapped:
        check_file(folder, record, every_byte=True)
    try:
        array = read_npy(path, mapped="c" if mapped else None)
    except (OSError, ValueError) as error:
        raise damaged(folder, record["file"], f"cannot be read ({error})") from None
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise damaged(folder, record["file"], f"holds {array.shape} {array.dtype} instead of {shape} {np.dtype(dtype)}")
    return array


def damaged(folder: Path, file: str, what: str) -> SearchError:
    """Return the error for a damaged file of an index; `what` completes "PATH ..."."""
    return SearchError(f"{folder / file} {what}. The index is damaged: copy it again, or {_make_again(folder)}")


def _make_again(folder: Path) -> str:
    return f"delete it and index the images again: rm -r {shlex.quote(str(folder))}; {_make(folder)}"
