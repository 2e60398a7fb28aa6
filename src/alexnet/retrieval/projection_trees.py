"""Neighbours among many rows without comparing each with all: rows are compared inside the leaves of random trees.

A tree halves the rows again and again, at the median of a random direction, until LEAF_ROWS are left; rows that are
close together seldom fall on two sides, and of TREES trees each is cut in other places (Dasgupta and Freund, Random
projection trees, 2008). The time is that of n log n; what is found inside a leaf is exact.
"""

from collections.abc import Callable, Iterator

import numpy as np
import xxhash
from numpy.typing import NDArray

from alexnet.retrieval.exact import Neighbors, find_nearest
from alexnet.text.progress import Tick, untold

TREES = 4
LEAF_ROWS = 512
"""A leaf has half as many rows at least."""
_DIRECTIONS = 64
"""Trees divide what is left of the rows after they are projected on so many random directions: 256 bytes of each."""
_BLOCK_ROWS = 4096

Gather = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Places (n,) -> their rows (n, D)."""


def find_nearest_in_leaves(gather: Gather, count: int, k: int, *, tick: Tick = untold) -> Neighbors:
    """Return for each of `count` rows its k nearest among the rows of its leaves, itself left out; nearest first.

    Where fewer were found, the rest has distance infinity and row -1. The same rows give the same answer.

    Args:
        k: Below LEAF_ROWS / 2, so that a leaf has as many others.
        tick: Each row counts once for each tree.
    """
    distances = np.full((count, k), np.inf, np.float32)
    rows = np.full((count, k), -1, np.int64)
    projected = _project(gather, count)
    done = 0
    for tree in range(TREES):
        for leaf in _divide(projected, np.arange(count), np.random.default_rng([0, tree])):
            own = gather(leaf)
            near = find_nearest(own, own, min(k + 1, len(leaf)))
            _merge(distances, rows, leaf, near.distances, leaf[near.rows])
            done += len(leaf)
            tick(done, TREES * count)
    return Neighbors(distances, rows)


def find_equal(gather: Gather, count: int) -> NDArray[np.int64]:
    """Return pairs (P, 2) of places whose rows are equal, each with the next one of its kind."""
    digests = np.empty(count, np.uint64)
    for start in range(0, count, _BLOCK_ROWS):
        block = gather(np.arange(start, min(start + _BLOCK_ROWS, count)))
        digests[start : start + len(block)] = [xxhash.xxh3_64_intdigest(row.data) for row in block + np.float32(0)]
    order = np.argsort(digests, kind="stable")
    alike = np.flatnonzero(digests[order[1:]] == digests[order[:-1]])
    return np.stack([order[alike], order[alike + 1]], axis=1)


def _project(gather: Gather, count: int) -> NDArray[np.float32]:
    """Return the rows along random directions, (count, _DIRECTIONS)."""
    projected = np.empty((count, _DIRECTIONS), np.float32)
    directions: NDArray[np.float32] | None = None
    for start in range(0, count, _BLOCK_ROWS):
        block = gather(np.arange(start, min(start + _BLOCK_ROWS, count)))
        if directions is None:
            directions = np.random.default_rng(0).standard_normal((block.shape[1], _DIRECTIONS), np.float32)
        projected[start : start + len(block)] = block @ directions
    return projected


def _divide(
    projected: NDArray[np.float32], places: NDArray[np.int64], generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield the leaves of a tree over these places, each in ascending order."""
    if len(places) <= LEAF_ROWS:
        yield np.sort(places)
        return
    along = projected[places] @ generator.standard_normal(projected.shape[1], np.float32)
    middle = len(places) // 2
    order = np.argpartition(along, middle)
    yield from _divide(projected, places[order[:middle]], generator)
    yield from _divide(projected, places[order[middle:]], generator)


def _merge(
    distances: NDArray[np.float32],
    rows: NDArray[np.int64],
    leaf: NDArray[np.int64],
    near: NDArray[np.float32],
    found: NDArray[np.int64],
) -> None:
    """Put what a leaf found beside what the leaves of other trees had found of its rows."""
    k = distances.shape[1]
    together = np.concatenate([rows[leaf], found], axis=1)
    lengths = np.concatenate([distances[leaf], near], axis=1)
    lengths[together == leaf[:, None]] = np.inf  # the row itself
    order = np.lexsort((lengths, together), axis=1)
    ordered = np.take_along_axis(together, order, 1)
    again = np.zeros(ordered.shape, bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]  # found in two trees
    lengths = np.where(again, np.inf, np.take_along_axis(lengths, order, 1)).astype(np.float32)
    best = np.argsort(lengths, axis=1, kind="stable")[:, :k]
    distances[leaf] = np.take_along_axis(lengths, best, 1)
    rows[leaf] = np.where(np.isinf(distances[leaf]), -1, np.take_along_axis(ordered, best, 1))
