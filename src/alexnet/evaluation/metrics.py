"""Error rates from probabilities, with their tie rule and their uncertainty."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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

    The classes count alike, however many images they have; those without images are left out. The interval is normal:
    the variance of a class is p (1 - p) / n with the rate p after z**2 / 2 errors and as many right answers more (as
    Agresti and Coull 1998 have it), since a class of few images without an error is not known to have none.

    Args:
        errors: Errors of each class; may be fractional after ties.
        counts: Images of each class; of one at least more than 0.
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
    best = probabilities == probabilities.max(1, keepdim=True).values
    share = 1 / best.sum(1).clamp(min=1).double()
    share = torch.where(torch.isfinite(probabilities).all(1), share, 0)
    rows, columns = best.nonzero(as_tuple=True)
    answered = torch.bincount(columns, weights=share[rows], minlength=classes)
    right = torch.bincount(labels, weights=top_k_credit(probabilities, labels, 1), minlength=classes)
    images = torch.bincount(labels, minlength=classes)
    return torch.where(images > 0, 2 * right / (images + answered), torch.nan)
