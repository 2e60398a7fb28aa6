"""Images that the network finds alike: the nearest by the features of its last hidden layer (paper, section 6.1)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.interpretation.drawing import (
    NORMAL,
    WIDTH_IN,
    Drawing,
    columns_of,
    new_figure,
    place_image,
    sheet,
    write,
)
from alexnet.pages.themes import ThemeName, find_theme
from alexnet.retrieval.exact import find_nearest


def search_nearest(
    queries: NDArray[np.float32],
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
    k: int,
    *,
    leave_out: Sequence[int | None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the Euclidean distances (Q, k) and positions (Q, k) of the k nearest to each query, nearest first.

    Exact: as `retrieval.exact.find_nearest`, block by block, since the features are computed as they are searched and a
    large collection's would not fit into memory. Equal features have distance 0; equal distances are ordered by
    position. Where there are fewer than k, the rest has distance infinity and position -1.

    Args:
        queries: (Q, D).
        blocks: Positions (n,) with features (n, D), in ascending order of position.
        leave_out: For each query a position that does not count, such as its own.
    Raises:
        ConfigError: features are not finite.
    """
    _check_finite(queries, "a query")
    own = np.array([-1 if place is None else place for place in leave_out or [None] * len(queries)])[:, None]
    nearest = np.full((len(queries), k), np.inf, np.float32)
    found = np.full((len(queries), k), -1, np.int64)
    for positions, features in blocks:
        _check_finite(features, "an image")
        near = find_nearest(features, queries, min(k + 1, len(features)))  # + 1 for one left out
        distances = np.concatenate([nearest, near.distances], 1)
        places = np.concatenate([found, positions[near.rows]], 1)
        distances[places == own] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        nearest, found = np.take_along_axis(distances, order, 1), np.take_along_axis(places, order, 1)
    return nearest, np.where(np.isinf(nearest), -1, found)


def _check_finite(features: NDArray[np.float32], whose: str) -> None:
    if not np.isfinite(features).all():
        raise ConfigError(
            f"the features of {whose} are not finite, so no distance can be measured. Try --precision float32; if that "
            "does not help, the training has diverged: draw its curves."
        )


@dataclass(frozen=True, slots=True)
class Neighbor:
    """An image in the figure."""

    image: NDArray[np.uint8]
    """(S, S, 3) RGB."""
    source: str
    label: int | None
    """Number of its class, None where it is not known."""
    kind: str
    """Name of its class; not what tells classes apart, since two may be called the same."""
    written: str
    """What stands below it: its class, or another name where that is not known or cannot be written."""
    distance: float = 0.0


def draw_neighbors(
    rows: Sequence[tuple[Neighbor, Sequence[Neighbor]]],
    *,
    collection: str,
    theme: ThemeName = "light",
    explanation: str = "",
) -> Drawing:
    """Figure 4 of the paper, right: in each row a query and its nearest images, with their classes and distances.

    A neighbour of another class than its query has its name in red.

    Args:
        rows: Each query with its neighbours, nearest first.
        collection: What was searched, as in "2,000 training images".
        explanation: A sentence that ends the caption.
    Raises:
        ConfigError: there are no queries, or none has a neighbour.
    """
    colors = find_theme(theme)
    per_row = max((len(found) for _, found in rows), default=0)
    if not per_row:
        raise ConfigError("no query has a neighbour; there is nothing to draw.")
    gap_in, query_gap_in, text_in, row_gap_in, head_in = 0.1, 0.34, 0.36, 0.12, 0.34
    side_in = min(2.0, (WIDTH_IN - query_gap_in - (per_row - 1) * gap_in) / (per_row + 1))
    lefts = [0.0, *(side_in + query_gap_in + place * (side_in + gap_in) for place in range(per_row))]
    cell_in = side_in + text_in + row_gap_in
    figure = new_figure(lefts[-1] + side_in, head_in + len(rows) * cell_in - row_gap_in, colors)
    page = sheet(figure)
    write(page, 0, 0.14, "Query", colors.ink, NORMAL, weight="bold")
    write(page, lefts[1], 0.14, "Nearest images, the nearest first", colors.ink, NORMAL, weight="bold")
    lines = []
    for number, (query, found) in enumerate(rows):
        top = head_in + number * cell_in
        for place, (left, each) in enumerate(zip(lefts, (query, *found), strict=False)):
            place_image(page, each.image, left, top, side_in)
            is_known = query.label is not None and each.label is not None
            differs = is_known and each.label != query.label
            color, weight = colors.wrong if differs else colors.ink, "normal" if place else "bold"
            write(page, left, top + side_in + 0.12, each.written, color, weight=weight, within_in=side_in)
            if place:
                write(page, left, top + side_in + 0.28, f"{each.distance:#.4g}".rstrip("."), colors.muted)
                same = int(not differs) if is_known else None
                lines.append((query.source, query.kind, place, each.source, each.kind, each.distance, same))
    verdicts = [same for *_, same in lines if same is not None]
    agreement = f" Of their query's class: {sum(verdicts)} of {len(verdicts)}." if verdicts else ""
    return Drawing(
        name="neighbours",
        figure=figure,
        numbers=columns_of(("query", "query_class", "place", "image", "class", "distance", "is_same_class"), lines),
        title="Images that the network finds alike",
        caption=(
            f"Each row: a query, then the images among {collection} whose features in the last hidden layer are "
            "nearest to its own. The numbers are Euclidean distances."
            + (" Names in red are of another class." if verdicts and 0 in verdicts else "")
            + f"{agreement} Look at images that differ pixel by pixel and are neighbours all the same: pose and colour "
            f"changed, the thing did not.{explanation}"
        ),
        has_photographs=True,
    )
