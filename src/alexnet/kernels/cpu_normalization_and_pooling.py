"""Numba kernels for normalisation and pooling on the CPU, over NHWC arrays of bits.

An array holds float32 as uint32 or bfloat16 as uint16; a row of pixels is widened to float32 scratch, worked on there,
and rounded back to nearest even. One forward and one gradient kernel serve three operations: normalise, normalise and
pool, pool. The gradient recomputes the normalisation from the input; the forward keeps one byte per pooled value, the
position of its maximum inside the window.

Scratch rows are padded: each tower of each pixel is a group of zeros, its channels, zeros. So the sum over neighbouring
channels is one vectorised loop over a whole row, without conditions at the edges of towers. The paper's exponent, 0.75,
is computed from products alone, which vectorise; others call `pow` element by element and are slower.

Ceiling: memory, one pass over input and output (and the bytes of positions). About twenty products per element, most
of them for the power, keep the kernels at about a tenth of it; benchmarks/kernels measures the fraction.

Numba's cache looks at the file that a kernel is in, so what kernels inline is in the same file wherever possible.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

from alexnet.kernels.cpu_bits import Bits, Floats, bits_of, compiled, compiled_parallel, narrow, widen
from alexnet.kernels.rules import NOWHERE

_u8, _u32, _f32 = np.uint8, np.uint32, np.float32
_LARGEST = _f32(1e36)


class Options(NamedTuple):
    """What a kernel does, besides where its arrays are."""

    normalize: bool = False
    size: int = 1
    k: float = 1.0
    alpha: float = 0.0
    beta: float = 1.0
    towers: int = 1
    rectify: bool = False
    """Whether the input is rectified."""
    pool: bool = False
    floor: bool = False
    """Whether maxima start at zero instead of minus infinity, which rectifies the pooled values."""
    window: int = 1
    stride: int = 1


@compiled
def _inverse_fourth_root(s: Any) -> Any:
    """Return s**-0.25 for positive s, to 2e-7.

    A guess from halving the exponent's bits twice, good to 3e-2, and three steps of Newton's method. Normalisation
    takes a quarter less time than with two square roots and a division. Values above 1e36 count as 1e36, since the
    steps would turn infinity into NaN.
    """
    s = _LARGEST if s > _LARGEST else s
    t = widen(_u32(_u32(0x4F586000) - (bits_of(s) >> _u32(2))))
    quarter = _f32(0.25) * s
    for _ in range(3):
        square = t * t
        t = t * (_f32(1.25) - quarter * (square * square))
    return t


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
def _sum(v: Floats, p: int, size: int) -> Any:
    """Return the sum from p to p + size - 1. With a number as size it is unrolled, and loops over p vectorised."""
    total = _f32(0)
    for i in range(size):
        total += v[p + i]
    return total


@compiled
def _sum_of_squares(v: Floats, p: int, size: int) -> Any:
    total = _f32(0)
    for i in range(size):
        total += v[p + i] * v[p + i]
    return total


@compiled
def _sum_squares(r: Floats, s: Floats, o: Options) -> None:
    """s[p] = k + alpha * (sum of r**2 from p to p + size - 1)."""
    n, size, k, alpha = s.shape[0], o.size, _f32(o.k), _f32(o.alpha)
    if size == 5:
        for p in range(n):
            s[p] = k + alpha * _sum_of_squares(r, p, 5)
    elif size == 9:
        for p in range(n):
            s[p] = k + alpha * _sum_of_squares(r, p, 9)
    else:
        s[:] = _f32(0)
        for offset in range(size):
            shifted = r[offset : offset + n]
            for p in range(n):
                s[p] += shifted[p] * shifted[p]
        for p in range(n):
            s[p] = k + alpha * s[p]


@compiled
def _normalize_row(r: Floats, s: Floats, row: Floats, o: Options) -> None:
    """row[p] = (the value at the centre of the window that begins at p) / s[p]**beta; s is scratch."""
    _sum_squares(r, s, o)
    center = r[o.size // 2 : o.size // 2 + s.shape[0]]
    beta = _f32(o.beta)
    if beta == _f32(0.75):
        for p in range(s.shape[0]):
            root = _inverse_fourth_root(s[p])
            row[p] = center[p] * (root * root * root)
    else:
        for p in range(s.shape[0]):
            row[p] = center[p] * s[p] ** -beta


@compiled
def _normalize_row_gradient(r: Floats, g: Floats, s: Floats, t: Floats, out: Floats, o: Options) -> None:
    """out[p] = the derivative by the value at the centre of p's window, for the gradient g[p]; s and t are scratch.

    d_j = g_j s_j**-beta - 2 alpha beta r_j * (sum over the windows i that hold j of g_i r_i s_i**(-beta - 1)). These
    windows are j's own one mirrored, so t begins with `size - 1 - size // 2` zeros.
    """
    n, size, beta = s.shape[0], o.size, _f32(o.beta)
    _sum_squares(r, s, o)
    center = r[size // 2 : size // 2 + n]
    shifted = t[size - 1 - size // 2 : size - 1 - size // 2 + n]
    if beta == _f32(0.75):
        for p in range(n):
            root = _inverse_fourth_root(s[p])
            power = root * root * root
            out[p] = g[p] * power
            shifted[p] = out[p] * (center[p] * power * root)
    else:
        for p in range(n):
            power = s[p] ** -beta
            out[p] = g[p] * power
            shifted[p] = out[p] * (center[p] / s[p])
    factor = _f32(2 * o.alpha * o.beta)
    if size == 5:
        for p in range(n):
            out[p] -= factor * center[p] * _sum(t, p, 5)
    elif size == 9:
        for p in range(n):
            out[p] -= factor * center[p] * _sum(t, p, 9)
    else:
        s[:] = _f32(0)
        for offset in range(size):
            moved = t[offset : offset + n]
            for p in range(n):
                s[p] += moved[p]
        for p in range(n):
            out[p] -= factor * center[p] * s[p]


@compiled
def _larger(value: Any, code: Any, best: Any, place: Any) -> Any:
    """Return the larger of value and best with its place; the earlier one of equals, and NaN for ever."""
    larger = value > best or value != value
    return value if larger else best, code if larger else place


@compiled
def _take(value: Floats, code: Any, best: Floats, place: Any) -> None:
    """Keep the larger of value and best, with its place."""
    for i in range(best.shape[0]):
        best[i], place[i] = _larger(value[i], code, best[i], place[i])


@compiled
def _take_three(row: Floats, pitch: int, code: Any, best: Floats, place: Any) -> None:
    """Take three neighbouring pixels, `pitch` apart in row: `_take` three times with a third of the traffic."""
    n = best.shape[0]
    left, middle, right = row[:n], row[pitch : pitch + n], row[2 * pitch : 2 * pitch + n]
    for i in range(n):
        m, c = _larger(left[i], code, best[i], place[i])
        m, c = _larger(middle[i], code + _u32(1), m, c)
        best[i], place[i] = _larger(right[i], code + _u32(2), m, c)


@compiled
def _pool_row(rows: Floats, y: Bits, position: Bits, top: int, height: int, width: int, span: int, o: Options) -> None:
    """Pool the input rows top ... top + window - 1, of which row i is rows[i % window], to the pixels y (W', C)."""
    towers, window, stride = o.towers, o.window, o.stride
    channels = y.shape[1] // towers
    pitch = towers * span
    best = np.empty(channels, np.float32)
    place = np.empty(channels, np.uint32)  # as wide as the values, so that both are compared side by side
    for x in range(y.shape[0]):
        for tower in range(towers):
            best[:] = _f32(0) if o.floor else _f32(-np.inf)
            place[:] = _u32(NOWHERE) if o.floor else _u32(0)
            for dy in range(min(window, height - top)):
                row = rows[(top + dy) % window]
                start = x * stride * pitch + tower * span
                if window == 3 and x * stride + 3 <= width:
                    _take_three(row[start : start + 2 * pitch + channels], pitch, _u32(dy * 3), best, place)
                else:
                    for dx in range(min(window, width - x * stride)):
                        first = start + dx * pitch
                        _take(row[first : first + channels], _u32(dy * window + dx), best, place)
            target = y[x, tower * channels : (tower + 1) * channels]
            where = position[x, tower * channels : (tower + 1) * channels]
            for i in range(channels):
                target[i] = narrow(best[i], y)
            for i in range(channels):
                where[i] = _u8(place[i])


@compiled
def _forward_band(x: Bits, y: Bits, position: Bits, first: int, last: int, o: Options) -> None:
    """Compute the output rows first ... last - 1 of one image; windows keep their input rows in a ring."""
    height, width, channels = x.shape
    span = channels // o.towers + o.size - 1
    n = width * o.towers * span
    r = np.zeros(n + o.size, np.float32)
    s = np.empty(n, np.float32)
    rows = np.zeros((o.window, n), np.float32)
    loaded = np.full(o.window, -1, np.int64)
    for out in range(first, last):
        top = out * o.stride
        for i in range(top, min(top + o.window, height)):
            row = rows[i % o.window]
            if loaded[i % o.window] != i:
                if o.normalize:
                    _load_row(x[i], r, o.towers, o.size // 2, span, o.rectify)
                    _normalize_row(r, s, row, o)
                else:
                    _load_row(x[i], row, o.towers, 0, span, o.rectify)
                loaded[i % o.window] = i
        if o.pool:
            _pool_row(rows, y[out], position[out], top, height, width, span, o)
        else:
            _store_row(rows[0], y[out], o.towers, span)


@compiled
def _give_three(dy: Bits, position: Bits, code: Any, g: Floats, pitch: int) -> None:
    """Add gradients to those of three neighbouring pixels that are the maximum; of the left one the place is `code`."""
    n = dy.shape[0]
    left, middle, right = g[:n], g[pitch : pitch + n], g[2 * pitch : 2 * pitch + n]
    for i in range(n):
        value, place = widen(dy[i]), position[i]
        left[i] += value if place == code else _f32(0)
        middle[i] += value if place == _u8(code + 1) else _f32(0)
        right[i] += value if place == _u8(code + 2) else _f32(0)


@compiled
def _gather_row(dy: Bits, position: Bits, g: Floats, row: int, width: int, span: int, o: Options) -> None:
    """Add the gradients dy (H', W', C) of pooled maps at the places of their maxima in input row `row`."""
    towers, window, stride = o.towers, o.window, o.stride
    channels = dy.shape[2] // towers
    pitch = towers * span
    g[:] = _f32(0)
    for out in range(max(0, (row - window) // stride + 1), min(dy.shape[0], row // stride + 1)):
        code = _u8((row - out * stride) * window)
        for x in range(dy.shape[1]):
            for tower in range(towers):
                source = dy[out, x, tower * channels : (tower + 1) * channels]
                where = position[out, x, tower * channels : (tower + 1) * channels]
                start = x * stride * pitch + tower * span
                if window == 3 and x * stride + 3 <= width:
                    _give_three(source, where, code, g[start : start + 2 * pitch + channels], pitch)
                    continue
                for dx in range(min(window, width - x * stride)):
                    target = g[start + dx * pitch : start + dx * pitch + channels]
                    for i in range(channels):
                        target[i] += widen(source[i]) if where[i] == _u8(code + dx) else _f32(0)


@compiled
def _gradient_band(x: Bits, dy: Bits, position: Bits, dx: Bits, first: int, last: int, o: Options) -> None:
    """Compute the rows first ... last - 1 of one image's gradient."""
    width, channels = x.shape[1:]
    span = channels // o.towers + o.size - 1
    n = width * o.towers * span
    r = np.zeros(n + o.size, np.float32)
    g = np.zeros(n, np.float32)
    s = np.empty(n, np.float32)
    t = np.zeros(n + o.size, np.float32)
    out = np.empty(n, np.float32)
    center = r[o.size // 2 : o.size // 2 + n]
    for row in range(first, last):
        if o.pool:
            _gather_row(dy, position, g, row, width, span, o)
        else:
            _load_row(dy[row], g, o.towers, 0, span, False)
        if o.normalize:
            _load_row(x[row], r, o.towers, o.size // 2, span, o.rectify)
            _normalize_row_gradient(r, g, s, t, out, o)
            if o.rectify:
                for p in range(n):
                    out[p] = _f32(0) if center[p] <= _f32(0) else out[p]
            _store_row(out, dx[row], o.towers, span)
        else:
            _store_row(g, dx[row], o.towers, span)


@compiled
def _count_bands(images: int, rows: int, threads: int) -> int:
    """Return into how many bands of rows an image is cut, so that every thread has work even on a few images."""
    if images >= 4 * threads:
        return 1
    return max(1, min(rows, -(-4 * threads // max(images, 1))))


@compiled_parallel
def forward(x: Bits, y: Bits, position: Bits, options: Options, threads: int) -> None:
    """Normalise, pool or both, from x to y, both NHWC.

    `position` receives the place of each maximum in its window (row * window + column), or NOWHERE; without pooling it
    is not used. `threads` is the number that work is spread over: it decides into how many bands images are cut, not
    what is computed. (Numba cannot cache a kernel that asks for it.)
    """
    rows = y.shape[1]
    bands = _count_bands(x.shape[0], rows, threads)
    for unit in numba.prange(x.shape[0] * bands):
        n, band = unit // bands, unit % bands
        first, last = band * rows // bands, (band + 1) * rows // bands
        _forward_band(x[n], y[n], position[n], first, last, options)


@compiled_parallel
def gradient(x: Bits, dy: Bits, position: Bits, dx: Bits, options: Options, threads: int) -> None:
    """Compute dx, the derivative by x for the gradient dy of `forward`'s output."""
    rows = dx.shape[1]
    bands = _count_bands(dx.shape[0], rows, threads)
    for unit in numba.prange(dx.shape[0] * bands):
        n, band = unit // bands, unit % bands
        first, last = band * rows // bands, (band + 1) * rows // bands
        _gradient_band(x[n], dy[n], position[n], dx[n], first, last, options)
