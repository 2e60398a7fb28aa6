"""Testing several models in one pass over the images, alone and averaged, and checking that the test is fair."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.store import Store, open_store
from alexnet.errors import AlexNetError, ConfigError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import CHUNK, Ensemble
from alexnet.evaluation.evaluate import Evaluation, Tick, match_classes, measure_errors
from alexnet.evaluation.labeled_images import LabeledImages
from alexnet.network.model_file import MODEL

FAR_MEAN = 16.0
"""Grey levels by which a store's mean colour may differ from a model's before it is worth a sentence."""
MOST_HASHED = 50_000
"""Training images that are compared with the tested ones, pixel by pixel."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a pass over the images gave."""

    probabilities: list[NDArray[np.float32]]
    """(N, K) of each model."""
    labels: NDArray[np.int64]
    """(N,) of the images that could be decoded, as the models number their classes."""
    numbers: NDArray[np.int64]
    """(N,) which images these are."""
    images: LabeledImages
    class_names: tuple[str, ...]
    num_views: int

    @property
    def paths(self) -> list[str]:
        """Paths of the tested images."""
        return [self.images.paths[number] for number in self.numbers.tolist()]

    def measure(self, probabilities: NDArray[np.float32], *, k: int | None = None) -> Evaluation:
        """Return the errors that these probabilities make."""
        import torch

        return measure_errors(
            torch.from_numpy(probabilities), self.labels, class_names=self.class_names, num_views=self.num_views, k=k
        )


def run_trial(models: Ensemble, images: LabeledImages, *, num_views: int, tick: Tick | None = None) -> Trial:
    """Return every model's probabilities of the images, each of which is decoded once.

    Raises:
        WeightsError: the images have a class that the models do not know.
        ConfigError: no image could be decoded.
    """
    known = match_classes(
        images.class_names, models.class_names, given_by=images.name, known_by=str(models.members[0].path)
    )
    numbers: list[int] = []
    parts: list[list[NDArray[np.float32]]] = [[] for _ in models.members]
    for found, pixels in images.chunks(CHUNK):
        for own, part in zip(parts, models.predict_members(pixels, views=num_views), strict=True):
            own.append(part.numpy())
        numbers += found
        if tick:
            tick(len(numbers) + len(images.left_out), len(images))
    if not numbers:
        raise ConfigError(f"{images.name}: none of its {len(images):,} images can be decoded. {images.left_out[0]}")
    chosen = np.array(numbers, np.int64)
    return Trial(
        [np.concatenate(own) for own in parts],
        known[images.labels[chosen]],
        chosen,
        images,
        models.class_names,
        num_views,
    )


def find_doubts(models: Sequence[Classifier], images: LabeledImages) -> list[str]:
    """Return sentences about what could make a test on these images unfair or misleading; empty if nothing is seen."""
    doubts = []
    store = images.store
    for model in models:
        trained = _environment(model)
        if model.path.is_dir() and not (model.path / MODEL).exists():
            doubts.append(f"{model.path} is not trained to its end: its newest checkpoint was tested.")
        if store is not None and trained.get("store_fingerprint") == store.fingerprint:
            if images.name.endswith("split train"):
                doubts.append(
                    f"{model.path} was trained on these very images: its error here says little about others."
                )
        else:
            shared = _count_shared(trained, images)
            if shared:
                doubts.append(
                    f"{shared:,} of the images are, pixel for pixel, among those that {model.path} was trained on: "
                    "leakage makes the error look lower."
                )
        if store is not None:
            difference = np.abs(model.model.preprocessing.mean_image.mean((0, 1)) - store.mean_image.mean((0, 1))).max()
            if difference > FAR_MEAN:
                doubts.append(
                    f"The mean colour of {store.path} is {difference:.0f} grey levels from that of the images "
                    f"{model.path} was trained on: these are other pictures, or were prepared in another way."
                )
    across = int(_report(store).get("duplicates", {}).get("across_splits", 0)) if store is not None else 0
    if across:
        doubts.append(
            f"{across:,} groups of equal files lie in more than one split of {images.name.partition(',')[0]}: leakage "
            "makes the error look lower. Its report.html names them."
        )
    return doubts


def _count_shared(trained: dict[str, Any], images: LabeledImages) -> int:
    """How many of the images are among those of the training store, if that store can still be read and is small."""
    if not trained.get("store"):
        return 0
    try:
        training: Store = open_store(Path(str(trained["store"])))
    except AlexNetError:
        return 0
    if training.fingerprint != trained.get("store_fingerprint") or len(training) > MOST_HASHED:
        return 0
    if images.store is None or images.store.size != training.size or len(images) > MOST_HASHED:
        return 0
    known = {hashlib.blake2b(np.asarray(training.images[i]).tobytes()).digest() for i in range(len(training))}
    tested = (hashlib.blake2b(images.decode(i).tobytes()).digest() for i in range(len(images)))
    return sum(digest in known for digest in tested)


def _environment(model: Classifier) -> dict[str, Any]:
    found = model.model.provenance.get("environment")
    return found if isinstance(found, dict) else {}


def _report(store: Store | None) -> dict[str, Any]:
    if store is None:
        return {}
    path = store.path / "report.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
