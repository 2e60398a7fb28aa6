"""Near-identical images: pairs that are much closer to each other than to the images around them.

Which distances are small depends on the network and on the image: pictures of one thing before an empty sky lie close
together without being copies. So a distance is compared with that to the SURROUNDING-th nearest other image, the
smaller one of the pair's two. Where more copies than that crowd together, a tenth of the usual distance counts as well.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.retrieval.exact import Neighbors, find_nearest
from alexnet.retrieval.index.reader import Index
from alexnet.retrieval.projection_trees import find_equal, find_nearest_in_leaves
from alexnet.text.commands import command
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

THRESHOLD = 0.5
"""Share of the distance to the surroundings below which a pair is close. docs/search.md tells what it finds."""
SURROUNDING = 20
CROWDED = 0.1
"""This, times the threshold, times the median distance to the surroundings, is close for certain."""
EXACT_IMAGES = 50_000
"""Up to so many images all pairs are compared: 10 trillion multiply-adds of 4,096 features."""
_QUERIES = 512
_BLOCK_ROWS = 65_536

Pair = tuple[int, int, float, float]
"""Two rows, their distance and their closeness."""


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


def find_near_duplicates(
    index: Index, *, threshold: float = THRESHOLD, exact: bool | None = None, tick: Tick = untold
) -> Duplicates:
    """Return groups of near-identical images.

    Args:
        threshold: Pairs closer than this share of the distance to their surroundings count.
        exact: Compare all pairs, at a cost that grows with the square of their number: 60,000 images of 4,096 features
            are 15 trillion multiply-adds. False compares neighbours in random trees, which find all equal features and
            most near copies. None is exact for up to EXACT_IMAGES.
    Raises:
        ConfigError: there are fewer than two images.
    """
    rows = index.rows()
    if len(rows) < 2:
        raise ConfigError(
            f"{index.path} holds {counted(len(rows), 'image')}; duplicates need two. Add images: "
            f"{command('search', 'add', index.path, 'IMAGES')}"
        )
    k = min(SURROUNDING, len(rows) - 1)
    pairs: list[Pair] = []
    if exact or (exact is None and len(rows) <= EXACT_IMAGES):
        near = _compare_all(index, rows, k, tick)
    else:
        near = find_nearest_in_leaves(lambda places: index.gather(rows[places]), len(rows), k, tick=tick)
        equal = rows[find_equal(lambda places: index.gather(rows[places]), len(rows))]
        pairs = [(a, b, 0.0, 0.0) for a, b in equal.tolist()]
    around = near.distances[:, -1]
    median = float(np.median(around))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        distances, found = near.distances[block], near.rows[block]
        scale = np.minimum(around[block, None], around[found])
        closeness = np.where(distances == 0, 0, distances / np.maximum(scale, np.finfo(np.float32).tiny))
        close = (closeness < threshold) | (distances < CROWDED * threshold * median)
        pairs += [
            (int(rows[start + q]), int(rows[found[q, n]]), float(distances[q, n]), float(closeness[q, n]))
            for q, n in zip(*np.nonzero(close), strict=True)
        ]
    groups = [_describe(index, *group) for group in _connect(pairs)]
    groups.sort(key=lambda group: (not group.across_splits, group.closeness, group.rows))
    return Duplicates(groups, median, threshold)


def _compare_all(index: Index, rows: NDArray[np.int64], k: int, tick: Tick) -> Neighbors:
    """Return the k nearest others of each row by exact distance, as places among the rows."""
    distances, found = np.empty((len(rows), k), np.float32), np.empty((len(rows), k), np.int64)
    for start in range(0, len(rows), _QUERIES):
        own = rows[start : start + _QUERIES]
        nearest = find_nearest(index.features, index.gather(own), k + 1, skip=index.skip)
        for position, row in enumerate(own):
            others = np.flatnonzero(nearest.rows[position] != row)[:k]
            distances[start + position] = nearest.distances[position, others]
            found[start + position] = np.searchsorted(rows, nearest.rows[position, others])
        tick(start + len(own), len(rows))
    return Neighbors(distances, found)


def _connect(pairs: Sequence[Pair]) -> list[tuple[list[int], float, float]]:
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
