"""Labelled images to test on: a split of a store, or folders named like the classes, decoded as they are met."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.data.decode import open_image
from alexnet.data.listing import TEST
from alexnet.data.store import Store, open_store
from alexnet.data.store_format import HEADER_NAME, TRAIN, VAL
from alexnet.errors import ImageError, SourceError, StoreError, WeightsError

Decode = Callable[[int], NDArray[np.uint8]]


@dataclass(slots=True)
class LabeledImages:
    """Images with labels, decoded when they are read."""

    name: str
    """What messages call them."""
    class_names: tuple[str, ...]
    class_titles: tuple[str, ...]
    labels: NDArray[np.int64]
    """(N,), indexes of class_names."""
    paths: Sequence[str]
    decode: Decode
    store: Store | None = None
    split: str | None = None
    """Of the store, or the folder's part of this name; None where a folder has no such part and was taken whole."""
    left_out: list[str] = field(default_factory=list)
    """Why some of them were not tested: they cannot be decoded."""

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """Return what tells these images from others: that of their store, or a digest of their paths and classes."""
        if self.store is not None:
            return f"{self.store.fingerprint} {self.split}"
        listed = json.dumps([self.class_names, self.labels.tolist(), list(self.paths)])
        return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()

    def read(self, numbers: Sequence[int]) -> tuple[list[int], list[NDArray[np.uint8]], list[str]]:
        """Return which of these images can be decoded, their pixels, (S, S, 3), and why the others cannot."""
        found, images, reasons = [], [], []
        for number in numbers:
            try:
                images.append(self.decode(number))
            except ImageError as problem:
                reasons.append(str(problem))
                continue
            found.append(number)
        return found, images, reasons


def open_labeled_images(path: Path, *, split: str, image_px: int) -> LabeledImages:
    """Open a store, or a folder with a folder of images for each class (or such folders under a folder for the split).

    Args:
        split: Of the store; of a folder, the one whose images count where there is one of this name.
        image_px: Side that images of a folder are brought to. Those of a store must have it already.
    Raises:
        StoreError: the store has no such split, or it is empty.
        SourceError: the folder is missing, or holds no class folders with images.
        WeightsError: the store holds images of another size.
    """
    if (path / HEADER_NAME).exists() or not path.is_dir():
        return _open_split(open_store(path), split, image_px)
    root = path / split if (path / split).is_dir() else path
    folders = sorted(each for each in root.iterdir() if each.is_dir() and not each.name.startswith("."))
    files = [(label, file) for label, folder in enumerate(folders) for file in _list_files(folder)]
    if not files:
        raise SourceError(
            f"{root}: holds no class folders with images, and is no store. Give a store, or a folder like "
            f"{root}/<class>/picture.jpg."
        )
    names = tuple(folder.name for folder in folders)
    paths = [file.relative_to(root).as_posix() for _, file in files]
    labels = np.array([label for label, _ in files], np.int64)
    return LabeledImages(
        str(root),
        names,
        names,
        labels,
        paths,
        lambda number: open_image(files[number][1], size=image_px),
        split=None if root == path else split,
    )


def list_splits(path: Path) -> list[str]:
    """Return the splits of a store that hold images; of a folder, its folders with one of the usual names.

    Raises:
        StoreError: the store is damaged, or there is nothing.
    """
    if (path / HEADER_NAME).exists() or not path.is_dir():
        return _list_filled(open_store(path))
    return [name for name in (TRAIN, VAL, TEST) if (path / name).is_dir()]


def _list_filled(store: Store) -> list[str]:
    return [name for name, part in store.splits.items() if len(part)]


def _open_split(store: Store, split: str, image_px: int) -> LabeledImages:
    if split not in store.splits or not len(store[split]):
        filled = _list_filled(store)
        raise StoreError(
            f"{store.path}: split {split!r} has no images. Those that have: {', '.join(filled)}. Choose one with "
            "--split, or prepare the store again with --val-fraction."
        )
    if store.size != image_px:
        raise WeightsError(
            f"{store.path} holds images of {store.size} px; the model was trained on images of {image_px} px. Prepare "
            f"the images again with --size {image_px}."
        )
    part = store[split]
    return LabeledImages(
        f"{store.path}, split {split}",
        tuple(store.class_names),
        tuple(store.class_titles),
        np.asarray(part.labels, np.int64),
        part.paths,
        lambda number: np.asarray(part.images[number]),
        store,
        split,
    )


def _list_files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file() and not each.name.startswith("."))
