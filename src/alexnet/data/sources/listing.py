"""What every kind of source comes down to: images with labels, by split, and files that give out their bytes.

The kinds themselves are in data/sources/kinds.py and the modules it names. The rules they share are here: how
validation images are set aside, in which order classes are numbered, and where readable names come from. Nothing is
decoded.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from alexnet.data.images.decode import read_file
from alexnet.data.sources.grouping import Grouping, choose_groups, count_aside, digest, divide_by_group
from alexnet.data.sources.image_names import ValList
from alexnet.data.store.format import TEST, TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.text.class_names import TITLES_FILE, find_repeat, normalize_name, read_titles
from alexnet.text.wording import counted, shorten, suggest

SPLIT_NAMES = {
    TRAIN: ("train", "training"),
    VAL: ("val", "valid", "validation", "dev"),
    TEST: ("test", "testing"),
}
"""Split -> the words for it in names of folders and files and in columns of tables, lower case."""


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
    """Which folders are the classes: of that depth, counted from 1, or "path", see `class_folders.gather_classes`."""
    labels: LabelsAre | None = None
    """How many labels an image has; None where the user did not say."""


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
) -> Source:
    """A source of records, whose order is kept inside each split.

    Without class_names, the classes are those of the training images, in the order of `sort_classes`. Where there are
    test images but no validation images, the test images are used for validation.

    Raises:
        SourceError: there are fewer than two classes, no training images, or no way to find validation images.
    """
    notes: list[str] = []
    splits: dict[str, list[Record]] = {}
    for record in records:
        splits.setdefault(record.split or "", []).append(record.normalized)
    if not records:
        raise SourceError(f"{root} holds no images. Check the path.")
    if "" in splits and len(splits) > 1:
        raise SourceError(f"{root} names a split for some images only. Name one for all of them, or for none.")
    if "" in splits:
        splits = divide(root, splits[""], options, notes)
    elif options.val_fraction is not None or options.val_list is not None:
        if set(splits) != {TRAIN}:
            raise SourceError(
                f"{root} says itself which images are for validation ({', '.join(sorted(splits))}). Leave out "
                "--val-fraction and --val-list."
            )
        splits = divide(root, splits[TRAIN], options, notes)
    else:
        if options.grouping is not None:
            options.grouping.check_apart(splits)
        splits = set_test_aside(root, splits, splits.get(TRAIN, ()), options, notes)
    if TRAIN not in splits:
        raise SourceError(f"{root} has no training images, only: {', '.join(sorted(splits))}. Check the path.")
    if VAL not in splits and TEST in splits:
        splits[VAL] = splits.pop(TEST)
        notes.append("There are no validation images, so the test images are used for validation.")
    if VAL not in splits:
        raise SourceError(
            f"{root} has no validation images. Add --val-fraction 0.1 to set a tenth of each class aside."
        )
    if class_names is not None and (repeat := find_repeat(class_names)):
        raise SourceError(
            f"{root} has the class {class_names[repeat[0]]} twice: labels {repeat[0]} and {repeat[1]}. Give each class "
            "a name of its own."
        )
    names = list(map(normalize_name, class_names or sort_classes(name for r in splits[TRAIN] for name in r.classes)))
    if not names:
        raise SourceError(f"{root} names no class for any training image. Label at least some of them.")
    if len(names) < 2:
        raise SourceError(f"{root} has one class, {names[0]}; a classifier needs two or more.")
    labels = {name: label for label, name in enumerate(names)}
    unknown = sorted({name for group in splits.values() for r in group for name in r.classes} - set(labels))
    if unknown:
        raise SourceError(
            f"{root} has classes without training images: {shorten([suggest(name, names) for name in unknown])}. "
            "Rename, move or remove them."
        )
    order = [split for split in (TRAIN, VAL, TEST) if split in splits]
    has_sets = any(record.several is not None for record in records)
    if has_sets:
        notes += _describe_sets(splits, names)

    def number(record: Record) -> Label:
        found = tuple(sorted(labels[name] for name in record.classes))
        return found if has_sets else found[0]

    return Source(
        root=root,
        kind=kind,
        files=files,
        class_names=tuple(names),
        class_titles=find_titles(root, names, options.class_names_file, notes, titles),
        splits={split: [LabeledPath(r.path, number(r)) for r in splits[split]] for split in order},
        has_sets=has_sets,
        ignored=dict(sorted((ignored or {}).items())),
        notes=tuple(notes),
    )


def _describe_sets(splits: Mapping[str, Sequence[Record]], names: Sequence[str]) -> list[str]:
    """What is to be said of images with any number of labels: how many they have, and which classes a split lacks."""
    sizes = Counter(min(len(record.classes), 2) for records in splits.values() for record in records)
    notes = [
        f"Any number of classes in a picture: {counted(sizes[2], 'image')} with several, {sizes[1]:,} with one, "
        f"{sizes[0]:,} with none."
    ]
    for split, records in splits.items():
        there = {name for record in records for name in record.classes}
        without = [name for name in names if name not in there]
        if without:
            notes.append(
                f"Without images in {split}: {counted(len(without), 'class', 'classes')} ({shorten(without)})."
            )
    return notes


def divide(root: Path, records: Sequence[Record], options: Options, notes: list[str]) -> dict[str, list[Record]]:
    """Training and validation records of one set, and test records where a fraction is asked for."""
    train, val = set_aside(root, records, options, notes)
    return set_test_aside(root, {TRAIN: train, VAL: val}, records, options, notes)


def set_test_aside(
    root: Path,
    splits: dict[str, list[Record]],
    whole: Sequence[Record],
    options: Options,
    notes: list[str],
) -> dict[str, list[Record]]:
    """The splits with test records taken out of the training records, where a fraction is asked for.

    They are those that come next in the order in which `set_aside` takes validation images, so that these stay the
    same with a test fraction and without.

    Args:
        whole: What the fraction is of: one set that is divided, or training images that the source names itself.
    Raises:
        SourceError: there are test records, or no group can be spared.
    """
    if options.test_fraction is None or TRAIN not in splits:
        return splits
    if splits.get(TEST):
        raise SourceError(f"{root} says itself which images are for testing. Leave out --test-fraction.")
    train = splits[TRAIN]
    if options.grouping is not None:
        fraction = options.test_fraction * len(whole) / len(train)
        chosen = divide_by_group(root, train, options.grouping, fraction, options.seed, notes, aim="testing")
    elif any(record.several is not None for record in train):
        chosen = _take_near(root, train, options.test_fraction * len(whole) / len(train), options.seed)
    else:
        totals = Counter(record.class_name for record in whole)
        chosen = _take_first(
            train,
            lambda name, left: min(count_aside(totals[name], options.test_fraction or 0), left - 1),
            options.seed,
        )
    test = [record for record in train if record.path in chosen]
    return {**splits, TRAIN: [record for record in train if record.path not in chosen], TEST: test}


def _take_first(records: Sequence[Record], count: Callable[[str, int], int], seed: int) -> set[str]:
    """Paths of the first count(class, its records) records of each class in the order of digests of (seed, path)."""
    classes: dict[str, list[str]] = {}
    for record in records:
        classes.setdefault(record.class_name, []).append(record.path)
    return {
        path
        for name, paths in classes.items()
        for path in sorted(paths, key=lambda path: digest(seed, path))[: count(name, len(paths))]
    }


def _take_near(root: Path, records: Sequence[Record], fraction: float, seed: int) -> set[str]:
    """Paths of images with any number of classes, near the fraction of each class; see `grouping.choose_groups`."""
    chosen = choose_groups(records, [record.path for record in records], fraction, seed)
    if not chosen:
        raise SourceError(
            f"{root} has {counted(len(records), 'image')}, none of which can be set aside: a class would have no "
            "training images. Name a split for each image."
        )
    return chosen


def set_aside(
    root: Path, records: Sequence[Record], options: Options, notes: list[str]
) -> tuple[list[Record], list[Record]]:
    """Training and validation records of one set, both in its order: by list, or by a fraction of each class.

    By fraction, those of each class whose digest of (seed, path) is smallest become validation: rounded to nearest,
    but at least one and never all; a class with one image keeps it for training. Groups stay whole, see
    `grouping.divide_by_group`, whose notes are added to notes.
    """
    if options.val_list is not None:
        own = {record.path: record.class_name for record in records}
        classes = set(own.values())
        listed = ValList(options.val_list).match(own, classes)
        told = {path: name for path, name in listed.items() if name in classes}  # others are remarks, or none at all
        note_contradictions(options.val_list, told, own, "the source's was taken", notes)
        chosen = set(listed)
    elif options.val_fraction is None:
        raise SourceError(
            f"{root} does not say which images are for validation. Add --val-fraction 0.1 to set a tenth of each "
            "class aside."
        )
    elif options.grouping is not None:
        chosen = divide_by_group(root, records, options.grouping, options.val_fraction, options.seed, notes)
    elif any(record.several is not None for record in records):
        chosen = _take_near(root, records, options.val_fraction, options.seed)
    else:
        fraction = options.val_fraction
        chosen = _take_first(records, lambda name, left: count_aside(left, fraction), options.seed)
    train = [record for record in records if record.path not in chosen]
    val = [record for record in records if record.path in chosen]
    if options.val_list is not None and options.grouping is not None:
        options.grouping.check_apart({TRAIN: train, VAL: val})
    return train, val


def note_contradictions(
    path: Path, listed: Mapping[str, str], own: Mapping[str, str], taken: str, notes: list[str]
) -> None:
    """Note the images to which the list at path gives another class than the source itself does.

    Args:
        listed: Image -> class by the list.
        own: Image -> class by its folder or its row.
        taken: Which counts, to complete "...; ".
    """
    other = [image for image in sorted(listed) if listed[image] != own[image]]
    if other:
        first = other[0]
        notes.append(
            f"{path} gives {counted(len(other), 'image')} another class than the source, as {first}: {listed[first]}, "
            f"not {own[first]}; {taken}."
        )


def sort_classes(names: Iterable[str]) -> list[str]:
    """By code point; by value where all names are whole numbers."""
    listed = set(names)
    if all(re.fullmatch(r"\d+", name) for name in listed):
        return sorted(listed, key=lambda name: (int(name), name))
    return sorted(listed)


def find_split(name: str) -> str | None:
    """The split that a word stands for, in any case; None for any other word."""
    return next((split for split, words in SPLIT_NAMES.items() if name.strip().lower() in words), None)


def find_split_in_name(name: str) -> str | None:
    """The split that a file name tells of by its first word, as in train-00000-of-00005.parquet."""
    return find_split(re.split(r"[^A-Za-z]", os.path.basename(name), maxsplit=1)[0])


def find_titles(
    root: Path,
    names: Sequence[str],
    given: Path | None,
    notes: list[str],
    known_titles: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Readable names of classes: of the table given, else of a table in SOURCE, else those the source knows."""
    path = given if given is not None else find_titles_file(root)
    titles = dict(known_titles or {}) if path is None else read_titles(path, names)
    missing = [name for name in names if name not in titles]
    if len(missing) == len(names) and given is not None:
        raise SourceError(
            f"{path} names none of the classes ({shorten(names)}). Each line holds the name of a class folder, a tab "
            "and the readable name."
        )
    if missing and path is not None:
        notes.append(
            f"{path.name} has no readable name for {counted(len(missing), 'class', 'classes')}: {shorten(missing)}."
        )
    if not titles and all(re.fullmatch(r"n\d{8}", name) for name in names):
        notes.append(
            f"The classes are WordNet ids, such as {names[0]}. Their readable names go into a table, each line an id, "
            f"a tab and a name: {TITLES_FILE} in SOURCE, or --class-names FILE; or later, {TITLES_FILE} in the store "
            "or the run."
        )
    return tuple(titles.get(name, name) for name in names)


TITLES_FILES = (TITLES_FILE, "words.txt", "LOC_synset_mapping.txt", "synset_words.txt")
"""Where a source may keep readable names; all but the first are what ImageNet and its relatives come with."""


def find_titles_file(root: Path) -> Path | None:
    """The table of readable names in a folder, if it has one."""
    return next((root / name for name in TITLES_FILES if (root / name).is_file()), None)
