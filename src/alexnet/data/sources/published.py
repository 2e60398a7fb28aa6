"""Data sets as they are published: pictures in folders, and lists beside them that tell class and split of each.

A table of facts, and one way to read it. Where torchvision keeps a set below the folder it is given, it is found too.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alexnet.data.sources.folders import scan_folder
from alexnet.data.sources.listing import collect
from alexnet.data.sources.matlab import read_matlab
from alexnet.data.sources.source import FolderFiles, Options, Record, Source
from alexnet.data.store.format import TEST, TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.files.writing import read_text, split_lines


class Lines(NamedTuple):
    """The pictures of one split."""

    split: str
    file: str
    """A text with a line for each; or a folder, the paths of whose pictures stand for lines."""
    line: str
    """What a line is like: a pattern that names its parts, `label` among them."""
    path: str
    """Where the picture of a line is: a template of these parts."""
    label: str = "{label}"
    """What its class is called."""


@dataclass(frozen=True, slots=True)
class Published:
    """One data set, and how to recognize and read it."""

    name: str
    folder: str
    """Where torchvision keeps it."""
    marks: tuple[str, ...]
    """Files and folders by which it is known."""
    read: Callable[[Path], Iterator[Record]]


def _listed(name: str, folder: str, *parts: Lines) -> Published:
    return Published(name, folder, tuple(part.file for part in parts), lambda root: _read_lines(root, parts))


_BY_CLASS = r"(?P<label>[^/]+)/(?P<name>.+)"
_PET = r"(?P<name>(?P<label>\S+)_\d+) \d+ \d+ \d+"
_AIRCRAFT = r"(?P<name>\d+) (?P<label>.+)"


def _read_lines(root: Path, parts: Sequence[Lines]) -> Iterator[Record]:
    for part in parts:
        file = root / part.file
        if file.is_dir():
            lines = sorted(scan_folder(file).walk(file))
        else:
            lines = [line.strip() for line in split_lines(read_text(file)) if line.strip()]
        for number, line in enumerate(lines, 1):
            found = re.fullmatch(part.line, line)
            if found is not None:
                values = found.groupdict()
                yield Record(part.path.format(**values), part.label.format(**values), part.split)
            elif number > 1:  # the first may be a heading
                raise SourceError(f"{file}, line {number}: {line[:60]!r} is no line of such a list. Copy it again.")


def _read_flowers(root: Path) -> Iterator[Record]:
    """102 Flowers: numbers of classes and of the pictures of each split, both in MATLAB's form."""
    labels, sets = read_matlab(root / "imagelabels.mat"), read_matlab(root / "setid.mat")
    try:
        classes = np.atleast_1d(labels["labels"]).tolist()
        for split, key in ((TRAIN, "trnid"), (VAL, "valid"), (TEST, "tstid")):
            for number in np.atleast_1d(sets[key]).tolist():
                yield Record(f"jpg/image_{number:05d}.jpg", str(int(classes[number - 1])), split)
    except (KeyError, IndexError, TypeError, ValueError) as problem:
        raise SourceError(
            f"{root}: imagelabels.mat and setid.mat do not go together ({problem}). Copy both again."
        ) from None


def _read_cars(root: Path) -> Iterator[Record]:
    """Cars: the class of each picture, and the names of the classes, in MATLAB's form."""
    try:
        names = read_matlab(root / "devkit/cars_meta.mat")["class_names"].tolist()
        for split, table, folder in (
            (TRAIN, "devkit/cars_train_annos.mat", "cars_train"),
            (TEST, "cars_test_annos_withlabels.mat", "cars_test"),
        ):
            for row in np.atleast_1d(read_matlab(root / table)["annotations"]):
                yield Record(f"{folder}/{row.fname}", str(names[int(getattr(row, "class")) - 1]), split)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as problem:
        raise SourceError(f"{root}: its tables of cars do not go together ({problem}). Copy them again.") from None


PUBLISHED = (
    _listed(
        "Food-101",
        "food-101",
        Lines(TRAIN, "meta/train.txt", _BY_CLASS, "images/{label}/{name}.jpg"),
        Lines(TEST, "meta/test.txt", _BY_CLASS, "images/{label}/{name}.jpg"),
    ),
    _listed(
        "Oxford-IIIT Pet",
        "oxford-iiit-pet",
        Lines(TRAIN, "annotations/trainval.txt", _PET, "images/{name}.jpg"),
        Lines(TEST, "annotations/test.txt", _PET, "images/{name}.jpg"),
    ),
    Published("102 Flowers", "flowers-102", ("jpg", "imagelabels.mat", "setid.mat"), _read_flowers),
    _listed(
        "Describable Textures",
        "dtd/dtd",
        Lines(TRAIN, "labels/train1.txt", _BY_CLASS, "images/{label}/{name}"),
        Lines(VAL, "labels/val1.txt", _BY_CLASS, "images/{label}/{name}"),
        Lines(TEST, "labels/test1.txt", _BY_CLASS, "images/{label}/{name}"),
    ),
    _listed(
        "German Traffic Signs",
        "gtsrb",
        Lines(TRAIN, "GTSRB/Training", _BY_CLASS, "GTSRB/Training/{label}/{name}"),
        Lines(
            TEST,
            "GT-final_test.csv",
            r"(?P<name>[^;]+\.ppm)(;\d+){6};(?P<label>\d+)",
            "GTSRB/Final_Test/Images/{name}",
            "{label:0>5}",
        ),
    ),
    _listed(
        "FGVC Aircraft",
        "fgvc-aircraft-2013b",
        Lines(TRAIN, "data/images_variant_train.txt", _AIRCRAFT, "data/images/{name}.jpg"),
        Lines(VAL, "data/images_variant_val.txt", _AIRCRAFT, "data/images/{name}.jpg"),
        Lines(TEST, "data/images_variant_test.txt", _AIRCRAFT, "data/images/{name}.jpg"),
    ),
    Published(
        "Stanford Cars",
        "stanford_cars",
        ("devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_train"),
        _read_cars,
    ),
)


def _locate(root: Path) -> tuple[Published, Path] | None:
    """The data set that root is or holds, and its own folder."""
    for each in PUBLISHED if root.is_dir() else ():
        for folder in (root, root / each.folder):
            if all((folder / mark).exists() for mark in each.marks):
                return each, folder
    return None


def is_published(root: Path) -> bool:
    """Whether root is one of PUBLISHED, unpacked, or the folder in which torchvision keeps it."""
    return _locate(root) is not None


def find_published(root: Path, options: Options) -> Source:
    """The pictures of one of PUBLISHED, in the order of its lists.

    Raises:
        SourceError: a list is damaged, or scipy is needed and missing.
    """
    found = _locate(root)
    assert found is not None
    known, folder = found
    try:
        records = list(known.read(folder))
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{folder}: a list of {known.name} cannot be read ({error}). Copy it again.") from None
    return collect(folder, "published", FolderFiles(folder), records, options)
