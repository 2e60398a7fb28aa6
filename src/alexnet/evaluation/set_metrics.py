"""How well classes are told of which a picture may have any number: average precision, F1 and thresholds of each."""

import numpy as np
from numpy.typing import NDArray

from alexnet.network.independent import HALF


def average_precision(scores: NDArray[np.float32], is_there: NDArray[np.bool_]) -> float:
    """Return the area under the precision-recall curve of a class; NaN where no image has it.

    The sum over the distinct scores, from the highest down, of the rise of the recall times the precision there: not
    interpolated. Images of one score are taken together, so that their order means nothing; a class whose scores are
    all equal has the share of its images.

    Args:
        scores: (N,); any monotone score serves as well. One that is not finite counts as the lowest.
        is_there: (N,) whether each image has the class.
    """
    if not is_there.any():
        return float("nan")
    answered, right = _count_from_above(scores, is_there)
    rise = np.diff(right, prepend=0)
    return float((rise * (right / answered)).sum() / right[-1])


def find_threshold(scores: NDArray[np.float32], is_there: NDArray[np.bool_]) -> float:
    """Return the probability from which on a class is said to be there, for the best F1 on these images.

    It lies in the middle between the lowest probability that is accepted and the next one below, or 0 where there is
    none; of several that are equally good, the highest. HALF where no image has the class.
    """
    if not is_there.any():
        return HALF
    answered, right = _count_from_above(scores, is_there)
    f1 = 2 * right / (answered + is_there.sum())
    levels = np.append(np.unique(_finite(scores))[::-1].astype(np.float64), 0.0)
    best = int(f1.argmax())
    middle = (levels[best] + max(levels[best + 1], 0.0)) / 2
    return float(np.clip(middle, np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg))


def _count_from_above(
    scores: NDArray[np.float32], is_there: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each distinct score, the highest first: how many images have it or more, and how many of them the class."""
    _, place = np.unique(-_finite(scores), return_inverse=True)
    answered = np.cumsum(np.bincount(place))
    right = np.cumsum(np.bincount(place, weights=is_there)).astype(np.int64)
    return answered, right


def _finite(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isfinite(scores), scores, np.float32(-1))


def count_answers(
    said: NDArray[np.bool_], is_there: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each of K classes, how often it was said rightly, said wrongly, and missed: of two (N, K)."""
    return (said & is_there).sum(0), (said & ~is_there).sum(0), (~said & is_there).sum(0)


def f1_of_counts(right: NDArray[np.int64], false: NDArray[np.int64], missed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 2 right / (2 right + false + missed); NaN for a class that no image has."""
    there = right + missed > 0
    scores = np.full(right.shape, np.nan)
    return np.asarray(np.divide(2 * right, 2 * right + false + missed, out=scores, where=there))
