"""What a prediction says of its probabilities."""

import numpy as np
import pytest

from alexnet.evaluation.prediction import Prediction


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6, 9])
def test_the_best_classes_come_first_and_of_equal_ones_the_first(k: int) -> None:
    values = np.array([0.1, 0.3, 0.1, 0.3, 0.1, 0.1], np.float32)
    names = tuple("abcdef")
    expected = [("b", 0.3), ("d", 0.3), ("a", 0.1), ("c", 0.1), ("e", 0.1), ("f", 0.1)][:k]
    found = Prediction("a.png", names, values).top(k)
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [value for _, value in found] == [pytest.approx(value) for _, value in expected]


def test_of_a_thousand_classes_the_best_are_those_of_a_full_sort() -> None:
    values = np.random.default_rng(0).integers(0, 50, 1000).astype(np.float32) / 50  # many are equal
    names = tuple(map(str, range(1000)))
    order = sorted(range(1000), key=lambda i: (-values[i], i))[:5]
    assert [name for name, _ in Prediction("a.png", names, values).top(5)] == [names[i] for i in order]
