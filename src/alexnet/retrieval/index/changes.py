"""What every change of an index shares: lock, header, removed rows, and the part under construction."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import SearchError
from alexnet.files.record import record_file
from alexnet.files.writing import clear_away, lock_file, name_in_errors, save_array, sync_folder
from alexnet.retrieval.index.features import Row
from alexnet.retrieval.index.format import (
    FEATURES,
    HEADER_NAME,
    IDS,
    IMAGES,
    LABELS,
    LOCK,
    NO_LABEL,
    PIXELS,
    WRITING,
    read_header,
    write_header,
)
from alexnet.retrieval.index.reader import Index
from alexnet.text.commands import COMMAND
from alexnet.text.names import escape_name


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the index's lock, and clear away what a stopped writer left."""
    if not folder.is_dir():
        read_header(folder)  # raises, and says what is wrong
    handle = lock_file(folder / LOCK)
    if handle is None:
        raise SearchError(f"{folder} is being changed by another process. Wait until it has ended.")
    with handle:
        try:
            if (folder / HEADER_NAME).exists():
                _clear(folder, read_header(folder))
            clear_away(folder / WRITING)
            yield
        finally:
            clear_away(folder / WRITING)


def commit(folder: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Make a change real by its header, delete what this no longer names, and return it with its checksum."""
    written = write_header(folder, header)
    _clear(folder, written)
    return written


def _clear(folder: Path, header: dict[str, Any]) -> None:
    """Delete what the header does not name, as far as the disk allows: it was replaced, or its writer was stopped."""
    named = {part["name"] for part in header["parts"]}
    named |= {record["file"] for record in [header["removed"]] if record}
    for codes in header["codes"].values():
        named |= {record["file"] for record in (codes["encoder"], *codes["parts"].values())}
    kinds = ("part-*", "removed-*.npy", "codes-*.safetensors", "part-*/codes-*.npy")
    for path in [path for kind in kinds for path in folder.glob(kind)]:
        if path.relative_to(folder).as_posix() not in named:
            clear_away(path)
    if header["finished"]:
        clear_away(folder / COMMAND)


def without_rows(index: Index, header: dict[str, Any], rows: NDArray[np.int64]) -> dict[str, Any]:
    """Return a header in which these rows are removed; parts of which nothing is left are no longer named."""
    skip = index.skip.copy()
    skip[rows] = True
    codes = {bits: {**entry, "parts": dict(entry["parts"])} for bits, entry in header["codes"].items()}
    parts, kept_ids, start = [], [], 0
    for part in header["parts"]:
        stop = start + part["rows"] if start < len(skip) else start
        own = skip[start:stop]
        if len(own) and own.all():
            for each in codes.values():
                each["parts"].pop(part["name"])
        else:
            parts.append(part)
            kept_ids.append(index.ids[start:stop][own])
        start = stop
    ids = np.concatenate([np.zeros(0, np.int64), *kept_ids])
    record = None
    if len(ids):
        name = f"removed-{header['next_id']:08d}-{len(ids):08d}.npy"
        save_array(index.path / name, ids)
        record = {**record_file(index.path, name), "count": len(ids)}
    return {**header, "parts": parts, "codes": codes, "removed": record}


class NewPart:
    """A part under construction, in the folder WRITING."""

    def __init__(self, folder: Path, header: dict[str, Any], source: int) -> None:
        self._folder, self._source = folder, source
        self._place = folder / WRITING
        self._features = header["features"]
        self._names = {name: number for number, name in enumerate(header["class_names"])}
        self._labels: list[int] = []
        self._pixels: list[NDArray[np.uint8]] = []
        with name_in_errors(folder):
            clear_away(self._place)
            self._place.mkdir()
            self._data: IO[bytes] = (self._place / FEATURES).open("w+b")
            self._lines: IO[str] = (self._place / IMAGES).open("w", encoding="ascii")
            self._write_head()

    @property
    def num_bytes(self) -> int:
        """Size of the features so far."""
        width: int = self._features["dimensions"] * np.dtype(self._features["dtype"]).itemsize
        return len(self._labels) * width

    def append(self, rows: Sequence[Row], values: NDArray[Any]) -> None:
        """Add rows and their features."""
        with name_in_errors(self._folder):
            self._append(rows, values)

    def _append(self, rows: Sequence[Row], values: NDArray[Any]) -> None:
        self._data.write(np.ascontiguousarray(values, np.dtype(self._features["dtype"]).newbyteorder("<")).data)
        for row in rows:
            self._lines.write(
                json.dumps({**row.line, "path": escape_name(row.line["path"]), "source": self._source}) + "\n"
            )
            label = NO_LABEL if row.label is None else self._names.setdefault(row.label, len(self._names))
            self._labels.append(label)
            self._pixels.append(np.frombuffer(bytes.fromhex(row.pixels), np.uint8))

    def finish(self, header: dict[str, Any]) -> dict[str, Any]:
        """Close the files, give the part its name and return a header that names it; it is not written yet."""
        rows = len(self._labels)
        name = f"part-{header['next_part']:05d}"
        with name_in_errors(self._folder):
            self._data.seek(0)
            self._write_head()
            for file in (self._data, self._lines):
                file.flush()
                os.fsync(file.fileno())
                file.close()
            save_array(self._place / IDS, np.arange(header["next_id"], header["next_id"] + rows, dtype=np.int64))
            save_array(self._place / LABELS, np.array(self._labels, np.int64))
            save_array(self._place / PIXELS, np.stack(self._pixels))
            clear_away(self._folder / name)
            self._place.rename(self._folder / name)
            sync_folder(self._folder)
        files = {"features": FEATURES, "ids": IDS, "labels": LABELS, "pixels": PIXELS, "images": IMAGES}
        records = {key: record_file(self._folder, f"{name}/{file}") for key, file in files.items()}
        return {
            **header,
            "parts": [*header["parts"], {"name": name, "rows": rows, **records}],
            "class_names": list(self._names),
            "next_id": header["next_id"] + rows,
            "next_part": header["next_part"] + 1,
        }

    def discard(self) -> None:
        """Close what is open; the folder is removed with the lock."""
        for file in (self._data, self._lines):
            with contextlib.suppress(OSError):  # the disk is full
                file.close()

    def _write_head(self) -> None:
        """The head of the .npy file; NumPy leaves room in it for any number of rows."""
        shape = (len(self._labels), self._features["dimensions"])
        kind = np.dtype(self._features["dtype"]).newbyteorder("<").str
        np.lib.format.write_array_header_1_0(self._data, {"descr": kind, "fortran_order": False, "shape": shape})
