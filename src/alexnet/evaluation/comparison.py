"""Two classifiers on the same images: the difference of their errors, not two errors side by side."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.text.wording import counted

RESAMPLES = 2000
"""Bootstrap samples of images behind an interval."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired differences of top-1 errors; rates are fractions."""

    difference: float
    """Error of the second less that of the first: negative where the second is better."""
    interval: tuple[float, float]
    """95 %, from resampling images in pairs."""
    only_first: int
    """Images that only the first gets wrong."""
    only_second: int
    p_value: float
    """Two-sided exact McNemar test: the chance of so uneven a split of these images between equals."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs."""
        return asdict(self)


def compare_errors(first: NDArray[np.float64], second: NDArray[np.float64]) -> Comparison:
    """Return the paired comparison of (N,) top-1 errors on the same images, in the same order.

    Args:
        first, second: 1 where wrong, 0 where right; means over several trainings lie between and count as wrong from
            one half on in McNemar's test.
    Raises:
        ConfigError: they are of different images, or of none.
    """
    if first.shape != second.shape or not len(first):
        raise ConfigError(f"errors of {len(first):,} and {counted(len(second), 'image')} cannot be compared in pairs.")
    only_first = int(((first >= 0.5) & (second < 0.5)).sum())
    only_second = int(((second >= 0.5) & (first < 0.5)).sum())
    return Comparison(
        float((second - first).mean()),
        resample_mean(second - first),
        only_first,
        only_second,
        mcnemar_p_value(only_first, only_second),
    )


def resample_mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of (N,) values; the same for the same values."""
    generator = np.random.default_rng(0)
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p-value that so many images fall on either side by chance (McNemar 1947)."""
    count, fewer = only_first + only_second, min(only_first, only_second)
    if count == 0:
        return 1.0
    # In logarithms, as 2**-count underflows from a thousand images on.
    terms = [math.lgamma(count + 1) - math.lgamma(i + 1) - math.lgamma(count - i + 1) for i in range(fewer + 1)]
    top = max(terms)
    tail = math.exp(top - count * math.log(2)) * sum(math.exp(term - top) for term in terms)
    return min(1.0, 2 * tail)
