"""AlexNet as estimators of scikit-learn: a classifier that learns from images, and the features of a trained model.

Images are given as paths of files, (N,), or as arrays (N, H, W) or (N, H, W, C) with C in 1, 3, 4: uint8, or floats in
[0, 1]. They take the way in that `prepare` and `predict` have: upright, the central square, resized. A table of numbers
(N, D) is no image and is refused. Needs the extra `sklearn`.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from alexnet.data.prepare.statistics import PixelStatistics
from alexnet.data.sources.arrays import encode_pixels
from alexnet.data.store.format import TRAIN
from alexnet.data.store.reader import Store, open_store
from alexnet.data.store.writer import SplitContent, StoreFiles, rows_per_shard
from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.given import name_given, read_given
from alexnet.network.dialects import find_dialect
from alexnet.recipes.named import find_recipe, scale_epochs
from alexnet.recipes.text import quote_briefly
from alexnet.runs.train import train
from alexnet.training.loop import Silent

Images = Sequence[str | os.PathLike[str]] | NDArray[Any]
"""Paths (N,); or pixels (N, H, W) or (N, H, W, C)."""


class AlexNetClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network that `fit` trains from its first weights on, by a recipe.

    With a few hundred images, features of a trained model and a linear classifier do better: see `AlexNetFeatures`.

    All images are trained on. A recipe that watches validation images trains as one does without them; group `stop`
    of a recipe needs them and is refused.

    Args:
        recipe: A named recipe, or the path of a recipe.yaml.
        epochs: Train for so many; None for the recipe's. What happens at fixed times moves in proportion.
        settings: Changes to the recipe, such as ("batches.size=32",); they come after `epochs`.
        image_px: Side that images are brought to; at least the network's input, as crops are taken from them.
        views: 1, 9 or 10 views of an image, whose probabilities are averaged.
        random_state: Fixes weights, order, crops, colour noise and dropout; None draws a seed.
        device, precision, threads: As of `alexnet.train`.
        verbose: Print a line for each epoch.
    Attributes:
        classes_: (K,) the labels, sorted.
        model_: The trained model, as `alexnet.load` returns it.
        history_: A row for each epoch, as in metrics.jsonl.
    """

    def __init__(
        self,
        recipe: str = "modern",
        *,
        epochs: int | None = None,
        settings: Sequence[str] = (),
        image_px: int = 256,
        views: int = 10,
        random_state: Any = 0,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.epochs = epochs
        self.settings = settings
        self.image_px = image_px
        self.views = views
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.threads = threads
        self.verbose = verbose

    def fit(self, X: Images, y: ArrayLike) -> Self:
        """Train on images and their labels, (N,) of any type that sorts; the store and the run are temporary.

        Raises:
            ConfigError: a ValueError: X is not images, or y is not labels of at least two classes, one for each; or
                recipe, epochs, settings or image_px is not accepted.
            ImageError: an image cannot be decoded.
            DivergedError, Interrupted: see `training.loop.train_model`.
        """
        images = check_images(X)
        labels = column_or_1d(y, warn=True)
        check_consistent_length(images, labels)
        check_classification_targets(labels)
        self.classes_, indices = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ConfigError("y holds one class; a classifier needs images of at least 2.")
        scaled = scale_epochs(find_recipe(self.recipe), self.epochs) if self.epochs is not None else []
        if not isinstance(self.settings, list | tuple) or not all(isinstance(each, str) for each in self.settings):
            raise ConfigError(
                f"settings is {quote_briefly(self.settings)}; accepted is a list or tuple of changes, such as "
                '("batches.size=32",).'
            )
        recipe = find_recipe(self.recipe, [*scaled, *self.settings])
        input_px = find_dialect(recipe.network.dialect, len(self.classes_)).input_px
        if isinstance(self.image_px, bool) or not isinstance(self.image_px, int | np.integer) or self.image_px < 1:
            raise ConfigError(f"image_px is {quote_briefly(self.image_px)}; it is a number of pixels, such as 256.")
        if self.image_px < input_px:
            raise ConfigError(f"image_px is {self.image_px}; recipe {self.recipe} reads crops of {input_px} px.")
        with tempfile.TemporaryDirectory(prefix="alexnet-") as place:
            folder = Path(place)
            store = _write_store(folder, images, indices.astype(np.int64), self.image_px)
            outcome = train(
                store,
                recipe,
                folder / "run",
                listener=_Lines() if self.verbose else Silent(),
                seed=_choose_seed(self.random_state),
                device=self.device,
                precision=self.precision,
                threads=self.threads,
            )
            self.history_ = outcome.history
            self.model_ = load(folder / "run", device=self.device, precision=self.precision)
        return self

    def predict_proba(self, X: Images) -> NDArray[np.float64]:
        """Return the probabilities (N, K) of the classes, in the order of `classes_`."""
        check_is_fitted(self)
        found = [each.probabilities for each in self.model_.predict(_give(check_images(X)), views=self.views)]
        probabilities = np.array(found, np.float64).reshape(-1, len(self.classes_))
        return np.asarray(probabilities / probabilities.sum(1, keepdims=True))

    def predict(self, X: Images) -> NDArray[Any]:
        """Return the most probable label (N,) of each image."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(1)])

    def __sklearn_tags__(self) -> Tags:
        return _take_images(super().__sklearn_tags__())


class AlexNetFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What a layer of a trained model makes of images, for any estimator that takes numbers.

    Args:
        model: A model file or a run folder; or what `alexnet.load` returned.
        layer: An activation, such as "conv5.pool"; None for the rectified last hidden layer (paper, section 6.1).
        batch_size: Images computed together.
        device, precision: As of `alexnet.load`.
    Attributes:
        model_: The model.
        layer_: The layer's name.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Classifier,
        layer: str | None = None,
        *,
        batch_size: int = 16,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.model = model
        self.layer = layer
        self.batch_size = batch_size
        self.device = device
        self.precision = precision

    def fit(self, X: Images, y: Any = None) -> Self:
        """Open the model; nothing is learned from X.

        Raises:
            WeightsError: there is no model, or it is damaged.
            ConfigError: X is not images, or the model has no such layer.
        """
        check_images(X)
        given = self.model
        self.model_ = (
            given if isinstance(given, Classifier) else load(Path(given), device=self.device, precision=self.precision)
        )
        self.layer_ = self.layer or self.model_.network.features_name()
        self._n_features_out = int(np.prod(self.model_.network.measure_activation(self.layer_)))
        return self

    def transform(self, X: Images) -> NDArray[np.float32]:
        """Return the layer's activations (N, D) for the centre view of each image; maps are flattened C, H, W.

        Raises:
            ImageError: an image cannot be decoded.
        """
        check_is_fitted(self)
        found = self.model_.activations(_give(check_images(X)), [self.layer_], batch_size=self.batch_size)
        return found[self.layer_].reshape(-1, self._n_features_out)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the columns: the layer's, and a number."""
        check_is_fitted(self)
        return np.array([f"{self.layer_}.{number}" for number in range(self._n_features_out)], object)

    def __sklearn_tags__(self) -> Tags:
        tags = _take_images(super().__sklearn_tags__())
        tags.transformer_tags.preserves_dtype = []  # whatever the images are, features are float32
        return tags


def check_images(X: Images) -> list[str | os.PathLike[str]] | NDArray[Any]:
    """Return images as a list of paths or as one array (N, H, W) or (N, H, W, C).

    Raises:
        ConfigError: they are neither, or there are none.
    """
    if len(X) == 0:
        raise ConfigError("X is empty; give the paths of images, or an array of them.")
    values = np.asarray(X)
    if values.dtype.kind in "OUS":
        paths = values.reshape(-1).tolist() if values.ndim == 2 and values.shape[1] == 1 else values.tolist()
        if all(isinstance(path, str | os.PathLike) for path in paths):
            return paths
    is_image = values.ndim == 3 or (values.ndim == 4 and values.shape[3] in (1, 3, 4))
    if is_image and (values.dtype == np.uint8 or (values.dtype.kind == "f" and values.min() >= 0 >= values.max() - 1)):
        return values
    raise ConfigError(
        f"X is {values.dtype} of shape {values.shape}; accepted are paths of image files (N,), or pixels (N, H, W) or "
        "(N, H, W, C) with C in 1, 3, 4, uint8 or floats in [0, 1]. Rows of pixels become images by "
        "X.reshape(-1, H, W)."
    )


def _give(images: list[str | os.PathLike[str]] | NDArray[Any]) -> list[Any]:
    """Return images as `predict` takes them: arrays of any size as files, which are brought to size like others."""
    return images if isinstance(images, list) else [encode_pixels(pixels) for pixels in images]


def _write_store(
    folder: Path, images: list[str | os.PathLike[str]] | NDArray[Any], labels: NDArray[np.int64], size: int
) -> Store:
    """Return a store of training images alone; classes are called by their numbers.

    Raises:
        ImageError: an image cannot be decoded.
    """
    files = StoreFiles(folder / "store", folder / "scratch")
    files.make_folders()
    statistics, shards, rows = PixelStatistics(size), [], rows_per_shard(size)
    for number, start in enumerate(range(0, len(images), rows)):
        given = enumerate(_give(images[start : start + rows]), start=start)
        block = np.stack([read_given(image, position, size) for position, image in given])
        statistics.add(block)
        shards.append(files.write_shard(TRAIN, number, block))
    names = [f"{label:08d}" for label in range(labels.max() + 1)]
    paths = [name_given(image, position) for position, image in enumerate(images)]
    files.finish(
        size=size,
        class_names=names,
        class_titles=names,
        splits={TRAIN: SplitContent(shards=shards, labels=labels, paths=paths)},
        statistics=statistics,
        provenance={},
        report={},
    )
    return open_store(files.folder)


def _choose_seed(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))


def _take_images(tags: Tags) -> Tags:
    """Say that images are taken: no tables, and nothing that scikit-learn could check the numbers of."""
    tags.no_validation = True
    tags.input_tags.two_d_array = False
    tags.input_tags.one_d_array = tags.input_tags.three_d_array = tags.input_tags.string = True
    return tags


class _Lines(Silent):
    """Prints what training tells of its epochs."""

    def epoch_done(self, row: dict[str, Any]) -> None:
        """Print the loss."""
        print(f"epoch {row['epoch']}: training loss {row['train_loss']:.4f}, {row['images_per_second']:.0f} images/s")

    def notice(self, sentence: str) -> None:
        """Print it."""
        print(sentence)
