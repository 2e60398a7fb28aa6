"""The store: prepared images, labels and statistics in one folder, readable with numpy alone.

data/store/format.py knows the files, data/store/writer.py writes them and data/prepare/prepare.py makes them from
photographs. A store is complete or it does not open: the header is the last file that a writer makes.

Opening reads the header and compares the size of every file with it, which takes milliseconds. Whatever is read later
is compared with its checksum: images one by one, other files whole. `Store.verify` reads every byte. Nothing is ever
unpickled.
"""

import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from alexnet.data.store.format import (
    HEADER_NAME,
    TRAIN,
    check_file,
    damaged,
    list_shard_files,
    load_array,
    read_file,
    read_header,
)
from alexnet.data.store.jpeg import JpegImages
from alexnet.data.store.label_sets import BoolArray, unpack_sets
from alexnet.data.store.raw import Images
from alexnet.errors import StoreError
from alexnet.files.addresses import local
from alexnet.files.documents import is_text
from alexnet.files.origin import origin_of
from alexnet.text.class_names import apply_titles
from alexnet.text.names import unescape_name
from alexnet.text.wording import counted

Int64Array = NDArray[np.int64]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


def open_store(path: str | os.PathLike[str]) -> "Store":
    """A finished store, opened for reading.

    Checks that the header is whole and of a version that is read here, and that every file it lists has the size it
    had when it was written. Bytes are compared when they are read; `Store.verify` reads them all. Of a store at an
    address, as s3://bucket/store, the header is read now and the rest when it is needed.

    Raises:
        AddressError: what is at an address cannot be read.
        StoreError: path is no store, is unfinished, damaged, or of a newer version; the message names the file.
        SourceError: a table of readable names was put into it and cannot be used.
    """
    folder = local(path)
    header = read_header(folder)
    try:
        store = Store(folder, header)
    except (KeyError, TypeError) as error:  # the checksum agrees, so another program wrote this header
        raise damaged(folder / HEADER_NAME, f"lacks a field or has one of the wrong kind ({error})") from None
    if origin_of(folder) is None:  # what is not in the cache yet is compared when it is brought
        for record in store.file_records():
            check_file(folder, record)
    return store


