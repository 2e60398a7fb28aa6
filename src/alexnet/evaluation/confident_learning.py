"""Which labels are doubtful: confident learning (Northcutt, Jiang and Chuang, 2021) on out-of-fold probabilities.

A class is believed of an image when its probability reaches what images of that label get on average (section 3.1). So
a class that the network is timid about needs less than one that it calls out often. The confident joint counts images
by label and by the most probable believed class; its rows say which share of each label is wrong. Of each label so many
images are suspects, namely those to which it is least probable ("prune by class", section 3.2).

On labels that were changed on purpose this found more of them than the images off the diagonal of the joint, which are
the plainer rule of the same paper (benchmarks/wrong_labels.py). cleanlab has both and brings pandas and scikit-learn; a
test compares them where it is installed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Doubts:
    """What confident learning says of N labels of K classes."""

    labels: NDArray[np.int64]
    """(N,) as given."""
    thresholds: NDArray[np.float64]
    """(K,) mean probability of each class over the images of that label; infinite for a class without images."""
    believed: NDArray[np.int64]
    """(N,) the most probable of the classes that reach their thresholds; -1 where none does."""
    scores: NDArray[np.float64]
    """(N,) probability of the label, 0 to 1: the lower, the more doubtful."""
    suggested: NDArray[np.int64]
    """(N,) the most probable other class."""
    is_suspect: NDArray[np.bool_]
    """(N,) whether the label is doubtful."""

    @property
    def joint(self) -> NDArray[np.int64]:
        """(K, K) images by label, in rows, and believed class: the confident joint."""
        return _count(self.labels, self.believed, len(self.thresholds))

    @property
    def ranking(self) -> NDArray[np.int64]:
        """(N,) the images from the most to the least doubtful: suspects before others, then by score."""
        return np.lexsort((self.scores, ~self.is_suspect))


def doubt_labels(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Doubts:
    """Compare (N,) labels with (N, K) probabilities by networks that have not learned from them."""
    rows, num_classes = np.arange(len(labels)), probabilities.shape[1]
    scores = probabilities[rows, labels].astype(np.float64)
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=scores, minlength=num_classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reaching = np.where(probabilities >= thresholds, probabilities, -1.0)
    believed = np.where(reaching.max(1) >= 0, reaching.argmax(1), -1)
    joint = _count(labels, believed, num_classes)
    share = 1 - joint.diagonal() / np.maximum(joint.sum(1), 1)
    is_suspect = np.zeros(len(labels), np.bool_)
    for label in np.flatnonzero(joint.sum(1)):
        own = np.flatnonzero(labels == label)
        wrong = round(float(share[label] * counts[label]))
        is_suspect[own[np.argsort(scores[own], kind="stable")[:wrong]]] = True
    others = probabilities.copy()
    others[rows, labels] = -1.0
    return Doubts(labels, thresholds, believed, scores, others.argmax(1), is_suspect)


def _count(labels: NDArray[np.int64], believed: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels[believed >= 0], believed[believed >= 0]), 1)
    return counts
