"""Which images are for training, for validation and for testing: by name, by list, or a fraction set aside."""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from alexnet.data.sources.grouping import choose_groups, count_aside, digest, divide_by_group
from alexnet.data.sources.image_names import ValList
from alexnet.data.sources.source import Options, Record
from alexnet.data.store.format import TEST, TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.text.wording import counted

SPLIT_NAMES = {
    TRAIN: ("train", "training"),
    VAL: ("val", "valid", "validation", "dev"),
    TEST: ("test", "testing"),
}
"""Split -> the words for it in names of folders and files and in columns of tables, lower case."""


def find_split(name: str) -> str | None:
    """The split that a word stands for, in any case; None for any other word."""
    return next((split for split, words in SPLIT_NAMES.items() if name.strip().lower() in words), None)


def find_split_in_name(name: str) -> str | None:
    """The split that a file name tells of by its first word, as in train-00000-of-00005.parquet."""
    return find_split(re.split(r"[^A-Za-z]", os.path.basename(name), maxsplit=1)[0])


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
        told = {path: name for path, name in listed.items() if name in classes}  # others are remarks or empty
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
