"""What is drawn from: the images of a store's split, or files, with their paths and what is known of their classes."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.batches.loader import Images
from alexnet.batches.preprocessing import Preprocessing
from alexnet.data.images.decode import open_image
from alexnet.data.store.format import HEADER_NAME
from alexnet.data.store.reader import Store, open_store
from alexnet.errors import ConfigError, ImageError, WeightsError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.evaluate import match_classes
from alexnet.evaluation.given import Given
from alexnet.interpretation.fonts import legible
from alexnet.network.independent import NO_CLASS
from alexnet.text.wording import counted, name_readably, readable_names

FEATURE_BATCH = 32
"""Images whose features are computed together."""


class Pictures:
    """Images by position, each with a path and, where it is known, a class."""

    def __init__(
        self,
        where: str,
        images: Images,
        paths: Sequence[str],
        labels: NDArray[np.int64] | None,
        class_names: tuple[str, ...],
        class_titles: tuple[str, ...],
        sets: NDArray[np.bool_] | None = None,
    ) -> None:
        self.where = where
        """What they are, for messages and captions: "val images of STORE", "40 files"."""
        self.images = images
        self.paths = paths
        self.labels = labels
        """(N,) index of each into `class_names`; None where classes are not known, or any number may be there."""
        self.sets = sets
        """(N, K) whether each class is in each image, where any number may be."""
        self.class_names = class_names
        self.class_titles = class_titles

    @classmethod
    def of_split(cls, store: Store, split: str, where: str) -> "Pictures":
        """Return the images of a split, with the names of classes that the store has."""
        part = store[split]
        labels, sets = (None, part.label_sets) if part.has_sets else (part.labels, None)
        return cls(where, part.images, part.paths, labels, store.class_names, store.class_titles, sets)

    def __len__(self) -> int:
        return len(self.paths)

    def pixels(self, position: int) -> NDArray[np.uint8]:
        """Return an image, (S, S, 3) RGB."""
        return np.asarray(self.images[position])

    def give(self, position: int) -> Given:
        """Return what a classifier takes of an image: its path if it is a file, else its pixels."""
        return self.images.files[position] if isinstance(self.images, _Files) else self.pixels(position)

    def title(self, position: int) -> str:
        """Readable name of an image's class, or of all of them; "" where it is not known."""
        if self.sets is not None:
            return name_set(self.sets[position], self.class_titles)
        return "" if self.labels is None else self.class_titles[int(self.labels[position])]

    def written(self, position: int) -> str:
        """What a figure writes below an image: its class or classes, or the name of its file."""
        if self.sets is not None:
            return name_set(self.sets[position], legible(self.class_titles))
        if self.labels is None:
            return Path(self.paths[position]).name
        return legible(self.class_titles)[int(self.labels[position])]

    def label(self, position: int) -> int | None:
        """Index of an image's class in `class_names`, None where it is not known."""
        return None if self.labels is None else int(self.labels[position])

    def labels_of(self, classifier: Classifier) -> NDArray[np.int64]:
        """Return the label of each image as a class index of the classifier; classes are matched by name.

        Raises:
            ConfigError: the classes of the images are not known.
            WeightsError: the classifier does not know a class.
        """
        if self.sets is not None:
            raise ConfigError(
                f"{self.where}: an image may have any number of classes, and this asks for its one. Mistakes in such "
                "images are on the page of the report and of evaluate --html."
            )
        if self.labels is None:
            raise ConfigError(
                f"{self.where}: which class is correct is not known. Give a store, or --labelled if the folder that "
                "holds an image names its class."
            )
        known = match_classes(
            self.class_names, classifier.class_names, given_by=self.where, known_by=str(classifier.path)
        )
        return known[self.labels]

    def read(self, positions: Iterable[int]) -> tuple[list[NDArray[np.uint8]], list[int], list[ImageError]]:
        """Return the images at these positions, the positions of those that can be decoded, and why others cannot."""
        images, kept, left_out = [], [], []
        for position in positions:
            try:
                images.append(self.pixels(position))
                kept.append(position)
            except ImageError as problem:
                left_out.append(problem)
        return images, kept, left_out

    def features(
        self, classifier: Classifier, positions: Sequence[int] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], list[ImageError]]]:
        """Yield, batch by batch, positions (n,), features (n, D) of the last hidden layer, and images left out.

        Args:
            positions: Those to compute, ascending; all by default.
        """
        wanted = range(len(self)) if positions is None else positions
        layer = classifier.network.features_name()
        for start in range(0, len(wanted), FEATURE_BATCH):
            images, kept, left_out = self.read(wanted[start : start + FEATURE_BATCH])
            rows = classifier.activations(images, [layer], batch_size=FEATURE_BATCH)[layer]
            yield np.array(kept, np.int64), rows.reshape(len(kept), -1), left_out


class _Files:
    """Image files, decoded when they are asked for."""

    def __init__(self, files: Sequence[Path], preprocessing: Preprocessing) -> None:
        self.files = files
        self._preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return open_image(self.files[index], size=self._preprocessing.image_px, framing=self._preprocessing.framing)


def name_set(there: NDArray[np.bool_], names: Sequence[str]) -> str:
    """Return the names of the classes that are there, with commas between; "none" of none."""
    return ", ".join(name for name, is_there in zip(names, there, strict=True) if is_there) or NO_CLASS


def is_store(path: Path) -> bool:
    """Whether a path is a store's folder, finished or damaged."""
    return (path / HEADER_NAME).exists()


def open_split(path: Path, split: str, classifier: Classifier) -> Pictures:
    """Return the images of a split of a store; where this has no readable names of classes, with the classifier's.

    Raises:
        StoreError: the store is damaged or has no such split.
        WeightsError: its images have another size than the classifier's.
        ConfigError: the split has no images.
    """
    store, model = open_store(path), classifier.model
    image_px = model.preprocessing.image_px
    if store.size != image_px:
        raise WeightsError(
            f"{path}: holds images of {store.size} px, the model was trained on {image_px} px. Prepare the images "
            f"again with --size {image_px}."
        )
    if not len(store[split]):
        raise ConfigError(f"{path}: its split {split} has no images. Choose another --split.")
    found = Pictures.of_split(store, split, f"{counted(len(store[split]), f'{split} image')} of {path.name}")
    own = readable_names(store.class_names, store.class_titles)
    found.class_titles = name_readably(store.class_names, own, readable_names(model.class_names, model.class_titles))
    return found


def open_files(files: Sequence[Path], classifier: Classifier, *, labeled: bool = False) -> Pictures:
    """Return image files; with `labeled`, the folder that holds one names its class.

    Raises:
        WeightsError: the classifier does not know the class that a folder names.
    """
    images = _Files(files, classifier.model.preprocessing)
    where = counted(len(files), "image file")
    labels = None
    if labeled:
        folders = [path.resolve().parent.name for path in files]
        classes = tuple(dict.fromkeys(folders))
        known = match_classes(classes, classifier.class_names, given_by=where, known_by=str(classifier.path))
        position = dict(zip(classes, known.tolist(), strict=True))
        labels = np.array([position[folder] for folder in folders], np.int64)
    model = classifier.model
    return Pictures(where, images, [str(path) for path in files], labels, model.class_names, model.class_titles)
