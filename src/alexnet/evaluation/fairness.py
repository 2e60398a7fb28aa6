"""What could make a test unfair or misleading: images the models have seen, weights fitted on them, other colours."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data.store.existing import read_report
from alexnet.data.store.format import TRAIN, VAL, find_store
from alexnet.data.store.reader import Store, open_store
from alexnet.errors import AddressError, AlexNetError, StoreError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import FittedOn
from alexnet.evaluation.labeled_images import LabeledImages
from alexnet.evaluation.trial import Trial, mark_image
from alexnet.files.record import hash_file
from alexnet.network.model_file import FAR_MEAN
from alexnet.runs.folder import MODEL
from alexnet.text.wording import counted

MOST_COMPARED = {"raw": 200_000, "jpeg": 5_000}
"""Training images that are compared with the tested ones, by the store's codec: seconds of work."""


def find_doubts(
    models: Sequence[Classifier],
    trial: Trial,
    fits: Sequence[FittedOn] = (),
    calibrations: Sequence[tuple[str, FittedOn]] = (),
) -> list[str]:
    """Return sentences about what makes a test on these images unfair or misleading; empty if nothing is seen.

    Args:
        fits: The images on which weights of averages were found.
        calibrations: Averages, and the images on which their temperatures were found.
    """
    images, store = trial.images, trial.images.store
    doubts = [
        f"{model.path} is not trained to its end: its newest checkpoint was tested."
        for model in models
        if model.path.is_dir() and not (model.path / MODEL).exists()
    ]
    for trained, group in _group_by_store(models):
        names = " and ".join(str(model.path) for model in group) + (" was" if len(group) == 1 else " were")
        if store is not None and trained.get("store_fingerprint") == store.fingerprint:
            if images.split == TRAIN:
                doubts.append(f"{names} trained on these very images: the error here says little about others.")
            continue
        shared = _count_shared(trained, group, trial)
        if shared:
            doubts.append(
                f"{names} trained on {counted(shared, 'image')} of these, pixel for pixel: leakage makes the error "
                "look lower."
            )
    for model in models if store is not None and images.split == VAL else ():
        assert store is not None
        if model.independent is not None and _environment(model).get("store_fingerprint") == store.fingerprint:
            doubts.append(
                f"The thresholds of {model.path} were found on these very images: F1 scores look better than on others."
            )
    if any(_are_same(fit, images) for fit in fits):
        doubts.append("Weights of the average were found on these very images: its error here looks lower than it is.")
    doubts += [
        f"{name} was calibrated on these very images: its scaled calibration error looks better than on others."
        for name, calibrated_on in calibrations
        if _are_same(calibrated_on, images)
    ]
    for model in models if store is not None else ():
        assert store is not None
        calibrated = model.model.provenance.get("calibration")
        if isinstance(calibrated, dict) and (calibrated.get("store_fingerprint"), calibrated.get("split")) == (
            store.fingerprint,
            images.split,
        ):
            doubts.append(
                f"{model.path} was calibrated on these very images: its scaled calibration error and the share that it "
                "calls unknown look better than on others."
            )
        if model.model.preprocessing.framing != "square":
            doubts.append(
                f"{store.path} was prepared in alexnet's way; {model.path} brings photographs to size in that of "
                f"{model.model.preprocessing.framing}. For figures like those published for it, test on a folder of "
                "photographs."
            )
        difference = np.abs(model.model.color_mean - store.color_mean).max()
        if difference > FAR_MEAN:
            doubts.append(
                f"The mean colour of {store.path} is {difference:.0f} grey levels from that of the images "
                f"{model.path} was trained on: these are other pictures, or were prepared in another way."
            )
    return doubts if store is None else doubts + find_equal_files(store)


def find_equal_files(store: Store) -> list[str]:
    """Return a sentence if splits of a store share images, or if nobody knows."""
    try:
        across = int(read_report(store).get("duplicates", {}).get("across_splits", 0))
    except (StoreError, AddressError) as problem:
        return [f"Whether splits share images is not known: {problem}"]
    if not across:
        return []
    return [
        f"{store.path} has {counted(across, 'group')} of equal files in more than one split: leakage makes the "
        "error look lower. Its report.html names them."
    ]


def find_doubts_of_fit(models: Sequence[Classifier], images: LabeledImages) -> list[str]:
    """Return a sentence if weights found on these images would trust the models that know them by heart."""
    if images.store is None or images.split != TRAIN:
        return []
    known = [
        str(model.path) for model in models if _environment(model).get("store_fingerprint") == images.store.fingerprint
    ]
    if not known:
        return []
    return [
        f"Weights were found on the images that {' and '.join(known)} learned from: they favour what was learned by "
        "heart. Find them on a split that no model has seen."
    ]


def find_repeats(given: Sequence[tuple[str, Sequence[Path]]]) -> list[str]:
    """Return a sentence for each network that is averaged more than once.

    Args:
        given: What was named, and the model files in it; files of the same bytes are one network.
    """
    places: dict[str, list[str]] = defaultdict(list)
    for name, files in given:
        for file in files:
            places[hash_file(file)].append(name)
    return [
        f"One network is given {'twice' if len(names) == 2 else f'{len(names)} times'}, in {' and '.join(names)}: it "
        "counts each time in the average."
        for names in places.values()
        if len(names) > 1
    ]


def _are_same(fit: FittedOn, images: LabeledImages) -> bool:
    if images.store is None:
        return fit.store_fingerprint is None and fit.images == images.name
    return (fit.store_fingerprint, fit.split) == (images.store.fingerprint, images.split)


def _group_by_store(models: Sequence[Classifier]) -> list[tuple[dict[str, Any], list[Classifier]]]:
    """What is recorded of the training, and the models that were trained on that store."""
    groups: dict[str, tuple[dict[str, Any], list[Classifier]]] = {}
    for model in models:
        trained = _environment(model)
        groups.setdefault(str(trained.get("store_fingerprint")), (trained, []))[1].append(model)
    return list(groups.values())


def _count_shared(trained: dict[str, Any], group: Sequence[Classifier], trial: Trial) -> int:
    """How many of the images are among those of the training store, if that store can still be read and is small."""
    folders = [model.path if model.path.is_dir() else model.path.parent for model in group]
    found = [find_store(_environment(model), folder) for model, folder in zip(group, folders, strict=True)]
    trained_on = next((place for place in found if isinstance(place, Path)), None)
    if trained_on is None:
        return 0
    try:
        training: Store = open_store(trained_on)
    except AlexNetError:
        return 0
    if training.fingerprint != trained.get("store_fingerprint") or training.size != trial.image_px:
        return 0
    if len(training) > MOST_COMPARED[training.header["codec"]]:
        return 0
    places = defaultdict(list)
    for place, mark in enumerate(trial.marks):
        places[mark].append(place)
    shared: set[int] = set()
    for number in range(len(training)):
        # Of a raw store this touches one row of the image, a page of the disk.
        for place in places.get(mark_image(training.images[number]), ()):
            if place not in shared and np.array_equal(trial.decode(place), training.images[number]):
                shared.add(place)
    return len(shared)


def _environment(model: Classifier) -> dict[str, Any]:
    found = model.model.provenance.get("environment")
    return found if isinstance(found, dict) else {}
