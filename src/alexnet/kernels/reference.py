"""What each kernel means: NumPy, float64, the formulas written out. The truth for tests and benchmarks; slow.

Arrays are NCHW. Each function has its derivative beside it: the gradient of a sum weighted by `dy`, written from the
formula, not from another version's code. Arguments are taken as checked.
"""

import math

import numpy as np
import numpy.typing as npt

from alexnet.kernels.rules import NOWHERE, pooled_length, window_reach

Array = npt.NDArray[np.float64]


def rectify(x: Array) -> Array:
    """Return max(x, 0), NaN where x is NaN."""
    return np.where(x < 0, 0.0, x)


def rectify_gradient(x: Array, dy: Array) -> Array:
    """Pass dy where x is above zero."""
    return np.where(x <= 0, 0.0, dy)


def window_of(channel: int, channels: int, size: int, towers: int) -> range:
    """Return the channels that a channel is normalised by: `size` around it, cut off at the ends of its tower."""
    before, after = window_reach(size)
    width = channels // towers
    first = channel // width * width
    return range(max(first, channel - before), min(first + width, channel + after + 1))


def normalize_responses(x: Array, *, size: int, k: float, alpha: float, beta: float, towers: int) -> Array:
    """y_i = x_i / (k + alpha * sum of x_j**2 over the window of i) ** beta."""
    return x * _divisors(x, size, k, alpha, towers) ** -beta


def normalize_responses_gradient(
    x: Array, dy: Array, *, size: int, k: float, alpha: float, beta: float, towers: int
) -> Array:
    """dx_j = dy_j d_j**-beta - 2 alpha beta x_j * sum of dy_i y_i / d_i over the i whose window holds j."""
    d = _divisors(x, size, k, alpha, towers)
    y = x * d**-beta
    dx = dy * d**-beta
    for i in range(x.shape[1]):
        for j in window_of(i, x.shape[1], size, towers):
            dx[:, j] -= 2 * alpha * beta * x[:, j] * dy[:, i] * y[:, i] / d[:, i]
    return dx


def pool_maximum(x: Array, *, window: int, stride: int, floor: bool) -> tuple[Array, npt.NDArray[np.uint8]]:
    """Return the maximum of each window, and its position there: row * window + column of the first of equals.

    With `floor`, zero takes part in every window and comes first: its position is NOWHERE.
    """
    height, width = (pooled_length(n, window, stride) for n in x.shape[2:])
    y = np.full((*x.shape[:2], height, width), 0.0 if floor else -np.inf)
    position = np.full(y.shape, NOWHERE if floor else 0, np.uint8)
    for row in range(height):
        for column in range(width):
            for dy in range(min(window, x.shape[2] - row * stride)):
                for dx in range(min(window, x.shape[3] - column * stride)):
                    value = x[:, :, row * stride + dy, column * stride + dx]
                    larger = (value > y[:, :, row, column]) | np.isnan(value)
                    y[:, :, row, column][larger] = value[larger]
                    position[:, :, row, column][larger] = dy * window + dx
    return y, position


