"""Numba kernels for normalisation and pooling on the CPU, over NHWC arrays of bits.

An array holds float32 as uint32 or bfloat16 as uint16; a row of pixels is widened to float32 scratch, worked on there,
and rounded back to nearest even. One forward and one gradient kernel serve three operations: normalise, normalise and
pool, pool. The gradient recomputes the normalisation from the input; the forward keeps one byte per pooled value, the
position of its maximum inside the window.

Scratch rows are padded: each tower of each pixel is a group of zeros, its channels, zeros. So the sum over neighbouring
channels is one vectorised loop over a whole row, without conditions at the edges of towers. x ** -0.75 is
1 / sqrt(x * sqrt(x)), which vectorises; other exponents call `pow` element by element and are about ten times slower.

Ceiling: memory, one pass over input and output (and the bytes of positions). Two square roots and a division per
element keep the kernels at a half to a third of it; see benchmarks/kernels.

Numba's cache looks at the time of the file a kernel is in, so what kernels inline is in the same file.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.extending import intrinsic

from alexnet.kernels.rules import NOWHERE

Bits = npt.NDArray[Any]  # uint16 (bfloat16) or uint32 (float32)
Floats = npt.NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])

# OpenMP first: PyTorch brings it along, and the fallback layer may not be entered from two threads at once.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]

# Only contraction into fused multiply-adds: anything that assumes away NaN or infinity would hide a diverged run.
_FAST = {"contract"}
_u8, _f32 = np.uint8, np.float32


def compiled(function: Function) -> Function:
    """Compile a function that runs inside one thread of a kernel."""
    return cast(Function, numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")(function))


def compiled_exactly(function: Function) -> Function:
    """Compile a function that rounds each operation by itself, for results that agree bit by bit with PyTorch's."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


def compiled_parallel(function: Function) -> Function:
    """Compile a kernel: the function that spreads work over threads."""
    return cast(Function, numba.njit(nogil=True, cache=True, parallel=True, error_model="numpy")(function))


def typed_intrinsic(function: Function) -> Function:
    """Register a function that emits instructions."""
    return cast(Function, intrinsic(function))


@typed_intrinsic
def widen(typing_context: Any, bits: Any) -> Any:
    """Turn the bits of a float32 or bfloat16 into a float32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = context.get_value_type(types.uint32)
        (value,) = arguments
        if bits.bitwidth == 16:
            value = builder.shl(builder.zext(value, word), word(16))
        return builder.bitcast(value, context.get_value_type(types.float32))

    return types.float32(bits), emit


@typed_intrinsic
def narrow(typing_context: Any, value: Any, like: Any) -> Any:
    """Turn a float32 into the bits that the array `like` holds; bfloat16 rounds to nearest even and keeps NaN."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = context.get_value_type(types.uint32)
        bits = builder.bitcast(arguments[0], word)
        if like.dtype.bitwidth == 32:
            return bits
        high = builder.lshr(bits, word(16))
        up = builder.add(builder.and_(high, word(1)), word(0x7FFF))
        rounded = builder.lshr(builder.add(bits, up), word(16))
        is_nan = builder.fcmp_unordered("uno", arguments[0], arguments[0])
        kept = builder.select(is_nan, builder.or_(high, word(0x40)), rounded)
        return builder.trunc(kept, context.get_value_type(types.uint16))

    return like.dtype(types.float32, like), emit


@compiled
def _load_row(x: Bits, r: Floats, towers: int, lead: int, span: int, rectify: bool) -> None:
    """Widen the pixels x (W, C) into padded groups: `lead` zeros, a tower's channels, the rest of `span` zeros."""
    channels = x.shape[1] // towers
    for pixel in range(x.shape[0]):
        for tower in range(towers):
            source = x[pixel, tower * channels : (tower + 1) * channels]
            start = (pixel * towers + tower) * span + lead
            target = r[start : start + channels]
            if rectify:
                for i in range(channels):
                    value = widen(source[i])
                    target[i] = _f32(0) if value < _f32(0) else value
            else:
                for i in range(channels):
                    target[i] = widen(source[i])


