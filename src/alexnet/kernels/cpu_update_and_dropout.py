"""Numba kernels for the weight update and for dropout on the CPU: one pass over memory each."""

import numba
import numpy as np
import numpy.typing as npt

from alexnet.kernels.cpu_bits import Bits, Floats, compiled_exactly, compiled_parallel, narrow, widen

_u32, _u64, _f32 = np.uint32, np.uint64, np.float32
_CHUNK = 1 << 16  # elements that one thread takes at a time


@compiled_exactly
def _update_chunk(
    weight: Floats,
    velocity: Floats,
    gradient: Bits,
    working: Bits,
    average: Floats,
    rate: np.float32,
    momentum: np.float32,
    shrinkage: np.float32,
    share: np.float32,
) -> None:
    if working.shape[0]:
        for i in range(weight.shape[0]):
            v = momentum * velocity[i] - shrinkage * weight[i] - rate * widen(gradient[i])
            w = weight[i] + v
            velocity[i] = v
            weight[i] = w
            working[i] = narrow(w, working)
    else:
        for i in range(weight.shape[0]):
            v = momentum * velocity[i] - shrinkage * weight[i] - rate * widen(gradient[i])
            velocity[i] = v
            weight[i] += v
    for i in range(average.shape[0]):  # the chunk's weights are still in the cache
        average[i] += share * (weight[i] - average[i])


@compiled_parallel
def update(
    weight: Floats,
    velocity: Floats,
    gradient: Bits,
    working: Bits,
    average: Floats,
    rate: float,
    momentum: float,
    shrinkage: float,
    share: float,
) -> None:
    """Apply one update to flat arrays in place; `shrinkage` is decay * rate, `working` and `average` may be empty.

    Ceiling: memory. A weight moves 8 bytes in and 8 out, plus 4 or 2 in for its gradient, 2 out for its working copy
    and 8 for its average: 20 bytes with a bfloat16 gradient and a working copy, 28 with an average.
    """
    n = weight.shape[0]
    for chunk in numba.prange(-(-n // _CHUNK)):
        a, b = chunk * _CHUNK, min((chunk + 1) * _CHUNK, n)
        _update_chunk(
            weight[a:b],
            velocity[a:b],
            gradient[a:b],
            working[a:b],
            average[a:b],
            _f32(rate),
            _f32(momentum),
            _f32(shrinkage),
            _f32(share),
        )


@compiled_exactly
def _mix64(z: np.uint64) -> np.uint64:
    z = z + _u64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> _u64(30))) * _u64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _u64(27))) * _u64(0x94D049BB133111EB)
    return z ^ (z >> _u64(31))


@compiled_exactly
def _drop_sample(
    x: Bits, y: Bits, first: np.uint32, second: np.uint32, threshold: np.uint32, first_feature: np.uint32
) -> None:
    for j in range(x.shape[0]):
        h = _u32((_u32(j) + first_feature) * _u32(0x9E3779B1) + first)
        h = _u32((h ^ (h >> _u32(16))) * _u32(0x21F0AAAD))
        h = _u32((h ^ (h >> _u32(15))) + second)
        h = _u32((h ^ (h >> _u32(16))) * _u32(0x735A2D97))
        h = _u32(h ^ (h >> _u32(15)))
        y[j] = narrow(widen(x[j]) * (_f32(1) if h >= threshold else _f32(0)), y)


@compiled_parallel
def drop(
    x: Bits, y: Bits, keys: npt.NDArray[np.int64], layer: np.uint64, threshold: np.uint32, first_feature: int
) -> None:
    """y = x * mask, samples along the first axis; the hash is described in `alexnet.kernels.plain.dropout_mask`."""
    for n in numba.prange(x.shape[0]):
        seed = _mix64(_mix64(_u64(keys[n])) ^ layer)
        _drop_sample(x[n], y[n], _u32(seed & _u64(0xFFFFFFFF)), _u32(seed >> _u64(32)), threshold, _u32(first_feature))
