"""Error rates from probabilities, with their tie rule and their uncertainty."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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


def wilson_interval(errors: float, count: int, *, z: float = 1.959964) -> tuple[float, float]:
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