@compiled
def _store_row(row: Floats, y: Bits, towers: int, span: int) -> None:
    """Round groups that begin at multiples of `span` to the pixels y (W, C)."""
    channels = y.shape[1] // towers
    for pixel in range(y.shape[0]):
        for tower in range(towers):
            start = (pixel * towers + tower) * span
            source = row[start : start + channels]
            target = y[pixel, tower * channels : (tower + 1) * channels]
            for i in range(channels):
                target[i] = narrow(source[i], y)


@compiled
def _sum_squares(r: Floats, s: Floats, size: int, k: Any, alpha: Any) -> None:
    """s[p] = k + alpha * (sum of r**2 from p to p + size - 1)."""
    n = s.shape[0]
    if size == 5:
        for p in range(n):
            a, b, c, d, e = r[p], r[p + 1], r[p + 2], r[p + 3], r[p + 4]
            s[p] = k + alpha * (a * a + b * b + c * c + d * d + e * e)
    else:
        s[:] = _f32(0)
        for offset in range(size):
            shifted = r[offset : offset + n]
            for p in range(n):
                s[p] += shifted[p] * shifted[p]
        for p in range(n):
            s[p] = k + alpha * s[p]


@compiled
def _normalize_row(r: Floats, s: Floats, row: Floats, size: int, k: Any, alpha: Any, beta: Any) -> None:
    """row[p] = (the value at the centre of the window that begins at p) / s[p]**beta; s is scratch."""
    _sum_squares(r, s, size, k, alpha)
    centre = r[size // 2 : size // 2 + s.shape[0]]
    if beta == _f32(0.75):
        for p in range(s.shape[0]):
            row[p] = centre[p] / math.sqrt(s[p] * math.sqrt(s[p]))
    else:
        for p in range(s.shape[0]):
            row[p] = centre[p] * s[p] ** -beta


@compiled
def _normalize_row_gradient(
    r: Floats, g: Floats, s: Floats, t: Floats, out: Floats, size: int, k: Any, alpha: Any, beta: Any
) -> None:
    """out[p] = the derivative by the value at the centre of p's window, for the gradient g[p]; s and t are scratch.

    d_j = g_j s_j**-beta - 2 alpha beta r_j * (sum over the windows i that hold j of g_i r_i s_i**(-beta - 1)). These
    windows lie around j as j's own window does, turned round: t begins with `size - 1 - size // 2` zeros.
    """
    n = s.shape[0]
    _sum_squares(r, s, size, k, alpha)
    centre = r[size // 2 : size // 2 + n]
    shifted = t[size - 1 - size // 2 : size - 1 - size // 2 + n]
    if beta == _f32(0.75):
        for p in range(n):
            power = _f32(1) / math.sqrt(s[p] * math.sqrt(s[p]))
            shifted[p] = g[p] * centre[p] * (power / s[p])
            out[p] = g[p] * power
    else:
        for p in range(n):
            power = s[p] ** -beta
            shifted[p] = g[p] * centre[p] * (power / s[p])
            out[p] = g[p] * power
    factor = _f32(2) * alpha * beta
    if size == 5:
        for p in range(n):
            out[p] -= factor * centre[p] * (t[p] + t[p + 1] + t[p + 2] + t[p + 3] + t[p + 4])
    else:
        s[:] = _f32(0)
        for offset in range(size):
            moved = t[offset : offset + n]
            for p in range(n):
                s[p] += moved[p]
        for p in range(n):
            out[p] -= factor * centre[p] * s[p]


@compiled
def _take(value: Floats, code: Any, best: Floats, position: Bits) -> None:
    """Keep the larger of value and best, with its code; the earlier one of equals, and NaN for ever."""
    for i in range(best.shape[0]):
        v = value[i]
        larger = v > best[i] or v != v
        best[i] = v if larger else best[i]
        position[i] = code if larger else position[i]


@compiled
def _take_three(row: Floats, pitch: int, code: Any, best: Floats, position: Bits) -> None:
    """Take three neighbouring pixels, `pitch` apart in row: `_take` three times with a third of the traffic."""
    n = best.shape[0]
    left, middle, right = row[:n], row[pitch : pitch + n], row[2 * pitch : 2 * pitch + n]
    for i in range(n):
        m = best[i]
        c = position[i]
        v = left[i]
        larger = v > m or v != v
        m = v if larger else m
        c = code if larger else c
        v = middle[i]
        larger = v > m or v != v
        m = v if larger else m
        c = _u8(code + 1) if larger else c
        v = right[i]
        larger = v > m or v != v
        m = v if larger else m
        c = _u8(code + 2) if larger else c
        best[i] = m
        position[i] = c


@compiled
def _pool_row(
    rows: Floats,
    y: Bits,
    position: Bits,
    top: int,
    height: int,
    width: int,
    towers: int,
    span: int,
    window: int,
    stride: int,
    floor: bool,
) -> None:
    """Pool the input rows top ... top + window - 1, of which row i is rows[i % window], to the pixels y (W', C)."""
    channels = y.shape[1] // towers
    pitch = towers * span
    best = np.empty(channels, np.float32)
    for x in range(y.shape[0]):
        for tower in range(towers):
            where = position[x, tower * channels : (tower + 1) * channels]
            best[:] = _f32(0) if floor else _f32(-np.inf)
            where[:] = _u8(NOWHERE) if floor else _u8(0)
            for dy in range(min(window, height - top)):
                row = rows[(top + dy) % window]
                start = x * stride * pitch + tower * span
                if window == 3 and x * stride + 3 <= width:
                    _take_three(row[start : start + 2 * pitch + channels], pitch, _u8(dy * 3), best, where)
                else:
                    for dx in range(min(window, width - x * stride)):
                        first = start + dx * pitch
                        _take(row[first : first + channels], _u8(dy * window + dx), best, where)
            target = y[x, tower * channels : (tower + 1) * channels]
            for i in range(channels):
                target[i] = narrow(best[i], y)


@compiled
def _forward_band(
    x: Bits,
    y: Bits,
    position: Bits,
    first: int,
    last: int,
    normalize: bool,
    pool: bool,
    size: int,
    k: Any,
    alpha: Any,
    beta: Any,
    towers: int,
    rectify: bool,
    floor: bool,
    window: int,
    stride: int,
) -> None:
    """Compute the output rows first ... last - 1 of one image; windows keep their input rows in a ring."""
    height, width, channels = x.shape
    span = channels // towers + size - 1
    n = width * towers * span
    r = np.zeros(n + size, np.float32)
    s = np.empty(n, np.float32)
    rows = np.zeros((window, n), np.float32)
    loaded = np.full(window, -1, np.int64)
    for out in range(first, last):
        top = out * stride
        for i in range(top, min(top + window, height)):
            row = rows[i % window]
            if loaded[i % window] != i:
                if normalize:
                    _load_row(x[i], r, towers, size // 2, span, rectify)
                    _normalize_row(r, s, row, size, k, alpha, beta)
                else:
                    _load_row(x[i], row, towers, 0, span, rectify)
                loaded[i % window] = i
        if pool:
            _pool_row(rows, y[out], position[out], top, height, width, towers, span, window, stride, floor)
        else:
            _store_row(rows[0], y[out], towers, span)


@compiled
def _gather_row(
    dy: Bits, position: Bits, g: Floats, row: int, width: int, towers: int, span: int, window: int, stride: int
) -> None:
    """Give the gradients dy (H', W', C) of pooled maps to the places of their maxima in input row `row`."""
    channels = dy.shape[2] // towers
    g[:] = _f32(0)
    for out in range(max(0, (row - window) // stride + 1), min(dy.shape[0], row // stride + 1)):
        for x in range(dy.shape[1]):
            for dx in range(min(window, width - x * stride)):
                code = _u8((row - out * stride) * window + dx)
                for tower in range(towers):
                    source = dy[out, x, tower * channels : (tower + 1) * channels]
                    where = position[out, x, tower * channels : (tower + 1) * channels]
                    start = ((x * stride + dx) * towers + tower) * span
                    target = g[start : start + channels]
                    for i in range(channels):
                        target[i] += widen(source[i]) if where[i] == code else _f32(0)


@compiled
def _gradient_band(
    x: Bits,
    dy: Bits,
    position: Bits,
    dx: Bits,
    first: int,
    last: int,
    normalize: bool,
    pool: bool,
    size: int,
    k: Any,
    alpha: Any,
    beta: Any,
    towers: int,
    rectify: bool,
    window: int,
    stride: int,
) -> None:
    """Compute the rows first ... last - 1 of one image's gradient."""
    width, channels = x.shape[1:]
    span = channels // towers + size - 1
    n = width * towers * span
    r = np.zeros(n + size, np.float32)
    g = np.zeros(n, np.float32)
    s = np.empty(n, np.float32)
    t = np.zeros(n + size, np.float32)
    out = np.empty(n, np.float32)
    for row in range(first, last):
        if pool:
            _gather_row(dy, position, g, row, width, towers, span, window, stride)
        else:
            _load_row(dy[row], g, towers, 0, span, False)
        if normalize:
            _load_row(x[row], r, towers, size // 2, span, rectify)
            _normalize_row_gradient(r, g, s, t, out, size, k, alpha, beta)
            if rectify:
                centre = r[size // 2 : size // 2 + n]
                for p in range(n):
                    out[p] = _f32(0) if centre[p] <= _f32(0) else out[p]
            _store_row(out, dx[row], towers, span)
        else:
            _store_row(g, dx[row], towers, span)


@compiled
def count_bands(images: int, rows: int, threads: int) -> int:
    """Return into how many bands of rows an image is cut, so that every thread has work even on a few images."""
    if images >= 4 * threads:
        return 1
    return max(1, min(rows, -(-4 * threads // max(images, 1))))


def num_threads() -> int:
    """Return the number of threads that kernels run on here."""
    return int(numba.get_num_threads())


@compiled_parallel
def forward(
    x: Bits,
    y: Bits,
    position: Bits,
    normalize: bool,
    pool: bool,
    size: int,
    k: float,
    alpha: float,
    beta: float,
    towers: int,
    rectify: bool,
    floor: bool,
    window: int,
    stride: int,
    threads: int,
) -> None:
    """Normalise, pool or both, from x to y, both NHWC.

    `rectify` applies to the input. `floor` starts maxima at zero instead of minus infinity, which rectifies the pooled
    values. `position` receives the place of each maximum in its window (row * window + column), or NOWHERE. Without
    `pool`, window and stride are 1 and position is not used. `threads` is the number that work is spread over: it
    decides into how many bands images are cut, not what is computed. (Numba cannot cache a kernel that asks for it.)
    """
    rows = y.shape[1]
    bands = count_bands(x.shape[0], rows, threads)
    for unit in numba.prange(x.shape[0] * bands):
        n, band = unit // bands, unit % bands
        _forward_band(
            x[n],
            y[n],
            position[n],
            band * rows // bands,
            (band + 1) * rows // bands,
            normalize,
            pool,
            size,
            _f32(k),
            _f32(alpha),
            _f32(beta),
            towers,
            rectify,
            floor,
            window,
            stride,
        )


@compiled_parallel
def gradient(
    x: Bits,
    dy: Bits,
    position: Bits,
    dx: Bits,
    normalize: bool,
    pool: bool,
    size: int,
    k: float,
    alpha: float,
    beta: float,
    towers: int,
    rectify: bool,
    window: int,
    stride: int,
    threads: int,
) -> None:
    """Compute dx, the derivative by x for the gradient dy of `forward`'s output."""
    rows = dx.shape[1]
    bands = count_bands(dx.shape[0], rows, threads)
    for unit in numba.prange(dx.shape[0] * bands):
        n, band = unit // bands, unit % bands
        _gradient_band(
            x[n],
            dy[n],
            position[n],
            dx[n],
            band * rows // bands,
            (band + 1) * rows // bands,
            normalize,
            pool,
            size,
            _f32(k),
            _f32(alpha),
            _f32(beta),
            towers,
            rectify,
            window,
            stride,
        )
