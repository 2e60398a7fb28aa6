"""What a network is trained for: to name the one class of an image, or to say of each class whether it is there.

The first is softmax and cross-entropy (paper, section 3.5). In the second each output of the last layer is a logistic
of its own; the loss of an image is the sum over the classes of their binary cross-entropies, in nats.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from alexnet.batches.shard import IGNORED_LABEL


@dataclass(frozen=True, slots=True)
class Objective:
    """How epochs are judged, by what the rows of metrics.jsonl hold."""

    train_error: str
    """Name of the training error in a row."""
    called: str
    """What people call that error."""
    compared: str
    """What people call the error that plateaus and best epochs are judged by."""
    chance: float
    """Loss of guessing, in nats: by how frequent each class is, or evenly."""
    chance_called: str

    def read_error(self, row: Mapping[str, Any]) -> float:
        """Return the validation error of a row, in [0, 1]: the top-1 error, or 1 - mean average precision."""
        if "val_mean_average_precision" in row:
            return 1 - float(row["val_mean_average_precision"])
        return float(row["val_top1_error"])

    def read_metric(self, row: Mapping[str, Any], metric: str) -> float:
        """Return what `stop.metric` compares; of independent classes "top1_error" stands for `read_error`."""
        return self.read_error(row) if metric == "top1_error" else float(row[f"val_{metric}"])

    def name_metric(self, metric: str) -> str:
        """Return what people call it."""
        return self.compared if metric == "top1_error" and self.compared != "error" else metric


def one_of_all(num_classes: int) -> Objective:
    """The objective of images with one class each."""
    chance = math.log(num_classes)
    return Objective("train_top1_error", "top-1 error", "error", chance, f"ln {num_classes} = {chance:.3f}")


def each_by_itself(counts: NDArray[np.int64], num_images: int) -> Objective:
    """The objective of images with any number of classes.

    Args:
        counts: (K,) training images of each class.
    """
    chance = sum(_entropy(count / num_images) for count in counts.tolist())
    called = f"{chance:.3f}, that of knowing only how frequent each class is,"
    return Objective("train_set_error", "set error", "error (1 - mean average precision)", chance, called)


def _entropy(share: float) -> float:
    """Entropy in nats of a class that is in this share of the images."""
    return 0.0 if share in (0, 1) else -share * math.log(share) - (1 - share) * math.log(1 - share)


def sum_losses(
    logits: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    counts: Tensor | None = None,
) -> Tensor:
    """Return the sum of the losses of images; those that only fill up a shard have none.

    It is linear in the labels: where images are mixed, the sum over own labels with what these count, plus that over
    the others' labels, is the loss of the mixed labels.

    Args:
        logits: (N, K) float32.
        labels: (N,) int64; or (N, K) float32 of 0 and 1, where classes are independent.
        label_smoothing: Of independent classes, the share of a label's weight that is spread over yes and no.
        class_weights: (K,) factors: of the loss of an image by its class, or of the losses of independent classes.
        counts: (N,) factors of the losses of the images.
    """
    if labels.ndim == 2:
        targets = labels.clamp(min=0) * (1 - label_smoothing) + label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        losses = losses.sum(1) if class_weights is None else losses @ class_weights
        present = (~is_filling(labels)).to(losses.dtype)
        return losses @ (present if counts is None else present * counts)
    if class_weights is not None:
        own = class_weights[labels.clamp(min=0)]  # an image that fills up has no loss
        counts = own if counts is None else own * counts
    if counts is None:
        return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing)
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing) @ counts


def find_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (N,) bool: whether the best class is not the label, or the classes above one half are not its set."""
    if labels.ndim == 2:
        return ((logits > 0) != (labels > 0)).any(1) & ~is_filling(labels)
    return (logits.argmax(1) != labels) & ~is_filling(labels)


def is_filling(labels: Tensor) -> Tensor:
    """Return (N,) bool: which images only fill up a shard."""
    return torch.as_tensor((labels[:, 0] if labels.ndim == 2 else labels) == IGNORED_LABEL)
