"""A square box of an RGB picture -> size x size, each pixel the weighted mean of those near its place.

Reducing uses a triangle that widens with the factor, as Pillow's BILINEAR and PyTorch's antialiased resize; enlarging
uses Pillow's BICUBIC. Rows are combined first, by whole vectors, and only where the box lies: 0.20 ms for 375 px to
256 px against Pillow's 1.0 ms (one core; tests/data/test_resample.py holds the agreement). Weights are multiples of
2**-12 and rows are kept to 2**-4, so every sum fits a float32 exactly: the result does not depend on the order or the
width of the processor's vectors.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNROLLED_TAPS = (3, 4, 5)
"""Numbers of weights in a row, those of reducing up to twice, for which loops are unrolled: a quarter less time."""

WEIGHT_STEPS = 4096
"""Weights are whole multiples of one part in so many."""


def resample_box(pixels: NDArray[np.uint8], left: float, top: float, side: float, size: int) -> NDArray[np.uint8]:
    """The box of a picture as (size, size, 3) uint8; differs from Pillow's result by one where it shrinks.

    Args:
        pixels: (H, W, 3) uint8, C-contiguous. Read only.
        left, top, side: The box, in pixels and parts of pixels, inside the picture.
    """
    first_row, row_weights = _weigh(top, side, pixels.shape[0], size)
    first_column, column_weights = _weigh(left, side, pixels.shape[1], size)
    out = np.empty((size, size, 3), np.uint8)
    flat = pixels.reshape(pixels.shape[0], -1)
    taps = column_weights.shape[1]
    _kernel(taps if taps in UNROLLED_TAPS else None, side < size)(
        flat, first_row, row_weights, first_column, column_weights, out.reshape(size, -1)
    )
    return out


@functools.lru_cache(maxsize=256)  # few sizes are frequent; an entry is a few kilobytes
def _weigh(start: float, length: float, limit: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each of size places, the first source pixel (size,) and the weights from there on (size, taps)."""
    filter_, reach = (_triangle, 1.0) if length > size else (_cubic, 2.0)
    scale = max(length / size, 1.0)
    centers = start + (np.arange(size) + 0.5) * (length / size)
    first = np.maximum(np.floor(centers - reach * scale + 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(centers + reach * scale + 0.5), limit).astype(np.int64)
    taps = int((last - first).max())
    shifted = np.minimum(first, limit - taps)  # so that all taps lie inside; those beyond first and last weigh nothing
    places = shifted[:, None] + np.arange(taps)
    weights = filter_((places + 0.5 - centers[:, None]) / scale)
    weights[(places < first[:, None]) | (places >= last[:, None])] = 0
    steps = np.rint(weights / weights.sum(1, keepdims=True) * WEIGHT_STEPS)
    steps[np.arange(size), steps.argmax(1)] += WEIGHT_STEPS - steps.sum(1)
    return shifted, (steps / WEIGHT_STEPS).astype(np.float32)


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(1 - np.abs(x), 0))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -1/2."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.asarray(np.select([x < 1, x < 2], [near, far]))


@functools.cache
def _kernel(taps: int | None, enlarging: bool) -> Callable[..., None]:
    """Compile on first use, as importing this module must not import Numba.

    Args:
        taps: Weights in a row, for which loops are unrolled; None for any number.
        enlarging: Whether weights may be negative, so that sums can leave 0 to 255.
    """
    import numba

    @numba.njit
    def clip(value: Any) -> Any:
        return min(max(value, np.float32(0)), np.float32(255))

    @numba.njit(nogil=True, cache=True)
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
                    r, g, b = clip(r), clip(g), clip(b)
                target[3 * x] = np.uint8(np.int32(r))
                target[3 * x + 1] = np.uint8(np.int32(g))
                target[3 * x + 2] = np.uint8(np.int32(b))

    return resample
