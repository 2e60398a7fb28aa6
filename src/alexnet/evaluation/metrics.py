"""Error rates and calibration from probabilities, with their tie rule and their uncertainty."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.errors import ConfigError
from alexnet.text.wording import counted

ROWS_AT_A_TIME = 4096
"""Images whose probabilities are compared at a time: all 50,000 of ImageNet's test together took 2 GB for what is
counted in between."""
Z_95 = 1.959964
"""Standard deviations of a normal distribution within which 95 % of it lies."""


def top_k_credit(probabilities: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return, for each image, the probability in [0, 1] that its label is among the k best classes.

    1 or 0, except where classes tie for the last places: with b classes strictly above the label and t equal to it
    (itself included), the credit is (k - b) / t, the chance of being picked among equals. So equal probabilities for
    1000 classes give a top-1 error of 0.999, not 0. Probabilities that are not finite earn nothing.

    Args:
        probabilities: (N, K); any monotone score serves as well.
        labels: (N,) int64.
        k: At least 1.
    Returns:
        (N,) float64.
    Source: 2012 source, layer_kernels.cu 96-118.
    """
    parts = zip(torch.split(probabilities, ROWS_AT_A_TIME), torch.split(labels, ROWS_AT_A_TIME), strict=True)
    return torch.cat([_credit_rows(rows, own, k) for rows, own in parts])


def _credit_rows(probabilities: Tensor, labels: Tensor, k: int) -> Tensor:
    own = probabilities.gather(1, labels[:, None])
    above = (probabilities > own).sum(1)
    equal = (probabilities == own).sum(1)
    credit = ((k - above).clamp(min=0).double() / equal.clamp(min=1)).clamp(max=1)
    return torch.where(torch.isfinite(probabilities).all(1), credit, torch.zeros_like(credit))


def find_errors(probabilities: NDArray[np.float32], labels: NDArray[np.int64], k: int = 1) -> NDArray[np.float64]:
    """Return, for each of N images, the probability in [0, 1] that its label is not among the k best classes.

    Its mean is the top-k error, ties included; see `top_k_credit`.
    """
    return (1 - top_k_credit(torch.from_numpy(probabilities), torch.from_numpy(labels), k)).numpy()


