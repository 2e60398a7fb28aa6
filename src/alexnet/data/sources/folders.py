"""A tree of photographs, on the disk or in an archive: image files by suffix, and what is passed over and counted."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
    | {".pnm", ".jp2", ".avif", ".heic", ".heif", ".hif", ".jxl"}
)
"""Lower case; names are compared without regard to case."""

RAW_SUFFIXES = frozenset(
    {".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw", ".dng"}
    | {".x3f", ".3fr", ".iiq", ".mrw", ".kdc", ".dcr", ".erf", ".mef", ".mos", ".rwl"}
)
"""Of cameras' raw files, which are photographs too: left out with a reason, not passed over as something else."""

CLIP_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".asf"}
    | {".flv", ".ogv", ".mxf", ".gif", ".webp"}
)
"""Suffixes of files that may hold a clip; a GIF or WebP may also be a still picture."""

VIDEO = "video"
"""Why a video is passed over among images."""

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
    """How many names directly in this folder were passed over: "hidden", "system", "not an image", VIDEO or
    "not a clip", "unreadable folder", "loop of links", "special file", "raw file beside its picture", and of archives
    "unsafe name", "link or device", "replaced by a later file"."""

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


Accept = Callable[[str], bool]
"""Whether a file of this name is wanted."""


def has_image_suffix(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in IMAGE_SUFFIXES or suffix in RAW_SUFFIXES


def has_clip_suffix(name: str) -> bool:
    """Whether a file of this name is taken for a clip."""
    return os.path.splitext(name)[1].lower() in CLIP_SUFFIXES


def has_picture_suffix(name: str) -> bool:
    """Whether a file of this name is taken for an image or a clip."""
    return has_image_suffix(name) or has_clip_suffix(name)


def scan_folder(
    path: Path, accept: Accept = has_image_suffix, _above: frozenset[tuple[int, int]] = frozenset()
) -> Folder:
    """The folder at path with all below it, independent of the order in which the system lists names.

    Links are followed; a link to a folder that contains it is passed over as a "loop of links". So is a camera's raw
    file where the picture that was made of it lies beside it.
    """
    status = path.stat()
    above = _above | {(status.st_dev, status.st_ino)}
    folder = Folder(path)
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if reason := _reason_to_ignore(entry.name):
                folder.ignored[reason] += 1
            elif _is_folder(entry):
                _add_folder(folder, path / entry.name, accept, above)
            elif not accept(entry.name):
                folder.ignored[_name_unwanted(entry.name, accept)] += 1
            elif _is_file_or_broken(entry):
                folder.images.append(entry.name)
            else:
                folder.ignored["special file"] += 1
    if not _above:
        pass_over_raw(folder)
    return folder


def list_images(
    path: Path, accept: Accept = has_image_suffix, _above: frozenset[tuple[int, int]] = frozenset()
) -> list[Path]:
    """Every file below a folder that counts as an image by the rules of `scan_folder`, sorted by path.

    What cannot be opened is in the list too, so that whoever reads it tells why: a link that leads nowhere, a pipe, a
    folder that may not be listed. Links to folders are followed, but none back to a folder that contains it.
    """
    try:
        status = path.stat()
        above = _above | {(status.st_dev, status.st_ino)}
        if len(above) == len(_above):
            return []
        with os.scandir(path) as entries:
            shown = sorted((each for each in entries if not _reason_to_ignore(each.name)), key=lambda each: each.name)
    except OSError:
        return [path]
    found: list[Path] = []
    for entry in shown:
        if _is_folder(entry):
            found += list_images(path / entry.name, accept, above)
        elif accept(entry.name):
            found.append(path / entry.name)
    return found


def add_file(top: Folder, parts: Sequence[str], accept: Accept = has_image_suffix) -> None:
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
    elif accept(parts[-1]):
        folder.images.append(parts[-1])
    else:
        top.ignored[_name_unwanted(parts[-1], accept)] += 1


def pass_over_raw(folder: Folder) -> None:
    """Take raw files out of a tree's images where another of the same name but for the suffix lies beside them."""
    for inner in folder.folders:
        pass_over_raw(inner)
    raw = [name for name in folder.images if os.path.splitext(name)[1].lower() in RAW_SUFFIXES]
    if not raw:
        return
    pictures = {os.path.splitext(name)[0].lower() for name in set(folder.images) - set(raw)}
    beside = {name for name in raw if os.path.splitext(name)[0].lower() in pictures}
    folder.images = [name for name in folder.images if name not in beside]
    folder.ignored.update({"raw file beside its picture": len(beside)} if beside else {})


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def _is_file_or_broken(entry: "os.DirEntry[str]") -> bool:
    """Whether reading it is safe: a link that leads nowhere too, as reading it fails and the report names it."""
    try:
        return entry.is_file() or not os.path.exists(entry.path)
    except OSError:
        return True


def _name_unwanted(name: str, accept: Accept) -> str:
    if accept is has_clip_suffix:
        return "not a clip"
    return VIDEO if has_clip_suffix(name) else "not an image"


def _reason_to_ignore(name: str) -> str | None:
    if name.startswith("."):
        return "hidden"
    return "system" if name.lower() in SYSTEM_NAMES else None


def _add_folder(parent: Folder, path: Path, accept: Accept, above: frozenset[tuple[int, int]]) -> None:
    try:
        status = path.stat()
        if (status.st_dev, status.st_ino) in above:
            parent.ignored["loop of links"] += 1
            return
        parent.folders.append(scan_folder(path, accept, above))
    except OSError:
        parent.ignored["unreadable folder"] += 1
