"""Numba kernels that scan stored rows: squared distances of float rows, Hamming distances of packed codes, selection.

Each reads its rows once; the ceiling is the machine's memory-read rate. `alexnet bench search` measures the fractions.
Compiled on first use: importing this module does not import Numba.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple


class Kernels(NamedTuple):
    """Compiled functions; all release the interpreter lock."""

    measure: Callable[..., None]
    """measure(rows (B, D) float32 or uint16, queries (Q, D) float32, out (Q, B)): sums of squared differences.

    uint16 rows hold the bits of float16 numbers."""
    offer: Callable[..., None]
    """offer(distances (Q, B), skip (B,) bool, first row, best distances (Q, M), best rows (Q, M)): keep the M smallest.

    The best are sorted by distance, then row; rows must come in ascending order."""
    scan: Callable[..., int]
    """scan(codes (N, W) words, query (W,), skip (N,) bool, r, first, stop, out distances, out rows) -> number found.

    The r nearest of rows first .. stop by Hamming distance; of equal ones the first. out has room for 4 r + 64."""


@functools.cache
def kernels() -> Kernels:
    """Compile, or load what an earlier process compiled."""
    import numba
    import numpy as np
    from numba import prange
    from numba.core import types
    from numba.extending import intrinsic

    @intrinsic  # type: ignore[untyped-decorator]
    def count_ones(typing_context: Any, word: Any) -> Any:
        """The processor's instruction for the number of set bits, which LLVM also vectorises."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.ctpop(args[0])

        return (word(word), generate) if isinstance(word, types.Integer) else None

    # Sums may be reordered, so that they become vector instructions; values are finite (the index checks).
    fast = {"reassoc", "contract", "nsz"}

    @numba.njit(nogil=True, cache=True, fastmath=fast)
    def square_distance(row: Any, query: Any) -> Any:
        total = np.float32(0)
        for i in range(query.shape[0]):
            difference = row[i] - query[i]
            total += difference * difference
        return total

    @numba.njit(nogil=True, cache=True, parallel=True)
    def measure_float32(rows: Any, queries: Any, out: Any) -> None:
        for b in prange(rows.shape[0]):
            for q in range(queries.shape[0]):
                out[q, b] = square_distance(rows[b], queries[q])

    @numba.njit(nogil=True, cache=True)
    def widen(row: Any, bits: Any, values: Any) -> None:
        """float16 bits to float32: exponent and fraction move up, and one product mends the exponent's bias."""
        for i in range(row.shape[0]):
            half = np.uint32(row[i])
            bits[i] = ((half & np.uint32(0x8000)) << np.uint32(16)) | ((half & np.uint32(0x7FFF)) << np.uint32(13))
        for i in range(row.shape[0]):
            values[i] = values[i] * np.float32(2.0**112)

    @numba.njit(nogil=True, cache=True, parallel=True)
    def measure_float16(rows: Any, queries: Any, out: Any) -> None:
        lanes = 64
        stride = (rows.shape[0] + lanes - 1) // lanes
        for lane in prange(lanes):
            bits = np.empty(rows.shape[1], np.uint32)
            values = bits.view(np.float32)
            for b in range(lane * stride, min(rows.shape[0], (lane + 1) * stride)):
                widen(rows[b], bits, values)
                for q in range(queries.shape[0]):
                    out[q, b] = square_distance(values, queries[q])

    @numba.njit(nogil=True, cache=True, parallel=True)
    def offer(distances: Any, skip: Any, first: int, best: Any, best_rows: Any) -> None:
        wanted = best.shape[1]
        for q in prange(distances.shape[0]):
            worst = best[q, wanted - 1]
            for b in range(distances.shape[1]):
                value = distances[q, b]
                if value < worst and not skip[b]:
                    place = wanted - 1
                    while place > 0 and best[q, place - 1] > value:
                        best[q, place] = best[q, place - 1]
                        best_rows[q, place] = best_rows[q, place - 1]
                        place -= 1
                    best[q, place] = value
                    best_rows[q, place] = first + b
                    worst = best[q, wanted - 1]

    @numba.njit(nogil=True, cache=True)
    def prune(distances: Any, rows: Any, found: int, r: int, counts: Any) -> Any:
        """Keep the r nearest of what was found, in their order; return their number and the largest distance."""
        counts[:] = 0
        for i in range(found):
            counts[distances[i]] += 1
        limit, below = 0, 0
        while below + counts[limit] < r:
            below += counts[limit]
            limit += 1
        room = r - below
        kept = 0
        for i in range(found):
            distance = distances[i]
            if distance < limit or (distance == limit and room > 0):
                if distance == limit:
                    room -= 1
                distances[kept] = distance
                rows[kept] = rows[i]
                kept += 1
        return kept, limit

    @numba.njit(nogil=True, cache=True)
    def scan(codes: Any, query: Any, skip: Any, r: int, first: int, stop: int, out: Any, out_rows: Any) -> int:
        words, chunk = codes.shape[1], 4096
        buffer = np.empty(chunk, np.uint16)
        counts = np.empty(words * codes.itemsize * 8 + 1, np.int64)
        limit = words * codes.itemsize * 8 + 1  # only what is below it can enter
        found = 0
        for start in range(first, stop, chunk):
            size = min(chunk, stop - start)
            for i in range(size):
                total = np.uint64(0)
                for w in range(words):
                    total += np.uint64(count_ones(codes[start + i, w] ^ query[w]))
                buffer[i] = total
            for i in range(size):
                if buffer[i] < limit and not skip[start + i]:
                    out[found] = buffer[i]
                    out_rows[found] = start + i
                    found += 1
                    if found == out.shape[0]:
                        found, limit = prune(out, out_rows, found, r, counts)
        if found > r:
            found, limit = prune(out, out_rows, found, r, counts)
        return found

    def measure(rows: Any, queries: Any, out: Any) -> None:
        (measure_float16 if rows.dtype == np.uint16 else measure_float32)(rows, queries, out)

    return Kernels(measure, offer, scan)
