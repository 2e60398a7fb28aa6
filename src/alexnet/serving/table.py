"""The pictures of a visitor as a CSV file."""

from collections.abc import Sequence

from alexnet.files.writing import format_csv
from alexnet.serving.answers import join_labels
from alexnet.serving.visit import Picture


def write_table(pictures: Sequence[Picture]) -> str:
    """Return a row for each picture: its name, what is wrong with it, and its best classes with their probabilities.

    Where the model measures how far a picture is from its training, `unknown` and `distance` stand before them; where a
    picture may have any number of classes, `labels` with "|" between.
    """
    most = max((len(picture.answer.get("top", ())) for picture in pictures), default=0)
    measured = ("unknown", "distance") if any("distance" in picture.answer for picture in pictures) else ()
    best = (f"{what}_{place}" for place in range(1, most + 1) for what in ("class", "title", "probability"))
    sets = any("labels" in picture.answer for picture in pictures)
    rows: list[list[object]] = [["name", "error", *(["labels"] if sets else []), *measured, *best]]
    for picture in pictures:
        cells = [
            cell
            for row in picture.answer.get("top", ())
            for cell in (row["name"], row["title"], f"{row['probability']:.6f}")
        ]
        labels = [join_labels(picture.answer) if picture.answer else ""] if sets else []
        far = (picture.answer.get(name, "") for name in measured)
        rows.append([picture.name, picture.problem, *labels, *far, *cells])
    return format_csv(rows)
