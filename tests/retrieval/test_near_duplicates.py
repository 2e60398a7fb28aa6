"""Near-identical images are found within and across splits, and others are not."""

import json
from pathlib import Path

import numpy as np
import pytest

from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier
from alexnet.retrieval.index.images import choose_images
from alexnet.retrieval.index.reader import open_index
from alexnet.retrieval.index.writer import add_images, remove_rows
from alexnet.retrieval.near_duplicates import find_near_duplicates
from retrieval.conftest import draw_picture


def test_copies_are_grouped_across_splits_first(
    scene: Path, classifier: Classifier, index_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "more" / "val" / "cat").mkdir(parents=True)
    draw_picture(1).save(tmp_path / "more" / "val" / "cat" / "copy.png")  # is in train
    brighter = draw_picture(3).point(lambda level: min(255, level + 1))  # is in val
    brighter.save(tmp_path / "more" / "val" / "cat" / "again.png")
    add_images(index_path, classifier, choose_images([tmp_path / "more"]))
    index = open_index(index_path)
    found = find_near_duplicates(index, threshold=0.1)
    groups = [sorted(Path(index.entry(row).path).name for row in group.rows) for group in found.groups]
    assert groups == [["01.png", "copy.png"], ["03.png", "again.png"]]
    assert [group.across_splits for group in found.groups] == [True, False]
    assert found.groups[0].distance == pytest.approx(0, abs=1e-5)
    assert found.groups[1].closeness < 0.1
    assert found.median_distance > 0


def test_one_image_has_no_duplicates(index_path: Path) -> None:
    remove_rows(index_path, lambda index: np.arange(23))
    with pytest.raises(ConfigError) as problem:
        find_near_duplicates(open_index(index_path))
    assert str(problem.value) == (
        f"{index_path} holds 1 image; duplicates need two. Add images: alexnet search add {index_path} IMAGES"
    )
    assert json.loads((index_path / "index.json").read_text())["removed"]["count"] == 23


def test_neighbours_in_trees_give_the_groups_of_comparing_all(
    classifier: Classifier, index_path: Path, tmp_path: Path
) -> None:
    for number in range(3):
        draw_picture(1).save(tmp_path / f"copy-{number}.png")
    add_images(index_path, classifier, choose_images([tmp_path]))
    index = open_index(index_path)
    exact, in_trees = (find_near_duplicates(index, threshold=0.1, exact=exact) for exact in (True, False))
    assert exact == in_trees
    assert [len(group.rows) for group in exact.groups] == [4]
