"""Numba kernels that scan stored rows: squared distances of float rows, Hamming distances of packed codes, selection.

Each reads its rows once; the ceiling is the machine's memory-read rate. `alexnet bench search` measures the fractions.
Importing this module imports Numba; functions are compiled on first use.
"""

import functools
from typing import Any

import numpy as np
from numba import prange
from numba.core import types
from numba.extending import intrinsic

from alexnet.compiling import compile_function


def measure(rows: Any, queries: Any, out: Any) -> None:
    """Write the sums of squared differences (Q, B) of rows (B, D) and queries (Q, D) float32 into `out`.

    Rows are float32, or uint16 with the bits of float16 numbers.
    """
    (measure_float16 if rows.dtype == np.uint16 else measure_float32)(rows, queries, out)


def _build_count_ones(typing_context: Any, word: Any) -> Any:
    """The processor's instruction for the number of set bits, which LLVM also vectorises."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return (word(word), generate) if isinstance(word, types.Integer) else None


count_ones: Any = intrinsic(_build_count_ones)
"""count_ones(word) -> number of set bits."""


_REORDERED = {"reassoc", "contract", "nsz"}
"""Sums may be reordered, so that they become vector instructions; values are finite (the index checks)."""


@functools.partial(compile_function, fastmath=_REORDERED)
def square_distance(row: Any, query: Any) -> Any:
    """Sum of squared differences of one row and one query."""
    total = np.float32(0)
    for i in range(query.shape[0]):
        difference = row[i] - query[i]
        total += difference * difference
    return total


@functools.partial(compile_function, parallel=True)
def measure_float32(rows: Any, queries: Any, out: Any) -> None:
    """As `measure`."""
    for b in prange(rows.shape[0]):
        for q in range(queries.shape[0]):
            out[q, b] = square_distance(rows[b], queries[q])


@compile_function
def widen(row: Any, bits: Any, values: Any) -> None:
    """float16 bits to float32: exponent and fraction move up, and one product mends the exponent's bias."""
    for i in range(row.shape[0]):
        half = np.uint32(row[i])
        bits[i] = ((half & np.uint32(0x8000)) << np.uint32(16)) | ((half & np.uint32(0x7FFF)) << np.uint32(13))
    for i in range(row.shape[0]):
        values[i] = values[i] * np.float32(2.0**112)


@functools.partial(compile_function, parallel=True)
def measure_float16(rows: Any, queries: Any, out: Any) -> None:
    """As `measure`."""
    lanes = 64
    stride = (rows.shape[0] + lanes - 1) // lanes
    for lane in prange(lanes):
        bits = np.empty(rows.shape[1], np.uint32)
        values = bits.view(np.float32)
        for b in range(lane * stride, min(rows.shape[0], (lane + 1) * stride)):
            widen(rows[b], bits, values)
            for q in range(queries.shape[0]):
                out[q, b] = square_distance(values, queries[q])


@functools.partial(compile_function, parallel=True)
def measure_named_float32(rows: Any, first: int, queries: Any, named: Any, out: Any) -> None:
    """Write the sums of squared differences of each query (Q, D) and the rows `named` (Q, M) for it into `out` (Q, M).

    `rows` (B, D) are those numbered from `first` on; the others are left as they are in `out`.
    """
    for q in prange(queries.shape[0]):
        for m in range(named.shape[1]):
            b = named[q, m] - first
            if b >= 0 and b < rows.shape[0]:
                out[q, m] = square_distance(rows[b], queries[q])


@functools.partial(compile_function, parallel=True)
def measure_named_float16(rows: Any, first: int, queries: Any, named: Any, out: Any) -> None:
    """As `measure_named_float32`, of the bits of float16 numbers."""
    for q in prange(queries.shape[0]):
        bits = np.empty(rows.shape[1], np.uint32)
        values = bits.view(np.float32)
        for m in range(named.shape[1]):
            b = named[q, m] - first
            if b >= 0 and b < rows.shape[0]:
                widen(rows[b], bits, values)
                out[q, m] = square_distance(values, queries[q])


def measure_named(rows: Any, first: int, queries: Any, named: Any, out: Any) -> None:
    """As `measure_named_float32`; rows are float32 or, with the bits of float16 numbers, uint16."""
    (measure_named_float16 if rows.dtype == np.uint16 else measure_named_float32)(rows, first, queries, named, out)


@compile_function
def insert(value: Any, row: int, best: Any, best_rows: Any) -> None:
    """Put a value that is below the last of `best` (M,), which is sorted, in its place."""
    place = best.shape[0] - 1
    while place > 0 and best[place - 1] > value:
        best[place] = best[place - 1]
        best_rows[place] = best_rows[place - 1]
        place -= 1
    best[place] = value
    best_rows[place] = row


@functools.partial(compile_function, parallel=True)
def offer(distances: Any, skip: Any, first: int, best: Any, best_rows: Any) -> None:
    """Keep the M smallest distances (Q, B) beside those that `best` (Q, M) has; sorted by distance, then row.

    Rows come in ascending order; those that `skip` (B,) marks do not count.
    """
    last = best.shape[1] - 1
    for q in prange(distances.shape[0]):
        for b in range(distances.shape[1]):
            if distances[q, b] < best[q, last] and not skip[b]:
                insert(distances[q, b], first + b, best[q], best_rows[q])


@functools.partial(compile_function, parallel=True)
def offer_products(products: Any, lengths: Any, skip: Any, first: int, best: Any, best_rows: Any, stride: int) -> None:
    """As `offer`, of lengths (B,) minus twice the products (B, Q), which are read as they lie.

    Each thread takes `stride` queries.
    """
    queries, last = products.shape[1], best.shape[1] - 1
    for lane in prange((queries + stride - 1) // stride):
        for b in range(products.shape[0]):
            if not skip[b]:
                for q in range(lane * stride, min(queries, (lane + 1) * stride)):
                    value = lengths[b] - np.float32(2) * products[b, q]
                    if value < best[q, last]:
                        insert(value, first + b, best[q], best_rows[q])


@compile_function
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


@compile_function
def count_differences(codes: Any, query: Any, out: Any) -> None:
    """Hamming distances; the usual numbers of words are written out, so that they become vector instructions."""
    words = codes.shape[1]
    if words == 1:
        for i in range(codes.shape[0]):
            out[i] = count_ones(codes[i, 0] ^ query[0])
    elif words == 2:
        for i in range(codes.shape[0]):
            out[i] = count_ones(codes[i, 0] ^ query[0]) + count_ones(codes[i, 1] ^ query[1])
    else:
        out[: codes.shape[0]] = 0
        for w in range(words):
            for i in range(codes.shape[0]):
                out[i] += count_ones(codes[i, w] ^ query[w])


@compile_function
def scan(codes: Any, query: Any, skip: Any, r: int, first: int, stop: int, out: Any, out_rows: Any) -> int:
    """Find the r rows of first .. stop nearest to a query by Hamming distance, of equal ones the first; their number.

    codes (N, W) and query (W,) are words; skip (N,) marks rows that do not count; `out` and `out_rows` have room for
    more than r.
    """
    words, chunk = codes.shape[1], 4096
    buffer = np.empty(chunk, np.uint16)
    counts = np.empty(words * codes.itemsize * 8 + 1, np.int64)
    limit = words * codes.itemsize * 8 + 1  # only codes nearer than this are among the nearest
    found = 0
    for start in range(first, stop, chunk):
        size = min(chunk, stop - start)
        count_differences(codes[start : start + size], query, buffer)
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
