"""Corrections of labels: a table that says of some images to keep, change or drop them, applied to a source.

The page of `alexnet evaluate --suspects` saves such a table. Images are put right after they are divided into splits,
so that each stays on the side where it was.
"""

import csv
import io
from dataclasses import replace
from pathlib import Path

from alexnet.data.sources.source import LabeledPath, Source
from alexnet.data.store.format import TRAIN
from alexnet.errors import SourceError
from alexnet.files.writing import read_text
from alexnet.text.class_names import normalize_name
from alexnet.text.names import unescape_name
from alexnet.text.wording import counted, suggest

COLUMNS = ("path", "choice", "class")
KEEP, CHANGE, DROP = "keep", "change", "drop"


def apply_corrections(source: Source, table: Path) -> Source:
    """Return a source with the labels of a table: "change" gives an image the class of its row, "drop" leaves it out.

    The table is CSV with COLUMNS in its first row, in any order and beside others. Paths are those of the store, as
    `text.names` escapes them. A class is needed where the choice is "change".

    Raises:
        SourceError: the table cannot be read; or a line names an image, a class or a choice that there is not, or an
            image a second time. It names the line.
    """
    if source.has_sets:
        raise SourceError(
            f"{table}: corrects one label for each image, and those of {source.root} have any number. Put them right "
            f"in {source.root} itself, and leave --corrections out."
        )
    numbers = {name: number for number, name in enumerate(source.class_names)}
    entries = {entry.path: entry for split in source.splits.values() for entry in split}
    chosen: dict[str, tuple[int, str, LabeledPath]] = {}
    for line, row in _read(table):
        path, choice, name = (row[column].strip() for column in COLUMNS)
        path, choice, name = unescape_name(path), choice.lower(), normalize_name(unescape_name(name))
        where = f"{table}, line {line}:"
        if path not in entries:
            raise SourceError(
                f"{where} {source.root} has no image {path}. Give the table that was made for these images, with paths "
                "as in their store."
            )
        if choice not in (KEEP, CHANGE, DROP):
            raise SourceError(f"{where} the choice is {choice!r}. Accepted are {KEEP}, {CHANGE} and {DROP}.")
        if choice == CHANGE and name not in numbers:
            raise SourceError(
                f"{where} there is no class {suggest(name, source.class_names)}. Write one of the classes of "
                f"{source.root}; a new class needs a folder or a row of its own."
            )
        first, *_ = chosen.setdefault(path, (line, choice, entries[path]))
        if first != line:
            raise SourceError(f"{where} {path} is named in line {first} too. Keep one of the lines.")
        if choice == CHANGE:
            chosen[path] = (line, choice, LabeledPath(path, numbers[name]))
    dropped = {path for path, (_, choice, _) in chosen.items() if choice == DROP}
    splits = {
        split: [
            chosen[entry.path][2] if entry.path in chosen else entry for entry in listed if entry.path not in dropped
        ]
        for split, listed in source.splits.items()
    }
    left = {entry.label for entry in splits[TRAIN]}
    if lost := [entry for entry in source.splits[TRAIN] if entry.label not in left]:
        (label,) = lost[0].classes
        raise SourceError(
            f"{table}: leaves no training image of {source.class_names[label]}. Keep one, or remove the class from the "
            "images."
        )
    changed = sum(entry != entries[path] for path, (_, _, entry) in chosen.items())
    note = f"By {table.name}: {counted(changed, 'label')} changed, {counted(len(dropped), 'image')} left out."
    return replace(source, splits=splits, notes=(*source.notes, note))


def _read(table: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of the table with the numbers of their last lines."""
    try:
        rows = csv.DictReader(io.StringIO(read_text(table), newline=""), strict=True)
        columns = rows.fieldnames or ()
        if not set(COLUMNS) <= set(columns):
            raise SourceError(
                f"{table}: is no table of corrections, which has the columns {', '.join(COLUMNS)} in its first row. "
                "The page of evaluate --suspects saves one."
            )
        return [(rows.line_num, {name: row[name] or "" for name in COLUMNS}) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise SourceError(f"{table}: cannot be read as a table in UTF-8 ({problem}). Save it as CSV.") from None
