"""The loss of independent classes, against the sum of its definition."""

import math

import numpy as np
import pytest
import torch

from alexnet.batches.shard import IGNORED_LABEL
from alexnet.training.objective import each_by_itself, find_wrong, one_of_all, sum_losses

LOGITS = [[2.0, -1.0, 0.0], [0.5, 3.0, -4.0], [1.0, 1.0, 1.0]]
LABELS = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_the_loss_is_the_sum_over_the_classes_of_binary_cross_entropies(
    smoothing: float, weights: list[float] | None
) -> None:
    right = 0.0
    for logits, labels in zip(LOGITS, LABELS, strict=False):
        for k in range(3):
            probability = 1 / (1 + math.exp(-logits[k]))
            target = labels[k] * (1 - smoothing) + smoothing / 2
            loss = -target * math.log(probability) - (1 - target) * math.log(1 - probability)
            right += loss * (weights[k] if weights else 1)
    filling = torch.full((1, 3), float(IGNORED_LABEL))
    logits = torch.tensor(LOGITS, requires_grad=True)
    found = sum_losses(
        logits,
        torch.cat([torch.tensor(LABELS), filling]),
        label_smoothing=smoothing,
        class_weights=None if weights is None else torch.tensor(weights),
    )
    assert float(found.detach()) == pytest.approx(right, rel=1e-6)
    (gradient,) = torch.autograd.grad(found, logits)
    assert gradient[2].tolist() == [0, 0, 0]


def test_an_image_is_wrong_unless_its_set_is_told_exactly() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [2.0, -1.0, 0.5], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    labels = torch.tensor([[1.0, 0, 1], [1, 0, 0], [0, 0, 0], [IGNORED_LABEL] * 3])
    assert find_wrong(logits, labels).tolist() == [False, True, False, False]
    assert find_wrong(logits, torch.tensor([0, 2, IGNORED_LABEL, 1])).tolist() == [False, True, False, True]


def test_chance_knows_how_frequent_each_class_is() -> None:
    objective = each_by_itself(np.array([50, 25, 0]), 100)
    assert objective.chance == pytest.approx(math.log(2) - 0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert objective.read_error({"val_mean_average_precision": 0.75}) == 0.25
    assert objective.read_metric({"val_mean_average_precision": 0.75, "val_loss": 3.0}, "top1_error") == 0.25
    assert objective.read_metric({"val_mean_average_precision": 0.75, "val_loss": 3.0}, "loss") == 3
    assert one_of_all(10).read_metric({"val_top1_error": 0.5, "val_balanced_error": 0.6}, "balanced_error") == 0.6
