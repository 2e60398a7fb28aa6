"""Calibrating a model: temperatures, and thresholds of "unknown", from images that it did not learn from.

The network stays as it is. What was found goes into its file.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.batches.loader import Images
from alexnet.data.store.format import TRAIN, VAL
from alexnet.errors import ConfigError, WeightsError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble, FittedOn, save_ensemble
from alexnet.evaluation.evaluate import images_at_a_time, match_classes
from alexnet.evaluation.metrics import fit_temperature, measure_calibration
from alexnet.evaluation.record import digest_weights, keep_errors
from alexnet.network.confidence import MEASURED_VIEWS, Rejection, scale_probabilities
from alexnet.network.model_file import find_model, load_model, save_model
from alexnet.runs.folder import CHECKPOINTS
from alexnet.text.commands import command
from alexnet.text.progress import Tick, untold

if TYPE_CHECKING:
    from alexnet.data.store.reader import Store


MOST_REFERENCES = 4096
"""Training images whose features are kept, 67 MB of 4,096 numbers each; docs/questions.md compares fewer."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """What was found for a model."""

    images: int
    name: str
    """What messages call the images."""
    store_fingerprint: str
    split: str
    temperatures: Mapping[int, float]
    """Number of views -> temperature."""
    errors: Mapping[int, tuple[float, float]]
    """Number of views -> expected calibration error of these images, raw and scaled."""
    rejection: Rejection | None
    unknown: Mapping[int, int]
    """Number of views -> how many of these images lie beyond the threshold; empty without a rejection."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs."""
        views = [
            {
                "views": each,
                "temperature": self.temperatures[each],
                "expected_calibration_error": self.errors[each][0],
                "scaled_calibration_error": self.errors[each][1],
                **(
                    {"threshold": self.rejection.thresholds[each], "unknown": self.unknown[each]}
                    if self.rejection
                    else {}
                ),
            }
            for each in MEASURED_VIEWS
        ]
        reject = {"reject": self.rejection.share} if self.rejection else {}
        return {"images": self.images, "split": self.split, **reject, "by_views": views}


def check_calibration(model: Classifier | Ensemble, store: "Store", *, split: str, reject: float | None) -> None:
    """Refuse what could not be calibrated, before the work begins.

    Raises:
        ConfigError: an ensemble is to reject, the share is not in (0, 1), or the split is "train", unknown or empty;
            or see `find_calibrated`.
        WeightsError: the store has other classes than the model, or images of another size.
    """
    if reject is not None and not 0 < reject < 1:
        raise ConfigError(
            f"--reject {reject:g}: is the share of validation images that may be called unknown, above 0 and below 1. "
            "Usual is 0.05."
        )
    if model.independent is not None:
        raise ConfigError(
            f"{model.file or model.path}: a picture may have any number of its classes, or none. Their probabilities "
            "do not sum to 1, so there is no temperature for them; their thresholds were found at the end of training."
        )
    find_calibrated(model)
    if reject is not None and isinstance(model, Ensemble):
        raise ConfigError(
            f"{model.file}: is an ensemble, whose networks have features of their own, so there is no distance to "
            f"reject by. Calibrate it without --reject, or one of its members: "
            f"{command('calibrate', model.path, store.path, reject=reject)}"
        )
    if split == TRAIN or split not in store.filled_splits:
        others = [name for name in store.filled_splits if name != TRAIN]
        why = "a model knows the images it learned from" if split == TRAIN else f"{store.path} has no images in it"
        advice = (
            f"Use another: --split {others[0]}."
            if others
            else "Validation images are those of a folder val, or --val-fraction 0.1 sets them aside: "
            f"{command('prepare', 'PHOTOS', out='STORE')}"
        )
        raise ConfigError(f"--split {split}: {why}. {advice}")
    members = model.members if isinstance(model, Ensemble) else (model,)
    for member in members:
        member.check_size(store)
        match_classes(store.class_names, member.class_names, given_by=str(store.path), known_by=str(member.path))
    missing = set(members[0].class_names) - set(store.class_names)
    if missing and reject is not None:
        shown = ", ".join(sorted(missing)[:5])
        raise WeightsError(
            f"{store.path} has no images of classes that {model.path} knows ({shown}), whose features have to be "
            "measured. Use the store it was trained on; without --reject this one will do."
        )


