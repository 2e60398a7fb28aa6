"""Random numbers without state: a hash of (seed, epoch, sample index, purpose).

Because every number is a pure function of these four, a sample gets the same crop, reflection, colour noise and dropout
mask whatever the batch it is in, however many workers or processes there are, and after a resume.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Purpose(IntEnum):
    """What a random number is for; each purpose has a stream of its own."""

    CROP_Y = 1
    CROP_X = 2
    REFLECTION = 3
    COLOR_RADIUS = 4
    COLOR_ANGLE = 5
    COLOR_RADIUS_2 = 6
    COLOR_ANGLE_2 = 7
    DROPOUT = 8
    CROP_AREA = 9
    CROP_ASPECT = 10
    MIXTURE = 11
    ERASED = 12
    ERASED_AREA = 13
    ERASED_ASPECT = 14
    ERASED_Y = 15
    ERASED_X = 16


_MASK = (1 << 64) - 1


def hash_samples(indices: NDArray[np.int64], *, seed: int, epoch: int, purpose: Purpose) -> NDArray[np.uint64]:
    """Return one 64-bit hash per sample index (SplitMix64's finaliser, Steele, Lea and Flood 2014)."""
    start = 0
    for part in (seed, epoch, int(purpose)):
        start = _mix_integer(start ^ (part & _MASK))
    return _mix(indices.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start))


def draw_uniform(indices: NDArray[np.int64], *, seed: int, epoch: int, purpose: Purpose) -> NDArray[np.float64]:
    """Return one number in [0, 1) per sample index, with 53 random bits."""
    bits = hash_samples(indices, seed=seed, epoch=epoch, purpose=purpose) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def draw_integer(
    indices: NDArray[np.int64], upper: int, *, seed: int, epoch: int, purpose: Purpose
) -> NDArray[np.int64]:
    """Return one integer in 0 .. upper - 1 per sample index."""
    return (draw_uniform(indices, seed=seed, epoch=epoch, purpose=purpose) * upper).astype(np.int64)


def draw_normal_triple(indices: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.float64]:
    """Return (N, 3) standard normal numbers, by the Box-Muller transform of four uniform ones."""
    uniform = {
        purpose: draw_uniform(indices, seed=seed, epoch=epoch, purpose=purpose)
        for purpose in (Purpose.COLOR_RADIUS, Purpose.COLOR_ANGLE, Purpose.COLOR_RADIUS_2, Purpose.COLOR_ANGLE_2)
    }
    radius = np.sqrt(-2 * np.log1p(-uniform[Purpose.COLOR_RADIUS]))
    angle = 2 * np.pi * uniform[Purpose.COLOR_ANGLE]
    radius_2 = np.sqrt(-2 * np.log1p(-uniform[Purpose.COLOR_RADIUS_2]))
    angle_2 = 2 * np.pi * uniform[Purpose.COLOR_ANGLE_2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), radius_2 * np.cos(angle_2)], axis=1)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _mix_integer(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
