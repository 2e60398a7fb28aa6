"""Near-identical images: pairs that are much closer to each other than to the images around them.

Which distances are small depends on the network and on the image: pictures of one thing before an empty sky lie close
together without being copies. So a distance is compared with that to the SURROUNDING-th nearest other image, the
smaller one of the pair's two. Where more copies than that crowd together, a tenth of the usual distance counts as well.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alexnet.errors import ConfigError
from alexnet.retrieval.exact import find_nearest
from alexnet.retrieval.index.reader import Index
from alexnet.text.commands import command
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

THRESHOLD = 0.5
"""Share of the distance to the surroundings below which a pair is close. docs/search.md tells what it finds."""
SURROUNDING = 20
CROWDED = 0.1
"""This, times the threshold, times the median distance to the surroundings, is close for certain."""
_QUERIES = 512


class Group(NamedTuple):
    """Images that are near-identical, each to at least one other of the group."""

    rows: tuple[int, ...]
    """Rows of the index, ascending."""
    distance: float
    """The smallest distance between two of them."""
    closeness: float
    """The smallest share of the distance to the surroundings; 0 for equal features."""
    across_splits: bool
    across_classes: bool


class Duplicates(NamedTuple):
    """What was found."""

    groups: list[Group]
    """Groups across splits first, then by closeness."""
    median_distance: float
    """Median distance to the surroundings."""
    threshold: float


def find_near_duplicates(index: Index, *, threshold: float = THRESHOLD, tick: Tick = untold) -> Duplicates:
    """Return groups of near-identical images, by exact distance between all pairs.

    The cost grows with the square of the number of images: 60,000 of 4,096 features are 15 trillion multiply-adds.

    Args:
        threshold: Pairs closer than this share of the distance to their surroundings count.
    Raises:
        ConfigError: there are fewer than two images.
    """
    rows = index.rows()
    if len(rows) < 2:
        raise ConfigError(
            f"{index.path} holds {counted(len(rows), 'image')}; duplicates need two. Add images: "
            f"{command('search', 'add', index.path, 'IMAGES')}"
        )
    k = min(SURROUNDING + 1, len(rows))
    distances, found = np.empty((len(rows), k - 1), np.float32), np.empty((len(rows), k - 1), np.int64)
    for start in range(0, len(rows), _QUERIES):
        own = rows[start : start + _QUERIES]
        nearest = find_nearest(index.features, index.gather(own), k, skip=index.skip)
        for position, row in enumerate(own):
            others = np.flatnonzero(nearest.rows[position] != row)[: k - 1]
            distances[start + position] = nearest.distances[position, others]
            found[start + position] = nearest.rows[position, others]
        tick(start + len(own), len(rows))
    around = distances[:, -1]
    median = float(np.median(around))
    scale = np.minimum(around[:, None], around[np.searchsorted(rows, found)])
    closeness = np.where(distances == 0, 0, distances / np.maximum(scale, np.finfo(np.float32).tiny))
    close = (closeness < threshold) | (distances < CROWDED * threshold * median)
    pairs = [
        (int(rows[q]), int(found[q, n]), float(distances[q, n]), float(closeness[q, n]))
        for q, n in zip(*np.nonzero(close), strict=True)
    ]
    groups = [_describe(index, *group) for group in _connect(pairs)]
    groups.sort(key=lambda group: (not group.across_splits, group.closeness, group.rows))
    return Duplicates(groups, median, threshold)


def _connect(pairs: Sequence[tuple[int, int, float, float]]) -> list[tuple[list[int], float, float]]:
    """Groups of rows that are connected by pairs, each with its smallest distance and closeness."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b, *_ in pairs:
        parent[root(a)] = root(b)
    members: dict[int, list[int]] = {}
    for row in sorted(parent):
        members.setdefault(root(row), []).append(row)
    least: dict[int, tuple[float, float]] = {}
    for a, _, *measures in pairs:
        before = least.get(root(a), (np.inf, np.inf))
        least[root(a)] = (min(before[0], measures[0]), min(before[1], measures[1]))
    return [(rows, *least[key]) for key, rows in members.items()]


def _describe(index: Index, rows: list[int], distance: float, closeness: float) -> Group:
    entries = [index.entry(row) for row in rows]
    return Group(
        tuple(rows),
        distance,
        closeness,
        len({entry.split for entry in entries}) > 1,
        len({entry.label for entry in entries}) > 1,
    )
