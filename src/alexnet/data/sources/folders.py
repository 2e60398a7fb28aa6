"""A tree of photographs, on the disk or in an archive: image files by suffix, and what is passed over and counted."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
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
    "loop of links", "special file", and of archives "unsafe name", "link or device", "replaced by a later file"."""

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
            if reason := _reason_to_ignore(entry.name):
                folder.ignored[reason] += 1
            elif _is_folder(entry):
                _add_folder(folder, path / entry.name, above)
            elif not has_image_suffix(entry.name):
                folder.ignored["not an image"] += 1
            elif _is_file_or_broken(entry):
                folder.images.append(entry.name)
            else:
                folder.ignored["special file"] += 1
    return folder


def add_file(top: Folder, parts: Sequence[str]) -> None:
    """Put a file at top/parts[0]/parts[1]/... into the tree by the rules of `scan_folder`; call in sorted order."""
    folder = top
    for name in parts[:-1]:
        if reason := _reason_to_ignore(name):
            top.ignored[reason] += 1
            return
        if not folder.folders or folder.folders[-1].name != name:
            folder.folders.append(Folder(folder.path / name))
        folder = folder.folders[-1]
    if reason := _reason_to_ignore(parts[-1]):
        top.ignored[reason] += 1
    elif has_image_suffix(parts[-1]):
        folder.images.append(parts[-1])
    else:
        top.ignored["not an image"] += 1


def has_image_suffix(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file_or_broken(entry: "os.DirEntry[str]") -> bool:
    """Whether reading it is safe: a link that leads nowhere too, as reading it fails and the report names it."""
    try:
        return entry.is_file() or not os.path.exists(entry.path)
    except OSError:
        return True


def _reason_to_ignore(name: str) -> str | None:
    if name.startswith("."):
        return "hidden"
    return "system" if name.lower() in SYSTEM_NAMES else None


def _add_folder(parent: Folder, path: Path, above: frozenset[tuple[int, int]]) -> None:
    try:
        status = path.stat()
        if (status.st_dev, status.st_ino) in above:
            parent.ignored["loop of links"] += 1
            return
        parent.folders.append(scan_folder(path, above))
    except OSError:
        parent.ignored["unreadable folder"] += 1
