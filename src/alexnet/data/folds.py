"""The training images of a store divided into folds, and the store of each fold: it trains on the others.

A fold's store copies nothing: its splits are rows of the training split.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.sources.grouping import FOLDER, Grouping, digest
from alexnet.data.sources.source import Record
from alexnet.data.store.format import TEST, TRAIN, VAL
from alexnet.data.store.raw import Images, UInt8Array
from alexnet.data.store.reader import Int64Array, Split, Store
from alexnet.errors import ConfigError, SourceError
from alexnet.text.wording import counted


def divide_into_folds(store: Store, count: int, *, seed: int) -> tuple[Int64Array, str | None]:
    """Return the fold of each training image, (N,) from 0 to count - 1, and a sentence where groups are not known.

    A pure function of seed, paths, labels and groups, see `assign_folds`.

    Raises:
        ConfigError: images have any number of labels; count is below 2; a fold would have no image, or leave a class
            without training images.
    """
    if store.has_sets:
        raise ConfigError(
            f"--folds {count}: divides images of one class each, and those of {store.path} have any number. Train "
            "without it; a third split tells the error on new images: prepare with --test-fraction."
        )
    if count < 2:
        raise ConfigError(f"--folds {count}: accepted are 2 or more. Four or five are usual.")
    paths, labels = list(store.paths), store.labels
    groups, note = _find_groups(store, paths)
    folds = assign_folds(labels, groups, count, seed=seed)
    sizes = np.bincount(folds, minlength=count)
    if not sizes.all():
        what = f"{counted(len(set(groups)), 'group')} of {counted(len(paths), 'training image')}"
        raise ConfigError(f"--folds {count}: {what} do not fill so many folds. Give a smaller --folds.")
    for fold in range(count):
        left = np.bincount(labels[folds != fold], minlength=len(store.class_names))
        lacking = [name for name, images in zip(store.class_names, left, strict=True) if not images]
        if lacking:
            raise ConfigError(
                f"--folds {count}: the training part of fold {fold + 1} lacks the class {lacking[0]}, all of whose "
                "images (or their one group) are in the fold. Prepare the images again with more of it, or without it."
            )
    return folds, note


def assign_folds(labels: Int64Array, groups: Sequence[str], count: int, *, seed: int) -> Int64Array:
    """Return the fold of each image, (N,): groups stay whole, and each class is spread as evenly as they allow.

    Groups come from the largest to the smallest, those of one size in the order of a digest of (seed, group). Each goes
    to the fold with the fewest images of its classes, then with the fewest images. If each image is its own group, the
    numbers of images of a class in two folds differ by one at most.

    Args:
        labels: (N,) class of each image.
        groups: The name of the group of each image.
    """
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    num_classes = int(labels.max(initial=0)) + 1
    totals = np.bincount(labels, minlength=num_classes)
    held = np.zeros((count, num_classes))
    sizes = np.zeros(count)
    folds = np.empty(len(labels), np.int64)
    for group in sorted(members, key=lambda group: (-len(members[group]), digest(seed, group))):
        own, numbers = np.unique(labels[members[group]], return_counts=True)
        crowding = held[:, own] @ (numbers / totals[own])
        fold = np.lexsort((sizes, crowding))[0]
        folds[members[group]] = fold
        held[fold, own] += numbers
        sizes[fold] += len(members[group])
    return folds


def _find_groups(store: Store, paths: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Return the group of each image, else itself; and why a store that was made before 0.2 cannot tell it."""
    if (groups := store[TRAIN].groups) is not None:
        return list(groups), None
    rule = store.provenance.get("options", {}).get("group")
    if rule is None:
        return paths, None
    try:
        if store.provenance.get("kind") == "table" and rule != FOLDER:
            raise SourceError("the rule may be a column, which paths do not tell")
        grouping = Grouping(rule)
        return [grouping.find(Record(path, "", None)) for path in paths], None
    except SourceError:
        return paths, (
            f"{store.path} was prepared with --group {rule}, and does not hold the groups that a column of a table "
            "gave: images of a group may be in several folds, and the error lower than it is on new groups. Prepare "
            "the images again to have them in the store."
        )


class Fold(Store):
    """A store in which one fold is the split test, the other folds are train, and val stays as it is.

    Validation images may choose an epoch; the fold chooses nothing. Mean image and colours are those of all training
    images: labels do not enter them.
    """

    def __init__(self, store: Store, held: NDArray[np.bool_]) -> None:
        """Divide the training split of a store.

        Args:
            held: (N,) whether each training image is in the fold.
        """
        super().__init__(store.path, store.header)
        self._whole, self._held = store, held
        train = store[TRAIN]
        self.splits = {
            TRAIN: _Rows(TRAIN, train, np.flatnonzero(~held)),
            **({VAL: store[VAL]} if VAL in store.splits else {}),
            TEST: _Rows(TEST, train, np.flatnonzero(held)),
        }
        self.fingerprint = hashlib.sha256(store.fingerprint.encode() + np.packbits(held).tobytes()).hexdigest()

    def __reduce__(self) -> tuple[type, tuple[Store, NDArray[np.bool_]]]:
        return Fold, (self._whole, self._held)


class _Rows(Split):
    """Some images of a split, in its order."""

    def __init__(self, name: str, split: Split, rows: Int64Array) -> None:
        self.name, self.has_sets = name, False
        self.images = _RowImages(split.images, rows)
        self.paths = [split.paths[int(row)] for row in rows]
        self.groups = None if split.groups is None else [split.groups[int(row)] for row in rows]
        self.labels = split.labels[rows]
        self.per_class_counts = tuple(np.bincount(self.labels, minlength=len(split.per_class_counts)).tolist())


class _RowImages(Images):
    """The images of some rows of a split."""

    def __init__(self, images: Images, rows: Int64Array) -> None:
        self.size = images.size
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def is_distant(self) -> bool:
        """See `Images.is_distant`."""
        return self._images.is_distant

    def take(self, indexes: Sequence[int] | NDArray[np.integer[Any]], out: UInt8Array | None = None) -> UInt8Array:
        """See `Images.take`."""
        return self._images.take(self._rows[np.asarray(indexes, np.int64)], out)

    def _row(self, index: int) -> UInt8Array:
        return self._images[int(self._rows[index])]

    def __reduce__(self) -> tuple[type, tuple[Images, Int64Array]]:
        return _RowImages, (self._images, self._rows)
