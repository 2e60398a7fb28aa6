import numpy as np

from alexnet.batches.order import epoch_order
from alexnet.batches.randomness import Purpose, draw_integer, draw_normal_triple, draw_uniform, hash_samples

INDICES = np.arange(100_000)


def test_numbers_depend_on_seed_epoch_index_and_purpose_only() -> None:
    options = {"seed": 3, "epoch": 5, "purpose": Purpose.CROP_Y}
    numbers = draw_uniform(INDICES, **options)
    assert np.array_equal(draw_uniform(INDICES[500:510], **options), numbers[500:510])
    for change in ({"seed": 4}, {"epoch": 6}, {"purpose": Purpose.CROP_X}):
        other = draw_uniform(INDICES, **(options | change))
        assert abs(np.corrcoef(numbers, other)[0, 1]) < 0.015, change


def test_seed_and_epoch_are_not_interchangeable() -> None:
    a = hash_samples(INDICES[:100], seed=1, epoch=2, purpose=Purpose.DROPOUT)
    b = hash_samples(INDICES[:100], seed=2, epoch=1, purpose=Purpose.DROPOUT)
    assert not (a == b).any()


def test_the_hash_is_frozen_since_resumed_runs_depend_on_it() -> None:
    numbers = hash_samples(np.array([0, 1, 2**40]), seed=0, epoch=0, purpose=Purpose.CROP_Y)
    assert numbers.tolist() == FROZEN


FROZEN = [14219948361605931393, 15703761562794949698, 4710082935549271603]


def test_uniform_numbers_fill_the_unit_interval() -> None:
    numbers = draw_uniform(INDICES, seed=0, epoch=0, purpose=Purpose.REFLECTION)
    counts, _ = np.histogram(numbers, bins=100, range=(0, 1))
    assert counts.sum() == 100_000
    assert ((counts - 1000) ** 2 / 1000).sum() < 150  # chi-square with 99 degrees of freedom
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.015


def test_integers_reach_both_ends() -> None:
    counts = np.bincount(draw_integer(INDICES, 33, seed=0, epoch=1, purpose=Purpose.CROP_X))
    assert len(counts) == 33
    assert counts.min() > 2700


def test_normal_triples_are_standard_and_independent() -> None:
    numbers = draw_normal_triple(INDICES, seed=0, epoch=0)
    assert np.allclose(np.cov(numbers.T), np.eye(3), atol=0.02)
    assert np.allclose(numbers.mean(0), 0, atol=0.015)
    assert abs((np.abs(numbers) > 1.959964).mean() - 0.05) < 0.003


def test_an_epochs_order_is_a_permutation_that_changes_with_seed_and_epoch() -> None:
    order = epoch_order(1000, seed=1, epoch=2)
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert np.array_equal(epoch_order(1000, seed=1, epoch=2), order)
    assert not np.array_equal(epoch_order(1000, seed=1, epoch=3), order)
    assert not np.array_equal(epoch_order(1000, seed=2, epoch=1), order)
