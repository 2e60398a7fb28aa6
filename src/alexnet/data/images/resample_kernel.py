"""The loops of `resample`: weights of an axis, and rows and columns combined by them.

Apart from it because this module needs Numba, which `resample` imports only when there is something to resample.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.compiling import compile_function


@compile_function
def _triangle(x: float) -> float:
    return max(1.0 - abs(x), 0.0)


@compile_function
def _cubic(x: float) -> float:
    """Keys' cubic with a = -1/2."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    if x < 2:
        return ((-0.5 * x + 2.5) * x - 4) * x + 2
    return 0.0


# A source pixel has 10 to 50 microseconds of its own here in NumPy's array operations, a tenth of a picture's time.
@compile_function
def weigh(
    start: float, length: float, limit: int, size: int, steps: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each of size places, the first source pixel (size,) and the weights from there on (size, taps).

    Args:
        start, length: The stretch of the axis that becomes size places.
        limit: Number of source pixels of the axis.
        steps: Weights are whole multiples of 1 / steps, and add up to 1.
    """
    shrinking = length > size
    scale = max(length / size, 1.0)
    reach = (1.0 if shrinking else 2.0) * scale
    first, last = np.empty(size, np.int64), np.empty(size, np.int64)
    taps = 0
    for place in range(size):
        center = start + (place + 0.5) * (length / size)
        first[place] = max(int(np.floor(center - reach + 0.5)), 0)
        last[place] = min(int(np.floor(center + reach + 0.5)), limit)
        taps = max(taps, last[place] - first[place])
    weights = np.zeros((size, taps), np.float32)
    values = np.empty(taps, np.float64)
    for place in range(size):
        center = start + (place + 0.5) * (length / size)
        shifted = min(first[place], limit - taps)  # so that all taps lie inside; those beyond the reach weigh nothing
        total = 0.0
        for tap in range(taps):
            source = shifted + tap
            x = (source + 0.5 - center) / scale
            inside = first[place] <= source < last[place]
            values[tap] = (_triangle(x) if shrinking else _cubic(x)) if inside else 0.0
            total += values[tap]
        left, largest = float(steps), 0
        for tap in range(taps):
            values[tap] = np.rint(values[tap] / total * steps)
            left -= values[tap]
            if values[tap] > values[largest]:
                largest = tap
        values[largest] += left
        for tap in range(taps):
            weights[place, tap] = values[tap] / steps
        first[place] = shifted
    return first, weights


@compile_function
def _clip(value: Any) -> Any:
    return min(max(value, np.float32(0)), np.float32(255))


LANES = 8
"""Rows of the result that are made at a time, one in each lane of a vector. The loops below name them one by one."""


@functools.cache
def compile_resample(taps: int | None, enlarging: bool) -> Callable[..., None]:
    """Return the function that combines rows and columns.

    A place's columns are three channels wide, too narrow for vectors, so eight rows are turned first to stand side by
    side: then 24 neighbouring numbers have the same weight. 0.11 ms for 375 px to 256 px, against 0.19 row by row.

    Args:
        taps: Weights of a place in a row, for which loops are unrolled; None for any number.
        enlarging: Whether the box has no more pixels than the result: weights may be negative and sums leave 0 to 255.
    """

    @compile_function
    def resample(
        pixels: Any, first_row: Any, row_weights: Any, first_column: Any, column_weights: Any, out: Any
    ) -> None:
        start = first_column[0] * 3
        size, num_rows = first_row.shape[0], row_weights.shape[1]
        num_columns = column_weights.shape[1] if taps is None else taps
        length = (first_column[size - 1] + num_columns) * 3 - start
        rows = np.empty((LANES, length), np.float32)
        turned = np.empty(length * LANES, np.float32)
        result = np.empty(size * 3 * LANES, np.uint8)
        grid = np.float32(1.5 * 2**19)  # float32 near this number are multiples of 2**-4, so adding it rounds to them
        for top in range(0, size, LANES):
            for lane in range(LANES):
                y = min(top + lane, size - 1)  # the last row fills lanes that are left over
                row, first, weights = rows[lane], first_row[y], row_weights[y]
                if taps is not None and num_rows == taps:
                    near = pixels[first : first + num_rows, start : start + length]
                    for i in range(length):
                        total = np.float32(near[0, i]) * weights[0]
                        for k in range(1, taps):
                            total += np.float32(near[k, i]) * weights[k]
                        row[i] = total
                else:
                    row[:] = 0
                    for k in range(num_rows):
                        source, weight = pixels[first + k][start : start + length], weights[k]
                        for i in range(length):
                            row[i] += np.float32(source[i]) * weight
            a, b, c, d, e, f, g, h = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
            for i in range(length):
                turned[8 * i] = a[i] + grid - grid
                turned[8 * i + 1] = b[i] + grid - grid
                turned[8 * i + 2] = c[i] + grid - grid
                turned[8 * i + 3] = d[i] + grid - grid
                turned[8 * i + 4] = e[i] + grid - grid
                turned[8 * i + 5] = f[i] + grid - grid
                turned[8 * i + 6] = g[i] + grid - grid
                turned[8 * i + 7] = h[i] + grid - grid
            for x in range(size):
                beside, target, weights = (
                    turned[(first_column[x] * 3 - start) * 8 :],
                    result[24 * x :],
                    column_weights[x],
                )
                for i in range(24):
                    total = np.float32(0.5)
                    for k in range(num_columns):
                        total += beside[24 * k + i] * weights[k]
                    if enlarging:
                        total = _clip(total)
                    target[i] = np.uint8(np.int32(total))
            last = size - 1
            a, b, c, d = out[top], out[min(top + 1, last)], out[min(top + 2, last)], out[min(top + 3, last)]
            e, f, g, h = (
                out[min(top + 4, last)],
                out[min(top + 5, last)],
                out[min(top + 6, last)],
                out[min(top + 7, last)],
            )
            for i in range(size * 3):
                a[i], b[i], c[i], d[i] = result[8 * i], result[8 * i + 1], result[8 * i + 2], result[8 * i + 3]
                e[i], f[i], g[i], h[i] = result[8 * i + 4], result[8 * i + 5], result[8 * i + 6], result[8 * i + 7]

    return resample
