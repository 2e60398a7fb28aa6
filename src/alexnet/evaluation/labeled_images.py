"""Labelled images to test on: a split of a store, or folders named like the classes, decoded as they are met."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.decode import Framing, decode_image, open_image
from alexnet.data.prepare.clips import Sampling, take_frames
from alexnet.data.prepare.part import Settings
from alexnet.data.sources.class_folders import scan_top
from alexnet.data.sources.class_tree import WHOLE_PATH, find_split_folder, gather_classes
from alexnet.data.sources.division import find_split
from alexnet.data.sources.folders import VIDEO, Folder, has_clip_suffix, has_image_suffix
from alexnet.data.sources.source import FolderFiles, LabeledPath, Source
from alexnet.data.store.format import HEADER_NAME, TEST, TRAIN, VAL
from alexnet.data.store.reader import Store, open_store
from alexnet.data.video.clip import say_odd
from alexnet.errors import ConfigError, ImageError, SourceError, StoreError, WeightsError
from alexnet.startup import available_cores
from alexnet.text.class_names import apply_titles, normalize_name
from alexnet.text.progress import Tick
from alexnet.text.wording import counted, shorten

Decode = Callable[[int], NDArray[np.uint8]]


@dataclass(slots=True, weakref_slot=True)
class LabeledImages:
    """Images with labels, decoded when they are read."""

    name: str
    """What messages call them."""
    class_names: tuple[str, ...]
    class_titles: tuple[str, ...]
    labels: NDArray[Any]
    """(N,) int64, indexes of class_names; or (N, K) bool, whether each image has each class."""
    paths: Sequence[str]
    decode: Decode
    store: Store | None = None
    split: str | None = None
    """Split of the store, or part of the folder; None for a folder that was taken whole."""
    left_out: list[str] = field(default_factory=list)
    """Why some images cannot be decoded, and were not tested."""
    odd: list[str] = field(default_factory=list)
    """Notes on clips that are tested although something is odd about them."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """How many files of a folder are no images, by reason."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def has_sets(self) -> bool:
        """Whether an image may have any number of classes."""
        return self.labels.ndim == 2

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


def open_labeled_images(
    path: Path,
    *,
    split: str,
    image_px: int,
    framing: Framing = "square",
    known: Sequence[str] | None = None,
    every_s: float | None = None,
    tick: Tick | None = None,
) -> LabeledImages:
    """Open a store, or a folder with a folder of images for each class (or such folders under a folder for the split).

    What counts as an image in a folder, which folder is the split and what the classes are called follow the rules of
    preparing (data/sources/class_tree.py).

    Args:
        split: Split of the store; of a folder, the folder in it with a usual name for that split, if there is one.
        image_px: Side that images of a folder are brought to. Those of a store must have it already.
        framing: How images of a folder are brought to it.
        every_s: A folder holds clips: test a frame of each every so many seconds. They are decoded now, into a folder
            for temporary files, which goes when the images do.
        tick: Called with the clips that were read.
        known: Names of the model's classes; they tell how deep the class folders lie.
    Raises:
        ConfigError: every_s with a store.
        StoreError: the store has no such split, or it is empty.
        SourceError: the folder is missing, or holds no class folders with images.
        WeightsError: the store holds images of another size.
    """
    if (path / HEADER_NAME).exists() or not path.is_dir():
        store = open_store(path)
        if every_s is not None:
            raise ConfigError(
                f"--every {every_s:g}: {path} is a store, whose images are tested as they are. Leave --every out, or "
                "give the folder of the clips."
            )
        return _open_split(store, split, image_px)
    top = scan_top(path, has_image_suffix if every_s is None else has_clip_suffix)
    part = find_split_folder(top, split)
    parent = part or top
    root = parent.path
    if every_s is None and not parent.num_images and (videos := parent.count_ignored()[VIDEO]):
        raise SourceError(f"{root}: holds no images, but {counted(videos, 'video')}. Test their frames: --every 0.5.")
    classes = _choose_classes(parent, None if known is None else set(map(normalize_name, known)), split)
    names = tuple(sorted(classes))
    paths = [image for name in names for image in classes[name]]
    labels = np.array([label for label, name in enumerate(names) for _ in classes[name]], np.int64)
    ignored = parent.count_ignored()
    images = LabeledImages(
        str(root),
        names,
        apply_titles(path, names, names),
        labels,
        paths,
        lambda number: open_image(root / paths[number], size=image_px, framing=framing),
        split=split if part else None,
        passed_over=dict(sorted(ignored.items())),
    )
    if every_s is not None:
        _spread_clips(images, root, image_px, Sampling(every_s=every_s, thin_levels=0, framing=framing), tick)
    return images


