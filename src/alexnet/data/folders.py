"""A folder of photographs as it lies on the disk: image files by suffix, and what is passed over and counted."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
    | {".pnm", ".jp2", ".avif"}
)
"""Lower case; names are compared without regard to case."""

SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "ehthumbs.db"})
"""What operating systems leave beside photographs, lower case. Names that begin with a dot are hidden."""


@dataclass
class Folder:
    """One folder and, recursively, the folders in it."""

    path: Path
    images: list[str] = field(default_factory=list)
    """Names of image files directly in this folder, sorted."""
    folders: list["Folder"] = field(default_factory=list)
    """Folders directly in this one, sorted by name."""
    ignored: Counter[str] = field(default_factory=Counter)
    """How many names directly in this folder were passed over: "hidden", "system", "not an image", "unreadable folder",
    "loop of links", "special file"."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    @cached_property
    def num_images(self) -> int:
        """Number of image files in this folder and all below."""
        return len(self.images) + sum(folder.num_images for folder in self.folders)

    def walk(self, root: Path) -> Iterator[str]:
        """Paths of all image files in this folder and below, relative to root, with forward slashes."""
        prefix = self.path.relative_to(root).as_posix()
        for name in self.images:
            yield name if prefix == "." else f"{prefix}/{name}"
        for folder in self.folders:
            yield from folder.walk(root)

    def count_ignored(self) -> Counter[str]:
        """What was passed over in this folder and all below, by reason."""
        return sum((folder.count_ignored() for folder in self.folders), Counter(self.ignored))


def scan_folder(path: Path, _above: frozenset[tuple[int, int]] = frozenset()) -> Folder:
    """The folder at path with all below it, independent of the order in which the system lists names.

    Links are followed; a link to a folder that contains it is passed over as a "loop of links".
    """
    status = path.stat()
    above = _above | {(status.st_dev, status.st_ino)}
    folder = Folder(path)
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                folder.ignored["hidden"] += 1
            elif entry.name.lower() in SYSTEM_NAMES:
                folder.ignored["system"] += 1
            elif entry.is_dir():
                _add_folder(folder, path / entry.name, above)
            elif os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES:
                folder.ignored["not an image"] += 1
            elif entry.is_file() or entry.is_symlink():
                folder.images.append(entry.name)  # a dangling link too: reading it fails, and the report names it
            else:
                folder.ignored["special file"] += 1
    return folder


def _add_folder(parent: Folder, path: Path, above: frozenset[tuple[int, int]]) -> None:
    try:
        status = path.stat()
        if (status.st_dev, status.st_ino) in above:
            parent.ignored["loop of links"] += 1
            return
        parent.folders.append(scan_folder(path, above))
    except OSError:
        parent.ignored["unreadable folder"] += 1
