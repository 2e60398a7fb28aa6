"""From the records of any kind of source to a source: splits, numbered classes and readable names.

The kinds themselves are in data/sources/kinds.py and the modules it names. Nothing is decoded.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from alexnet.data.sources.division import divide, set_test_aside
from alexnet.data.sources.source import Files, Label, LabeledPath, Options, Record, Source
from alexnet.data.sources.titles import find_titles
from alexnet.data.store.format import TEST, TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.text.class_names import find_repeat, normalize_name
from alexnet.text.wording import counted, cut, shorten, suggest


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
            f"{root} has the class {cut(class_names[repeat[0]])} twice: labels {repeat[0]} and {repeat[1]}. Give each "
            "class a name of its own."
        )
    names = list(map(normalize_name, class_names or sort_classes(name for r in splits[TRAIN] for name in r.classes)))
    if not names:
        raise SourceError(f"{root} names no class for any training image. Label at least some of them.")
    if len(names) < 2:
        raise SourceError(f"{root} has one class, {cut(names[0])}; a classifier needs two or more.")
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
        groups=options.grouping.name_groups(splits) if options.grouping else {},
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


def sort_classes(names: Iterable[str]) -> list[str]:
    """By code point; by value where all names are whole numbers."""
    listed = set(names)
    if all(re.fullmatch(r"\d+", name) for name in listed):
        return sorted(listed, key=lambda name: (int(name), name))
    return sorted(listed)
