from dataclasses import replace

import numpy as np
import pytest

from alexnet.errors import ConfigError
from alexnet.interpretation.nearest import Neighbor, draw_neighbors, search_nearest
from alexnet.retrieval.exact import find_nearest

IMAGE = np.zeros((8, 8, 3), np.uint8)


def blocks(features: np.ndarray, size: int):  # type: ignore[no-untyped-def]
    for start in range(0, len(features), size):
        rows = features[start : start + size]
        yield np.arange(start, start + len(rows)), rows


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_the_search_equals_sorting_every_distance_whatever_the_blocks(size: int) -> None:
    random = np.random.default_rng(0)
    features, queries = (random.normal(size=(count, 12)).astype(np.float32) for count in (200, 5))
    features[150] = features[20]  # equal distances are ordered by position
    queries[3] = features[20]
    every = np.linalg.norm(queries[:, None].astype(float) - features[None].astype(float), axis=2)
    distances, positions = search_nearest(queries, blocks(features, size), 6)
    assert positions.tolist() == np.argsort(every, axis=1, kind="stable")[:, :6].tolist()
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :6], rtol=1e-5)
    assert distances[3, :2].tolist() == [0, 0]
    assert positions[3, :2].tolist() == [20, 150]


@pytest.mark.parametrize("count", [3, 20])
def test_distances_are_those_of_an_index_to_the_last_bit(count: int) -> None:
    random = np.random.default_rng(1)
    features, queries = (random.normal(size=(rows, 300)).astype(np.float32) for rows in (90, count))
    expected = find_nearest(features, queries, 5)
    distances, positions = search_nearest(queries, blocks(features, 32), 5)
    assert positions.tolist() == expected.rows.tolist()
    assert distances.tolist() == expected.distances.tolist()


def test_an_image_can_be_left_out_of_its_own_search() -> None:
    features = np.arange(5, dtype=np.float32)[:, None]
    distances, positions = search_nearest(features[[0, 4]], blocks(features, 2), 2, leave_out=[0, None])
    assert positions.tolist() == [[1, 2], [4, 3]]
    assert distances.tolist() == [[1, 2], [0, 1]]
    distances, positions = search_nearest(features[:1], blocks(features[:2], 2), 3, leave_out=[0])
    assert positions.tolist() == [[1, -1, -1]]
    assert np.isinf(distances[0, 1:]).all()


def test_features_that_are_not_finite_are_refused() -> None:
    features = np.array([[np.nan]], np.float32)
    with pytest.raises(ConfigError) as caught:
        search_nearest(np.zeros((1, 1), np.float32), blocks(features, 1), 1)
    assert str(caught.value) == (
        "the features of an image are not finite, so no distance can be measured. Try --precision float32; if that does not "
        "help, the training has diverged: draw its curves."
    )


def test_neighbours_stand_beside_their_query_with_class_and_distance() -> None:
    cat = Neighbor(IMAGE, "q.png", 0, "crane", "crane")
    same, other = replace(cat, source="a.png", distance=1.5), replace(cat, source="b.png", label=1, distance=2.0)
    unknown = replace(cat, label=None, kind="", written="c.png", distance=3.25)
    drawing = draw_neighbors([(cat, [same, other]), (unknown, [same])], collection="9 images")
    assert drawing.numbers["place"] == [1, 2, 1]
    assert drawing.numbers["image"] == ["a.png", "b.png", "a.png"]
    assert drawing.numbers["distance"] == [1.5, 2.0, 1.5]
    assert drawing.numbers["is_same_class"] == [1, 0, None]  # classes of one name are told apart
    assert "Of their query's class: 1 of 2." in drawing.caption
    words = [text.get_text() for axes in drawing.figure.axes for text in axes.texts]
    assert words[:2] == ["Query", "Nearest images, the nearest first"]
    assert "1.500" in words
    assert "c.png" in words
    assert drawing.render("png")
    with pytest.raises(ConfigError, match="there is nothing to draw"):
        draw_neighbors([(cat, [])], collection="nothing")
