"""How far a difference between two ways to train is known, when both the images and the seeds are samples.

The model of an error is mu + variant + seed + image + residual, a randomised block design. Seeds are blocks: a seed
fixes initial weights and the order of images for every variant. The residual between trainings has one variance for all
variants, which experiments on the same images with the same recipe estimate together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet.evaluation.metrics import Z_95

_FRACTION_TERMS = 300
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """What another seed changes in the difference of two trainings with the same seed."""

    variance: float
    freedom: int
    """Degrees of freedom; 0 where nothing is known."""

    @property
    def deviation(self) -> float:
        """Standard deviation, in the unit of the differences."""
        return math.sqrt(self.variance)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference with its uncertainty over images and seeds."""

    difference: float
    interval: tuple[float, float]
    """95 % interval by Student's t."""
    p_value: float
    """Two-sided p-value of no difference."""
    freedom: float


def block_spread(errors: Mapping[tuple[str, int], float]) -> SeedSpread:
    """Return the spread of a paired difference from errors by (variant, seed).

    Each variant counts once, so that a baseline which many are compared with is not counted again with each of them.
    The variance of a difference is twice the residual mean square of variants and seeds; degrees of freedom are those
    of the residuals.
    """
    variants = sorted({variant for variant, _ in errors})
    seeds = sorted({seed for _, seed in errors})
    design = np.zeros((len(errors), len(variants) + len(seeds)))
    for row, (variant, seed) in enumerate(errors):
        design[row, variants.index(variant)] = design[row, len(variants) + seeds.index(seed)] = 1
    values = np.array(list(errors.values()), np.float64)
    if not len(values):
        return SeedSpread(0.0, 0)
    freedom = len(values) - int(np.linalg.matrix_rank(design))
    if freedom == 0:
        return SeedSpread(0.0, 0)
    residuals = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return SeedSpread(2 * float(residuals @ residuals) / freedom, freedom)


def own_spread(differences: Sequence[float]) -> SeedSpread:
    """Return the spread of differences by seed from these alone."""
    if len(differences) < 2:
        return SeedSpread(0.0, 0)
    return SeedSpread(float(np.var(differences, ddof=1)), len(differences) - 1)


def image_variance(differences: NDArray[np.float64]) -> float:
    """Return what images add to the variance of the mean of (seeds, images) differences, beyond the spread of seeds.

    It is the variance of the mean over images less the part that differs between trainings, which the spread of seeds
    contains; never below 0. With one seed that part is unknown and stays.
    """
    seeds, images = map(int, differences.shape)
    by_image = differences.mean(axis=0)
    variance: float = float(by_image.var(ddof=1)) / images
    if seeds > 1:
        left = differences - by_image - differences.mean(axis=1, keepdims=True) + differences.mean()
        variance -= float((left**2).sum()) / ((seeds - 1) * (images - 1)) / (seeds * images)
    return max(variance, 0.0)


def interval_variance(interval: tuple[float, float]) -> float:
    """Return the variance behind a 95 % interval over images, where no errors by image are kept.

    The part that differs between trainings is in it and in the spread of seeds, so that intervals are too wide rather
    than too narrow.
    """
    return ((interval[1] - interval[0]) / (2 * Z_95)) ** 2


def estimate(difference: float, seeds: int, spread: SeedSpread, over_images: float) -> Estimate | None:
    """Return a mean of paired differences over so many seeds with its interval; None where no spread is known.

    The variance is spread / seeds + over_images. Degrees of freedom are Satterthwaite's, without limit for images.
    """
    if not spread.freedom or not seeds:
        return None
    by_seed = spread.variance / seeds
    variance = by_seed + over_images
    if variance == 0:
        return Estimate(difference, (difference, difference), float(difference == 0), math.inf)
    freedom = float(spread.freedom * (variance / by_seed) ** 2) if by_seed else 1e9
    half = t_quantile(0.975, freedom) * math.sqrt(variance)
    p_value = t_tails(abs(difference) / math.sqrt(variance), freedom)
    return Estimate(difference, (difference - half, difference + half), p_value, freedom)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda position: p_values[position])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = highest
    return corrected


def seeds_to_resolve(difference: float, spread: SeedSpread, over_images: float) -> int | None:
    """Return the seeds from which on a 95 % interval is no wider than plus and minus a difference.

    Args:
        over_images: Variance that more seeds do not lower.
    Returns:
        None where the images are too few for any number of seeds.
    """
    room = (difference / Z_95) ** 2 - over_images
    return math.ceil(spread.variance / room) if room > 0 else None


def t_tails(t: float, freedom: float) -> float:
    """Return the probability that Student's t lies beyond plus and minus t, at least 0."""
    return _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def t_quantile(probability: float, freedom: float) -> float:
    """Return the t below which Student's t lies with a probability of 0.5 to 1."""
    low, high = 0.0, 1.0
    while t_tails(high, freedom) / 2 > 1 - probability:
        high *= 2
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tails(middle, freedom) / 2 > 1 - probability else (low, middle)
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function of x in [0, 1], by its continued fraction (Lentz's method)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    value, c, d = 1.0, 1.0, 0.0
    for term in range(_FRACTION_TERMS):
        half = term // 2
        if term == 0:
            numerator = 1.0
        elif term % 2 == 0:
            numerator = half * (b - half) * x / ((a + term - 1) * (a + term))
        else:
            numerator = -(a + half) * (a + b + half) * x / ((a + term - 1) * (a + term))
        d = 1 / (1 + numerator * d or _TINY)
        c = 1 + numerator / c or _TINY
        value *= c * d
        if abs(1 - c * d) < 1e-14:
            break
    return math.exp(front) * (value - 1) / a
