"""Where the readable names of classes come from."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from alexnet.errors import SourceError
from alexnet.text.class_names import TITLES_FILE, read_titles
from alexnet.text.wording import counted, shorten

TITLES_FILES = (TITLES_FILE, "words.txt", "LOC_synset_mapping.txt", "synset_words.txt")
"""Where a source may keep readable names; all but the first are what ImageNet and its relatives come with."""


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


def find_titles_file(root: Path) -> Path | None:
    """The table of readable names in a folder, if it has one."""
    return next((root / name for name in TITLES_FILES if (root / name).is_file()), None)
