"""Exact nearest neighbours by Euclidean distance, in blocks, over features that need not fit into memory (paper, 6.1).

For a few queries, differences are summed directly, at the speed of reading the features. For many, a matrix product
per block proposes candidates, whose distances are then summed directly. Where rounding in the product could have hidden
a neighbour, the query is searched again the first way. Both ways give the same neighbours and distances.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

Features = NDArray[np.float32] | NDArray[np.float16]

BLOCK_BYTES = 4 * 2**20
"""Features in work at a time. Of 16 MiB as float16, what is widened to float32 leaves the cache: 9 queries then
take 2.8 times as long, 128 queries 1.6 times. Of 1 MiB, products in float32 are a tenth slower."""
FEW_QUERIES = 8
"""Up to so many, reading the features takes longer than summing differences."""
_SPARE = 16
"""Candidates beyond k that the product proposes."""
_ROUNDING = 4e-6
"""Bound on the error of a squared distance by the product, over the sum of the squared lengths."""


class Neighbors(NamedTuple):
    """The nearest rows of each query, nearest first; of equal ones the first row first."""

    distances: NDArray[np.float32]
    """(Q, k) Euclidean distances, computed in float32; 0 between equal features."""
    rows: NDArray[np.int64]
    """(Q, k)"""


def find_nearest(
    features: Features | Sequence[Features],
    queries: NDArray[np.float32],
    k: int,
    *,
    skip: NDArray[np.bool_] | None = None,
    tick: Tick = untold,
) -> Neighbors:
    """Return the k nearest rows of each query.

    Memory beyond the features is some BLOCK_BYTES, whatever their number; they may be mapped files.

    Args:
        features: (N, D) float32 or float16, finite; or several such arrays, whose rows are counted through.
        queries: (Q, D), finite.
        k: At least 1 and at most the number of rows that are not skipped.
        skip: (N,) True for rows that are not to be found.
    Raises:
        ConfigError: k is outside that range, lengths disagree, or a query is not finite.
    """
    parts: list[Features] = [features] if isinstance(features, np.ndarray) else list(features)
    total = sum(len(part) for part in parts)
    hidden = np.zeros(total, bool) if skip is None else skip
    queries = np.ascontiguousarray(queries, np.float32)
    check_request(parts, queries, k, total - int(hidden.sum()))
    if len(queries) <= FEW_QUERIES:
        return _search_directly(parts, queries, k, hidden, tick, total)
    return _search_by_products(parts, queries, k, hidden, tick, total)


def check_request(parts: Sequence[Features], queries: NDArray[np.float32], k: int, available: int) -> None:
    """Refuse a search that cannot be answered, with a ConfigError."""
    if not 1 <= k <= available:
        raise ConfigError(f"k is {k}, with {counted(available, 'image')} to find. Accepted is 1 to {available:,}.")
    widths = {part.shape[1] for part in parts}
    if queries.ndim != 2 or widths != {queries.shape[1]}:
        raise ConfigError(
            f"queries have shape {queries.shape}; the features have {', '.join(map(str, widths))} columns."
        )
    bad = np.flatnonzero(~np.isfinite(queries).all(1))
    if len(bad):
        raise ConfigError(f"query {bad[0]} holds values that are not finite; its distances would mean nothing.")


def _blocks(parts: Sequence[Features]) -> Iterator[tuple[int, NDArray[np.float32] | NDArray[np.uint16]]]:
    """Consecutive stretches of rows with the number of their first; float16 as its bits."""
    first = 0
    for part in parts:
        array: NDArray[Any] = part.view(np.uint16) if part.dtype == np.float16 else part
        size = max(1, BLOCK_BYTES // max(1, array.shape[1] * array.itemsize))
        for start in range(0, len(array), size):
            yield first + start, array[start : start + size]
        first += len(part)


def _search_directly(
    parts: Sequence[Features],
    queries: NDArray[np.float32],
    k: int,
    skip: NDArray[np.bool_],
    tick: Tick,
    total: int,
) -> Neighbors:
    from alexnet.retrieval import scanning as run

    best = np.full((len(queries), k), np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    for first, block in _blocks(parts):
        out = np.empty((len(queries), len(block)), np.float32)
        run.measure(block, queries, out)
        run.offer(out, skip[first : first + len(block)], first, best, rows)
        tick(first + len(block), total)
    return Neighbors(np.sqrt(best), rows)


def _search_by_products(
    parts: Sequence[Features],
    queries: NDArray[np.float32],
    k: int,
    skip: NDArray[np.bool_],
    tick: Tick,
    total: int,
) -> Neighbors:
    from alexnet.retrieval import scanning as run

    count = min(k + _SPARE, total - int(skip.sum()))
    best = np.full((len(queries), count), np.inf, np.float32)
    rows = np.full((len(queries), count), -1, np.int64)
    asked = torch.from_numpy(queries)
    longest = 0.0
    stride = -(-len(queries) // torch.get_num_threads())
    for first, block in _blocks(parts):
        if block.dtype == np.uint16:
            numbers = torch.from_numpy(block.view(np.float16)).float()
        else:
            # PyTorch warns of memory that it might not write; the index maps its files privately, so nothing is copied.
            numbers = torch.from_numpy(block if block.flags.writeable else block.copy())
        lengths = torch.linalg.vector_norm(numbers, dim=1).square_()
        longest = max(longest, float(lengths.max()))
        # The query's own length is the same for all rows and is left out: only the order matters here.
        # With the many rows on the left, two threads reach 98 % of the product rate, the other way round 88 %.
        products = torch.mm(numbers, asked.T)
        hidden = skip[first : first + len(block)]
        run.offer_products(products.numpy(), lengths.numpy(), hidden, first, best, rows, stride)
        tick(first + len(block), total)
    own = np.square(queries, dtype=np.float64).sum(1)
    result = rank_exactly(parts, queries, rows, k)
    kth = np.square(result.distances[:, -1], dtype=np.float64)
    # A row that is no candidate is at least as far as the farthest candidate, up to rounding.
    unsure = (best[:, -1] + own - _ROUNDING * (longest + own) <= kth) & (count < total - int(skip.sum()))
    for chosen in np.array_split(np.flatnonzero(unsure), max(1, int(unsure.sum()) // FEW_QUERIES + 1)):
        if len(chosen):
            again = _search_directly(parts, queries[chosen], k, skip, untold, total)
            result.distances[chosen], result.rows[chosen] = again
    return result


def rank_exactly(
    parts: Sequence[Features], queries: NDArray[np.float32], candidates: NDArray[np.int64], k: int
) -> Neighbors:
    """Return the k nearest among the candidates (Q, M) of each query, by directly summed distances.

    A candidate of -1 stands for none; each query has at least k others.
    """
    from alexnet.retrieval.scanning import measure_named

    ordered = np.sort(candidates, axis=1)
    squares = np.full(ordered.shape, np.inf, np.float32)
    first = 0
    for part in parts:
        rows: NDArray[Any] = part.view(np.uint16) if part.dtype == np.float16 else part
        measure_named(rows, first, queries, ordered, squares)
        first += len(part)
    squares[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = np.inf  # rows that a query was given twice
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(squares, order, 1)
    return Neighbors(np.sqrt(best), np.take_along_axis(ordered, order, 1))
