"""What every kind of source comes down to: images with labels, by split, and files that give out their bytes.

The kinds themselves are in data/sources.py and the modules it names. The rules they share are here: how validation
images are set aside, in which order classes are numbered, and where readable names come from. Nothing is decoded.
"""

import csv
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from alexnet.data.decode import read_file
from alexnet.data.store_format import TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.wording import counted, nearest

TEST = "test"
SPLIT_NAMES = {
    TRAIN: ("train", "training"),
    VAL: ("val", "valid", "validation", "dev"),
    TEST: ("test", "testing"),
}
"""Split -> the words for it in names of folders and files and in columns of tables, lower case."""


class LabeledPath(NamedTuple):
    """One image: where it is inside its source, with forward slashes, and its class."""

    path: str
    label: int


class Files(Protocol):
    """Where the bytes of images lie: a folder, an archive, a table. Safe to use from several threads."""

    def read(self, path: str) -> bytes:
        """All bytes of one image; OSError or ImageError where they cannot be had."""

    def describe(self, path: str) -> tuple[int, int]:
        """Size in bytes and time of change in nanoseconds; OSError where it has vanished."""


class FolderFiles:
    """Files under a folder of the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        """All bytes of the file root/path."""
        return read_file(self._locate(path))

    def describe(self, path: str) -> tuple[int, int]:
        """Size in bytes and time of change in nanoseconds."""
        status = os.stat(self._locate(path))
        return status.st_size, status.st_mtime_ns

    def _locate(self, path: str) -> str:
        return path if os.path.isabs(path) else f"{self.root}/{path}"  # a Path costs as much as asking for its size


@dataclass(frozen=True, kw_only=True)
class Source:
    """Labelled images, by split, whatever they lie in."""

    root: Path
    kind: str
    """A name of `data.sources.KINDS`."""
    files: Files
    class_names: tuple[str, ...]
    """Name of each label."""
    class_titles: tuple[str, ...]
    """Readable names, from a table if there is one; otherwise the class names."""
    splits: Mapping[str, Sequence[LabeledPath]]
    """"train", "val" and perhaps "test", in the order in which the store will hold them."""
    ignored: Mapping[str, int] = field(default_factory=dict)
    """How many files and folders were passed over, by reason."""
    notes: tuple[str, ...] = ()
    """What is unusual but allowed, in sentences."""

    def read(self, path: str) -> bytes:
        """All bytes of one image.

        Raises:
            OSError, ImageError: they cannot be read (any more).
        """
        return self.files.read(path)

    def describe_files(self) -> Iterable[tuple[str, int, int]]:
        """Path, size in bytes and time of change in nanoseconds of every image, in the order of the splits.

        Tells whether a source is still the same. A file that has vanished has size and time -1.
        """
        for entries in self.splits.values():
            for entry in entries:
                try:
                    yield entry.path, *self.files.describe(entry.path)
                except OSError:
                    yield entry.path, -1, -1


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user says about splits and names; each kind of source uses what applies to it."""

    val_fraction: float | None = None
    val_list: Path | None = None
    seed: int = 0
    class_names_file: Path | None = None


class Record(NamedTuple):
    """One image of a source that is a table of some kind."""

    path: str
    class_name: str
    split: str | None
    """A key of SPLIT_NAMES, or None where the source does not say."""


def collect(
    root: Path,
    kind: str,
    files: Files,
    records: Sequence[Record],
    options: Options,
    *,
    class_names: Sequence[str] | None = None,
    titles: Mapping[str, str] | None = None,
    ignored: Mapping[str, int] | None = None,
    notes: Iterable[str] = (),
) -> Source:
    """A source of records, whose order is kept inside each split.

    Without class_names, the classes are those of the training images, in the order of `sort_classes`. Where there are
    test images but no validation images, the test images are used for validation.

    Raises:
        SourceError: there are fewer than two classes, no training images, or no way to find validation images.
    """
    all_notes = list(notes)
    splits: dict[str, list[Record]] = {}
    for record in records:
        splits.setdefault(record.split or "", []).append(record)
    if not records:
        raise SourceError(f"{root} holds no images. Check the path.")
    if "" in splits and len(splits) > 1:
        raise SourceError(f"{root} names a split for some images only. Name one for all of them, or for none.")
    if "" in splits:
        train, val = set_aside(root, splits[""], options)
        splits = {TRAIN: train, VAL: val}
    elif options.val_fraction is not None or options.val_list is not None:
        if set(splits) != {TRAIN}:
            raise SourceError(
                f"{root} says itself which images are for validation ({', '.join(sorted(splits))}). Leave out "
                "--val-fraction and --val-list."
            )
        train, val = set_aside(root, splits[TRAIN], options)
        splits = {TRAIN: train, VAL: val}
    if TRAIN not in splits:
        raise SourceError(f"{root} has no training images, only: {', '.join(sorted(splits))}. Check the path.")
    if VAL not in splits and TEST in splits:
        splits[VAL] = splits.pop(TEST)
        all_notes.append("There are no validation images, so the test images are used for validation.")
    if VAL not in splits:
        raise SourceError(
            f"{root} has no validation images. Add --val-fraction 0.1 to set a tenth of each class aside."
        )
    names = list(class_names) if class_names is not None else sort_classes({r.class_name for r in splits[TRAIN]})
    if len(names) < 2:
        raise SourceError(f"{root} has one class, {names[0]}; a classifier needs two or more.")
    labels = {name: label for label, name in enumerate(names)}
    unknown = sorted({r.class_name for group in splits.values() for r in group} - set(labels))
    if unknown:
        raise SourceError(
            f"{root} has classes without training images: {shorten([suggest(name, names) for name in unknown])}. "
            "Rename, move or remove them."
        )
    order = [split for split in (TRAIN, VAL, TEST) if split in splits]
    return Source(
        root=root,
        kind=kind,
        files=files,
        class_names=tuple(names),
        class_titles=read_titles(root, names, options.class_names_file, all_notes, titles),
        splits={split: [LabeledPath(r.path, labels[r.class_name]) for r in splits[split]] for split in order},
        ignored=dict(sorted((ignored or {}).items())),
        notes=tuple(all_notes),
    )


