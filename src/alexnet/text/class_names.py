"""Names of classes, which tell classes apart, and their titles, which people read.

A name is Unicode in normal form C: macOS gives out decomposed names of folders, keyboards and tables composed ones, and
both are one class. Titles come from a table beside the class folders, or later in the store or beside the model.
"""

import csv
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from alexnet.errors import SourceError
from alexnet.files.writing import read_text, split_lines

TITLES_FILE = "classes.tsv"
"""Name of the table of titles in a folder of images, a store or a run, and beside a model file."""


def normalize_name(name: str) -> str:
    """The name in normal form C; bytes of a path that are no UTF-8 stay as Python escapes them."""
    return unicodedata.normalize("NFC", name)


def find_repeat(names: Iterable[str]) -> tuple[int, int] | None:
    """Positions of the first two names that are the same in normal form, or None where all differ."""
    seen: dict[str, int] = {}
    for position, name in enumerate(map(normalize_name, names)):
        if name in seen:
            return seen[name], position
        seen[name] = position
    return None


def read_titles(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Class name -> title, of a table on the disk; see `parse_titles`.

    Raises:
        SourceError: it cannot be read, or gives a class two titles.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as a UTF-8 text ({error}). Give a tab-separated table.") from None
    return parse_titles(text, names, where=str(path))


def parse_titles(text: str, names: Iterable[str], *, where: str) -> dict[str, str]:
    """Class name -> title, of a table whose last column is the title and one before it the class name.

    Columns are parted by tabs, semicolons, commas or, as in ImageNet's LOC_synset_mapping.txt, the first blank. Of
    these readings, and of the columns, the one that names the most classes is taken. Lines that name none are passed
    over.

    Raises:
        SourceError: two lines give one class different titles; it names both.
    """
    lines, known = split_lines(text), set(names)
    best: list[tuple[int, str, str]] = []
    for rows in _readings(lines):
        for column in range(max(map(len, rows), default=1) - 1):
            cells = [(normalize_name(row[column].strip()) if column < len(row) - 1 else "") for row in rows]
            found = [
                (number, cell, row[-1].strip())
                for number, (cell, row) in enumerate(zip(cells, rows, strict=True), 1)
                if cell in known and row[-1].strip()
            ]
            if len({name for _, name, _ in found}) > len({name for _, name, _ in best}):
                best = found
    titles: dict[str, tuple[int, str]] = {}
    for number, name, title in best:
        first, before = titles.setdefault(name, (number, title))
        if before != title:
            raise SourceError(
                f"{where} names the class {name} twice: {before!r} in line {first}, {title!r} in line {number}. "
                "Keep one of the lines."
            )
    return {name: title for name, (_, title) in titles.items()}


def _readings(lines: Sequence[str]) -> Iterator[list[list[str]]]:
    yield [line.split("\t") for line in lines]
    for delimiter in ";,":
        yield [next(csv.reader([line], delimiter=delimiter), []) for line in lines]
    yield [line.split(maxsplit=1) for line in lines]


def apply_titles(folder: Path, names: Sequence[str], titles: Sequence[str]) -> tuple[str, ...]:
    """The titles of these classes, those of a table TITLES_FILE in the folder of a store or model before its own.

    Raises:
        SourceError: there is such a table and it cannot be used.
    """
    table = folder / TITLES_FILE
    if not table.is_file():
        return tuple(titles)
    added = read_titles(table, names)
    return tuple(added.get(name, title) for name, title in zip(names, titles, strict=True))