class Store:
    """Splits of images with the class names and the statistics of the training split.

    `store["train"]` and `store["val"]` are splits; `images`, `labels`, `paths` and `len` of the store itself are those
    of the training split. Stores pickle as their path, so worker processes open their own.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.path = folder
        self.header = header
        self.size: int = header["size"]
        """Height and width of every image in pixels."""
        self.class_names: tuple[str, ...] = tuple(header["class_names"])
        """Name of each label, in the order of the labels."""
        self.class_titles = apply_titles(folder, self.class_names, header["class_titles"])
        """Readable name of each label, of a table classes.tsv in the folder of the store before those of the source;
        the class name where there is no other."""
        self.splits: dict[str, Split] = {
            name: Split(folder, name, fields, self.size, header["codec"], len(self.class_names))
            for name, fields in header["splits"].items()
        }
        self.has_sets: bool = "labels" in header
        """Whether an image may have any number of labels, none among them: `Split.label_sets` in place of `labels`."""
        self.provenance: dict[str, Any] = header["provenance"]
        """Where the images came from and how they were read: plain values, as recorded by the writer."""
        self.fingerprint: str = header["checksum"]
        """SHA-256 of the header in hexadecimal; it covers the checksums of all files, so it identifies the content."""

    def __getitem__(self, split: str) -> "Split":
        """The split of this name.

        Raises:
            StoreError: the store has no such split; the message lists those it has.
        """
        if split not in self.splits:
            raise StoreError(f"{self.path} has no split {split!r}. It has: {', '.join(self.splits)}.")
        return self.splits[split]

    def __len__(self) -> int:
        return len(self[TRAIN])

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        return (
            f"Store({str(self.path)!r}: {counts}; {counted(len(self.class_names), 'class', 'classes')}, {self.size} px)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (str(self.path),)

    @property
    def filled_splits(self) -> list[str]:
        """Names of the splits that hold images."""
        return [name for name, split in self.splits.items() if len(split)]

    @property
    def images(self) -> "Images":
        """Images of the training split."""
        return self[TRAIN].images

    @property
    def labels(self) -> Int64Array:
        """Labels of the training split, (N,)."""
        return self[TRAIN].labels

    @property
    def paths(self) -> Sequence[str]:
        """Paths of the training images inside their source."""
        return self[TRAIN].paths

    @functools.cached_property
    def mean_image(self) -> Float32Array:
        """Mean of the training images, (size, size, 3) RGB, 0 to 255, aligned with the stored images."""
        record = self.header["statistics"]["mean_image"]
        array = load_array(self.path, record)
        if array.dtype.kind != "f" or array.shape != (self.size, self.size, 3):
            raise damaged(self.path / record["file"], "does not hold the mean of the images")
        return array.astype(np.float32, copy=False)

    @property
    def color_mean(self) -> Float64Array:
        """Mean R, G and B over all training pixels, (3,), 0 to 255."""
        return np.array(self.header["statistics"]["color_mean"], np.float64)

    @property
    def color_covariance(self) -> Float64Array:
        """Covariance of R, G and B over all training pixels, (3, 3), in squared 0-255 units, divided by N."""
        return np.array(self.header["statistics"]["color_covariance"], np.float64)

    @property
    def color_eigenvalues(self) -> Float64Array:
        """Eigenvalues of `color_covariance`, (3,), largest first, never negative."""
        return np.array(self.header["statistics"]["color_eigenvalues"], np.float64)

    @property
    def color_eigenvectors(self) -> Float64Array:
        """Unit eigenvectors as columns, (3, 3), in the order of the eigenvalues; the largest component is positive."""
        return np.array(self.header["statistics"]["color_eigenvectors"], np.float64)

    @property
    def color_axes(self) -> Float64Array:
        """Eigenvectors scaled by their standard deviations, (3, 3), in 0-255 units.

        For z drawn from N(0, I) of three dimensions, color_axes @ z has the covariance of the training pixels.
        """
        return self.color_eigenvectors * np.sqrt(self.color_eigenvalues)

    def file_records(self) -> Iterator[Mapping[str, Any]]:
        """Every file of the store but the header: its name inside the folder, bytes and checksum."""
        yield self.header["statistics"]["mean_image"]
        yield self.header["report"]
        if "page" in self.header:
            yield self.header["page"]
        for fields in self.header["splits"].values():
            yield fields["label_sets" if self.has_sets else "labels"]
            yield fields["paths"]
            if "groups" in fields:
                yield fields["groups"]
            for shard in fields["shards"]:
                yield from list_shard_files(shard)

    def verify(self) -> None:
        """Read every byte of the store and compare checksums; returns when all agree.

        Raises:
            StoreError: a file is missing or differs from what was written; the message names it.
        """
        for record in self.file_records():
            check_file(self.path, record, every_byte=True)


class Split:
    """Images with their labels and paths, in the order of the source; docs/formats.md has that of each kind."""

    def __init__(
        self, folder: Path, name: str, fields: Mapping[str, Any], size: int, codec: str, num_classes: int
    ) -> None:
        self.name = name
        self.images: Images = IMAGES[codec](folder, fields["shards"], size)
        """Pixels: `images[i]` is (size, size, 3) uint8 RGB."""
        self.per_class_counts: tuple[int, ...] = tuple(fields["per_class"])
        """Number of images of each label."""
        self.paths: Sequence[str] = Names(folder, fields["paths"], fields["count"])
        """Path of each image inside its source, with forward slashes."""
        self.groups: Sequence[str] | None = (
            Names(folder, fields["groups"], fields["count"]) if "groups" in fields else None
        )
        """What each image belongs together with, by `prepare --group` or as frames of a clip; None where that is not
        known."""
        self._folder = folder
        self.has_sets = "label_sets" in fields
        """Whether an image may have any number of labels."""
        self._labels_record = fields["label_sets" if self.has_sets else "labels"]
        self._num_classes = num_classes

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {counted(len(self), 'image')})"

    @functools.cached_property
    def labels(self) -> Int64Array:
        """Label of each image, (N,), from 0 to the number of classes less one. Read when first used.

        Raises:
            StoreError: an image may have any number of labels; or the file is damaged.
        """
        if self.has_sets:
            raise StoreError(
                f"{self._folder} holds any number of labels for an image; this needs one for each. Prepare the images "
                "with one label each."
            )
        labels = load_array(self._folder, self._labels_record)
        fits = labels.dtype.kind in "iu" and labels.shape == (len(self),)
        if not fits or np.any(labels < 0) or np.any(labels >= self._num_classes):
            raise damaged(self._folder / self._labels_record["file"], "does not hold one label for each image")
        return labels.astype(np.int64, copy=False)

    @functools.cached_property
    def label_sets(self) -> BoolArray:
        """Whether each image has each class, (N, K). Read when first used.

        Raises:
            StoreError: an image has one label; or the file is damaged.
        """
        if not self.has_sets:
            raise StoreError(
                f"{self._folder} holds one label for each image; this needs one with any number of them. Prepare a "
                "table with --labels several."
            )
        file = self._folder / self._labels_record["file"]
        try:
            sets = unpack_sets(load_array(self._folder, self._labels_record), self._num_classes)
        except ValueError as problem:
            if isinstance(problem, StoreError):
                raise
            raise damaged(file, f"does not hold the labels of each image ({problem})") from None
        if len(sets) != len(self):
            raise damaged(file, "does not hold the labels of each image")
        return sets

    @property
    def targets(self) -> Int64Array | BoolArray:
        """The labels that a network learns: `labels`, or `label_sets` where the store has these."""
        return self.label_sets if self.has_sets else self.labels


class Names(Sequence[str]):
    """A name of each image of a split, such as its path; the file is read when a name is first asked for."""

    def __init__(self, folder: Path, record: Mapping[str, Any], count: int) -> None:
        self._folder = folder
        self._record = record
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(f"name {index} is outside this split of {self._count} images")
        text, starts = self._lines
        index %= self._count
        try:
            name = json.loads(text[starts[index] : starts[index + 1]])
        except (ValueError, RecursionError):
            name = None
        if not is_text(name):
            raise damaged(self._folder / self._record["file"], f"holds no name in line {index + 1}")
        return unescape_name(name)

    @functools.cached_property
    def _lines(self) -> tuple[bytes, Int64Array]:
        """The whole file and where each line starts: far smaller than a list of a million strings."""
        text = read_file(self._folder, self._record)
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
        if len(ends) != self._count:
            raise damaged(self._folder / self._record["file"], "does not hold one line for each image")
        return text, np.concatenate([[0], ends])


IMAGES: dict[str, type[Images]] = {"raw": Images, "jpeg": JpegImages}
"""Codec -> reader of the images of a split."""
