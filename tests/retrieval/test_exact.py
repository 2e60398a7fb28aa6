"""Exact search finds what the definition finds, in every block size, type and number of queries."""

import numpy as np
import pytest
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.retrieval import exact
from alexnet.retrieval.exact import FEW_QUERIES, find_nearest


def define(
    features: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    squares = np.square(features[None].astype(np.float64) - queries[:, None].astype(np.float64)).sum(2)
    rows = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squares, rows, 1)), rows


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> NDArray[np.float32]:
    """700 rows of 67 rectified features in blocks of 100; rows 100 and 200 equal row 50."""
    monkeypatch.setattr(exact, "BLOCK_BYTES", 100 * 67 * 4)
    rows = np.maximum(np.random.default_rng(0).normal(size=(700, 67)), 0).astype(np.float32)
    rows[100] = rows[200] = rows[50]
    return rows


@pytest.mark.parametrize("count", [1, FEW_QUERIES, FEW_QUERIES + 1, 40])
@pytest.mark.parametrize("k", [1, 6, 700])
def test_neighbours_are_those_of_the_definition(features: NDArray[np.float32], count: int, k: int) -> None:
    queries = features[45 : 45 + count].copy()
    found = find_nearest(features, queries, k)
    distances, rows = define(features, queries, k)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5)
    # Distances are float32: rows whose distances differ by less than its rounding may stand in either order.
    for query, listed, expected in zip(queries, found.rows, rows, strict=True):
        np.testing.assert_allclose(
            np.linalg.norm(features[listed].astype(np.float64) - query, axis=1),
            np.linalg.norm(features[expected].astype(np.float64) - query, axis=1),
            rtol=1e-6,
            atol=1e-6,
        )
        assert len(set(listed.tolist())) == k
        assert (listed != expected).sum() <= 0.01 * k


def test_parts_are_counted_through_and_skipped_rows_are_not_found(features: NDArray[np.float32]) -> None:
    parts = [features[:301], features[301:302], features[302:]]
    skip = np.zeros(700, bool)
    skip[[50, 400]] = True
    for queries in (features[[50]], features[40:60].copy()):
        found = find_nearest(parts, queries, 9, skip=skip)
        _, rows = define(features, queries, 11)
        expected = [[row for row in listed if not skip[row]][:9] for listed in rows.tolist()]
        assert found.rows.tolist() == expected


def test_equal_features_are_at_distance_0_and_the_first_comes_first(features: NDArray[np.float32]) -> None:
    for queries in (features[[50]], np.repeat(features[[50]], 20, 0)):
        found = find_nearest(features, queries, 3)
        assert found.rows[0].tolist() == [50, 100, 200]
        assert found.distances[0].tolist() == [0, 0, 0]


def test_float16_features_are_widened_exactly(features: NDArray[np.float32]) -> None:
    signed = (features - 0.3).astype(np.float16)
    signed[3, :4] = [6.0e-8, -6.0e-8, 65504, 0]  # the smallest subnormal number, the largest
    wide = signed.astype(np.float32)
    for queries in (wide[3:5].copy(), wide[0:30].copy()):
        found = find_nearest(signed, queries, 5)
        distances, rows = define(wide, queries, 5)
        assert np.array_equal(found.rows, rows)
        np.testing.assert_allclose(found.distances, distances, rtol=1e-5)


def test_rounding_in_the_product_hides_no_neighbour() -> None:
    """Rows far from the origin and close together, where a product in float32 cannot tell distances apart."""
    generator = np.random.default_rng(0)
    rows = (1000 + generator.normal(size=(300, 64)) * 0.01).astype(np.float32)
    queries = rows[:20].copy()
    found = find_nearest(rows, queries, 4)
    assert np.array_equal(found.rows, define(rows, queries, 4)[1])
    assert (found.distances[:, 0] == 0).all()


def test_read_only_memory_is_searched_too(features: NDArray[np.float32]) -> None:
    queries = features[:20].copy()
    features.flags.writeable = False
    assert find_nearest(features, queries, 1).rows[:, 0].tolist() == list(range(20))


@pytest.mark.parametrize(
    ("k", "spoil", "message"),
    [
        (0, None, "k is 0, with 700 images to find. Accepted is 1 to 700."),
        (701, None, "k is 701, with 700 images to find. Accepted is 1 to 700."),
        (1, np.nan, "query 1 holds values that are not finite; its distances would mean nothing."),
    ],
)  # fmt: skip
def test_impossible_requests_are_refused(
    features: NDArray[np.float32], k: int, spoil: float | None, message: str
) -> None:
    queries = features[:2].copy()
    if spoil is not None:
        queries[1, 5] = spoil
    with pytest.raises(ConfigError) as problem:
        find_nearest(features, queries, k)
    assert str(problem.value) == message


def test_queries_of_another_length_are_refused(features: NDArray[np.float32]) -> None:
    with pytest.raises(ConfigError) as problem:
        find_nearest(features, np.zeros((2, 5), np.float32), 1)
    assert str(problem.value) == "queries have shape (2, 5); the features have 67 columns."
