"""Predicting: images as they are given become classes with probabilities, by one model or by several."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.decode import Framing
from alexnet.errors import ImageError
from alexnet.evaluation.given import Given, list_given, name_given, read_given

_IMAGES_AT_A_TIME = 128
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


class Predictor(ABC):
    """What names images: a `Classifier`, or an `Ensemble` of them."""

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""

    @property
    @abstractmethod
    def class_titles(self) -> tuple[str, ...]:
        """Readable names of the classes, in the same order; the names where there are no others."""

    @property
    @abstractmethod
    def image_px(self) -> int:
        """Side of the images that views are cropped from."""

    @property
    @abstractmethod
    def framing(self) -> Framing:
        """How photographs become such images."""

    @abstractmethod
    def compute_probabilities(self, images: Sequence[NDArray[np.uint8]], *, views: int) -> NDArray[np.float32]:
        """Return (N, K) probabilities of decoded images, (S, S, 3) uint8 RGB; each is the mean of its views'."""

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
        for names, outcomes in self._decode(images, _IMAGES_AT_A_TIME):
            decoded = [outcome for outcome in outcomes if not isinstance(outcome, ImageError)]
            rows = iter(self.compute_probabilities(decoded, views=views))
            for name, outcome in zip(names, outcomes, strict=True):
                if isinstance(outcome, ImageError):
                    yield outcome
                else:
                    yield Prediction(name, self.class_names, next(rows))

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