def wilson_interval(errors: float, count: int, *, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a rate, 95 % unless z says otherwise.

    Args:
        errors: Number of errors; may be fractional after ties.
        count: Number of images; 0 gives (0, 1).
    """
    if count == 0:
        return 0.0, 1.0
    rate = errors / count
    denominator = 1 + z * z / count
    center = (rate + z * z / (2 * count)) / denominator
    half = z / denominator * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return max(0.0, center - half), min(1.0, center + half)


def balanced_error(errors: Sequence[float], counts: Sequence[int], *, z: float = Z_95) -> tuple[float, float, float]:
    """Return the mean over classes of their error rates, and both ends of its interval, 95 % unless z says otherwise.

    Every class counts the same, however many images it has; those without images are left out. The interval is normal.
    The variance of a class is p (1 - p) / n, where p is its rate after z**2 / 2 more errors and as many right answers
    (Agresti and Coull 1998): a class of few images without an error may still have a rate above 0.

    Args:
        errors: Errors of each class; may be fractional after ties.
        counts: Images of each class; at least one is above 0.
    """
    tested = np.array(counts) > 0
    wrong, images = np.array(errors, np.float64)[tested], np.array(counts, np.float64)[tested]
    mean = float((wrong / images).mean())
    rates = (wrong + z * z / 2) / (images + z * z)
    half = z * math.sqrt(float((rates * (1 - rates) / images).sum())) / len(images)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def f1_scores(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return (K,) float64: for each class 2 TP / (2 TP + FP + FN), NaN for a class without images.

    Classes that tie for the best share an answer; probabilities that are not finite answer nothing, see
    `top_k_credit`.

    Args:
        probabilities: (N, K); labels: (N,) int64.
    """
    classes = probabilities.shape[1]
    answered = torch.zeros(classes, dtype=torch.float64)
    for part in torch.split(probabilities, ROWS_AT_A_TIME):
        best = part == part.max(1, keepdim=True).values
        share = 1 / best.sum(1).clamp(min=1).double()
        share = torch.where(torch.isfinite(part).all(1), share, 0)
        rows, columns = best.nonzero(as_tuple=True)
        answered += torch.bincount(columns, weights=share[rows], minlength=classes)
    right = torch.bincount(labels, weights=top_k_credit(probabilities, labels, 1), minlength=classes)
    images = torch.bincount(labels, minlength=classes)
    return torch.where(images > 0, 2 * right / (images + answered), torch.nan)


BINS = 15
"""Ranges of confidence of equal width, as is usual."""

TEMPERATURES = (0.05, 20.0)
"""Lowest and highest temperature that is found. Beyond them images are too few, or too easy, to tell."""

_HALVINGS = 40
"""Times that the range of their logarithms is halved, to 6 / 2**40."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Confidence (the highest probability) against accuracy, by ranges of confidence."""

    expected_error: float
    """Expected calibration error: the mean over images of |accuracy - confidence| of their range."""
    lower: tuple[float, ...]
    """Lower end of each range, which is open below and closed above."""
    images: tuple[int, ...]
    confidence: tuple[float | None, ...]
    """Mean confidence in each range; None where it is empty."""
    accuracy: tuple[float | None, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs."""
        return {"expected_calibration_error": self.expected_error, "images": list(self.images),
                "confidence": list(self.confidence), "accuracy": list(self.accuracy)}  # fmt: skip


def measure_calibration(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], *, bins: int = BINS
) -> Calibration:
    """Return the calibration of (N, K) probabilities against (N,) labels; N is at least 1."""
    confidence = probabilities.max(1).astype(np.float64)
    right = (probabilities.argmax(1) == labels).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    confident = np.bincount(place, weights=confidence, minlength=bins).astype(np.float64)
    correct = np.bincount(place, weights=right, minlength=bins).astype(np.float64)
    gaps = np.abs(confident - correct).sum() / len(labels)

    def means(sums: NDArray[np.float64]) -> tuple[float | None, ...]:
        return tuple(float(total / count) if count else None for total, count in zip(sums, counts, strict=True))

    return Calibration(
        float(gaps), tuple(i / bins for i in range(bins)), tuple(counts.tolist()), means(confident), means(correct)
    )


def fit_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the temperature in TEMPERATURES with the lowest cross-entropy of the scaled probabilities.

    In 1 / temperature the cross-entropy is convex, so its one minimum is found by halving where its slope is 0.

    Args:
        probabilities: (N, K), means over views or models as they are; N at least 1. Those of 0 count as 1e-30.
        labels: (N,) class indices.
    Source: Guo, Pleiss, Sun, Weinberger 2017; see `network.confidence.scale_probabilities`.
    """
    logs = np.log(np.maximum(probabilities, 1e-30, dtype=np.float64))
    of_labels = logs[np.arange(len(labels)), labels].mean()

    def slope(inverse: float) -> float:
        """Slope of the cross-entropy along 1 / temperature: expected logarithms less those of the labels."""
        powers = np.exp(inverse * (logs - logs.max(1, keepdims=True)))
        return float(((powers * logs).sum(1) / powers.sum(1)).mean() - of_labels)

    low, high = map(math.log, TEMPERATURES)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if slope(math.exp(-middle)) <= 0:  # the loss falls towards a lower temperature
            high = middle
        else:
            low = middle
    return math.exp((low + high) / 2)


RESAMPLES = 2000
"""Bootstrap samples of images behind an interval."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired differences of top-1 errors; rates are fractions."""

    difference: float
    """Error of the second less that of the first: negative where the second is better."""
    interval: tuple[float, float]
    """95 % interval, from resampling images in pairs."""
    only_first: int
    """Images that only the first gets wrong."""
    only_second: int
    p_value: float
    """Two-sided exact McNemar test: how probable so uneven a split is between equally good models."""

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
