"""Folds: every training image is in one, classes are spread evenly, groups stay whole, and nothing depends on chance."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.data.folds import Fold, assign_folds, divide_into_folds
from alexnet.data.store.reader import Store
from alexnet.errors import ConfigError
from conftest import write_store


def make_store(folder: Path, labels: Sequence[int], paths: Sequence[str] | None = None, **provenance: Any) -> Store:
    """A store whose image i is all i, and two validation images."""
    images = np.repeat(np.arange(len(labels), dtype=np.uint8), 8 * 8 * 3).reshape(-1, 8, 8, 3)
    return write_store(
        folder,
        {"train": (images, labels), "val": (images[:2], labels[:2])},
        ["ant", "bee", "cat"],
        paths={"train": paths or [f"train/{number}.png" for number in range(len(labels))], "val": ["a", "b"]},
        provenance=provenance,
        shard_rows=7,
    )


def test_each_class_is_spread_evenly_and_folds_are_equally_large() -> None:
    labels = np.repeat([0, 1, 2], [10, 7, 3])
    folds = assign_folds(labels, [f"image {number}" for number in range(20)], 4, seed=0)
    held = np.array([np.bincount(labels[folds == fold], minlength=3) for fold in range(4)])
    assert held.sum(0).tolist() == [10, 7, 3]
    assert (np.ptp(held, axis=0) <= 1).all()
    assert held.sum(1).tolist() == [5, 5, 5, 5]


def test_folds_are_a_function_of_seed_and_paths_alone() -> None:
    labels, paths = np.arange(30) % 3, [f"{number}.png" for number in range(30)]
    folds = assign_folds(labels, paths, 3, seed=1)
    assert folds.tolist() == [0, 0, 1, 1, 0, 2, 2, 1, 0, 0, 0, 1, 0, 2, 1, 2, 0, 0, 1, 1, 2, 0, 2, 2, 2, 1, 0, 1, 2, 1]
    mixed = np.random.default_rng(0).permutation(30)
    again = assign_folds(labels[mixed], [paths[number] for number in mixed], 3, seed=1)
    np.testing.assert_array_equal(again, folds[mixed])
    assert (assign_folds(labels, paths, 3, seed=2) != folds).any()


def test_groups_stay_whole_and_large_ones_go_first() -> None:
    groups = ["a"] * 6 + ["b"] * 4 + list("cdefgh")
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1])
    folds = assign_folds(labels, groups, 2, seed=0)
    assert len(set(folds[:6])) == len(set(folds[6:10])) == 1
    assert folds[0] != folds[6]
    assert np.bincount(folds).tolist() == [8, 8]


def test_the_rule_of_prepare_is_applied_to_the_paths(tmp_path: Path) -> None:
    paths = [f"train/p{number // 3}_{number}.png" for number in range(18)]
    store = make_store(tmp_path / "store", [0, 1, 2] * 6, paths, kind="folders", options={"group": "(p[0-9]+)_"})
    folds, note = divide_into_folds(store, 3, seed=0)
    assert note is None
    assert (folds.reshape(6, 3) == folds.reshape(6, 3)[:, :1]).all()
    assert np.bincount(folds).tolist() == [6, 6, 6]


def test_groups_of_a_table_are_said_to_be_unknown(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [0, 1, 2] * 6, kind="table", options={"group": "patient"})
    folds, note = divide_into_folds(store, 3, seed=0)
    assert np.bincount(folds).tolist() == [6, 6, 6]
    assert note == (
        f"{store.path} was prepared with --group patient, and does not hold the groups that a column of a table gave: "
        "images of a group may be in several folds, and the error lower than it is on new groups. Prepare the images again "
        "to have them in the store."
    )


@pytest.mark.parametrize(
    ("labels", "count", "message"),
    [
        ([0, 0, 1, 1, 2], 2, "--folds 2: the training part of fold {} lacks the class cat, all of whose images (or their one group) are in the fold. Prepare the images again with more of it, or without it."),
        ([0, 0, 1, 1, 2, 2], 7, "--folds 7: 6 groups of 6 training images do not fill so many folds. Give a smaller --folds."),
        ([0, 0, 1, 1, 2, 2], 1, "--folds 1: accepted are 2 or more. Four or five are usual."),
    ],
)  # fmt: skip
def test_what_cannot_be_divided_is_refused(tmp_path: Path, labels: list[int], count: int, message: str) -> None:
    store = make_store(tmp_path / "store", labels)
    with pytest.raises(ConfigError) as caught:
        divide_into_folds(store, count, seed=0)
    assert str(caught.value) in {message.format(fold) for fold in (1, 2)}


def test_a_fold_is_a_view_of_its_store(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [0, 1, 2] * 4)
    held = np.arange(12) % 4 == 1
    fold = Fold(store, held)
    for split, rows in (("train", np.flatnonzero(~held)), ("test", np.flatnonzero(held))):
        images = fold[split].images
        assert len(images) == len(rows) == len(fold[split])
        assert [int(image.max()) for image in images] == rows.tolist()
        assert images[-1].max() == images[len(rows) - 1 :].max() == rows[-1]
        assert fold[split].labels.tolist() == store.labels[rows].tolist()
        assert list(fold[split].paths) == [store.paths[int(row)] for row in rows]
        assert fold[split].per_class_counts == tuple(np.bincount(store.labels[rows], minlength=3))
    assert len(fold["val"]) == 2
    assert fold.filled_splits == ["train", "val", "test"]
    np.testing.assert_array_equal(fold.mean_image, store.mean_image)
    assert len({store.fingerprint, fold.fingerprint, Fold(store, ~held).fingerprint}) == 3
    again = pickle.loads(pickle.dumps(fold))
    assert again.fingerprint == fold.fingerprint
    assert again["test"].images[0].max() == 1
