"""The index: features of many images in a folder of plain files, with what is needed to search and to add to them.

retrieval/index/format.py knows the files, retrieval/index/writer.py writes them. Opening reads the header and compares
the size of every file with it; `Index.verify` reads every byte. Features are mapped into memory, not read.
"""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import SearchError
from alexnet.files.addresses import local
from alexnet.files.documents import find_misfit
from alexnet.retrieval.exact import Features
from alexnet.retrieval.index.format import (
    DTYPES,
    FILES,
    LINE,
    NO_LABEL,
    check_file,
    damaged,
    load_array,
    read_header,
    say_how_it_goes_on,
)
from alexnet.text.names import unescape_name
from alexnet.text.wording import counted, name_readably

MAPPED_BYTES = 2**20
"""Parts up to this size are read. A mapping holds its file open, and an index may have grown a thousand times."""


class Entry(NamedTuple):
    """What the index knows of one image."""

    id: int
    """Never used again, also after the image is removed."""
    path: str
    """Absolute path of a file; of an image in a store, its path inside the source of the store."""
    label: str | None
    """Name of its class, None where it is not known."""
    title: str | None
    """What people are shown of the class: its readable name, or the name of a class that has none."""
    split: str
    """Split of the store, or the first folder of the path if it is named like one; "" without one."""
    origin: dict[str, Any]
    """The line of the index: path, source, and row of a store or bytes and digest of a file."""


def open_index(path: str | os.PathLike[str]) -> "Index":
    """Return an index, opened for reading. One at an address is brought into the cache, whole.

    Raises:
        AddressError: what is at an address cannot be read.
        SearchError: path is no index, is unfinished, damaged, or of a newer version; the message names the file.
    """
    folder = local(path)
    index = read_index(folder)
    if not index.header["finished"]:
        raise SearchError(
            f"{folder} is an unfinished index of {counted(len(index), 'image')} so far. {say_how_it_goes_on(folder)}"
        )
    return index


def read_index(folder: Path) -> "Index":
    """Return an index, finished or not; else as `open_index`."""
    while True:
        index = Index(folder, read_header(folder))
        try:
            for record in index.file_records():
                check_file(folder, record)
        except SearchError:
            if not index.was_changed():
                raise
        else:
            return index


