"""What a model says of pictures: the computations that the interface for programs and the page share.

Each takes a list of decoded images, which may belong to several requests, and returns something for each.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.batches.views import Place, evaluation_views
from alexnet.data.sources.source import SEPARATOR
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.clips import ClipPrediction
from alexnet.evaluation.ensemble import Ensemble
from alexnet.evaluation.prediction import Prediction, describe_distance, describe_labels
from alexnet.interpretation.why import METHODS, Method
from alexnet.network.independent import to_probabilities
from alexnet.retrieval.index.features import Extractor
from alexnet.retrieval.index.images import Originals
from alexnet.retrieval.index.reader import Index
from alexnet.retrieval.index.writer import check_model
from alexnet.retrieval.querying import Hit, Questions, answer, describe_images

Pixels = NDArray[np.uint8]
WHY: Mapping[str, Method] = {name: METHODS[name] for name in ("gradient", "cam", "occlusion")}
"""The methods of the page that show where in a picture a class is decided, the default first. Occlusion, the most
faithful, is the last: it costs as much as 169 predictions."""


class Answers:
    """A model with its classes, and an index of pictures where there is one."""

    def __init__(
        self,
        model: Classifier | Ensemble,
        *,
        index: Index | None = None,
        title: str | None = None,
        calibrated: bool = False,
    ) -> None:
        """Hold a model.

        Args:
            title: What people call the model; the name of its file or folder by default.
            calibrated: Scale the probabilities with the model's temperature.
        Raises:
            SearchError: the index was made with another model.
            ConfigError: there is no temperature.
        """
        self.model = model
        self.calibrated = calibrated
        if calibrated:
            model.temperature(1)
        self.index = index
        self.extractor = Extractor(model)
        file = model.file if isinstance(model, Ensemble) and model.file else Path(model.path)
        self.title = title or file.resolve().name
        self.class_names = model.class_names
        self.class_titles = model.class_titles
        self.titles = dict(zip(self.class_names, self.class_titles, strict=True))
        """Readable names by the names of the classes."""
        if index is not None:
            check_model(index, self.extractor)
        self._originals = Originals(index) if index is not None else None
        members = model.members if isinstance(model, Ensemble) else (model,)
        weights = model.weights if isinstance(model, Ensemble) else (1.0,)
        self.shown: Classifier = members[int(np.argmax(weights))]
        """The network whose insides are shown: of an ensemble, the member that counts most."""

    @property
    def image_px(self) -> int:
        """Side of the images that it takes."""
        return self.extractor.image_px

    def predict(self, images: Sequence[Pixels], views: int) -> list[Prediction]:
        """Return the predictions of images, averaged over 1, 9 or 10 views."""
        return self.model.predict(images, views=views, calibrated=self.calibrated)

    def features(self, images: Sequence[Pixels], layer: str) -> list[NDArray[np.float32]]:
        """Return the activations of a layer, flat, as an index holds them.

        Raises:
            ConfigError: there is no such layer.
        """
        return list(self.extractor.compute(images, layer))

    def neighbors(self, images: Sequence[Pixels], k: int) -> list[list[Hit]]:
        """Return the k nearest images of the index, nearest first; all of them where it has fewer.

        Raises:
            SearchError: the index is damaged.
        """
        assert self.index is not None
        asked = describe_images(self.index, self.extractor, images)
        names = [str(number) for number in range(len(images))]
        questions = Questions(names, np.stack(asked.features), [], asked.selves)
        return [each.hits for each in answer(self.index, questions, min(k, len(self.index)))]

    def read_neighbor(self, hit: Hit) -> Pixels | None:
        """Return the pixels of a neighbour, None where they cannot be had any more."""
        assert self._originals is not None
        return self._originals.read(hit.entry, self.image_px)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of what `activations` computes, in the order of the network."""
        return self.shown.network.activation_names()

    def places(self, views: int) -> list[Place]:
        """Return the views of an image as the shown network crops them, each once."""
        return list(dict.fromkeys(evaluation_views(self.image_px, self.crop_px, views)))

    @property
    def crop_px(self) -> int:
        """Side of the views that the shown network takes."""
        return self.shown.network.spec.input_px

    def view_probabilities(self, images: Sequence[Pixels], views: int) -> list[NDArray[np.float32]]:
        """Return the shown network's probabilities for each of `places` of each image, (V, K) in its own order."""
        places = self.places(views)
        inputs = self.shown.model.preprocessing.make_views(images, self.crop_px, self.shown.compute.dtype, views=places)
        with torch.inference_mode():
            logits = self.shown.network(inputs.flatten(0, 1).to(self.shown.compute.device))
            found = to_probabilities(logits.float(), independent=self.shown.independent is not None)
        return list(found.view(len(images), len(places), -1).cpu().numpy())

    def why(self, images: Sequence[Pixels], method: str, class_name: str) -> list[NDArray[np.float32]]:
        """Return maps (crop, crop), at least 0, of how much each pixel of the centre view counts for a class.

        Args:
            method: One of `WHY`.
        """
        label = self.shown.class_names.index(class_name)
        return list(WHY[method].measure(self.shown, images, [label] * len(images)))

    def activations(self, images: Sequence[Pixels], layer: str) -> list[NDArray[np.float32]]:
        """Return what a layer of the shown network makes of the centre view of each image, (C, H, W) or (D,)."""
        return list(self.shown.activations(images, [layer], batch_size=len(images))[layer])

    def describe(self, prediction: Prediction, top: int) -> dict[str, Any]:
        """Return a prediction as programs and the page get it: its class with title and probability, and the best.

        `unknown` and `distance` are of models that measure how far a picture is from their training images; an unknown
        picture still has a class. `labels` are the classes of a picture that may have any number of them; `class` is
        still the most probable.
        """
        best = [
            {"name": name, "title": self.titles[name], "probability": probability}
            for name, probability in prediction.top(top)
        ]
        return {
            "class": best[0]["name"],
            "title": best[0]["title"],
            "probability": best[0]["probability"],
            **describe_distance(prediction),
            **describe_labels(prediction, self.titles),
            "top": best,
        }

    def describe_moments(self, clip: ClipPrediction) -> list[dict[str, Any]]:
        """Return the stretches of a clip with one best class, as programs get them."""
        return [
            {
                "start": each.start_s,
                "end": each.end_s,
                "class": each.name,
                "title": self.titles.get(each.name, each.name),
                "probability": each.probability,
            }
            for each in clip.moments
        ]


def tell(answer: Mapping[str, Any]) -> str:
    """Return the readable class of what `Answers.describe` returned, or all that are there."""
    if "labels" in answer:
        return ", ".join(each["title"] for each in answer["labels"]) or "None of the classes"
    return str(answer["title"])


def join_labels(answer: Mapping[str, Any]) -> str:
    """Return the class of what `Answers.describe` returned; of several all, as `prepare` reads them in tables."""
    return SEPARATOR.join(each["name"] for each in answer["labels"]) if "labels" in answer else str(answer["class"])