def calibrate(
    model: Classifier | Ensemble,
    store: "Store",
    *,
    split: str = VAL,
    reject: float | None = None,
    tested: Mapping[int, NDArray[np.float32]] | None = None,
    tick: Tick = untold,
) -> Confidence:
    """Find temperatures for one view and for ten, and with `reject` references and thresholds; nothing is written.

    Args:
        model: Its probabilities are used as they are, whatever temperatures it has.
        reject: Share of the images of `split` that lie beyond the threshold and will be "unknown".
        tested: Number of views -> the model's probabilities (N, K) of the images of `split`, in their order, where they
            are known; without `reject` nothing is computed then.
        tick: Progress in views of images; a reference has one.
    Raises:
        ConfigError, WeightsError: see `check_calibration`.
    """
    check_calibration(model, store, split=split, reject=reject)
    known = match_classes(store.class_names, model.class_names, given_by=str(store.path), known_by=str(model.path))
    learned, images = store[TRAIN], store[split].images
    labels = known[store[split].labels]
    chosen = np.zeros(0, np.int64) if reject is None else choose_references(np.asarray(learned.labels))
    total = len(chosen) + sum(MEASURED_VIEWS) * len(images)
    done = 0

    def count(views: int) -> None:
        nonlocal done
        done += views
        tick(done, total)

    distances_from: Rejection | None = None
    if reject is not None:
        assert isinstance(model, Classifier)
        features = []
        for batch in _read(learned.images, chosen, images_at_a_time(1)):
            (outputs,) = model.compute_outputs(batch, views=1)
            features.append(outputs.features.numpy())
            count(len(batch))
        distances_from = Rejection(np.concatenate(features), {}, reject)
    temperatures: dict[int, float] = {}
    errors: dict[int, tuple[float, float]] = {}
    thresholds: dict[int, float] = {}
    unknown: dict[int, int] = {}
    for views in MEASURED_VIEWS:
        probabilities, distances = [], []
        unread = np.arange(len(images))
        if tested is not None and views in tested and distances_from is None:
            probabilities.append(tested[views])
            unread = unread[:0]
        for batch in _read(images, unread, images_at_a_time(views)):
            if distances_from is None:
                probabilities.append(model.compute_probabilities(batch, views=views))
            else:
                assert isinstance(model, Classifier)
                (outputs,) = model.compute_outputs(batch, views=views)
                probabilities.append(outputs.probabilities.numpy())
                distances.append(distances_from.measure(outputs.features.numpy()))
            count(views * len(batch))
        raw = np.concatenate(probabilities)
        temperatures[views] = fit_temperature(raw, labels)
        scaled = scale_probabilities(raw, temperatures[views])
        errors[views] = (
            measure_calibration(raw, labels).expected_error,
            measure_calibration(scaled, labels).expected_error,
        )
        if reject is not None:
            far = np.concatenate(distances)
            thresholds[views] = find_threshold(far, reject)
            unknown[views] = int((far > thresholds[views]).sum())
    rejection = replace(distances_from, thresholds=thresholds) if distances_from else None
    name = f"{store.path} ({split})"
    return Confidence(len(images), name, store.fingerprint, split, temperatures, errors, rejection, unknown)


def _read(images: Images, positions: NDArray[np.int64], size: int) -> Iterator[list[NDArray[np.uint8]]]:
    """Yield the images at these positions, `size` at a time."""
    for start in range(0, len(positions), size):
        yield [images[int(position)] for position in positions[start : start + size]]


def choose_references(labels: NDArray[np.int64], most: int = MOST_REFERENCES) -> NDArray[np.int64]:
    """Return the positions of the training images whose features tell how far a picture is, in their order.

    All of them, or of each class an equal share of `most`, one at least, evenly spaced.
    """
    classes = np.unique(labels)
    share = max(1, most // len(classes))
    found = []
    for label in classes:
        own = np.flatnonzero(labels == label)
        count = min(share, len(own))
        found.append(own[np.arange(count) * len(own) // count])
    return np.sort(np.concatenate(found))


def find_threshold(distances: NDArray[np.float32], reject: float) -> float:
    """Return the least of the distances that at least 1 - reject of them do not exceed."""
    accepted = math.ceil(round((1 - reject) * len(distances), 6))
    return float(np.sort(distances)[max(accepted, 1) - 1])


def save_calibration(model: Classifier | Ensemble, found: Confidence) -> Path:
    """Write a model's file again with what was found in it, and return the file; it appears whole or not at all.

    Where no rejection was found, one that the model had is removed: its thresholds were of other images. The test and
    the report of a run stay valid, since its weights are the same.

    Raises:
        WeightsError: see `find_calibrated`.
    """
    file = find_calibrated(model)
    if isinstance(model, Ensemble):
        calibrated = Ensemble(
            model.members,
            model.weights,
            fitted_on=model.fitted_on,
            temperatures=found.temperatures,
            calibrated_on=FittedOn(found.name, found.store_fingerprint, found.split),
        )
        save_ensemble(file, calibrated)
        return file
    before = digest_weights(file)
    weights = load_model(file)  # those of the classifier may be bfloat16
    on = {"images": found.images, "store_fingerprint": found.store_fingerprint, "split": found.split}
    provenance = {**weights.provenance, "calibration": on}
    save_model(
        file,
        replace(weights, provenance=provenance, temperatures=found.temperatures, rejection=found.rejection),
    )
    keep_errors(file.parent, before, digest_weights(file))
    return file


def find_calibrated(model: Classifier | Ensemble) -> Path:
    """Return the file that a calibration is written into.

    Raises:
        ConfigError: it is the checkpoint of a run that is not finished, or the ensemble has no file.
    """
    if isinstance(model, Ensemble):
        if model.file is None:
            raise ConfigError("the ensemble is in no file that could hold temperatures. Write one with save_ensemble.")
        return model.file
    file = find_model(model.path)
    if file.parent.name == CHECKPOINTS:
        raise ConfigError(
            f"{model.path}: its training is not finished, and what is measured of a checkpoint is not of the next. "
            f"Finish it first; how: {command('info', model.path)}"
        )
    return file
