"""Whether a classifier that says 80 % is right in 80 of 100 cases (Guo, Pleiss, Sun, Weinberger 2017)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Ranges of confidence of equal width, as is usual."""


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