def pool_maximum_gradient(
    shape: tuple[int, ...], dy: Array, position: npt.NDArray[np.uint8], *, window: int, stride: int
) -> Array:
    """Add each dy to the place of its window's maximum."""
    dx = np.zeros(shape)
    for n, channel, row, column in np.ndindex(dy.shape):
        code = int(position[n, channel, row, column])
        if code != NOWHERE:
            place = (n, channel, row * stride + code // window, column * stride + code % window)
            dx[place] += dy[n, channel, row, column]
    return dx


def spatially_normalize_responses(x: Array, *, size: int, scale: float, beta: float, k: float) -> Array:
    """y = x / (k + scale * sum of x**2 over the size x size patch around the place) ** beta."""
    return x * _patch_divisors(x, size, scale, k) ** -beta


def spatially_normalize_responses_gradient(
    x: Array, dy: Array, *, size: int, scale: float, beta: float, k: float
) -> Array:
    """Differentiate as across channels: every patch passes its share to each of its places."""
    d = _patch_divisors(x, size, scale, k)
    share = dy * x * d ** (-beta - 1)
    dx = dy * d**-beta
    for row, column in np.ndindex(x.shape[2:]):
        patch = _patch(row, column, x.shape, size)
        dx[patch] -= 2 * scale * beta * x[patch] * share[:, :, row, column][:, :, None, None]
    return dx


def gather_patches(x: Array, *, window: int, stride: int, before: int, after: int) -> Array:
    """Return the windows (places, N, window * window * C), in the order h, w, C."""
    padded = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    places = [
        padded[:, :, top : top + window, left : left + window]
        .transpose(0, 2, 3, 1)
        .reshape(len(x), window**2 * x.shape[1])
        for top in range(0, padded.shape[2] - window + 1, stride)
        for left in range(0, padded.shape[3] - window + 1, stride)
    ]
    return np.stack(places)


def gather_patches_gradient(
    shape: tuple[int, ...], dy: Array, *, window: int, stride: int, before: int, after: int
) -> Array:
    """Each pixel gets the sum over the windows that hold it."""
    dx = np.zeros((shape[0], shape[1], shape[2] + before + after, shape[3] + before + after))
    columns = (dx.shape[3] - window) // stride + 1
    for place, patches in enumerate(dy):
        top, left = place // columns * stride, place % columns * stride
        pixels = patches.reshape(shape[0], window, window, shape[1]).transpose(0, 3, 1, 2)
        dx[:, :, top : top + window, left : left + window] += pixels
    return dx[:, :, before : before + shape[2], before : before + shape[3]]


def update_weights(
    weight: Array, velocity: Array, gradient: Array, *, rate: float, momentum: float, decay: float
) -> tuple[Array, Array]:
    """Return the weight and the velocity after one step of the paper's rule; both unchanged for a rate of zero."""
    if rate == 0:
        return weight, velocity
    velocity = momentum * velocity - decay * rate * weight - rate * gradient
    return weight + velocity, velocity


def follow_weights(average: Array, weight: Array, *, share: float) -> Array:
    """Return averaged weights (Polyak and Juditsky 1992, with exponential weights) after one more."""
    return (1 - share) * average + share * weight


def dropout_mask(keys: list[int], features: int, *, p: float, layer: int) -> npt.NDArray[np.bool_]:
    """Return which features are kept, (N, features): the hash of `alexnet.kernels.plain`, in Python's integers."""
    mask = np.zeros((len(keys), features), np.bool_)
    for n, key in enumerate(keys):
        seed = _mix64(_mix64(key) ^ (layer * 0x9E3779B97F4A7C15 & (1 << 63) - 1))
        first, second = seed & 0xFFFFFFFF, seed >> 32
        for j in range(features):
            h = (j * 0x9E3779B1 + first) % 2**32
            h = (h ^ h >> 16) * 0x21F0AAAD % 2**32
            h = ((h ^ h >> 15) + second) % 2**32
            h = (h ^ h >> 16) * 0x735A2D97 % 2**32
            mask[n, j] = (h ^ h >> 15) >= math.ceil(p * 2**32)
    return mask


def _mix64(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def _divisors(x: Array, size: int, k: float, alpha: float, towers: int) -> Array:
    d = np.full(x.shape, k)
    for i in range(x.shape[1]):
        for j in window_of(i, x.shape[1], size, towers):
            d[:, i] += alpha * x[:, j] ** 2
    return d


def _patch(row: int, column: int, shape: tuple[int, ...], size: int) -> tuple[slice, ...]:
    before, after = window_reach(size)
    rows = slice(max(0, row - before), min(shape[2], row + after + 1))
    columns = slice(max(0, column - before), min(shape[3], column + after + 1))
    return slice(None), slice(None), rows, columns


def _patch_divisors(x: Array, size: int, scale: float, k: float) -> Array:
    d = np.full(x.shape, k)
    for row, column in np.ndindex(x.shape[2:]):
        d[:, :, row, column] += scale * (x[_patch(row, column, x.shape, size)] ** 2).sum(axis=(2, 3))
    return d
