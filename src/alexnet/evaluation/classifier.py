"""A trained model ready for use: the network with its classes and its preprocessing, which cannot disagree."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.batches.loader import Images
from alexnet.errors import ImageError, WeightsError
from alexnet.evaluation.evaluate import (
    Evaluation,
    Outputs,
    compute_outputs,
    evaluate_network,
    gather_probabilities,
    match_classes,
)
from alexnet.evaluation.given import Given
from alexnet.evaluation.prediction import Answer, Predictor
from alexnet.evaluation.set_evaluation import SetEvaluation, arrange_columns, explain_labels, measure_sets
from alexnet.files.addresses import local
from alexnet.network.alexnet import AlexNet
from alexnet.network.model_file import Model, find_model, load_model
from alexnet.system import Compute, choose_compute
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

if TYPE_CHECKING:
    from alexnet.data.store.reader import Store


class Classifier(Predictor):
    """What `alexnet.load` returns."""

    def __init__(self, model: Model, path: Path, *, device: str = "auto", precision: str = "auto") -> None:
        self.model = model
        self.path = path
        self.compute: Compute = choose_compute(device, precision)
        self.network: AlexNet = model.network.to(device=self.compute.device, dtype=self.compute.dtype).eval()
        """In evaluation mode, on the device and in the precision it computes in."""
        self.class_names, self.class_titles = model.class_names, model.class_titles
        self.image_px, self.framing = model.preprocessing.image_px, model.preprocessing.framing
        self.temperatures, self.rejection = model.temperatures, model.rejection
        self.independent = model.independent

    def __repr__(self) -> str:
        spec, image_px = self.model.network.spec, self.model.preprocessing.image_px
        precision = str(self.compute.dtype).removeprefix("torch.")
        return (
            f"Classifier({str(self.path)!r}: {counted(len(self.class_names), 'class', 'classes')}, dialect "
            f"{spec.dialect}, images of {image_px} px, inputs of {spec.input_px} px, {precision} on "
            f"{self.compute.device})"
        )

    def compute_answer(self, images: Sequence[NDArray[np.uint8]], *, views: int) -> Answer:
        """Return probabilities and distances of decoded images, (S, S, 3) uint8 RGB; each is the mean of its views'."""
        probabilities = [np.zeros((0, len(self.class_names)), np.float32)]
        distances = [np.zeros(0, np.float32)]
        for outputs in self.compute_outputs(images, views=views):
            probabilities.append(outputs.probabilities.numpy())
            if self.rejection:
                distances.append(self.rejection.measure(outputs.features.numpy()))
        return Answer(np.concatenate(probabilities), np.concatenate(distances) if self.rejection else None)

    def compute_outputs(self, images: Images, *, views: int) -> Iterator[Outputs]:
        """Yield probabilities and features of decoded images, batch by batch; see `evaluate.compute_outputs`."""
        return compute_outputs(
            self.network,
            images,
            self.model.preprocessing,
            self.compute,
            num_views=views,
            independent=self.independent is not None,
        )

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
        crop_px, dtype = self.network.spec.input_px, self.compute.dtype
        for name in layers:
            self.network.locate_activation(name)
        for names, outcomes in self._decode(images, batch_size):
            problems = [outcome for outcome in outcomes if isinstance(outcome, ImageError)]
            decoded = [(name, each) for name, each in zip(names, outcomes, strict=True) if isinstance(each, np.ndarray)]
            if not decoded:
                yield [], problems, {}
                continue
            inputs = self.model.preprocessing.make_views([pixels for _, pixels in decoded], crop_px, dtype)
            with torch.inference_mode():
                found = self.network.activations(inputs[:, 0].to(self.compute.device), layers)
            yield [name for name, _ in decoded], problems, {name: found[name].float().cpu().numpy() for name in layers}

    def inputs(self, images: Given | Iterable[Given]) -> torch.Tensor:
        """Return what the network reads of images, (N, 3, crop, crop): the centre view of each, in the order given.

        For programs that call the network themselves. On the classifier's device, in its precision; RGB, the mean
        subtracted, divided as in training.

        Args:
            images: As for `predict`; all are in memory at once.
        Raises:
            ImageError, ConfigError: as `predict`.
        """
        pixels: list[NDArray[np.uint8]] = []
        for _, outcomes in self._decode(images, 16):
            for outcome in outcomes:
                if isinstance(outcome, ImageError):
                    raise outcome
                pixels.append(outcome)
        inputs = self.model.preprocessing.make_views(pixels, self.network.spec.input_px, self.compute.dtype)
        return inputs[:, 0].to(self.compute.device)

    def check_size(self, store: "Store") -> None:
        """Refuse a store of images of another size.

        Raises:
            WeightsError: they have another size.
        """
        if store.size != self.model.preprocessing.image_px:
            raise WeightsError(
                f"{self.path} was trained on images of {self.model.preprocessing.image_px} px, {store.path} holds "
                f"{store.size} px. Prepare the images again with --size {self.model.preprocessing.image_px}."
            )

    def evaluate(self, store: "Store", *, split: str = "val", views: int = 1, tick: Tick = untold) -> Evaluation:
        """Return the errors on a split of a store; its classes are matched with the model's by name.

        Raises:
            WeightsError: the store has a class that the model does not know, or images of another size; or a picture
                may have any number of classes, see `evaluate_sets`.
            StoreError: the store has no such split, or any number of labels for an image.
        """
        self.check_labels(store)
        self.check_size(store)
        images = store[split]
        index = match_classes(store.class_names, self.class_names, given_by=str(store.path), known_by=str(self.path))
        return evaluate_network(
            self.network,
            images.images,
            index[images.labels],
            self.model.preprocessing,
            self.compute,
            class_names=self.class_names,
            num_views=views,
            tick=tick,
        )

    def evaluate_sets(
        self, store: "Store", *, split: str = "val", views: int = 1, tick: Tick = untold
    ) -> SetEvaluation:
        """Return how well a model of independent classes does on a split of a store with any number of labels.

        Raises:
            WeightsError, StoreError: as `evaluate`; or the model names one class for a picture.
        """
        self.check_labels(store)
        self.check_size(store)
        images = store[split]
        known = match_classes(store.class_names, self.class_names, given_by=str(store.path), known_by=str(self.path))
        labels = arrange_columns(images.label_sets, known, len(self.class_names))
        found = gather_probabilities(
            self.network,
            images.images,
            self.model.preprocessing,
            self.compute,
            num_views=views,
            tick=tick,
            independent=True,
        )
        return measure_sets(
            found.numpy(), labels, self.thresholds(views), class_names=self.class_names, num_views=views
        )

    def check_labels(self, store: "Store") -> None:
        """Raise WeightsError for a store whose images have another kind of labels than the model learned."""
        if (self.independent is not None) != store.has_sets:
            raise WeightsError(explain_labels(str(self.path), str(store.path), learned_sets=not store.has_sets))


def load(path: str | Path, *, device: str = "auto", precision: str = "auto") -> Classifier:
    """Return a trained model with its matching preprocessing.

    Args:
        path: A model file (.safetensors), or a run folder; of an unfinished run, its newest checkpoint is used. Or the
            address of one, as s3://bucket/run.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "float32" or "bfloat16".
    Raises:
        WeightsError: there is no model there, or its file is damaged.
        ConfigError: the device or precision is not available.
    """
    path = local(path)
    return Classifier(load_model(find_model(path)), path, device=device, precision=precision)
