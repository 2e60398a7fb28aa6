"""How sure a model is: temperatures of its probabilities, and the distance at which a picture is none of its classes.

Both were measured on validation images by `evaluation.calibrating`, and are part of the model file.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN = "unknown"
"""What is answered for a picture that is none of the classes."""

MEASURED_VIEWS = (1, 10)
"""Numbers of views that temperatures and thresholds are measured for; see `for_views`."""


def for_views(values: Mapping[int, float], num_views: int) -> float:
    """Return the value for a number of views: that of the centre view for one, that of ten views for more."""
    return values[1 if num_views == 1 else 10]


def scale_probabilities(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Return p ** (1 / temperature), normalised, for (N, K) probabilities p; their order stays.

    Of one view p is softmax(z), and this is softmax(z / temperature) (Guo, Pleiss, Sun, Weinberger 2017). It needs no
    logits, so that it applies to means over views and models as well.
    """
    largest = probabilities.max(1, keepdims=True)
    powers = np.divide(probabilities, largest, dtype=np.float64) ** (1 / temperature)
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


@dataclass(frozen=True, slots=True)
class Rejection:
    """When a model answers "unknown": where the features are far from those of the images it learned.

    Features are the inputs of the last layer, the mean over the views: in the paper's network those of section 6.1.
    """

    references: NDArray[np.float32]
    """(M, D) features of training images of every class, in their centre view."""
    thresholds: Mapping[int, float]
    """Number of views -> the largest distance that is accepted."""
    share: float
    """Share of the validation images that lie beyond the thresholds; in (0, 1)."""

    def measure(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the distances (N,) of (N, D) features: 1 - cosine to the nearest reference, 0 to 2.

        What has length 0 has distance 1.
        """
        cosines = unit_rows(features) @ unit_rows(self.references).T
        return np.asarray(1 - cosines.max(1), np.float32)

    def threshold(self, num_views: int) -> float:
        """Return the largest distance that is accepted with so many views."""
        return for_views(self.thresholds, num_views)


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows divided by their Euclidean lengths; those of length 0 stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0), np.float32)
