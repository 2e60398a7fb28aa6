"""Data sets that are published as pixels: MNIST and its relatives, SVHN, STL-10. (CIFAR is in data/sources/cifar.py.)

A table of facts: which files hold images and labels of each split, and how an array comes out of a pair of them.
"""

import gzip
import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.sources.arrays import ArrayFiles
from alexnet.data.sources.listing import collect
from alexnet.data.sources.matlab import read_matlab
from alexnet.data.sources.source import Options, Record, Source
from alexnet.data.store.format import TEST, TRAIN
from alexnet.errors import SourceError
from alexnet.text.wording import counted

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (N, H, W) or (N, H, W, 3), and labels (N,)."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a data set keeps its pixels."""

    folders: tuple[str, ...]
    """Where torchvision keeps its files, below the folder it is given."""
    files: Mapping[str, tuple[str, str]]
    """Split -> patterns of the names of the files with its images and its labels, which may be one."""
    read: Callable[[Path, Path], Arrays]


_MOST_UNPACKED = 1032
"""Most bytes that gzip unpacks one byte to."""


def _read_idx(images: Path, labels: Path) -> Arrays:
    """MNIST's form: two zeros, a type (8: bytes), the number of axes, their lengths (4 bytes each, big end first)."""
    pixels = _parse_idx(images, 3)
    if images.name.startswith("emnist"):
        pixels = pixels.transpose(0, 2, 1)  # the pictures of EMNIST are stored transposed
    return pixels, _parse_idx(labels, 1).astype(np.int64)


def _parse_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    refused = SourceError(f"{path} does not hold what its first bytes say. Copy it again from where it came.")
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            head = file.read(4 + 4 * axes)
            if head[:4] != bytes((0, 0, 8, axes)) or len(head) < 4 + 4 * axes:
                raise refused
            shape = np.frombuffer(head, ">u4", offset=4).tolist()
            if math.prod(shape) > _MOST_UNPACKED * path.stat().st_size:
                raise refused
            data = file.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read ({error}). Copy it again from where it came.") from None
    if len(data) != math.prod(shape):
        raise refused
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_svhn(path: Path, _: Path) -> Arrays:
    """SVHN's form: X (32, 32, 3, N) and y (N,), where 10 is the digit 0."""
    found = read_matlab(path)
    pixels, labels = found.get("X"), found.get("y")
    if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape[:3] == (32, 32, 3)):
        raise SourceError(f"{path} holds no array X of 32 x 32 x 3 x N bytes. Copy it again from where it came.")
    return np.ascontiguousarray(np.atleast_3d(pixels).reshape(32, 32, 3, -1).transpose(3, 0, 1, 2)), (
        np.atleast_1d(np.asarray(labels, np.int64)) % 10
    )


def _read_stl(images: Path, labels: Path) -> Arrays:
    """STL-10's form: bytes (N, 3, 96, 96), each channel column by column; labels from 1 on."""
    data = np.fromfile(images, np.uint8)
    if len(data) % (3 * 96 * 96):
        raise SourceError(f"{images} has {len(data):,} bytes, no whole number of images. Copy it again.")
    return data.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1), np.fromfile(labels, np.uint8).astype(np.int64) - 1


_IDX = r"(emnist-\w+-)?({})-{}[.-]idx{}-ubyte(\.gz)?"
FORMS = (
    Form(
        ("raw", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "EMNIST/raw"),
        {
            split: (_IDX.format(words, "images", 3), _IDX.format(words, "labels", 1))
            for split, words in ((TRAIN, "train"), (TEST, "t10k|test"))
        },
        _read_idx,
    ),
    Form((), {split: (rf"{split}_32x32\.mat",) * 2 for split in (TRAIN, TEST)}, _read_svhn),
    Form(("stl10_binary",), {split: (rf"{split}_X\.bin", rf"{split}_y\.bin") for split in (TRAIN, TEST)}, _read_stl),
)
CLASS_NAMES = "class_names.txt"
"""What STL-10 has beside its files: the name of each label, one a line."""


def _locate(root: Path) -> tuple[Form, Path] | None:
    """The form of the files in root, or below it where torchvision keeps them, and their folder."""
    for form in FORMS if root.is_dir() else ():
        for folder in (root, *(root / each for each in form.folders)):
            if folder.is_dir() and all(_match(folder, pattern) for pattern in form.files[TRAIN]):
                return form, folder
    return None


def _match(folder: Path, pattern: str) -> list[Path]:
    """The files of a pattern, those that are unpacked already first."""
    found = [path for path in folder.iterdir() if re.fullmatch(pattern, path.name) and path.is_file()]
    return sorted(found, key=lambda path: (path.suffix == ".gz", path.name))


def is_pixels(root: Path) -> bool:
    """Whether root holds the training images of one of FORMS."""
    return _locate(root) is not None


def find_pixels(root: Path, options: Options) -> Source:
    """The images of one of FORMS, held in memory; classes are called by number, or as CLASS_NAMES says.

    Raises:
        SourceError: a file is damaged, images and labels do not go together, or there are several sets.
    """
    found = _locate(root)
    assert found is not None
    form, folder = found
    names = folder / CLASS_NAMES
    titles = names.read_text(encoding="utf-8").split() if names.is_file() else None
    arrays: dict[str, NDArray[Any]] = {}
    records: list[Record] = []
    for split, patterns in form.files.items():
        images, labels = (_match(folder, pattern) for pattern in patterns)
        if not images or not labels:
            continue
        sets = {path.name.removesuffix(".gz") for path in images}
        if len(sets) > 1:
            raise SourceError(
                f"{folder} holds several sets of images ({', '.join(sorted(sets))}). Move the files of one into a "
                "folder of their own."
            )
        pixels, classes = form.read(images[0], labels[0])
        if len(pixels) != len(classes) or classes.min(initial=0) < 0:
            raise SourceError(
                f"{folder}: {images[0].name} has {counted(len(pixels), 'image')}, and {labels[0].name} "
                f"{counted(len(classes), 'label')}. Copy both again."
            )
        if titles is not None and classes.max(initial=0) >= len(titles):
            many = counted(len(titles), "class", "classes")
            raise SourceError(f"{names} names {many}, and {labels[0].name} has more. Copy both again.")
        arrays[split] = pixels
        records += [
            Record(f"{split}/{number:05d}", str(label) if titles is None else titles[label], split)
            for number, label in enumerate(classes.tolist())
        ]
    return collect(folder, "pixels", ArrayFiles(arrays), records, options, class_names=titles)
