"""Average precision, F1 and thresholds of classes of which a picture may have any number."""

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
    """Return the threshold of a class's probability with the best F1 on these images.

    It lies halfway between the lowest accepted probability and the next lower one, or 0 without one. Of several that
    are equally good it is the highest. HALF where no image has the class.
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
    """Count, for each distinct score from the highest, the images that reach it, and those of the class."""
    _, place = np.unique(-_finite(scores), return_inverse=True)
    answered = np.cumsum(np.bincount(place))
    right = np.cumsum(np.bincount(place, weights=is_there)).astype(np.int64)
    return answered, right


def _finite(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isfinite(scores), scores, np.float32(-1))


def count_answers(
    said: NDArray[np.bool_], is_there: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return how often each of K classes was said rightly, said falsely, and missed, from two (N, K) arrays."""
    return (said & is_there).sum(0), (said & ~is_there).sum(0), (~said & is_there).sum(0)


def f1_of_counts(right: NDArray[np.int64], false: NDArray[np.int64], missed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 2 right / (2 right + false + missed); NaN for a class that no image has."""
    there = right + missed > 0
    scores = np.full(right.shape, np.nan)
    return np.asarray(np.divide(2 * right, 2 * right + false + missed, out=scores, where=there))