def set_aside(root: Path, records: Sequence[Record], options: Options) -> tuple[list[Record], list[Record]]:
    """Training and validation records of one set, both in its order: by list, or by a fraction of each class.

    By fraction, those of each class whose digest of (seed, path) is smallest become validation: rounded to nearest,
    but at least one and never all; a class with one image keeps it for training.
    """
    if options.val_list is not None:
        listed = ValList(options.val_list)
        val = [record for record in records if listed.find(record.path) is not None]
        listed.check_all_found()
        chosen = {record.path for record in val}
    elif options.val_fraction is not None:
        classes: dict[str, list[str]] = {}
        for record in records:
            classes.setdefault(record.class_name, []).append(record.path)
        chosen = set()
        for paths in classes.values():
            count = min(max(int(len(paths) * options.val_fraction + 0.5), 1), len(paths) - 1)
            ordered = sorted(paths, key=lambda path: _digest(options.seed, path))
            chosen.update(ordered[:count])
    else:
        raise SourceError(
            f"{root} does not say which images are for validation. Add --val-fraction 0.1 to set a tenth of each "
            "class aside."
        )
    return (
        [record for record in records if record.path not in chosen],
        [record for record in records if record.path in chosen],
    )


def _digest(seed: int, path: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{path}".encode(errors="surrogateescape")).digest()


class ValList:
    """A text file that names validation images, one a line: a path or a name, and perhaps a class after it.

    Columns are parted by a tab, a comma or spaces, in this order of preference. Names count with or without folders
    and suffix. Of a second column the first word is the class, as in Kaggle's LOC_val_solution.csv. A first line that
    names no image is taken for a heading.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path} cannot be read as a UTF-8 text ({error}). Give a list of images.") from None
        rows = [_split_line(line) for line in lines if line.strip()]
        self._classes: dict[str, str] = {row[0]: row[1] for row in rows}
        self._first = rows[0][0] if rows else ""
        self._found: set[str] = set()

    def find(self, path: str) -> str | None:
        """The class that the list gives for the image at path, "" if it gives none; None if it is not listed."""
        name = path.rsplit("/", 1)[-1]
        for key in (path, name, name.rsplit(".", 1)[0]):
            if key in self._classes:
                self._found.add(key)
                return self._classes[key]
        return None

    def check_all_found(self) -> None:
        """Raise SourceError if an image of the list was never asked for."""
        missing = [name for name in self._classes if name not in self._found and name != self._first]
        if missing or not self._found:
            raise SourceError(
                f"{self.path} lists {counted(len(missing) or len(self._classes), 'image')} that the source does not "
                f"have: {shorten(missing or list(self._classes), 3)}. Check that the list belongs to these images."
            )


def _split_line(line: str) -> tuple[str, str]:
    if "\t" in line:
        columns = line.split("\t")
    elif "," in line:
        columns = next(csv.reader([line]))
    else:
        columns = line.split()
    words = columns[1].split() if len(columns) > 1 else []
    return columns[0].strip().removeprefix("./"), words[0] if words else ""


def sort_classes(names: Iterable[str]) -> list[str]:
    """By code point; by value where all names are whole numbers."""
    listed = list(names)
    if all(re.fullmatch(r"\d+", name) for name in listed):
        return sorted(listed, key=lambda name: (int(name), name))
    return sorted(listed)


def find_split(name: str) -> str | None:
    """The split that a word stands for, in any case; None for any other word."""
    return next((split for split, words in SPLIT_NAMES.items() if name.strip().lower() in words), None)


def find_split_in_name(name: str) -> str | None:
    """The split that a file name tells of by its first word, as in train-00000-of-00005.parquet."""
    return find_split(re.split(r"[^A-Za-z]", os.path.basename(name), maxsplit=1)[0])


def read_titles(
    root: Path,
    names: Sequence[str],
    given: Path | None,
    notes: list[str],
    known_titles: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Readable names of classes: of the table given, else of SOURCE/classes.tsv, else those the source knows."""
    path = given if given is not None else root / "classes.tsv"
    if given is None and not path.is_file():
        return tuple((known_titles or {}).get(name, name) for name in names)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as a UTF-8 text ({error}). Give a tab-separated table.") from None
    titles = parse_titles(text, names)
    missing = [name for name in names if name not in titles]
    if len(missing) == len(names) and given is not None:
        raise SourceError(
            f"{path} names none of the classes ({shorten(names)}). Each line holds the name of a class folder, a tab "
            "and the readable name."
        )
    if missing:
        notes.append(
            f"{path.name} has no readable name for {counted(len(missing), 'class', 'classes')}: {shorten(missing)}."
        )
    return tuple(titles.get(name, name) for name in names)


def parse_titles(text: str, names: Iterable[str]) -> dict[str, str]:
    """Class name -> readable name, of a tab-separated table: the last column names what an earlier one identifies."""
    rows, known = [line.split("\t") for line in text.splitlines()], set(names)
    return {cell: row[-1].strip() for row in rows for cell in row[:-1] if cell in known and row[-1].strip()}


def suggest(name: str, names: Sequence[str]) -> str:
    """The name, with the nearest of the names that exist."""
    near = nearest(name, names)
    return f"{name} (did you mean {near}?)" if near else name


def shorten(names: Sequence[str], limit: int = 10) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more:,} more" if more > 0 else "")