def _spread_clips(clips: LabeledImages, root: Path, image_px: int, sampling: Sampling, tick: Tick | None) -> None:
    """Put the frames of clips in their place."""
    entries = list(map(LabeledPath, clips.paths, clips.labels.tolist()))
    source = Source(
        root=root,
        kind="folders",
        files=FolderFiles(root),
        class_names=clips.class_names,
        class_titles=clips.class_titles,
        splits={VAL: entries},
    )
    folder = Path(mkdtemp(prefix="alexnet-clips-"))
    finalize(clips, rmtree, folder, ignore_errors=True)
    settings = Settings(size=image_px, rows=1, codec="raw", quality=1, stop_on_bad=False, max_bad=1.0)
    frames = take_frames(
        source,
        folder,
        sampling,
        settings=settings,
        workers=available_cores(),
        progress=tick and (lambda done, total, parts: tick(done, total)),
    )
    paths = [entry.path for entry in frames.splits[VAL]]
    clips.paths, clips.labels = paths, np.array([entry.label for entry in frames.splits[VAL]], np.int64)
    clips.left_out += [f"{root / path}: {reason}" for path, reason in frames.left_out]
    clips.odd += [say_odd(str(root / path), oddity) for path, oddity in frames.odd]
    clips.decode = lambda number: decode_image(frames.read(paths[number]), size=image_px, name=paths[number])


def _choose_classes(parent: Folder, known: set[str] | None, split: str) -> dict[str, list[str]]:
    """Return the images of each class. Class folders lie at the depth where a model knows all of them, else at 1."""
    root = parent.path
    classes = gather_classes(parent, root, 1)
    if not classes:
        above = (
            f" Give the folder above, {root.absolute().parent}, if {root.name} is one class." if parent.images else ""
        )
        raise SourceError(
            f"{root}: holds no class folders with images, and is no store. Give a store, or a folder like "
            f"{root}/<class>/picture.jpg.{above}"
        )
    if known is None or classes.keys() & known:
        return classes
    by_path = gather_classes(parent, root, WHOLE_PATH)
    if by_path.keys() <= known:
        return by_path
    filled = [folder for folder in parent.folders if folder.num_images]
    inner = [gather_classes(folder, root, 1) for folder in filled]
    if any(names.keys() & known for names in inner):
        # Class folders under several folders without a class in two of them, as prepare --classes-at 2 reads them.
        deeper = gather_classes(parent, root, 2)
        is_divided = len(filled) > 1 and not any(find_split(folder.name) for folder in filled)
        if is_divided and deeper.keys() <= known and len(deeper) == sum(map(len, inner)):
            return deeper
        meant = [str(folder.path) for folder, names in zip(filled, inner, strict=True) if names.keys() & known]
        raise SourceError(
            f"{root} is not the folder with the classes of the model; {shorten(meant, 3)} "
            f"{'looks' if len(meant) == 1 else 'look'} like it. Give that"
            + (f", as there is no folder for the split {split}." if not is_divided and len(filled) > 1 else ".")
        )
    return classes


def list_splits(path: Path) -> list[str]:
    """Return the splits of a store that hold images; of a folder, its folders with one of the usual names.

    Raises:
        StoreError: the store is damaged, or there is nothing.
    """
    if (path / HEADER_NAME).exists() or not path.is_dir():
        return open_store(path).filled_splits
    top = scan_top(path)
    return [name for name in (TRAIN, VAL, TEST) if find_split_folder(top, name)]


def _open_split(store: Store, split: str, image_px: int) -> LabeledImages:
    if split not in store.splits or not len(store[split]):
        filled = store.filled_splits
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
        part.targets,
        part.paths,
        lambda number: np.asarray(part.images[number]),
        store,
        split,
    )
