"""What computes the features of an index: a classifier, or the members of an ensemble side by side."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.decode import Framing
from alexnet.errors import ConfigError, SearchError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble
from alexnet.exchange.features import describe_features
from alexnet.files.record import hash_file
from alexnet.network.model_file import find_model
from alexnet.text.wording import readable_names


class Extractor:
    """Features of decoded images.

    Those of an ensemble are its members', one after another, each times the root of its weight: squared distances are
    then the members' squared distances, averaged by weight. Members of weight 0 are left out.
    """

    def __init__(self, model: Classifier | Ensemble) -> None:
        """Take a model as it was opened.

        Raises:
            SearchError: an ensemble has no file, by which the index would know it.
        """
        self.titles = readable_names(model.class_names, model.class_titles)
        """Readable names of the classes that the model has one for."""
        if isinstance(model, Classifier):
            self._members: tuple[Classifier, ...] = (model,)
            self._factors: tuple[float, ...] = (1.0,)
            self.file: Path = find_model(model.path)
            """By whose bytes the index knows the model."""
            return
        if model.file is None:
            raise SearchError("this ensemble has no file that an index could name. Save it, and load it from there.")
        weighted = [pair for pair in zip(model.members, model.weights, strict=True) if pair[1] > 0]
        self._members = tuple(member for member, _ in weighted)
        self._factors = tuple(math.sqrt(weight) for _, weight in weighted)
        self.file = model.file

    @property
    def image_px(self) -> int:
        """Side of the images that features are computed of."""
        return self._members[0].image_px

    @property
    def framing(self) -> Framing:
        """How photographs become such images: as the members want it, where they agree, else as prepare does it."""
        wanted = {member.framing for member in self._members}
        return wanted.pop() if len(wanted) == 1 else "square"

    def choose_layer(self) -> str:
        """Return the last hidden layer, rectified.

        Raises:
            ConfigError: it has another name in each member.
        """
        names = sorted({member.network.features_name() for member in self._members})
        if len(names) > 1:
            raise ConfigError(
                f"the last hidden layers of the members are {', '.join(names)}. Name one that all have: --layer"
            )
        return names[0]

    def describe(self, layer: str) -> tuple[tuple[int, ...], dict[str, Any]]:
        """Return the shape of the features and where they come from, as `describe_features` gives it.

        Raises:
            ConfigError: a member has no such layer.
        """
        shapes = [member.network.measure_activation(layer) for member in self._members]
        each = [describe_features(member, {layer: shape}) for member, shape in zip(self._members, shapes, strict=True)]
        if len(each) == 1 and self._factors == (1.0,) and self.file == find_model(self._members[0].path):
            return shapes[0], each[0]
        description = {
            **each[0],
            "model": self.file.name,
            "weights_sha256": hash_file(self.file),
            "dialect": " + ".join(member["dialect"] for member in each),
            "preprocessing": {"members": [member["preprocessing"] for member in each]},
        }
        return (sum(math.prod(shape) for shape in shapes),), description

    def compute(self, pixels: Sequence[NDArray[np.uint8]], layer: str) -> NDArray[np.float32]:
        """Return (n, D) features of the centre views, computed together."""
        parts = []
        for member, factor in zip(self._members, self._factors, strict=True):
            values = member.activations(pixels, [layer], batch_size=len(pixels))[layer].reshape(len(pixels), -1)
            parts.append(values if factor == 1 else values * np.float32(factor))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
