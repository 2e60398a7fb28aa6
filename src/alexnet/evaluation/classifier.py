"""A trained model ready for use: the network with its classes and its preprocessing, which cannot disagree."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.errors import ImageError, WeightsError
from alexnet.evaluation.evaluate import Evaluation, evaluate_network, match_classes, predict_probabilities
from alexnet.evaluation.given import Given, list_given, name_given, read_given
from alexnet.network.alexnet import AlexNet
from alexnet.network.model_file import Model, find_model, load_model
from alexnet.system import Compute, choose_compute
from alexnet.text.progress import Tick
from alexnet.text.wording import counted

if TYPE_CHECKING:
    from alexnet.data.store.reader import Store


_CHUNK = 128
"""Images that are decoded before they are predicted."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Probabilities of one image."""

    source: str
    """Path of the image, or its position if it was given without one."""
    class_names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    """(K,) in the order of class_names; they sum to 1."""

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the k best classes, best first, with their probabilities; all of them if there are fewer than k."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.class_names[i], float(self.probabilities[i])) for i in order]


class Classifier:
    """What `alexnet.load` returns."""

    def __init__(self, model: Model, path: Path, *, device: str = "auto", precision: str = "auto") -> None:
        self.model = model
        self.path = path
        self.compute: Compute = choose_compute(device, precision)
        self._network = model.network.to(device=self.compute.device, dtype=self.compute.dtype).eval()

    def __repr__(self) -> str:
        spec, image_px = self.model.network.spec, self.model.preprocessing.image_px
        precision = str(self.compute.dtype).removeprefix("torch.")
        return (
            f"Classifier({str(self.path)!r}: {counted(len(self.class_names), 'class', 'classes')}, dialect "
            f"{spec.dialect}, images of {image_px} px, inputs of {spec.input_px} px, {precision} on "
            f"{self.compute.device})"
        )

    @property
    def network(self) -> AlexNet:
        """The network in evaluation mode, on the device and in the precision it computes in."""
        return self._network

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.model.class_names

    @property
    def class_titles(self) -> tuple[str, ...]:
        """Readable names of the classes, in the same order; the names where there are no others."""
        return self.model.class_titles

    def predict(self, images: Given | Iterable[Given], *, views: int = 1) -> list[Prediction]:
        """Return the probabilities of images, one prediction each, in order.

        Args:
            images: One or many: image files of any size and mode, as paths, as their bytes or open for reading; PIL
                images; or (S, S, 3) uint8 RGB arrays of the stored size.
            views: 1 (centre), 9 (three by three places) or 10 (corners, centre, and mirrored); the mean of their
                probabilities.
        Raises:
            ImageError: a file cannot be decoded; `predict_each` goes on after it.
            ConfigError: an array has another shape or type, an image is none of these, or views is none of 1, 9 and
                10.
        """
        results = []
        for outcome in self.predict_each(images, views=views):
            if isinstance(outcome, ImageError):
                raise outcome
            results.append(outcome)
        return results

    def predict_each(self, images: Given | Iterable[Given], *, views: int = 1) -> Iterator[Prediction | ImageError]:
        """Yield, for each image in order, its prediction or the reason why it cannot be decoded; memory is bounded."""
        remaining = iter(list_given(images))
        position, size = 0, self.model.preprocessing.image_px
        while chunk := list(itertools.islice(remaining, _CHUNK)):
            outcomes: list[NDArray[np.uint8] | ImageError] = []
            for offset, image in enumerate(chunk):
                try:
                    outcomes.append(read_given(image, position + offset, size, self.model.preprocessing.framing))
                except ImageError as problem:
                    outcomes.append(problem)
            decoded = [outcome for outcome in outcomes if not isinstance(outcome, ImageError)]
            rows = iter(
                row
                for part in predict_probabilities(
                    self._network, decoded, self.model.preprocessing, self.compute, num_views=views
                )
                for row in part.numpy()
            )
            for offset, (image, outcome) in enumerate(zip(chunk, outcomes, strict=True)):
                if isinstance(outcome, ImageError):
                    yield outcome
                else:
                    name = name_given(image, position + offset)
                    yield Prediction(name, self.class_names, next(rows))
            position += len(chunk)

    def activations(
        self, images: Given | Iterable[Given], layers: Sequence[str], *, batch_size: int = 16
    ) -> dict[str, NDArray[np.float32]]:
        """Return the activations of the centre view of each image: layer -> (N, *shape), float32, in the order given.

        Args:
            images: As for `predict`.
            layers: Names such as "conv1", "conv1.relu", "fc7.relu", "conv5.pool:a" for one tower; docs/dialects.md has
                a picture of them.
            batch_size: Images computed together; results do not depend on it beyond rounding.
        Raises:
            ImageError: a file cannot be decoded; `activations_each` goes on after it.
            ConfigError: a layer is unknown, or an array has another shape.
        """
        parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in layers}
        for _, problems, arrays in self.activations_each(images, layers, batch_size=batch_size):
            if problems:
                raise problems[0]
            for name in layers:
                parts[name].append(arrays[name])
        empty = {name: np.zeros((0, *self.network.measure_activation(name)), np.float32) for name in layers}
        return {name: np.concatenate(parts[name]) if parts[name] else empty[name] for name in layers}

    def activations_each(
        self, images: Given | Iterable[Given], layers: Sequence[str], *, batch_size: int = 16
    ) -> Iterator[tuple[list[str], list[ImageError], dict[str, NDArray[np.float32]]]]:
        """Yield, batch by batch, the names of the images that could be decoded, the reasons of the others, and the
        activations of the former, as `activations` returns them; memory is bounded by the batch.
        """
        preprocessing, crop_px = self.model.preprocessing, self.network.spec.input_px
        for name in layers:
            self.network.locate_activation(name)
        numbered = enumerate(list_given(images))
        while chunk := list(itertools.islice(numbered, batch_size)):
            names: list[str] = []
            pixels: list[NDArray[np.uint8]] = []
            problems: list[ImageError] = []
            for position, image in chunk:
                try:
                    pixels.append(read_given(image, position, preprocessing.image_px, preprocessing.framing))
                except ImageError as problem:
                    problems.append(problem)
                else:
                    names.append(name_given(image, position))
            if not pixels:
                yield [], problems, {}
                continue
            inputs = preprocessing.make_views(pixels, crop_px, self.compute.dtype)
            with torch.inference_mode():
                found = self.network.activations(inputs[:, 0].to(self.compute.device), layers)
            yield names, problems, {name: found[name].float().cpu().numpy() for name in layers}

    def evaluate(self, store: "Store", *, split: str = "val", views: int = 1, tick: Tick | None = None) -> Evaluation:
        """Return the errors on a split of a store; its classes are matched with the model's by name.

        Raises:
            WeightsError: the store has a class that the model does not know, or images of another size.
            StoreError: the store has no such split.
        """
        if store.size != self.model.preprocessing.image_px:
            raise WeightsError(
                f"{self.path} was trained on images of {self.model.preprocessing.image_px} px, {store.path} holds "
                f"{store.size} px. Prepare the images again with --size {self.model.preprocessing.image_px}."
            )
        images = store[split]
        index = match_classes(store.class_names, self.class_names, given_by=str(store.path), known_by=str(self.path))
        return evaluate_network(
            self._network,
            images.images,
            index[images.labels],
            self.model.preprocessing,
            self.compute,
            class_names=self.class_names,
            num_views=views,
            tick=tick,
        )


def load(path: str | Path, *, device: str = "auto", precision: str = "auto") -> Classifier:
    """Return a trained model with its matching preprocessing.

    Args:
        path: A model file (.safetensors), or a run folder; of an unfinished run, its newest checkpoint is used.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "float32" or "bfloat16".
    Raises:
        WeightsError: there is no model there, or its file is damaged.
        ConfigError: the device or precision is not to be had.
    """
    path = Path(path)
    return Classifier(load_model(find_model(path)), path, device=device, precision=precision)
