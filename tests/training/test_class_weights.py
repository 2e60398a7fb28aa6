"""What the loss of an image counts, where classes are unequal."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.batches.loader import Batch
from alexnet.batches.shard import IGNORED_LABEL
from alexnet.errors import RecipeError
from alexnet.network.alexnet import build
from alexnet.recipes.fields import Balance, Optimization
from alexnet.training.class_weights import weigh_classes
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.update import Update

NAMES = ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("weights", "right"), [("classes", [20 / 32, 20 / 8, 1]), ("square-root", [20 / 6 / 4, 20 / 6 / 2, 1])]
)
def test_weights_fall_with_the_images_and_are_one_in_the_mean(weights: Balance, right: list[float]) -> None:
    counts = np.array([16, 4, 0])
    found = weigh_classes(weights, counts, NAMES)
    assert found is not None
    assert found.tolist() == pytest.approx(right)
    assert float(found.double().numpy() @ counts) == pytest.approx(20)


def test_weights_can_be_given_by_class() -> None:
    assert weigh_classes("none", np.array([1, 2, 3]), NAMES) is None
    found = weigh_classes({"cat": 5}, np.array([1, 2, 3]), NAMES)
    assert found is not None
    assert found.tolist() == [1, 1, 5]
    with pytest.raises(RecipeError) as caught:
        weigh_classes({"cats": 5}, np.array([1, 2, 3]), NAMES)
    assert str(caught.value) == (
        "optimization.class_weights names cats (did you mean cat?), which is no class of the store. Give names of its "
        "class folders."
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_update_descends_the_weighted_loss(smoothing: float) -> None:
    """Against the loss written out; an image that only fills up counts nothing."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4, 3, 32, 32, generator=generator)
    labels, weights = torch.tensor([2, 0, 1, IGNORED_LABEL]), torch.tensor([0.5, 2.0, 3.0] + [1.0] * 7)
    optimizer = MomentumDescent(build("cifar-18pct", num_classes=10), Optimization(weight_decay=0), dtype=torch.float32)
    network = optimizer.working.eval()
    log = network(inputs, torch.arange(4)).log_softmax(1)[:3].detach()
    own = -(1 - smoothing) * log.gather(1, labels[:3, None])[:, 0] - smoothing * log.mean(1)
    right = float((own * weights[labels[:3]]).sum() / 3)
    batch = Batch(inputs, labels, torch.arange(4), total=3)
    done = Update(optimizer, label_smoothing=smoothing, class_weights=weights)(
        batch, dict.fromkeys(optimizer.velocities, 0.0)
    )
    assert done is not None
    assert done.read()[0] == pytest.approx(right, rel=1e-5)
    alone = F.cross_entropy(network(inputs, torch.arange(4))[:3], labels[:3], label_smoothing=smoothing)
    assert abs(float(alone.detach()) - right) > 0.01
