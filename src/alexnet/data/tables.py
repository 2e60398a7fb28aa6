"""A table that lists images: path, label and perhaps split, as CSV or TSV."""

import csv
from collections.abc import Sequence
from pathlib import Path

from alexnet.data.listing import FolderFiles, Options, Record, Source, collect, find_split
from alexnet.errors import SourceError

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "class_name", "category", "wordnet_id", "wordnet id", "wnid", "target")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")


def is_table(root: Path) -> bool:
    """Whether root is a file named as a table."""
    return root.is_file() and root.suffix.lower() in (".csv", ".tsv")


def find_in_table(root: Path, options: Options) -> Source:
    """The images that a table lists; paths are relative to the table's folder, or absolute.

    The first row names the columns, in any order and case: one of PATH_COLUMNS, one of LABEL_COLUMNS, and perhaps one
    of SPLIT_COLUMNS, whose cells are words of SPLIT_NAMES; other columns are ignored. Columns are parted by tabs if the
    first row has one, else by commas.
    """
    try:
        text = root.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{root} cannot be read as a UTF-8 text ({error}). Save it as UTF-8.") from None
    lines = text.splitlines()
    if not lines:
        raise SourceError(f"{root} is empty. Give a table with the columns path and label, and perhaps split.")
    rows = csv.reader(lines, delimiter="\t" if "\t" in lines[0] else ",")
    header = [cell.strip().lower() for cell in next(rows)]
    path_at, label_at = (_find_column(header, names) for names in (PATH_COLUMNS, LABEL_COLUMNS))
    split_at = _find_column(header, SPLIT_COLUMNS)
    if path_at is None or label_at is None:
        raise SourceError(
            f"{root} has the columns {', '.join(header)}. Name one of them path and one label in the first row; a "
            "third may be split."
        )
    records = []
    for row in rows:
        if not any(row):
            continue
        needed = max(path_at, label_at, split_at or 0)
        if len(row) <= needed or not row[path_at] or not row[label_at].strip():
            raise SourceError(f"{root}, line {rows.line_num}: has no path or no label. Fill in the row, or remove it.")
        split = None
        if split_at is not None:
            split = find_split(row[split_at])
            if split is None:
                raise SourceError(
                    f"{root}, line {rows.line_num}: {row[split_at]!r} is no split. Accepted are train, val and test."
                )
        records.append(Record(row[path_at].replace("\\", "/"), row[label_at].strip(), split))
    _refuse_repeats(root, records)
    return collect(root, "table", FolderFiles(root.parent), records, options)


def _find_column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _refuse_repeats(root: Path, records: Sequence[Record]) -> None:
    seen = set()
    for record in records:
        if record.path in seen:
            raise SourceError(f"{root} lists {record.path} twice. Keep one of its rows.")
        seen.add(record.path)
