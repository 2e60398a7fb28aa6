"""Tables whose label column holds any number of classes: "dog|cat", or nothing for none of them."""

from collections.abc import Sequence
from pathlib import Path

from alexnet.data.sources.source import SEPARATOR, LabelsAre, Record
from alexnet.errors import SourceError
from alexnet.text.wording import counted

OTHER_SEPARATORS = ";,/+&"
"""What a table may part classes with in place of SEPARATOR; it is not read, so that names may hold it."""


def divide_labels(
    root: Path, records: Sequence[Record], numbers: Sequence[int], labels: LabelsAre | None
) -> list[Record]:
    """The records of a table with the classes of each, where it may have any number of them.

    A name may hold SEPARATOR, so what it means is never guessed: where a label has it, the user must say.

    Args:
        numbers: The line of each record.
        labels: What the user said, see `Options.labels`.
    Raises:
        SourceError: labels hold SEPARATOR and nothing was said; a class is empty or stands twice in one label; classes
            are parted by something else.
    """
    divided = [(number, r) for number, r in zip(numbers, records, strict=True) if SEPARATOR in r.class_name]
    if labels is None and divided:
        number, record = divided[0]
        raise SourceError(
            f"{root}: {counted(len(divided), 'label')} with {SEPARATOR}, the first {record.class_name!r} in line "
            f"{number}. Say what it is: several classes of a picture, --labels several, or a part of the name of one, "
            "--labels one."
        )
    if labels != "several":
        return list(records)
    if not divided:
        _refuse_other_separators(root, records, numbers)
    return [_divide(root, record, number) for number, record in zip(numbers, records, strict=True)]


def _divide(root: Path, record: Record, number: int) -> Record:
    names = [name.strip() for name in record.class_name.split(SEPARATOR)] if record.class_name else []
    if "" in names:
        raise SourceError(
            f"{root}, line {number}: {record.class_name!r} has an empty class. Write the classes with one {SEPARATOR} "
            "between two, and nothing for none of them."
        )
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise SourceError(f"{root}, line {number}: {record.class_name!r} names {repeated} twice. Name it once.")
    return record._replace(several=tuple(names))


def _refuse_other_separators(root: Path, records: Sequence[Record], numbers: Sequence[int]) -> None:
    """Refuse a table of which no label holds SEPARATOR, but one holds what others part classes with."""
    for number, record in zip(numbers, records, strict=True):
        other = next((character for character in OTHER_SEPARATORS if character in record.class_name), None)
        if other is not None:
            raise SourceError(
                f"{root}, line {number}: {record.class_name!r} has {other}, and no label has {SEPARATOR}, which parts "
                f"the classes of a picture. Write {SEPARATOR.join(record.class_name.split(other))}."
            )
