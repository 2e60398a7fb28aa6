"""Classes of which a picture may have any number: each output of the last layer is a logistic of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alexnet.network.confidence import MEASURED_VIEWS

if TYPE_CHECKING:
    from torch import Tensor

NO_CLASS = "none"
"""What is answered for a picture in which no class is above its threshold."""

HALF = 0.5
"""Threshold of a class for which none was found."""


@dataclass(frozen=True, slots=True)
class Independent:
    """Thresholds of the probabilities at which classes are said to be in a picture."""

    thresholds: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    """Number of views, one of MEASURED_VIEWS -> (K,) thresholds, in (0, 1); empty before they were found."""

    def for_views(self, num_views: int, num_classes: int) -> NDArray[np.float64]:
        """Return the (K,) thresholds for a number of views: of the centre for one, of ten for more; else HALF."""
        if not self.thresholds:
            return np.full(num_classes, HALF)
        return np.array(self.thresholds[1 if num_views == 1 else 10], np.float64)


def read_thresholds(document: Mapping[str, object], num_classes: int) -> dict[int, tuple[float, ...]]:
    """Return the thresholds of a model file's document by number of views; none where it holds none.

    Raises:
        ValueError: they are not one for each class and each of MEASURED_VIEWS, or one lies outside (0, 1).
    """
    if not document:
        return {}
    found = {views: tuple(map(float, document[str(views)])) for views in MEASURED_VIEWS}  # type: ignore[call-overload]
    if len(document) != len(found) or not all(
        len(own) == num_classes and all(0 < value < 1 for value in own) for own in found.values()
    ):
        raise ValueError("its thresholds are not one for each class")
    return found


def to_probabilities(logits: "Tensor", *, independent: bool) -> "Tensor":
    """Return the probabilities of (N, K) logits: their softmax, or of independent classes the logistic of each."""
    return logits.sigmoid() if independent else logits.softmax(1)


def to_log_probabilities(logits: "Tensor", *, independent: bool) -> "Tensor":
    """Return the logarithms of `to_probabilities`."""
    from torch.nn.functional import logsigmoid

    return logsigmoid(logits) if independent else logits.log_softmax(1)
