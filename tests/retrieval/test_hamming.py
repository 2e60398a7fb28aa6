"""Search by codes finds what the definition finds; ranking again by exact distance restores what codes lose."""

import numpy as np
import pytest
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.retrieval.codes import hamming
from alexnet.retrieval.codes.hamming import BITS, find_nearest_by_codes, find_nearest_codes, pack
from alexnet.retrieval.exact import find_nearest


def define(codes: NDArray[np.uint8], queries: NDArray[np.uint8], r: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    distances = np.unpackbits(codes[None] ^ queries[:, None], axis=2).sum(2, dtype=np.int64)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :r]
    return np.take_along_axis(distances, rows, 1), rows


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("r", [1, 37, 5000])
def test_distances_and_rows_are_those_of_the_definition(bits: int, r: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming, "_LEAST_ROWS_PER_THREAD", 1000)
    codes = np.random.default_rng(bits).integers(0, 256, (5000, bits // 8), dtype=np.uint8)
    distances, rows = find_nearest_codes(codes, codes[7:10], r)
    expected, expected_rows = define(codes, codes[7:10], r)
    assert np.array_equal(distances, expected)
    assert np.array_equal(rows, expected_rows)


def test_the_largest_distance_and_codes_that_are_all_equal_are_in_range() -> None:
    codes = np.zeros((9000, 32), np.uint8)
    distances, rows = find_nearest_codes(codes, np.full((1, 32), 255, np.uint8), 500)
    assert set(distances[0].tolist()) == {256}
    assert rows[0].tolist() == list(range(500))


def test_skipped_rows_are_not_found() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (300, 8), dtype=np.uint8)
    skip = np.zeros(300, bool)
    skip[5] = True
    _, rows = find_nearest_codes(codes, codes[[5]], 299, skip=skip)
    assert sorted(rows[0].tolist()) == [row for row in range(300) if row != 5]


def test_bits_are_packed_as_numpy_unpacks_them() -> None:
    bits = np.random.default_rng(0).random((3, 16)) < 0.5
    assert np.array_equal(np.unpackbits(pack(bits), axis=1).astype(bool), bits)


def test_ranking_all_again_is_exact_search() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, 30)).astype(np.float32)
    codes = pack(features[:, :16] > 0)
    found = find_nearest_by_codes(features, codes, features[:5], codes[:5], 6, rerank=400)
    exact = find_nearest(features, features[:5], 6)
    assert np.array_equal(found.rows, exact.rows)
    assert np.array_equal(found.distances, exact.distances)


def test_impossible_requests_are_refused() -> None:
    codes = np.zeros((4, 2), np.uint8)
    with pytest.raises(ConfigError) as problem:
        find_nearest_codes(codes, codes, 5)
    assert str(problem.value) == "r is 5, with 4 images to find. Accepted is 1 to 4."
    with pytest.raises(ConfigError) as problem:
        find_nearest_codes(codes, np.zeros((1, 4), np.uint8), 1)
    assert str(problem.value) == "queries have 32 bits, the codes 16."
    with pytest.raises(ConfigError) as problem:
        find_nearest_by_codes(np.zeros((4, 3), np.float32), codes, np.zeros((1, 3), np.float32), codes[:1], 3, rerank=2)
    assert str(problem.value) == "2 images to rank again are fewer than the 3 asked for. Choose at least 3."


def test_which_of_the_equally_far_have_room_does_not_depend_on_where_they_stand() -> None:
    generator = np.random.default_rng(3)
    codes = generator.integers(0, 256, (3000, 2), dtype=np.uint8)
    names = generator.permutation(3000)
    skip = generator.random(3000) < 0.1

    def found(order: NDArray[np.int64]) -> list[set[int]]:
        _, rows = find_nearest_codes(
            codes[order], codes[:4], 50, skip=skip[order], order=lambda rows: np.argsort(names[order][rows])
        )
        return [set(names[order][own].tolist()) for own in rows]

    first = found(np.arange(3000))
    assert first == found(generator.permutation(3000))
    distances = np.unpackbits(codes ^ codes[0], axis=1).sum(1)
    expected = sorted((distance, name) for distance, name, out in zip(distances, names, skip, strict=True) if not out)
    assert first[0] == {int(name) for _, name in expected[:50]}
