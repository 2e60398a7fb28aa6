"""Any number of labels an image: sets of classes, a bit for each class, as files of a store hold them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]


def mark_sets(sets: Sequence[Sequence[int]], num_classes: int) -> BoolArray:
    """Return (N, K): whether each of N images has each of K classes."""
    marked = np.zeros((len(sets), num_classes), np.bool_)
    for row, classes in enumerate(sets):
        marked[row, list(classes)] = True
    return marked


def list_sets(marked: BoolArray) -> list[tuple[int, ...]]:
    """Return the classes of each image, ascending; the opposite of `mark_sets`."""
    return [tuple(np.flatnonzero(row).tolist()) for row in marked]


def pack_sets(marked: NDArray[np.bool_] | NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return (N, ceil(K / 8)) uint8: class k is bit 7 - k % 8 of byte k // 8, and the last bits are 0."""
    return np.packbits(marked.astype(np.bool_), axis=1)


def unpack_sets(packed: NDArray[np.uint8], num_classes: int) -> BoolArray:
    """Return the (N, K) that was packed.

    Raises:
        ValueError: packed has another shape or type, or marks a class that there is not.
    """
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != -(-num_classes // 8):
        raise ValueError("it has another shape or type")
    bits = np.unpackbits(packed, axis=1)
    if bits[:, num_classes:].any():
        raise ValueError("it marks a class that there is not")
    return bits[:, :num_classes].astype(np.bool_)
