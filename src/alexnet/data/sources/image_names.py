"""What tables and lists call images: paths, ends of paths, names and ids, found among the images of a source."""

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from alexnet.errors import SourceError
from alexnet.files.writing import read_text, split_lines
from alexnet.text.class_names import normalize_name
from alexnet.text.wording import counted, shorten


class ImageNames:
    """Finds images by what people call them; paths have forward slashes and are compared in Unicode's normal form C."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_stem: dict[str, list[str]] = {}
        for path in paths:
            self._by_stem.setdefault(_find_name(path).rsplit(".", 1)[0], []).append(path)

    def find(self, called: str) -> list[str]:
        """The images that may be meant: one is certain, several are not told apart.

        A path names the image whose path it is; else one whose path ends like it, or that it ends like, by whole names
        of folders. The suffix may be missing.
        """
        called = normalize_name(called.strip().replace("\\", "/")).removeprefix("./")
        *folders, name = called.lstrip("/").split("/")
        if not name:
            return []
        found = [path for path in self._by_stem.get(name.rsplit(".", 1)[0], []) if _find_name(path) == name]
        found = found or self._by_stem.get(name, [])
        same = [path for path in found if normalize_name(path) == called]
        return same or [path for path in found if _agree(folders, normalize_name(path).split("/")[:-1])]


def _find_name(path: str) -> str:
    return normalize_name(path.rsplit("/", 1)[-1])


def _agree(folders: Sequence[str], others: Sequence[str]) -> bool:
    common = min(len(folders), len(others))
    return not common or list(folders[-common:]) == list(others[-common:])


class ValList:
    """A text file that names validation images, one a line: a path or a name, and perhaps a class after it.

    After a tab, a semicolon or a comma the second column is the class, or its first word, as in Kaggle's
    LOC_val_solution.csv; else what comes after the blank that ends the name of an image, so that names may hold blanks.
    Names count with or without folders and suffix, and may stand in quotation marks. A first line that names no image
    is taken for a heading.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path} cannot be read as a UTF-8 text ({error}). Give a list of images.") from None
        self._lines = [(number, line.strip()) for number, line in enumerate(split_lines(text), 1) if line.strip()]

    def match(self, paths: Iterable[str], classes: Collection[str] = ()) -> dict[str, str]:
        """The images that the list names -> the class that it gives them, one of classes if it can be; "" if none.

        Raises:
            SourceError: a line names no image or more than one, or two lines give an image different classes.
        """
        images = ImageNames(paths)
        found: dict[str, tuple[int, str]] = {}
        missing = []
        for number, line in self._lines:
            called, rest, named = next(
                ((called, rest, named) for called, rest in _read_line(line) if (named := images.find(called))),
                (line, "", []),
            )
            if not named:
                missing.append((number, line))
                continue
            if len(named) > 1:
                raise SourceError(
                    f"{self.path}, line {number}: {called} may be {named[0]} or {named[1]}. Name its folder too."
                )
            class_name = _choose_class(rest, classes)
            first, before = found.setdefault(named[0], (number, class_name))
            if before != class_name:
                raise SourceError(
                    f"{self.path} names {named[0]} twice, with other classes: {before!r} in line {first}, "
                    f"{class_name!r} in line {number}. Keep one of the lines."
                )
        if missing and missing[0][0] == self._lines[0][0] and found:  # a heading
            missing = missing[1:]
        if missing or not found:
            names = [next(csv.reader([line], delimiter=_delimiter(line)))[0] for _, line in missing]
            raise SourceError(
                f"{self.path} lists {counted(len(names), 'image')} that the source does not have: "
                f"{shorten(names, 3)}. Check that the list belongs to these images. Each line holds a path, or a path, "
                "a blank or a tab, and a class."
                if names
                else f"{self.path} is empty. Write the path of an image into each line."
            )
        return {path: class_name for path, (_, class_name) in found.items()}


def _delimiter(line: str) -> str:
    """What parts the columns of a line; a line feed, which it does not hold, where nothing does."""
    return next((mark for mark in "\t;," if mark in line), "\n")


def _read_line(line: str) -> Iterator[tuple[str, str]]:
    """What may be the name of the image in a line, and what comes after it; the likeliest first."""
    yield line, ""
    for delimiter in "\t;, ":
        if delimiter in line if delimiter != " " else line.startswith('"'):
            name, *rest = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
            yield name, (rest or [""])[0]
    if line.startswith('"'):
        yield next(csv.reader([line]))[0], ""
    for blank in reversed(list(re.finditer(r"\s+", line))):
        yield line[: blank.start()], line[blank.end() :]


def _choose_class(text: str, classes: Collection[str]) -> str:
    """The class that the second column of a list means: all of it if there is such a class, else its first word."""
    whole = normalize_name(text.strip())
    words = whole.split()
    if not words or whole in classes:
        return whole
    # Kaggle writes boxes after the class: n01751748 111 108 370 367.
    return words[0] if words[0] in classes or all(re.fullmatch(r"[\d.-]+", word) for word in words[1:]) else whole
