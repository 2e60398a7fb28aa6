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


@functools.cache
def compile_resample(taps: int | None, enlarging: bool) -> Callable[..., None]:
    """Return the function that combines rows and columns.

    Args:
        taps: Weights in a row, for which loops are unrolled; None for any number.
        enlarging: Whether weights may be negative, so that sums can leave 0 to 255.
    """

    @compile_function
    def resample(
        pixels: Any, first_row: Any, row_weights: Any, first_column: Any, column_weights: Any, out: Any
    ) -> None:
        start = first_column[0] * 3
        size, num_rows = first_row.shape[0], row_weights.shape[1]
        num_columns = column_weights.shape[1] if taps is None else taps
        length = (first_column[size - 1] + num_columns) * 3 - start
        row = np.empty(length, np.float32)
        grid = np.float32(1.5 * 2**19)  # float32 near this number are multiples of 2**-4, so adding it rounds to them
        for y in range(size):
            source, weight = pixels[first_row[y]][start : start + length], row_weights[y, 0]
            for i in range(length):
                row[i] = np.float32(source[i]) * weight
            for k in range(1, num_rows):
                weight = row_weights[y, k]
                if weight != 0:
                    source = pixels[first_row[y] + k][start : start + length]
                    for i in range(length):
                        row[i] += np.float32(source[i]) * weight
            for i in range(length):
                row[i] = (row[i] + grid) - grid
            target = out[y]
            for x in range(size):
                offset = first_column[x] * 3 - start
                near = row[offset:]
                r = g = b = np.float32(0.5)
                for k in range(num_columns):
                    weight = column_weights[x, k]
                    r += near[3 * k] * weight
                    g += near[3 * k + 1] * weight
                    b += near[3 * k + 2] * weight
                if enlarging:
                    r, g, b = _clip(r), _clip(g), _clip(b)
                target[3 * x] = np.uint8(np.int32(r))
                target[3 * x + 1] = np.uint8(np.int32(g))
                target[3 * x + 2] = np.uint8(np.int32(b))

    return resample
