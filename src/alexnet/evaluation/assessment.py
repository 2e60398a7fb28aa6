"""All that `alexnet evaluate` finds out about one or more models on labelled images, and the files it writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.store_format import HEADER_NAME
from alexnet.errors import ConfigError
from alexnet.evaluation.calibration import Calibration, measure_calibration
from alexnet.evaluation.classifier import load
from alexnet.evaluation.comparison import Comparison, compare_errors
from alexnet.evaluation.ensemble import Ensemble, fit_weights, is_ensemble, load_ensemble, save_ensemble
from alexnet.evaluation.evaluate import Evaluation, Tick, default_k
from alexnet.evaluation.labeled_images import open_labeled_images
from alexnet.evaluation.prediction_files import write_predictions, write_submission
from alexnet.evaluation.trial import Trial, find_doubts, run_trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `alexnet evaluate`."""

    views: int = 10
    split: str = "val"
    top: int | None = None
    average: bool = False
    fit_on: str | None = None
    save_ensemble: Path | None = None
    predictions: Path | None = None
    submission: Path | None = None
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, slots=True)
class Result:
    """One model, or the average of all."""

    name: str
    evaluation: Evaluation
    calibration: Calibration
    comparison: Comparison | None
    """With the first model, on the same images; None for the first itself."""


@dataclass(slots=True)
class Assessment:
    """What was found."""

    images: str
    class_titles: tuple[str, ...]
    results: list[Result]
    """The models in the order given, then their average if it was asked for."""
    trial: Trial
    weights: tuple[float, ...] | None
    """Of the average, if they were found on other images."""
    doubts: list[str]
    left_out: list[str]
    written: dict[Path, str] = field(default_factory=dict)
    """Files, and what they are."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs; with one model its own are on the top level."""
        models = [
            {
                "model": result.name,
                **result.evaluation.to_json(),
                "calibration": result.calibration.to_json(),
                **({"against_first": result.comparison.to_json()} if result.comparison else {}),
            }
            for result in self.results
        ]
        shared: dict[str, Any] = {"on": self.images, "doubts": self.doubts, "left_out": self.left_out}
        if self.weights is not None:
            shared["weights"] = list(self.weights)
        return {**shared, **models[0]} if len(models) == 1 else {**shared, "models": models}


def assess(paths: Sequence[Path], images: Path, options: Options, *, tick: Tick | None = None) -> Assessment:
    """Test models on images, and write the files that were asked for.

    Raises:
        ConfigError: options that do not go together, models and images in the wrong order, or a k that is too large.
        WeightsError, StoreError, SourceError: a model or the images cannot be used.
    """
    _check_order(paths, images, options)
    models = _load_models(paths, options)
    averaging = options.average or options.fit_on is not None
    if averaging and len(models.members) < 2:
        raise ConfigError("an average needs two models or more. Name several: alexnet evaluate A B STORE --average.")
    if options.save_ensemble and not averaging:
        raise ConfigError("--save-ensemble keeps an average. Add --average, or --fit-weights SPLIT.")
    classes = len(models.class_names)
    if options.top is not None and options.top >= classes:
        raise ConfigError(
            f"--top {options.top}: of {classes} classes the top {options.top} always hold the right one. Accepted are "
            f"1 to {classes - 1}."
        )
    if options.fit_on is not None:
        models = _fit(models, images, options, tick)
    tested = open_labeled_images(images, split=options.split, image_px=models.image_px)
    trial = run_trial(models, tested, num_views=options.views, tick=tick)
    rows = list(zip(_name_models(models, paths), trial.probabilities, strict=True))
    if averaging:
        mean = np.tensordot(np.array(models.weights, np.float32), np.stack(trial.probabilities), axes=1)
        rows.append((f"average of {len(models.members)}", mean.astype(np.float32)))
    elif len(paths) == 1 and is_ensemble(paths[0]):  # an ensemble file counts as one model
        mean = np.tensordot(np.array(models.weights, np.float32), np.stack(trial.probabilities), axes=1)
        rows = [(str(paths[0]), mean.astype(np.float32))]
    results: list[Result] = []
    first: NDArray[np.float64] | None = None
    for name, probabilities in rows:
        evaluation = trial.measure(probabilities, k=options.top)
        errors = (probabilities.argmax(1) != trial.labels).astype(np.float64)
        comparison = None if first is None else compare_errors(first, errors)
        first = errors if first is None else first
        results.append(Result(name, evaluation, measure_calibration(probabilities, trial.labels), comparison))
    assessment = Assessment(
        images=tested.name,
        class_titles=models.class_titles,
        results=results,
        trial=trial,
        weights=models.weights if options.fit_on is not None else None,
        doubts=find_doubts(models.members, tested),
        left_out=tested.left_out,
    )
    _write_files(assessment, models, options)
    return assessment


def _check_order(paths: Sequence[Path], images: Path, options: Options) -> None:
    """Say the right command where a store stands among the models, or a model in the place of the images."""
    stores = [path for path in paths if (path / HEADER_NAME).exists()]
    if stores:
        others = [str(path) for path in (*paths, images) if path not in stores]
        raise ConfigError(
            f"{stores[0]} is a store; models come first, images last: alexnet evaluate {' '.join(others)} {stores[0]}"
        )
    if images.suffix == ".safetensors" or is_ensemble(images) or (images / "recipe.yaml").exists():
        raise ConfigError(
            f"{images} is a model; the last argument is what to test on: alexnet evaluate "
            f"{' '.join(map(str, (*paths, images)))} STORE"
        )
    if options.fit_on is not None and options.fit_on == options.split:
        raise ConfigError(
            f"--fit-weights {options.fit_on} would find weights on the images that are reported. Name another split "
            "for one of the two: --split test."
        )


def _load_models(paths: Sequence[Path], options: Options) -> Ensemble:
    if len(paths) == 1 and is_ensemble(paths[0]):
        return load_ensemble(paths[0], device=options.device, precision=options.precision)
    inside = [path for path in paths if is_ensemble(path)]
    if inside:
        raise ConfigError(f"{inside[0]} is an ensemble. Test it alone, or name its members.")
    return Ensemble([load(path, device=options.device, precision=options.precision) for path in paths])


def _name_models(models: Ensemble, paths: Sequence[Path]) -> list[str]:
    if len(paths) != len(models.members):
        return [str(member.path) for member in models.members]
    return [str(path) for path in paths]


def _fit(models: Ensemble, images: Path, options: Options, tick: Tick | None) -> Ensemble:
    """The same models with the weights that serve best on another split of the images."""
    assert options.fit_on is not None
    tested = open_labeled_images(images, split=options.fit_on, image_px=models.image_px)
    trial = run_trial(models, tested, num_views=options.views, tick=tick)
    k = options.top or default_k(len(models.class_names))
    return Ensemble(models.members, fit_weights(trial.probabilities, trial.labels, k=k))


def _write_files(assessment: Assessment, models: Ensemble, options: Options) -> None:
    last = assessment.results[-1]
    trial, written = assessment.trial, assessment.written
    if options.predictions:
        write_predictions(options.predictions, last.evaluation, trial.paths)
        written[options.predictions] = "Predictions"
    if options.submission:
        write_submission(options.submission, last.evaluation.probabilities)
        written[options.submission] = "Submission"
    if options.save_ensemble:
        fitted = f"{assessment.images} with --fit-weights {options.fit_on}" if options.fit_on else None
        save_ensemble(options.save_ensemble, models, fitted_on=fitted)
        written[options.save_ensemble] = "Ensemble"
