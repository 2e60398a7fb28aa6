"""Which labels are doubtful: confident learning (Northcutt, Jiang and Chuang, 2021, section 3.1) on out-of-fold
probabilities.

A class is believed of an image when its probability reaches what images of that label get on average. So a class that
the network is timid about needs less than one that it calls out often. An image whose most probable believed class is
another than its label is a suspect.

cleanlab has the same rule (filter_by="confident_learning") and brings pandas and scikit-learn; a test compares both
where it is installed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Doubts:
    """What confident learning says of N labels of K classes."""

    thresholds: NDArray[np.float64]
    """(K,) mean probability of each class over the images of that label; infinite for a class without images."""
    suggested: NDArray[np.int64]
    """(N,) the most probable of the classes that reach their thresholds; the label itself where none does."""
    scores: NDArray[np.float64]
    """(N,) probability of the label, 0 to 1: the lower, the more doubtful."""
    labels: NDArray[np.int64]
    """(N,) as given."""

    @property
    def is_suspect(self) -> NDArray[np.bool_]:
        """(N,) whether another class than the label is suggested."""
        return np.not_equal(self.suggested, self.labels)

    @property
    def joint(self) -> NDArray[np.int64]:
        """(K, K) images by given label, in rows, and suggested one: the confident joint.

        On the diagonal are also those of which no class is believed.
        """
        counts = np.zeros((len(self.thresholds), len(self.thresholds)), np.int64)
        np.add.at(counts, (self.labels, self.suggested), 1)
        return counts

    @property
    def ranking(self) -> NDArray[np.int64]:
        """(N,) the images from the most to the least doubtful: suspects before others, then by score.

        By the margin to the suggested class instead, fewer labels that are wrong come first
        (benchmarks/wrong_labels.py).
        """
        return np.lexsort((self.scores, ~self.is_suspect))


def doubt_labels(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Doubts:
    """Compare (N,) labels with (N, K) probabilities by networks that have not learned from them."""
    rows, num_classes = np.arange(len(labels)), probabilities.shape[1]
    own = probabilities[rows, labels].astype(np.float64)
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=own, minlength=num_classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    believed = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = np.where(believed.max(1) >= 0, believed.argmax(1), labels)
    return Doubts(thresholds, suggested, own, labels)
