"""Neighbours inside the leaves of random trees: what is found is exact, and the work grows with n log n."""

import numpy as np
import pytest
from numpy.typing import NDArray

from alexnet.retrieval.exact import find_nearest
from alexnet.retrieval.projection_trees import LEAF_ROWS, TREES, find_equal, find_nearest_in_leaves


def draw_rows(count: int) -> NDArray[np.float32]:
    """Rows about a few centres, the first 40 of them again, a little changed, as the last 40."""
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((20, 24)) * 4
    rows = centers[generator.integers(0, 20, count)] + generator.standard_normal((count, 24))
    rows[-40:] = rows[:40] + 0.05 * generator.standard_normal((40, 24))
    return rows.astype(np.float32)


def test_one_leaf_is_an_exact_search_without_the_row_itself() -> None:
    rows = draw_rows(300)
    found = find_nearest_in_leaves(rows.__getitem__, 300, 5)
    exact = find_nearest(rows, rows, 6)
    assert np.array_equal(found.rows, exact.rows[:, 1:])
    assert np.array_equal(found.distances, exact.distances[:, 1:])


def test_near_copies_are_found_although_few_rows_are_compared() -> None:
    rows = draw_rows(6000)
    gathered: list[int] = []

    def gather(places: NDArray[np.int64]) -> NDArray[np.float32]:
        gathered.append(len(places))
        return rows[places]

    found = find_nearest_in_leaves(gather, 6000, 5)
    assert sum(found.rows[row, 0] == 5960 + row for row in range(40)) == 40
    assert sum(gathered) == (1 + TREES) * 6000  # read once to divide them, and once for each tree
    leaves = gathered[2:]
    assert max(leaves) <= LEAF_ROWS  # comparisons: rows times the size of a leaf
    assert min(leaves) > LEAF_ROWS // 4
    exact = find_nearest(rows, rows, 2)
    assert np.mean(found.rows[:, 0] == exact.rows[:, 1]) > 0.6  # of any row, far ones included
    assert np.all(found.distances[:, 0] >= exact.distances[:, 1])


def test_the_same_rows_give_the_same_answer_and_no_row_twice() -> None:
    rows = draw_rows(2000)
    first, again = (find_nearest_in_leaves(rows.__getitem__, 2000, 20) for _ in range(2))
    assert np.array_equal(first.rows, again.rows)
    assert all(len(set(row)) == 20 for row in first.rows.tolist())
    assert np.all(np.diff(first.distances, axis=1) >= 0)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_equal_rows_are_paired_wherever_they_lie(zero: float) -> None:
    rows = draw_rows(5000)
    rows[:, 3] = 0
    rows[[7, 4900, 2500]] = rows[7]
    rows[4900, 3] = zero
    assert find_equal(rows.__getitem__, 5000).tolist() == [[7, 2500], [2500, 4900]]