class Index:
    """Rows of features with their images. Rows of removed images stay until their part is empty; `skip` marks them."""

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.path = folder
        self.header = header
        self.layer: str = header["features"]["layer"]
        self.dimensions: int = header["features"]["dimensions"]
        self.dtype = DTYPES[header["features"]["dtype"]]
        self.class_names: list[str] = header["class_names"]
        self.class_titles = name_readably(self.class_names, header.get("class_titles", {}))
        """What people are shown of each class; the field is not in the headers of older indexes."""
        self.parts: list[dict[str, Any]] = header["parts"]
        self.fingerprint: str = header.get("checksum", "")
        """SHA-256 of the header; it covers the checksums of all files, so it identifies the content."""

    def was_changed(self) -> bool:
        """Whether another process has changed the index since; parts that only the old header names are gone then."""
        return str(read_header(self.path)["checksum"]) != self.fingerprint

    def load(
        self, record: Mapping[str, Any], shape: tuple[int, ...], dtype: Any, *, mapped: bool = False
    ) -> NDArray[Any]:
        """Return the array in a file of the index; see `format.load_array`.

        Raises:
            SearchError: it is damaged, or was removed by another process.
        """
        try:
            return load_array(self.path, record, shape, dtype, mapped=mapped)
        except SearchError:
            if self.was_changed():
                raise SearchError(
                    f"{self.path} was changed by another process meanwhile. Give the same command again."
                ) from None
            raise

    def __len__(self) -> int:
        """Number of images that can be found."""
        return self.num_rows - int(self.skip.sum())

    def __repr__(self) -> str:
        return (
            f"Index({str(self.path)!r}: {counted(len(self), 'image')}, {self.layer}, {self.dimensions:,} "
            f"{self.dtype.__name__})"
        )

    @property
    def num_rows(self) -> int:
        """Number of rows, removed ones included."""
        return sum(int(part["rows"]) for part in self.parts)

    @functools.cached_property
    def features(self) -> list[Features]:
        """Features of each part, (rows, D), mapped into memory where they are many."""
        return [
            self.load(record, (part["rows"], self.dimensions), self.dtype, mapped=record["bytes"] > MAPPED_BYTES)
            for part in self.parts
            for record in (part["features"],)
        ]

    @functools.cached_property
    def ids(self) -> NDArray[np.int64]:
        """Id of each row, (N,), ascending."""
        ids = self._column("ids", (), np.int64)
        wrong = np.flatnonzero(np.diff(ids) <= 0)
        if len(wrong):
            raise self._damaged("ids", int(wrong[0]) + 1, "does not hold ids in order")
        return ids

    @functools.cached_property
    def labels(self) -> NDArray[np.int64]:
        """Position of each row's class in `class_names`, (N,); NO_LABEL where it is not known."""
        labels = self._column("labels", (), np.int64)
        wrong = np.flatnonzero((labels < NO_LABEL) | (labels >= len(self.class_names)))
        if len(wrong):
            raise self._damaged("labels", int(wrong[0]), "holds a class that the header does not name")
        return labels

    @functools.cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """128-bit XXH3 digest of each row's decoded pixels, (N, 16)."""
        return self._column("pixels", (16,), np.uint8)

    @functools.cached_property
    def skip(self) -> NDArray[np.bool_]:
        """True for rows whose image was removed, (N,)."""
        record = self.header["removed"]
        if record is None:
            return np.zeros(self.num_rows, bool)
        return np.isin(self.ids, self.load(record, (record["count"],), np.int64))

    def entry(self, row: int) -> Entry:
        """Return what is known of the image of a row."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        text, ends = self._lines[number]
        place = row - self._starts[number]
        try:
            line = json.loads(text[ends[place] : ends[place + 1]])
        except (ValueError, RecursionError):
            line = None
        if find_misfit(line, LINE) is not None or not self._is_known(line):
            raise self._damaged("images", row, f"does not say what an image is in line {place + 1}")
        line["path"] = unescape_name(line["path"])
        label = int(self.labels[row])
        name, title = (None, None) if label == NO_LABEL else (self.class_names[label], self.class_titles[label])
        return Entry(int(self.ids[row]), line["path"], name, title, line["split"], line)

    def _is_known(self, line: Mapping[str, Any]) -> bool:
        """Whether an image is of a source that the header names, and has what is asked of images of its kind."""
        sources, number = self.header["sources"], line["source"]
        if number >= len(sources):
            return False
        return {"bytes", "digest"} <= line.keys() if sources[number]["kind"] == FILES else "row" in line

    def title_of(self, label: str) -> str:
        """Return what people are shown of a class."""
        return self.class_titles[self.class_names.index(label)]

    @functools.cached_property
    def _starts(self) -> NDArray[np.int64]:
        """First row of each part, then the number of rows."""
        return np.cumsum([0, *(part["rows"] for part in self.parts)], dtype=np.int64)

    def rows(self) -> NDArray[np.int64]:
        """Rows of the images that can be found, ascending."""
        return np.flatnonzero(~self.skip)

    def order_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of rows (n,) in the order of their images: by path, then split, then id.

        So it is the same in whichever order the images were indexed.
        """
        keys = [(entry.path, entry.split, entry.id) for entry in map(self.entry, rows.tolist())]
        return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features of some rows, (n, D) float32, in the order given."""
        out = np.empty((len(rows), self.dimensions), np.float32)
        starts = self._starts
        for number, features in enumerate(self.features):
            here = np.flatnonzero((rows >= starts[number]) & (rows < starts[number + 1]))
            out[here] = features[rows[here] - starts[number]]
        return out

    def file_records(self) -> Iterator[dict[str, Any]]:
        """Every file of the index but the header."""
        for part in self.parts:
            yield from (part[name] for name in ("features", "ids", "labels", "pixels", "images"))
        if self.header["removed"]:
            yield self.header["removed"]
        for codes in self.header["codes"].values():
            yield codes["encoder"]
            yield from codes["parts"].values()

    def verify(self) -> None:
        """Read every byte and compare checksums; returns when all agree.

        Raises:
            SearchError: a file is missing or differs from what was written; the message names it.
        """
        for record in self.file_records():
            check_file(self.path, record, every_byte=True)

    def _damaged(self, name: str, row: int, what: str) -> SearchError:
        part = self.parts[int(np.searchsorted(self._starts, row, side="right")) - 1]
        return damaged(self.path, part[name]["file"], what)

    def _column(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        columns = [self.load(part[name], (part["rows"], *shape), dtype) for part in self.parts]
        return np.concatenate([np.zeros((0, *shape), dtype), *columns])

    @functools.cached_property
    def _lines(self) -> list[tuple[bytes, NDArray[np.int64]]]:
        """The file of images of each part and where its lines start: far smaller than a million dictionaries."""
        result = []
        for part in self.parts:
            check_file(self.path, part["images"], every_byte=True)
            text = (self.path / part["images"]["file"]).read_bytes()
            ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
            if len(ends) != part["rows"]:
                raise damaged(self.path, part["images"]["file"], "does not hold one line for each row")
            result.append((text, np.concatenate([[0], ends])))
        return result
