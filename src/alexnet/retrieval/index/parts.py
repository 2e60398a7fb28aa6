"""A part of an index under construction."""

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.files.record import record_file
from alexnet.files.writing import name_in_errors, sync_folder, write_array
from alexnet.retrieval.index.features import Row
from alexnet.retrieval.index.format import FEATURES, IDS, IMAGES, LABELS, NO_LABEL, PIXELS, WRITING
from alexnet.text.names import escape_name


class NewPart:
    """A part under construction, in the folder WRITING."""

    def __init__(self, folder: Path, header: dict[str, Any], source: int) -> None:
        self._folder, self._source = folder, source
        self._place = folder / WRITING
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir()
        self._features = header["features"]
        self._names = {name: number for number, name in enumerate(header["class_names"])}
        self._labels: list[int] = []
        self._pixels: list[NDArray[np.uint8]] = []
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
        name = f"part-{header['next_part']:05d}"
        shutil.rmtree(self._folder / name, ignore_errors=True)
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
            with contextlib.suppress(OSError):  # what it still held finds no room either
                file.close()

    def _write_head(self) -> None:
        """The head of the .npy file; NumPy leaves room in it for any number of rows."""
        shape = (len(self._labels), self._features["dimensions"])
        kind = np.dtype(self._features["dtype"]).newbyteorder("<").str
        np.lib.format.write_array_header_1_0(self._data, {"descr": kind, "fortran_order": False, "shape": shape})


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file and flush it to the disk."""
    with name_in_errors(path), path.open("wb") as file:
        write_array(file, array)
        file.flush()
        os.fsync(file.fileno())
