"""Binary codes: packing, and the nearest by Hamming distance with a second look by exact distance (paper, 6.1, end)."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.retrieval.exact import Features, Neighbors, rank_exactly
from alexnet.text.wording import counted

BITS = (16, 32, 64, 128, 256)
"""Lengths of codes."""
Codes = NDArray[np.uint8]
"""(N, bits / 8), bit 0 of a code in the highest bit of its first byte, as np.packbits does."""
Order = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Rows (n,) -> their positions (n,) in an order of their own, such as `Index.order_rows`."""
_ROOM = 4
"""Candidates are pruned when there are so many times more than wanted."""
_LEAST_ROWS_PER_THREAD = 65_536


def pack(bits: NDArray[np.bool_]) -> Codes:
    """Return (N, bits) truth values as codes."""
    return np.packbits(bits, axis=1)


def find_nearest_codes(
    codes: Codes,
    queries: Codes,
    r: int,
    *,
    skip: NDArray[np.bool_] | None = None,
    order: Order | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return Hamming distances (Q, r) and rows (Q, r), nearest first; of equal ones the first row first.

    Codes are short, so that hundreds of rows may be equally far, of which only some have room.

    Args:
        codes: (N, bits / 8), C-contiguous.
        r: At least 1 and at most the number of rows that are not skipped.
        skip: (N,) True for rows that are not to be found.
        order: Says which of the equally far have room: the first in this order. Without it, the first rows.
    Raises:
        ConfigError: r is outside that range, or the lengths of the codes differ.
    """
    hidden = np.zeros(len(codes), bool) if skip is None else skip
    available = len(codes) - int(hidden.sum())
    if not 1 <= r <= available:
        raise ConfigError(f"r is {r}, with {counted(available, 'image')} to find. Accepted is 1 to {available:,}.")
    if codes.shape[1] != queries.shape[1]:
        raise ConfigError(f"queries have {8 * queries.shape[1]} bits, the codes {8 * codes.shape[1]}.")
    stored, asked = as_words(codes), as_words(queries)
    from alexnet.retrieval import scanning as run

    pieces = max(1, min(torch.get_num_threads(), len(codes) // _LEAST_ROWS_PER_THREAD))
    edges = np.linspace(0, len(codes), pieces + 1, dtype=np.int64)

    def search(query: NDArray[np.generic], first: int, stop: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        out, rows = np.empty(_ROOM * r + 64, np.uint16), np.empty(_ROOM * r + 64, np.int64)
        found = run.scan(stored, query, hidden, r, first, stop, out, rows)
        return out[:found], rows[:found]

    distances, nearest = np.empty((len(asked), r), np.int64), np.empty((len(asked), r), np.int64)
    with ThreadPoolExecutor(pieces) as pool:
        for q, query in enumerate(asked):
            if pieces == 1:
                parts = [search(query, 0, len(codes))]
            else:
                parts = list(pool.map(search, [query] * pieces, edges[:-1], edges[1:]))
            found = np.concatenate([part[0] for part in parts])
            rows = np.concatenate([part[1] for part in parts])
            places = np.argsort(found, kind="stable")[:r]
            distances[q], nearest[q] = found[places], rows[places]
            if order is not None:
                last = distances[q] == distances[q, -1]
                tied = np.flatnonzero(measure_codes(stored, query) == distances[q, -1])
                tied = tied[~hidden[tied]]
                if len(tied) > last.sum():
                    nearest[q, last] = np.sort(tied[order(tied)[: last.sum()]])
    return distances, nearest


def measure_codes(codes: NDArray[Any], query: NDArray[Any]) -> NDArray[np.uint16]:
    """Return the Hamming distances (N,) of codes (N, W) and a query (W,), both as words (`as_words`)."""
    from alexnet.retrieval import scanning as run

    out = np.empty(len(codes), np.uint16)
    run.count_differences(codes, query, out)
    return out


def as_words(codes: Codes) -> NDArray[Any]:
    """Return codes as the longest words of the processor that they divide into, (N, W)."""
    word = next(word for word in (np.uint64, np.uint32, np.uint16, np.uint8) if codes.shape[1] % word().itemsize == 0)
    return np.ascontiguousarray(codes).view(word)


def find_nearest_by_codes(
    features: Features | Sequence[Features],
    codes: Codes,
    queries: NDArray[np.float32],
    query_codes: Codes,
    k: int,
    *,
    rerank: int,
    skip: NDArray[np.bool_] | None = None,
    order: Order | None = None,
) -> Neighbors:
    """Return the k nearest by exact distance among the `rerank` nearest by Hamming distance.

    Args:
        skip, order: As for `find_nearest_codes`.

    Raises:
        ConfigError: as `find_nearest_codes`; or `rerank` is below k.
    """
    if rerank < k:
        raise ConfigError(f"{rerank} images to rank again are fewer than the {k} asked for. Choose at least {k}.")
    _, rows = find_nearest_codes(codes, query_codes, rerank, skip=skip, order=order)
    return rank_exactly([features] if isinstance(features, np.ndarray) else list(features), queries, rows, k)
