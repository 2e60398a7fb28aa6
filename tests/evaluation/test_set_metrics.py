"""Average precision, thresholds and F1 of independent classes, against computations written out."""

import itertools

import numpy as np
import pytest

from alexnet.evaluation.set_evaluation import find_thresholds, measure_sets
from alexnet.evaluation.set_metrics import average_precision, find_threshold


def precision_written_out(scores: list[float], is_there: list[bool]) -> float:
    """The sum over the levels of (recall here - recall above) x precision, from the definition."""
    total, recall_above = 0.0, 0.0
    for level in sorted(set(scores), reverse=True):
        accepted = [there for score, there in zip(scores, is_there, strict=True) if score >= level]
        recall = sum(accepted) / sum(is_there)
        total += (recall - recall_above) * sum(accepted) / len(accepted)
        recall_above = recall
    return total


@pytest.mark.parametrize("levels", [3, 10, 1000])
def test_average_precision_is_the_sum_of_its_definition(levels: int) -> None:
    generator = np.random.default_rng(levels)
    for _ in range(50):
        is_there = generator.random(30) < 0.3
        is_there[0] = True
        scores = (generator.integers(0, levels, 30) / levels).astype(np.float32)
        right = precision_written_out(scores.tolist(), is_there.tolist())
        assert average_precision(scores, is_there) == pytest.approx(right, rel=1e-12)


def test_average_precision_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    for _ in range(20):
        is_there = generator.random(200) < 0.2
        scores = generator.integers(0, 40, 200).astype(np.float32)
        right = metrics.average_precision_score(is_there, scores)
        assert average_precision(scores, is_there) == pytest.approx(right, rel=1e-12)


def test_equal_scores_are_taken_together_and_a_class_without_images_has_no_precision() -> None:
    there = np.array([True, False, False, False])
    for order in itertools.permutations(range(4)):
        assert average_precision(np.full(4, 0.5, np.float32), there[list(order)]) == 0.25
    assert average_precision(np.array([3, 2, 1, 0], np.float32), there) == 1
    assert np.isnan(average_precision(np.zeros(4, np.float32), np.zeros(4, np.bool_)))
    worst = np.array([np.nan, 0.3, 0.2, 0.1], np.float32)
    assert average_precision(worst, there) == 0.25


def test_the_threshold_has_the_best_f1_and_lies_between_two_probabilities() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        is_there = generator.random(20) < 0.4
        is_there[3] = True
        scores = (generator.integers(1, 9, 20) / 10).astype(np.float32)
        threshold = find_threshold(scores, is_there)

        def f1(limit: float, scores: np.ndarray = scores, is_there: np.ndarray = is_there) -> float:
            said = scores >= limit
            return float(2 * (said & is_there).sum() / (said.sum() + is_there.sum()))

        every = [f1(float(limit)) for limit in np.unique(scores)]
        assert f1(threshold) == max(every)
        assert not np.any(np.isclose(scores, threshold, atol=0.01))
        lowest = scores[scores >= threshold].min()
        assert all(f1(float(limit)) < f1(threshold) for limit in np.unique(scores) if limit > lowest)
    assert find_threshold(np.array([0.9, 0.1], np.float32), np.array([False, False])) == 0.5
    assert find_threshold(np.array([0.8, 0.4], np.float32), np.array([True, False])) == pytest.approx(0.6)
    assert find_threshold(np.array([0.8, 0.4], np.float32), np.array([True, True])) == pytest.approx(0.2)
    assert 0 < find_threshold(np.zeros(2, np.float32), np.array([True, True])) < 1e-30
    assert find_threshold(np.ones(2, np.float32), np.array([True, False])) == 0.5


def test_everything_is_measured_of_four_images() -> None:
    probabilities = np.array([[0.9, 0.2, 0.5], [0.8, 0.7, 0.5], [0.3, 0.6, 0.5], [0.1, 0.1, 0.5]], np.float32)
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], np.bool_)
    found = measure_sets(probabilities, labels, np.full(3, 0.55), class_names=("a", "b", "c"), num_views=1)
    assert found.class_images == (2, 2, 0)
    # a: 0.9 right, 0.8 wrong, 0.3 right: 1/2 x 1 + 1/2 x 2/3; b: both first
    assert found.class_precisions[:2] == (pytest.approx(1 / 2 + 1 / 3), 1)
    assert found.mean_average_precision == pytest.approx((5 / 6 + 1) / 2)
    assert (found.right, found.false, found.missed) == ((1, 2, 0), (1, 0, 0), (1, 0, 0))
    assert found.class_f1[:2].tolist() == [0.5, 1]
    assert np.isnan(found.class_f1[2])
    assert found.f1_macro == 0.75
    assert found.f1_micro == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert found.set_error == 0.5  # the second says a, the third misses it
    own = [0.9 * 0.8, 0.2 * 0.7, 0.3 * 0.6, 0.9 * 0.9]
    assert found.loss == pytest.approx(-np.log(own).mean() + np.log(2), rel=1e-5)
    document = found.to_json()
    assert document["classes"][2] == {
        "name": "c",
        "images": 0,
        "average_precision": None,
        "f1": None,
        "threshold": 0.55,
        "right": 0,
        "false": 0,
        "missed": 0,
    }
    assert find_thresholds(probabilities, labels) == (
        pytest.approx(0.2),
        pytest.approx(0.4),
        0.5,
    )
