"""Numba kernels that copy the windows of locally connected layers on the CPU: into patches, and back as gradients.

Maps are NHWC arrays of bits, patches (places, images, window * window * channels), all as in `cpu_bits`. In either
layout the channels of neighbouring pixels follow each other, so that a row of a window is one run. Ceiling: memory.
"""

from typing import NamedTuple

import numba
import numpy as np

from alexnet.kernels.cpu_bits import Bits, Floats, compiled, compiled_parallel, narrow, widen


class Windows(NamedTuple):
    """Where windows lie: `side` of them along each axis, the first one `padding` outside the maps."""

    side: int
    window: int
    stride: int
    padding: int


@compiled
def _find_run(place: int, row: int, height: int, width: int, w: Windows) -> tuple[int, int, int]:
    """Return the pixels of the maps that a row of a window covers: where they begin, the first column, how many."""
    y = place // w.side * w.stride - w.padding + row
    left = place % w.side * w.stride - w.padding
    if y < 0 or y >= height:
        return 0, 0, 0
    first = max(0, -left)
    return y * width + left + first, first, max(0, min(w.window, width - left) - first)


@compiled
def _gather_one(x: Bits, patch: Bits, place: int, height: int, width: int, channels: int, w: Windows) -> None:
    for i in range(patch.shape[0]):
        patch[i] = 0
    for row in range(w.window):
        start, column, count = _find_run(place, row, height, width, w)
        source = x[start * channels : (start + count) * channels]
        begin = (row * w.window + column) * channels
        target = patch[begin : begin + count * channels]
        for i in range(count * channels):
            target[i] = source[i]


@compiled
def _scatter_one(patch: Bits, dx: Floats, place: int, height: int, width: int, channels: int, w: Windows) -> None:
    for row in range(w.window):
        start, column, count = _find_run(place, row, height, width, w)
        begin = (row * w.window + column) * channels
        source = patch[begin : begin + count * channels]
        target = dx[start * channels : (start + count) * channels]
        for i in range(count * channels):
            target[i] += widen(source[i])


@compiled_parallel
def gather(x: Bits, patches: Bits, windows: Windows) -> None:
    """Copy each window of the maps x to its patch; zeros where it lies outside."""
    height, width, channels = x.shape[1:]
    for n in numba.prange(x.shape[0]):
        maps = x[n].reshape(height * width * channels)
        for place in range(patches.shape[0]):
            _gather_one(maps, patches[place, n], place, height, width, channels, windows)


@compiled_parallel
def scatter(patches: Bits, dx: Bits, windows: Windows) -> None:
    """Set dx to the sums of what patches hold of each pixel, added in float32 and rounded once."""
    height, width, channels = dx.shape[1:]
    for n in numba.prange(dx.shape[0]):
        total = np.zeros(height * width * channels, np.float32)
        for place in range(patches.shape[0]):
            _scatter_one(patches[place, n], total, place, height, width, channels, windows)
        maps = dx[n].reshape(height * width * channels)
        for i in range(total.shape[0]):
            maps[i] = narrow(total[i], maps)
