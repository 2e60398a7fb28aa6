"""Whether a classifier that says 80 % is right in 80 of 100 cases (Guo, Pleiss, Sun, Weinberger 2017)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Ranges of confidence of equal width, as is usual."""

TEMPERATURES = (0.05, 20.0)
"""Lowest and highest temperature that is found: beyond them, images are too few or too easy to tell one."""

_HALVINGS = 40
"""Of the logarithms between them: 40 leave 6 / 2**40, less than the temperature means."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Confidence (the highest probability) against accuracy, by ranges of confidence."""

    expected_error: float
    """Expected calibration error: the mean over images of |accuracy - confidence| of their range."""
    lower: tuple[float, ...]
    """Lower end of each range; a range has its upper end."""
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
        """Of the cross-entropy along 1 / temperature: what the scaled probabilities expect less what came."""
        powers = np.exp(inverse * (logs - logs.max(1, keepdims=True)))
        return float(((powers * logs).sum(1) / powers.sum(1)).mean() - of_labels)

    low, high = map(math.log, TEMPERATURES)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if slope(math.exp(-middle)) <= 0:  # better with a larger inverse, a lower temperature
            high = middle
        else:
            low = middle
    return math.exp((low + high) / 2)
