"""The page of doubtful labels: each image with its label and the class that is suggested, to keep, change or drop."""

from pathlib import Path
from typing import NamedTuple

from alexnet.data.images.jpeg import encode_jpeg
from alexnet.evaluation.suspects import Suspects
from alexnet.pages.writing import write_page
from alexnet.text.names import escape_name
from alexnet.text.wording import counted

MOST_PICTURES = 500
"""Suspects on the page, the most doubtful: as many as a person looks through in half an hour."""


class Doubtful(NamedTuple):
    """One picture of the page."""

    data: bytes
    """JPEG."""
    path: str
    label: str
    """Readable name."""
    suggested: str
    """Class name, as corrections take it."""
    title: str
    """Readable name of the suggested class."""
    score: float


def write_suspects_page(path: Path, suspects: Suspects, typed: str) -> None:
    """Write the page; it appears whole or not at all.

    Args:
        typed: The command that writes it again.
    """
    store, doubts = suspects.store, suspects.doubts
    shown = suspects.numbers[:MOST_PICTURES]
    names = list(map(escape_name, store.class_names))
    pictures = [
        Doubtful(
            data=encode_jpeg(store.images[number], 85),
            path=escape_name(store.paths[number]),
            label=store.class_titles[doubts.labels[number]],
            suggested=names[doubts.suggested[number]],
            title=store.class_titles[doubts.suggested[number]],
            score=float(doubts.scores[number]),
        )
        for number in shown
    ]
    images, found = counted(len(store), "training image"), counted(len(suspects.numbers), "label")
    write_page(
        path,
        "suspects.html",
        kicker="AlexNet labels",
        title=f"{found} in doubt",
        lead=f"Of {images} of {store.path.name}, each judged by a network that had not seen it.",
        cut=len(suspects.numbers) - len(shown),
        pictures=pictures,
        classes=list(zip(names, store.class_titles, strict=True)),
        commands=[typed],
    )
