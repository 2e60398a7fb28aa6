"""Where images come from: which files a folder of photographs offers, in which split and with which label.

Two layouts are read: SOURCE/train/<class>/... with SOURCE/val/<class>/..., and SOURCE/<class>/... of which a fraction
is set aside for validation. Nothing is decoded here. Classes are those of the training split, sorted by name;
validation images get their label by the name of their folder, never by its position.
"""

import difflib
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from alexnet.data.folders import Folder, scan_folder
from alexnet.data.store_format import TRAIN, VAL
from alexnet.errors import ConfigError, SourceError

TRAIN_FOLDERS = ("train", "training")
VAL_FOLDERS = ("val", "valid", "validation")
TITLES_NAME = "classes.tsv"


class LabeledPath(NamedTuple):
    """One image: where it is inside its source, with forward slashes, and its class."""

    path: str
    label: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images of a folder, by split. Other kinds of source (archives, tables) replace `read` and `describe_files`."""

    root: Path
    class_names: tuple[str, ...]
    """Names of the class folders of the training split, sorted."""
    class_titles: tuple[str, ...]
    """Readable names, from a table if there is one; otherwise the class names."""
    splits: Mapping[str, Sequence[LabeledPath]]
    """"train" and "val"; each sorted by label, then by path."""
    ignored: Mapping[str, int] = field(default_factory=dict)
    """How many files and folders were passed over, by reason."""
    notes: tuple[str, ...] = ()
    """What is unusual but allowed, in sentences."""

    def read(self, path: str) -> bytes:
        """All bytes of one image.

        Raises:
            OSError: it cannot be read (any more).
        """
        return (self.root / path).read_bytes()

    def describe_files(self) -> Iterable[tuple[str, int, int]]:
        """Path, size in bytes and time of change in nanoseconds of every image, in the order of the splits.

        Tells whether a source is still the same. A file that has vanished has size and time -1.
        """
        for entries in self.splits.values():
            for entry in entries:
                try:
                    status = (self.root / entry.path).stat()
                except OSError:
                    yield entry.path, -1, -1
                else:
                    yield entry.path, status.st_size, status.st_mtime_ns


def find_images(
    source: str | os.PathLike[str],
    *,
    val_fraction: float | None = None,
    seed: int = 0,
    class_names_file: str | os.PathLike[str] | None = None,
) -> Source:
    """The images under a folder, split and labelled.

    Files count as images by their suffix, in any case, at any depth below their class folder. Hidden names,
    `Thumbs.db`, `__MACOSX` and files with other suffixes are passed over and counted. Links are followed, loops once.

    Args:
        source: SOURCE/train and SOURCE/val (or valid, validation), or a folder of class folders.
        val_fraction: For a folder of class folders: the share of each class that becomes validation, above 0 and below
            1, rounded to nearest but at least one image and never all; a class with one image keeps it for training.
            Which ones follows from seed and the paths alone.
        seed: Which division val_fraction makes.
        class_names_file: Tab-separated; the last column is the readable name of the class folder named in an earlier
            one. SOURCE/classes.tsv is used when this is None and it exists.
    Raises:
        SourceError: the folder is not laid out in one of these ways; the message says what to do.
        ConfigError: val_fraction is outside (0, 1).
    """
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise ConfigError(f"The validation fraction is {val_fraction}; it lies between 0 and 1, for example 0.1.")
    root = Path(source)
    _check_is_folder(root)
    try:
        top = scan_folder(root)
    except OSError as error:
        raise SourceError(f"{root} cannot be listed ({error.strerror}). Check its permissions.") from None
    train = _find_split(top, TRAIN_FOLDERS)
    val = _find_split(top, VAL_FOLDERS)
    notes: list[str] = []
    if train is None:
        if val is not None:
            raise SourceError(
                f"{root} has {val.name} but no train folder. Put the training images in {root / 'train'}/<class>/."
            )
        classes = _find_classes(top, root)
        if val_fraction is None:
            raise SourceError(_explain_missing_val(root, top))
        names = sorted(classes)
        splits = _divide([classes[name] for name in names], val_fraction, seed)
        _note_stray_images(top, notes)
    else:
        classes = _find_classes(train, root)
        names = sorted(classes)
        splits = {TRAIN: _label([classes[name] for name in names])}
        if val is None:
            raise SourceError(_explain_missing_val_folder(root, top, train))
        if val_fraction is not None:
            raise SourceError(
                f"{root} has a {val.name} folder, so a validation fraction has no meaning. Leave out --val-fraction, "
                f"or pass {root / train.name} to divide the training images only."
            )
        splits[VAL] = _label_by_name(val, names, root, notes)
        _note_stray_images(train, notes)
        _note_stray_images(val, notes)
        for other in top.folders:
            if other not in (train, val) and other.num_images:
                notes.append(f"{other.name} holds {other.num_images:,} images and was not read.")
    return Source(
        root=root,
        class_names=tuple(names),
        class_titles=_read_titles(root, names, class_names_file, notes),
        splits=splits,
        ignored=dict(sorted(top.count_ignored().items())),
        notes=tuple(notes),
    )


def _check_is_folder(root: Path) -> None:
    if not root.exists():
        raise SourceError(f"{root} does not exist. Check the path, or whether the disk is mounted.")
    if not root.is_dir():
        raise SourceError(f"{root} is a file. Unpack it if it is an archive, and pass the folder with the images.")


def _find_split(top: Folder, names: Sequence[str]) -> Folder | None:
    found = [folder for folder in top.folders if folder.name.lower() in names]
    if len(found) > 1:
        listed = " and ".join(folder.name for folder in found)
        raise SourceError(f"{top.path} has {listed}; only one of them can be read. Rename or remove the other.")
    return found[0] if found else None


def _find_classes(parent: Folder, root: Path) -> dict[str, list[str]]:
    """Paths of the images of each class folder in parent."""
    if not parent.num_images:
        raise SourceError(
            f"{parent.path} holds no images. Check the path; names of images end in .jpg, .png, .webp, .gif, .bmp, "
            ".tif and the like."
        )
    if not parent.folders:
        advice = f"Make one folder for each class and pass {root}, or"
        raise SourceError(
            f"{parent.path} holds {parent.num_images:,} images but no class folders. {advice} pass the folder above "
            f"({parent.path.parent}) if {parent.path.name} is one class."
        )
    inner = _find_inner_source(parent)
    if inner is not None:
        raise SourceError(
            f"{parent.path} is not the folder with the classes; {inner.path} looks like it. Pass {inner.path}."
            if parent.path == root
            else f"{parent.path} has its class folders one level down, in {inner.name}. Move them up to {parent.path}."
        )
    if len(parent.folders) == 1:
        raise SourceError(
            f"{parent.path} has one class, {parent.folders[0].name}; a classifier needs two or more. Add a folder for "
            "another class, even if it is only 'other'."
        )
    empty = [folder.name for folder in parent.folders if not folder.num_images]
    if empty:
        raise SourceError(
            f"{parent.path} has class folders without images: {_shorten(empty)}. Remove them, or add images."
        )
    return {folder.name: list(folder.walk(root)) for folder in parent.folders}


def _find_inner_source(parent: Folder) -> Folder | None:
    """The folder further down that a user probably meant, if this one is too high."""
    if any(folder.images for folder in parent.folders):
        return None
    for folder in parent.folders:
        if any(child.name.lower() in TRAIN_FOLDERS for child in folder.folders):
            return folder
    if len(parent.folders) != 1:
        return None
    only = parent.folders[0]
    num_classes = sum(1 for child in only.folders if child.num_images)
    return _find_inner_source(only) or (only if num_classes >= 2 else None)


def _label(classes: Sequence[list[str]]) -> list[LabeledPath]:
    return [LabeledPath(path, label) for label, paths in enumerate(classes) for path in sorted(paths)]


def _label_by_name(val: Folder, names: Sequence[str], root: Path, notes: list[str]) -> list[LabeledPath]:
    labels = {name: label for label, name in enumerate(names)}
    filled = {folder.name: folder for folder in val.folders if folder.num_images}
    if not filled:
        raise SourceError(
            f"{val.path} holds no class folders with images. Fill it, or remove it and use --val-fraction."
        )
    unknown = sorted(set(filled) - set(labels))
    if unknown:
        raise SourceError(
            f"{val.path} has classes that are not among the training classes: "
            f"{_shorten([_suggest(name, names) for name in unknown])}. Rename, move or remove them."
        )
    without = [name for name in names if name not in filled]
    if without:
        notes.append(f"{len(without):,} classes have no validation images: {_shorten(without)}.")
    classes = [list(filled[name].walk(root)) if name in filled else [] for name in names]
    return _label(classes)


def _divide(classes: Sequence[list[str]], val_fraction: float, seed: int) -> dict[str, Sequence[LabeledPath]]:
    """Set the images of each class aside whose digest of (seed, path) is smallest."""
    train, val = [], []
    for paths in classes:
        count = min(max(int(len(paths) * val_fraction + 0.5), 1), len(paths) - 1)
        ordered = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(f"{seed}\n{path}")).digest())
        val.append(ordered[:count])
        train.append(ordered[count:])
    return {TRAIN: _label(train), VAL: _label(val)}


def _explain_missing_val(root: Path, top: Folder) -> str:
    parent = root.absolute().parent
    if root.name.lower() in TRAIN_FOLDERS and any((parent / name).is_dir() for name in VAL_FOLDERS):
        return (
            f"{root} is the training split of {parent}. Pass {parent}, or add --val-fraction 0.1 to use {root} alone."
        )
    return (
        f"{root} has {len(top.folders):,} classes but no validation split. Add --val-fraction 0.1 to set a tenth of "
        "each class aside, or arrange the images as train/<class>/ and val/<class>/."
    )


def _explain_missing_val_folder(root: Path, top: Folder, train: Folder) -> str:
    test = next((folder.name for folder in top.folders if folder.name.lower() == "test"), None)
    rename = f", or rename {test} to val if its images lie in class folders" if test else ""
    return (
        f"{root} has a {train.name} folder but no val folder. Pass {root / train.name} with --val-fraction 0.1 to set "
        f"a tenth of each class aside{rename}."
    )


def _note_stray_images(parent: Folder, notes: list[str]) -> None:
    if parent.images:
        notes.append(f"{len(parent.images):,} images directly in {parent.name} belong to no class and were not read.")


def _read_titles(
    root: Path, names: Sequence[str], given: str | os.PathLike[str] | None, notes: list[str]
) -> tuple[str, ...]:
    path = Path(given) if given is not None else root / TITLES_NAME
    if given is None and not path.is_file():
        return tuple(names)
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as a UTF-8 text ({error}). Give a tab-separated table.") from None
    known = set(names)
    titles = {cell: row[-1].strip() for row in rows for cell in row[:-1] if cell in known and row[-1].strip()}
    missing = [name for name in names if name not in titles]
    if len(missing) == len(names) and given is not None:
        raise SourceError(
            f"{path} names none of the classes ({_shorten(names)}). Each line holds the name of a class folder, a tab "
            "and the readable name."
        )
    if missing:
        notes.append(f"{path.name} has no readable name for {len(missing):,} classes: {_shorten(missing)}.")
    return tuple(titles.get(name, name) for name in names)


def _suggest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"{name} (did you mean {near[0]}?)" if near else name


def _shorten(names: Sequence[str], limit: int = 10) -> str:
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more:,} more" if more > 0 else "")
