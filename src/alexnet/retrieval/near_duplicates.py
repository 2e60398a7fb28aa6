"""Near-identical images: pairs whose features are much closer than those of neighbours usually are.

How close is close depends on the network and on the images, so distances are compared with the collection's own median
distance between an image and its nearest other. Equal images have distance 0; copies that were compressed again,
resized or slightly cropped a small part of the median; different photographs of a thing about the median.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from alexnet.errors import ConfigError
from alexnet.retrieval.exact import find_nearest
from alexnet.retrieval.index import Index

Tick = Callable[[int, int], None]

THRESHOLD = 0.5
"""Of the median distance to the nearest other image."""
MOST_NEIGHBORS = 8
"""Nearest others that are looked at for each image; a larger group hangs together through several of them."""
_QUERIES = 512


class Group(NamedTuple):
    """Images that are near-identical, each to at least one other of the group."""

    rows: tuple[int, ...]
    """Of the index, ascending."""
    distance: float
    """The smallest between two of them."""
    closeness: float
    """The same over the median distance of nearest others."""
    across_splits: bool
    across_classes: bool


class Duplicates(NamedTuple):
    """What was found."""

    groups: list[Group]
    """Across splits first, then by distance."""
    median_distance: float
    """Between an image and its nearest other."""
    threshold: float


def find_near_duplicates(index: Index, *, threshold: float = THRESHOLD, tick: Tick | None = None) -> Duplicates:
    """Return groups of near-identical images, by exact distance between all pairs.

    The cost grows with the square of the number of images: 60,000 of 4,096 features are 15 trillion multiply-adds.

    Args:
        threshold: Pairs closer than this share of the median nearest distance count.
    Raises:
        ConfigError: there are fewer than two images.
    """
    rows = index.rows()
    if len(rows) < 2:
        raise ConfigError(f"{index.path} holds {len(rows)} image; duplicates need two. Add images: alexnet search add.")
    k = min(MOST_NEIGHBORS + 1, len(rows))
    distances, found = np.empty((len(rows), k - 1), np.float32), np.empty((len(rows), k - 1), np.int64)
    for start in range(0, len(rows), _QUERIES):
        own = rows[start : start + _QUERIES]
        nearest = find_nearest(index.features, index.gather(own), k, skip=index.skip)
        for position, row in enumerate(own):
            others = np.flatnonzero(nearest.rows[position] != row)[: k - 1]
            distances[start + position] = nearest.distances[position, others]
            found[start + position] = nearest.rows[position, others]
        if tick:
            tick(start + len(own), len(rows))
    positive = distances[:, 0][distances[:, 0] > 0]
    median = float(np.median(positive)) if len(positive) else 0.0
    close = (distances < threshold * median) | (distances == 0)
    pairs = [(int(rows[q]), int(found[q, n]), float(distances[q, n])) for q, n in zip(*np.nonzero(close), strict=True)]
    groups = [_describe(index, members, nearest_pair, median) for members, nearest_pair in _connect(pairs)]
    groups.sort(key=lambda group: (not group.across_splits, group.distance, group.rows))
    return Duplicates(groups, median, threshold)


def _connect(pairs: Sequence[tuple[int, int, float]]) -> list[tuple[list[int], float]]:
    """Groups of rows that are connected by pairs, each with its smallest distance."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b, _ in pairs:
        parent[root(a)] = root(b)
    members: dict[int, list[int]] = {}
    for row in sorted(parent):
        members.setdefault(root(row), []).append(row)
    least: dict[int, float] = {}
    for a, _, distance in pairs:
        least[root(a)] = min(distance, least.get(root(a), distance))
    return [(rows, least[key]) for key, rows in members.items()]


def _describe(index: Index, rows: list[int], distance: float, median: float) -> Group:
    entries = [index.entry(row) for row in rows]
    return Group(
        tuple(rows),
        distance,
        distance / median if median else 0.0,
        len({entry.split for entry in entries}) > 1,
        len({entry.label for entry in entries}) > 1,
    )
