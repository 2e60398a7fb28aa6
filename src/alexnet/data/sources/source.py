"""What every kind of source comes down to: images with labels, by split, and files that give out their bytes."""

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from alexnet.data.images.decode import read_file
from alexnet.data.sources.folders import Accept, has_image_suffix
from alexnet.data.sources.grouping import Grouping
from alexnet.text.class_names import normalize_name

Label = int | tuple[int, ...]
"""The class of an image; or all of its classes, ascending, where it may have any number."""


class LabeledPath(NamedTuple):
    """One image: where it is inside its source, with forward slashes, and its class or classes."""

    path: str
    label: Label

    @property
    def classes(self) -> tuple[int, ...]:
        """Its classes, ascending."""
        return self.label if isinstance(self.label, tuple) else (self.label,)


class Files(Protocol):
    """Where the bytes of images lie: a folder, an archive, a table. Safe to use from several threads."""

    def read(self, path: str) -> bytes:
        """All bytes of one image; OSError or ImageError where they cannot be had."""

    def describe(self, path: str) -> tuple[int, int]:
        """Size in bytes, and a number that is another one where the file is another (a time of change, a checksum);
        OSError where it has vanished.
        """


class FolderFiles:
    """Files under a folder of the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        """All bytes of the file root/path."""
        return read_file(self.locate(path))

    def describe(self, path: str) -> tuple[int, int]:
        """Size in bytes and time of change in nanoseconds."""
        try:
            status = os.stat(self.locate(path))
        except ValueError:  # the name holds a null character
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
        return status.st_size, status.st_mtime_ns

    def locate(self, path: str) -> str:
        """Where the file root/path is on the disk."""
        return path if os.path.isabs(path) else f"{self.root}/{path}"  # making a Path would double the time


@dataclass(frozen=True, kw_only=True)
class Source:
    """Labelled images, by split, whatever they lie in."""

    root: Path
    kind: str
    """A name of `data.sources.kinds.KINDS`."""
    files: Files
    class_names: tuple[str, ...]
    """Name of each label."""
    class_titles: tuple[str, ...]
    """Readable names, from a table if there is one; otherwise the class names."""
    splits: Mapping[str, Sequence[LabeledPath]]
    """"train", "val" and perhaps "test", in the order in which the store will hold them."""
    has_sets: bool = False
    """Whether an image may have any number of labels, which are then tuples."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Path of an image -> what it belongs together with; empty where that was not asked for."""
    ignored: Mapping[str, int] = field(default_factory=dict)
    """How many files and folders were passed over, by reason."""
    originals_px: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Path of each frame of a clip -> its height and width before it was made square, upright; empty of images."""
    left_out: Sequence[tuple[str, str]] = ()
    """Path of each clip that no frame could be taken of, and the reason."""
    odd: Sequence[tuple[str, str]] = ()
    """Path of each clip that is used although its file is odd, and the oddity, as words after "has"."""
    notes: tuple[str, ...] = ()
    """What is unusual but allowed, in sentences."""

    def read(self, path: str) -> bytes:
        """All bytes of one image.

        Raises:
            OSError, ImageError: they cannot be read (any more).
        """
        return self.files.read(path)

    def describe_files(self) -> Iterable[tuple[str, int, int]]:
        """Path, size in bytes and what else tells of a change, of every image, in the order of the splits.

        Tells whether a source is still the same. A file that has vanished has -1 for both.
        """
        for entries in self.splits.values():
            for entry in entries:
                try:
                    yield entry.path, *self.files.describe(entry.path)
                except OSError:
                    yield entry.path, -1, -1


LabelsAre = Literal["one", "several"]
"""How many labels an image has: "one", or "several", which is any number of them."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user says about splits and names; each kind of source uses what applies to it."""

    val_fraction: float | None = None
    val_list: Path | None = None
    test_fraction: float | None = None
    seed: int = 0
    class_names_file: Path | None = None
    grouping: Grouping | None = None
    """Which images belong together, so that they stand on one side of the division."""
    classes_at: int | str | None = None
    """Which folders are the classes: of that depth, counted from 1, or "path", see `class_tree.gather_classes`."""
    labels: LabelsAre | None = None
    """How many labels an image has; None where the user did not say."""
    accept: Accept = has_image_suffix
    """Which files are listed: images, or clips."""


SEPARATOR = "|"
"""Between the classes of an image that has several."""


class Record(NamedTuple):
    """One image of a source that is a table of some kind."""

    path: str
    class_name: str
    """Of several classes, all of them with SEPARATOR between."""
    split: str | None
    """A key of SPLIT_NAMES, or None where the source does not say."""
    group: str | None = None
    """What the source says it belongs together with."""

    several: tuple[str, ...] | None = None
    """Its classes, where it may have any number of them."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Its class or classes."""
        return (self.class_name,) if self.several is None else self.several

    @property
    def normalized(self) -> "Record":
        """The same with the names of its classes in normal form."""
        several = self.several and tuple(map(normalize_name, self.several))
        return self._replace(class_name=normalize_name(self.class_name), several=several)
