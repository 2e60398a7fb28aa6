"""A table that lists images: path, label and perhaps split, as CSV or TSV."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from alexnet.data.sources.division import find_split
from alexnet.data.sources.folders import has_image_suffix, scan_folder
from alexnet.data.sources.grouping import FOLDER
from alexnet.data.sources.image_names import ImageNames
from alexnet.data.sources.label_sets import divide_labels
from alexnet.data.sources.listing import collect
from alexnet.data.sources.source import FolderFiles, Options, Record, Source
from alexnet.errors import SourceError
from alexnet.files.writing import read_text, split_lines
from alexnet.text.wording import cut

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "id", "image_id", "imageid")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "wordnet_id", "wordnet id", "wnid", "target")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
DELIMITERS = "\t;,|"


def is_table(root: Path) -> bool:
    """Whether root is a file named as a table."""
    return root.is_file() and root.suffix.lower() in (".csv", ".tsv")


def find_in_table(root: Path, options: Options) -> Source:
    """The images that a table lists; paths are relative to the table's folder, or absolute.

    The first row names the columns, in any order and case: one of PATH_COLUMNS, one of LABEL_COLUMNS, and perhaps one
    of SPLIT_COLUMNS, whose cells are words of SPLIT_NAMES; other columns are ignored. Of two columns one name is
    enough, and none is needed where the first row names an image. Columns are parted by the one of DELIMITERS with
    which the first row makes sense. What names no file is looked for below the table's folder: by the end of its path,
    and without suffix.
    """
    try:
        text = read_text(root)
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{root} cannot be read as a UTF-8 text ({error}). Save it as UTF-8.") from None
    lines = split_lines(text)
    skipped = 1 if lines[0].lower().startswith("sep=") else 0  # Excel's line that names the delimiter
    if not any(line.strip() for line in lines[skipped:]):
        raise SourceError(f"{root} is empty. Give a table with the columns path and label, and perhaps split.")
    delimiter = _find_delimiter(lines[skipped])
    rows = _read_rows(root, "\n".join(lines[skipped:]), delimiter, skipped)
    _, header = next(rows)
    columns = [cell.strip().lower() for cell in header]
    path_at, label_at, split_at = (
        _find_column(columns, names) for names in (PATH_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS)
    )
    body = list(rows)
    if len(columns) == 2 and split_at is None:
        if path_at is None and label_at is None and any(map(options.accept, columns)):  # there is no heading
            body.insert(0, (skipped + 1, header))
            path_at = 0 if options.accept(columns[0]) else 1
        if path_at is None and label_at is not None:
            path_at = 1 - label_at
        elif label_at is None and path_at is not None:
            label_at = 1 - path_at
    if path_at is None or label_at is None:
        raise SourceError(
            f"{root} has the columns {', '.join(columns)}. Name one of them path and one label in the first row; a "
            "third may be split. For example: path,label in the first line and images/1.jpg,cat in the second."
        )
    group_at = None
    if options.grouping is not None and options.grouping.rule != FOLDER:
        group_at = _find_column(columns, (options.grouping.rule.strip().lower(),))
    records, numbers = [], []
    for number, row in body:
        if not any(row):
            continue
        needed = max(path_at, label_at, split_at or 0, group_at or 0)
        has_label = len(row) > label_at and (options.labels == "several" or bool(row[label_at].strip()))
        if len(row) <= needed or not row[path_at].strip() or not has_label:
            raise SourceError(
                f"{root}, line {number}: has no path or no label. Fill in the row, or remove it; with --labels several "
                "an empty label is a picture of none of the classes."
            )
        split = None
        if split_at is not None:
            split = find_split(row[split_at])
            if split is None:
                raise SourceError(
                    f"{root}, line {number}: {row[split_at]!r} is no split. Accepted are train, val and test."
                )
        group = None if group_at is None else row[group_at].strip()
        records.append(Record(row[path_at].strip().replace("\\", "/"), row[label_at].strip(), split, group))
        numbers.append(number)
    records = divide_labels(root, records, numbers, options.labels)
    records = locate_images(root, root.parent, records, numbers)
    _refuse_repeats(root, records, numbers)
    return collect(root, "table", FolderFiles(root.parent), records, options)


def _find_delimiter(line: str) -> str:
    """The delimiter with which a first row names a path and a label, or else makes the most columns."""

    def judge(delimiter: str) -> tuple[int, int]:
        columns = [cell.strip().lower() for cell in next(csv.reader([line], delimiter=delimiter), [])]
        return sum(_find_column(columns, names) is not None for names in (PATH_COLUMNS, LABEL_COLUMNS)), len(columns)

    return max(DELIMITERS, key=judge)


def _read_rows(root: Path, text: str, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of its first line; cells in quotation marks may hold ends of lines."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        number = rows.line_num + skipped + 1
        try:
            yield number, next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise SourceError(
                f"{root}, line {number}: cannot be read ({error}). A quotation mark at the beginning of a cell needs "
                "another at its end."
            ) from None


def _find_column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """The column of one of the names; else the only one that ends in one, as FiftyOne's ground_truth.label does."""
    ends = [number for number, column in enumerate(header) if "." in column and column.rpartition(".")[2] in names]
    return next((header.index(name) for name in names if name in header), ends[0] if len(ends) == 1 else None)


def locate_images(
    root: Path, folder: Path, records: Sequence[Record], numbers: Sequence[int], *, called: str = "line"
) -> list[Record]:
    """The records with the paths of their files, where these are found only by the end of the path or by an id.

    A path with the suffix of an image that is found nowhere stays as it is: preparing lists it as missing.
    """
    missing = [not os.path.exists(os.path.join(folder, record.path)) for record in records]
    if not any(missing):
        return list(records)
    images = ImageNames(scan_folder(folder).walk(folder))
    located = []
    for record, number, is_missing in zip(records, numbers, missing, strict=True):
        found = images.find(record.path) if is_missing else [record.path]
        if len(found) > 1:
            raise SourceError(
                f"{root}, {called} {number}: {record.path} may be {found[0]} or {found[1]}. Write the path into the "
                "table."
            )
        if not found and not has_image_suffix(record.path):
            raise SourceError(
                f"{root}, {called} {number}: no image below {folder} is named {cut(record.path, 240)}. Paths are "
                "relative to the folder of the table; names and ids without suffix are looked for in it."
            )
        located.append(record._replace(path=found[0]) if found else record)
    return located


def _refuse_repeats(root: Path, records: Sequence[Record], numbers: Sequence[int]) -> None:
    seen: dict[str, int] = {}
    for record, number in zip(records, numbers, strict=True):
        first = seen.setdefault(record.path, number)
        if first != number:
            raise SourceError(f"{root} lists {record.path} twice, in lines {first} and {number}. Keep one of them.")
