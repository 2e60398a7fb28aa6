"""Predicting: images as they are given become classes with probabilities, by one model or by several."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.decode import Framing
from alexnet.errors import ConfigError, ImageError
from alexnet.evaluation.given import Given, list_given, name_given, read_given
from alexnet.network.confidence import Rejection, for_views, scale_probabilities
from alexnet.network.independent import Independent
from alexnet.text.commands import command

_IMAGES_AT_A_TIME = 128
"""Images that are decoded before they are predicted."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Probabilities of one image, and what they say."""

    source: str
    """Path of the image, or its position if it was given without one."""
    class_names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    """(K,) in the order of class_names; they sum to 1, unless classes are independent."""
    distance: float | None = None
    """Distance from the training images, see `Rejection.measure`; None where the model does not measure it."""
    is_unknown: bool = False
    """Whether the distance is too large for any class, so that the probabilities mean nothing."""
    thresholds: NDArray[np.float64] | None = None
    """(K,) least probability of each class that is there, where any number may be; None where a picture has one."""

    @property
    def found(self) -> list[tuple[str, float]]:
        """The classes that are there, the most probable first: the best, or of independent classes those that reach
        their thresholds, perhaps none."""
        if self.thresholds is None:
            return self.top(1)
        there = self.probabilities >= self.thresholds
        return [(name, value) for name, value in self.top(len(there)) if there[self.class_names.index(name)]]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the k best classes, best first, with their probabilities; all of them if there are fewer than k."""
        values = self.probabilities
        # Of a thousand classes only those near the top are sorted; of equal ones the first stands first.
        least = np.partition(values, -k)[-k] if k < len(values) else -np.inf
        near = np.flatnonzero(values >= least)
        order = near[np.argsort(-values[near], kind="stable")][:k]
        return [(self.class_names[i], float(self.probabilities[i])) for i in order]


def describe_labels(prediction: Prediction, titles: Mapping[str, str]) -> dict[str, Any]:
    """Return the classes of a picture as programs get them; empty for models that name just one.

    Args:
        titles: Class name -> readable name.
    """
    if prediction.thresholds is None:
        return {}
    return {
        "labels": [
            {"name": name, "title": titles[name], "probability": probability} for name, probability in prediction.found
        ]
    }


def describe_distance(prediction: Prediction) -> dict[str, Any]:
    """Return whether a picture is unknown, and its distance, as programs get them; empty if not measured."""
    return {} if prediction.distance is None else {"unknown": prediction.is_unknown, "distance": prediction.distance}


class Answer(NamedTuple):
    """What a predictor makes of N images."""

    probabilities: NDArray[np.float32]
    """(N, K)"""
    distances: NDArray[np.float32] | None
    """(N,), see `Rejection.measure`; None without a rejection."""


class Predictor(ABC):
    """What names images: a `Classifier`, or an `Ensemble` of them."""

    path: Path
    """Path of its model, or of its first member."""
    file: Path | None = None
    """File of the ensemble, if it was loaded from one."""
    class_names: tuple[str, ...]
    """Names of the classes, in the order of the probabilities."""
    class_titles: tuple[str, ...]
    """Readable names of the classes, in the same order; the names where there are no others."""
    image_px: int
    """Side of the images that views are cropped from."""
    framing: Framing
    """How photographs become such images: as in training."""
    temperatures: Mapping[int, float]
    """Number of views -> temperature of the probabilities; empty where they were not calibrated."""
    rejection: Rejection | None = None
    """When the answer is "unknown"; None where every image gets a class."""
    independent: Independent | None = None
    """Thresholds of classes of which a picture may have any number; of an ensemble their mean. None where a picture has
    one class."""

    def thresholds(self, views: int) -> NDArray[np.float64]:
        """Return the (K,) thresholds of independent classes for a number of views."""
        return (self.independent or Independent()).for_views(views, len(self.class_names))

    @abstractmethod
    def compute_answer(self, images: Sequence[NDArray[np.uint8]], *, views: int) -> Answer:
        """Return probabilities and distances of decoded images, (S, S, 3) uint8 RGB; each is the mean of its views'."""

    def compute_probabilities(self, images: Sequence[NDArray[np.uint8]], *, views: int) -> NDArray[np.float32]:
        """Return the (N, K) probabilities of `compute_answer`."""
        return self.compute_answer(images, views=views).probabilities

    def temperature(self, views: int) -> float:
        """Return the temperature for a number of views.

        Raises:
            ConfigError: the model was not calibrated.
        """
        where = self.file or self.path
        if self.independent is not None:
            raise ConfigError(
                f"{where}: a picture may have any number of its classes, each with a probability of its own; there is "
                "no temperature for these. Leave --calibrated out."
            )
        if not self.temperatures:
            raise ConfigError(
                f"{where}: has no temperature to scale its probabilities with. Find one on validation images: "
                f"{command('calibrate', where, 'STORE')}"
            )
        return for_views(self.temperatures, views)

    def predict(self, images: Given | Iterable[Given], *, views: int = 1, calibrated: bool = False) -> list[Prediction]:
        """Return the probabilities of images, one prediction each, in order.

        Args:
            images: One or many: image files of any size and mode, as paths, as their bytes or open for reading; PIL
                images; or (S, S, 3) uint8 RGB arrays of the stored size.
            views: 1 (centre), 9 (three by three places) or 10 (corners, centre, and mirrored); the mean of their
                probabilities.
            calibrated: Scale the probabilities with the temperature that was found on validation images.
        Raises:
            ImageError: a file cannot be decoded; `predict_each` goes on after it.
            ConfigError: an array has another shape or type, an image is none of these, views is none of 1, 9 and
                10, or there is no temperature.
        """
        results = []
        for outcome in self.predict_each(images, views=views, calibrated=calibrated):
            if isinstance(outcome, ImageError):
                raise outcome
            results.append(outcome)
        return results

    def predict_each(
        self, images: Given | Iterable[Given], *, views: int = 1, calibrated: bool = False
    ) -> Iterator[Prediction | ImageError]:
        """Yield, for each image in order, its prediction or the reason why it cannot be decoded; memory is bounded."""
        temperature = self.temperature(views) if calibrated else 1.0
        threshold = self.rejection.threshold(views) if self.rejection else 0.0
        thresholds = None if self.independent is None else self.thresholds(views)
        for names, outcomes in self._decode(images, _IMAGES_AT_A_TIME):
            decoded = [outcome for outcome in outcomes if not isinstance(outcome, ImageError)]
            answer = self.compute_answer(decoded, views=views)
            probabilities = answer.probabilities
            if calibrated:
                probabilities = scale_probabilities(probabilities, temperature)
            distances = [None] * len(decoded) if answer.distances is None else answer.distances.tolist()
            rows = zip(probabilities, distances, strict=True)
            for name, outcome in zip(names, outcomes, strict=True):
                if isinstance(outcome, ImageError):
                    yield outcome
                else:
                    row, distance = next(rows)
                    is_unknown = distance is not None and distance > threshold
                    yield Prediction(name, self.class_names, row, distance, is_unknown, thresholds)

    def _decode(
        self, images: Given | Iterable[Given], most: int
    ) -> Iterator[tuple[list[str], list[NDArray[np.uint8] | ImageError]]]:
        """Yield up to `most` images at a time: what they are called, and their pixels or why they cannot be decoded."""
        numbered = enumerate(list_given(images))
        while chunk := list(itertools.islice(numbered, most)):
            outcomes: list[NDArray[np.uint8] | ImageError] = []
            for position, image in chunk:
                try:
                    outcomes.append(read_given(image, position, self.image_px, self.framing))
                except ImageError as problem:
                    outcomes.append(problem)
            yield [name_given(image, position) for position, image in chunk], outcomes
