"""Which samples an epoch has, where classes are balanced."""

import numpy as np
import pytest
import torch

from alexnet.batches.loader import TrainingBatches
from alexnet.batches.order import epoch_order, epoch_samples, share_samples
from alexnet.recipes.fields import Balance, Batches

LABELS = np.repeat([0, 1, 3], [64, 16, 4])  # class 2 has no images


@pytest.mark.parametrize(
    ("balance", "shares"), [("none", [64, 16, 0, 4]), ("classes", [28, 28, 0, 28]), ("square-root", [48, 24, 0, 12])]
)
def test_classes_share_an_epoch(balance: Balance, shares: list[int]) -> None:
    samples = epoch_samples(LABELS, balance, seed=3, epoch=2)
    assert len(samples) == len(LABELS) == len(set(samples.tolist()))
    assert np.bincount(LABELS[samples % 84], minlength=4).tolist() == shares


def test_shares_that_are_no_whole_numbers_go_by_the_largest_remainder() -> None:
    assert share_samples(np.array([7, 2, 1]), "classes").tolist() == [4, 3, 3]
    assert share_samples(np.array([100_000, 1]), "square-root").tolist() == [99_686, 315]
    assert share_samples(np.array([3, 0, 3]), "square-root").tolist() == [3, 0, 3]


def test_images_of_a_class_are_seen_equally_often_give_or_take_one() -> None:
    samples = epoch_samples(LABELS, "classes", seed=0, epoch=0)
    seen = np.bincount(samples % 84, minlength=84)
    assert [set(seen[label == LABELS].tolist()) for label in (0, 1, 3)] == [{0, 1}, {1, 2}, {7}]
    for image in range(84):  # repeats are counted from 0
        assert sorted((samples[samples % 84 == image] // 84).tolist()) == list(range(seen[image]))
    first, second = (set(epoch_samples(LABELS, "classes", seed=0, epoch=epoch).tolist()) for epoch in (0, 1))
    assert first != second


def test_samples_are_a_function_of_seed_and_epoch() -> None:
    again = [epoch_samples(LABELS, "classes", seed=1, epoch=5) for _ in range(2)]
    assert np.array_equal(*again)
    assert not np.array_equal(again[0], epoch_samples(LABELS, "classes", seed=2, epoch=5))
    plain = epoch_samples(LABELS, "none", seed=1, epoch=5)
    assert np.array_equal(plain, epoch_order(84, seed=1, epoch=5))


def test_an_image_that_is_seen_twice_is_not_seen_alike() -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8))
    labels = np.array([0] * 11 + [1])
    batches = TrainingBatches(
        images,
        labels,
        np.zeros((16, 16, 3), np.float32),
        Batches(size=12, balance="classes"),
        seed=0,
        crop_px=12,
        color_axes=np.eye(3) * 20,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    (batch,) = batches.epoch(0)
    assert batch.labels.tolist().count(1) == 6
    of_one = batch.inputs[batch.labels == 1]
    assert len({tuple(row.tolist()) for row in of_one.flatten(1)}) == 6
    assert len(set(batch.keys.tolist())) == 12
