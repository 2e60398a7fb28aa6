"""All that `alexnet evaluate` finds out about one or more models on labelled images, and the files it writes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.cluster.parts import Executor
from alexnet.data.store.format import choose_reported
from alexnet.data.video.clip import find_clip
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.evaluation.assessment_options import (
    Options,
    check_combination,
    check_files,
    check_fit,
    check_order,
    check_splits,
    check_world,
    refuse_for_sets,
)
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.clips import average_clips
from alexnet.evaluation.ensemble import Ensemble, FittedOn, fit_weights, open_model, save_ensemble
from alexnet.evaluation.evaluate import Evaluation, default_k, measure_errors
from alexnet.evaluation.fairness import find_doubts, find_doubts_of_fit, find_repeats
from alexnet.evaluation.labeled_images import LabeledImages, list_splits, open_labeled_images
from alexnet.evaluation.metrics import Calibration, Comparison, compare_errors, find_errors, measure_calibration
from alexnet.evaluation.parts import answer_in_parts
from alexnet.evaluation.prediction_files import (
    check_prediction_file,
    write_predictions,
    write_set_predictions,
    write_submission,
)
from alexnet.evaluation.set_evaluation import SetEvaluation
from alexnet.evaluation.trial import Tested, Trial, run_trial
from alexnet.network.confidence import scale_probabilities
from alexnet.network.model_file import find_model
from alexnet.text.progress import Tick
from alexnet.text.wording import counted, name_readably, readable_names


@dataclass(frozen=True, slots=True)
class Unknown:
    """The images that a model calls unknown. All are of its classes, so it is wrong about each of them."""

    threshold: float
    """Largest distance that is accepted."""
    share: float
    """Share of the images that are unknown, in [0, 1]."""
    accepted_error: float | None
    """Top-1 error of the other images; None where there are none."""
    rejected_error: float | None
    """Top-1 error of the unknown images by their best classes; None where there are none."""
    distances: NDArray[np.float32] = field(repr=False)
    """(N,) distance of every image."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs, without the distances."""
        return {name: getattr(self, name) for name in ("threshold", "share", "accepted_error", "rejected_error")}


@dataclass(frozen=True, slots=True)
class Result:
    """One model, or the average of all."""

    name: str
    evaluation: Evaluation
    calibration: Calibration
    """Calibration of the probabilities as the network gives them."""
    scaled: Calibration | None
    """Calibration of the probabilities scaled with the model's temperature; None where it has none."""
    unknown: Unknown | None
    """None for a model that gives every image a class."""
    comparison: Comparison | None
    """Comparison with the first model on the same images; None for the first itself."""
    clips: Evaluation | None = None
    """Where images are frames: of clips, by the mean probabilities of their frames."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs."""
        return {
            "model": self.name,
            **self.evaluation.to_json(),
            "calibration": self.calibration.to_json(),
            **({"scaled_calibration": self.scaled.to_json()} if self.scaled else {}),
            **({"clips": self.clips.to_json_of("clips")} if self.clips else {}),
            **({"unknown": self.unknown.to_json()} if self.unknown else {}),
            **({"against_first": self.comparison.to_json()} if self.comparison else {}),
        }


@dataclass(frozen=True, slots=True)
class SetResult:
    """One model of independent classes, or the average of all."""

    name: str
    evaluation: SetEvaluation
    comparison: Comparison | None
    """Comparison of set errors with those of the first model; None for the first itself."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs."""
        against = {"against_first": self.comparison.to_json()} if self.comparison else {}
        return {"model": self.name, **self.evaluation.to_json(), **against}


@dataclass(slots=True)
class Assessment:
    """What was found."""

    images: str
    class_titles: tuple[str, ...]
    results: list[Result]
    """The models in the order given, then their average if it was asked for."""
    trial: Trial
    weights: tuple[float, ...] | None
    """Weights of the average, one for each model, if they were found on other images."""
    doubts: list[str]
    left_out: list[str]
    odd: list[str] = field(default_factory=list)
    """Notes on clips that were tested although something is odd about them."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """How many files of a folder are no images, by reason."""
    written: dict[Path, str] = field(default_factory=dict)
    """Files that were written, and what each is."""
    set_results: list[SetResult] = field(default_factory=list)
    """Results of images with any number of labels; `results` is then empty."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs; with one model its own are on the top level."""
        models = [result.to_json() for result in self.results or self.set_results]
        shared: dict[str, Any] = {"on": self.images, "doubts": self.doubts, "left_out": self.left_out}
        if self.odd:
            shared["odd"] = self.odd
        if self.passed_over:
            shared["passed_over"] = dict(self.passed_over)
        if self.weights is not None:
            shared["weights"] = list(self.weights)
        return {**shared, **models[0]} if len(models) == 1 else {**shared, "models": models}


class _Entry(NamedTuple):
    """What was named on the command line: a model, or an ensemble as weights of the models in it."""

    name: str
    weights: NDArray[np.float32]
    """A weight for every network that is loaded; they sum to 1."""
    fitted_on: FittedOn | None
    files: Sequence[Path] = ()
    """Files of its networks, each as often as it was named; none for the average of all."""
    model: Classifier | Ensemble | None = None
    """None for the average of all."""


def assess(
    paths: Sequence[Path],
    images: Path,
    options: Options,
    *,
    tick: Tick | None = None,
    world: World = SINGLE_PROCESS,
    executor: Executor | None = None,
) -> Assessment:
    """Test models on images, and write the files that were asked for.

    A model that is named more than once, by itself and inside ensembles, is computed once.

    Args:
        world: Processes that call this together and share the images; all return the same, rank 0 writes.
        executor: Who computes the images, where it is not this process.
    Raises:
        DistributionError: the processes have other models, images, versions or options, or lost each other.
        ConfigError: options that do not go together, models and images in the wrong order, a k that is too large, or a
            file that cannot be written; all of this is found before the first image is read.
        WeightsError, StoreError, SourceError: a model or the images cannot be used.
    """
    check_order(paths, images)
    split = options.split or choose_reported(list_splits(images))
    options = replace(options, split=split)
    check_splits(images, options.fit_on, split)
    averaging = options.average or options.fit_on is not None
    check_combination(paths, options, in_parts=executor is not None)
    if options.predictions:
        check_prediction_file(options.predictions)
    models, entries = world.run_on_all_ranks(lambda: _load(paths, options))
    if models.independent is not None:
        refuse_for_sets(options)
    if options.calibrated:
        for entry in entries:
            assert entry.model is not None
            entry.model.temperature(options.views)
    check_files(models, paths, options)

    def open_split(split: str) -> LabeledImages:
        return world.run_on_all_ranks(
            lambda: open_labeled_images(
                images,
                split=split,
                image_px=models.image_px,
                framing=models.framing,
                known=models.class_names,
                every_s=options.every,
                tick=tick,
            )
        )

    tested = open_split(split)
    check_world(world, models, tested, options)

    def share(wanted: LabeledImages) -> Iterator[Tested] | None:
        if executor is None:
            return None
        part = wanted.split or split
        return answer_in_parts(executor, models, images, wanted, num_views=options.views, split=part)

    doubts: list[str] = []
    found: tuple[float, ...] | None = None
    if averaging:
        doubts += find_repeats([(entry.name, entry.files) for entry in entries])
        fitted_on: FittedOn | None = None
        if options.fit_on is not None:
            fitting = open_split(options.fit_on)
            check_fit(fitting, tested, images)
            in_all = len(fitting) + len(tested)
            found = _fit(models, entries, fitting, options, _part(tick, 0, in_all), world, share(fitting))
            tick = _part(tick, len(fitting), in_all)
            doubts += find_doubts_of_fit(models.members, fitting)
            fitted_on = FittedOn(fitting.name, fitting.store.fingerprint if fitting.store else None, fitting.split)
        shares = np.array(found or [1 / len(entries)] * len(entries), np.float32)
        mean = shares @ np.stack([entry.weights for entry in entries])
        entries.append(_Entry(f"average of {len(entries)}", mean, fitted_on))
    trial = run_trial(models, tested, num_views=options.views, tick=tick, world=world, tested=share(tested))
    results: list[Result] = []
    set_results = [] if models.independent is None else _measure_sets(models, entries, trial)
    first: NDArray[np.float64] | None = None
    for entry in entries if models.independent is None else ():
        probabilities = trial.average(entry.weights)
        errors = find_errors(probabilities, trial.labels)
        comparison = None if first is None else compare_errors(first, errors)
        first = errors if first is None else first
        calibration, scaled = measure_calibration(probabilities, trial.labels), None
        if entry.model is not None and entry.model.temperatures:
            raw, temperature = probabilities, entry.model.temperature(options.views)
            in_scale = scale_probabilities(raw, temperature)
            scaled = measure_calibration(in_scale, trial.labels)
            probabilities = in_scale if options.calibrated else raw
        evaluation = trial.measure(probabilities, k=options.top)
        unknown = _find_unknown(entry, trial, errors)
        clips = _measure_clips(trial, probabilities, options.top)
        results.append(Result(entry.name, evaluation, calibration, scaled, unknown, comparison, clips))
    if averaging and results:
        doubts += _find_better(results)
    fits = [entry.fitted_on for entry in entries if entry.fitted_on]
    calibrations = [
        (entry.name, entry.model.calibrated_on)
        for entry in entries
        if isinstance(entry.model, Ensemble) and entry.model.calibrated_on
    ]
    assessment = Assessment(
        images=tested.name,
        class_titles=name_readably(
            models.class_names,
            readable_names(models.class_names, models.class_titles),
            readable_names(tested.class_names, tested.class_titles),
        ),
        results=results,
        trial=trial,
        weights=found,
        doubts=doubts + find_doubts(models.members, trial, fits, calibrations),
        left_out=tested.left_out,
        odd=tested.odd,
        passed_over=tested.passed_over,
        set_results=set_results,
    )
    # The notes of files that were written are rank 0's; nobody else speaks.
    world.run_on_all_ranks(lambda: _write_files(assessment, models, entries[-1], options) if world.is_main else None)
    return assessment


def _measure_clips(trial: Trial, probabilities: NDArray[np.float32], k: int | None) -> Evaluation | None:
    """The errors of clips, where images are frames of these, all of one class; else None."""
    clips, means = average_clips(trial.paths, probabilities)
    if not clips:
        return None
    own = dict(zip(map(find_clip, trial.paths), trial.labels.tolist(), strict=True))
    return measure_errors(
        torch.from_numpy(means),
        np.array([own[clip] for clip in clips]),
        class_names=trial.class_names,
        num_views=trial.num_views,
        k=k,
    )


def _measure_sets(models: Ensemble, entries: Sequence[_Entry], trial: Trial) -> list[SetResult]:
    """Return the results of models of independent classes. An average has the mean thresholds of its members."""
    found: list[SetResult] = []
    first: NDArray[np.float64] | None = None
    for entry in entries:
        thresholds = models.mix_thresholds(entry.weights.tolist(), trial.num_views)
        measured = trial.measure_sets(trial.average(entry.weights), thresholds)
        errors = (measured.said != measured.labels).any(1).astype(np.float64)
        found.append(SetResult(entry.name, measured, None if first is None else compare_errors(first, errors)))
        first = errors if first is None else first
    return found


def _find_better(results: Sequence[Result]) -> list[str]:
    """Return a sentence if a member has a lower error than the average, the last of the results."""
    average = results[-1]
    best = min(results[:-1], key=lambda result: result.evaluation.top1_error)
    own, mean = best.evaluation.top1_error, average.evaluation.top1_error
    if own >= mean:
        return []
    return [
        f"{best.name} alone has a lower top-1 error, {100 * own:.2f} %, than the {average.name}, {100 * mean:.2f} %."
    ]


def _find_unknown(entry: _Entry, trial: Trial, errors: NDArray[np.float64]) -> Unknown | None:
    """Return the images that the model of an entry calls unknown; None for a model that gives each a class."""
    if entry.model is None or entry.model.rejection is None:
        return None
    (place,) = np.flatnonzero(entry.weights)
    distances = trial.distances[int(place)]
    assert distances is not None
    threshold = entry.model.rejection.threshold(trial.num_views)
    rejected = distances > threshold
    accepted_error, rejected_error = (
        float(part.mean()) if len(part) else None for part in (errors[~rejected], errors[rejected])
    )
    return Unknown(threshold, float(rejected.mean()), accepted_error, rejected_error, distances)


def _load(paths: Sequence[Path], options: Options) -> tuple[Ensemble, list[_Entry]]:
    """Load every network once; return them, and each model that was named as weights of them."""
    members: dict[Path, Classifier] = {}
    shares: list[tuple[str, dict[Path, float], FittedOn | None, list[Path], Classifier | Ensemble]] = []
    for path in paths:
        opened = open_model(path, device=options.device, precision=options.precision)
        ensemble = opened if isinstance(opened, Ensemble) else Ensemble([opened])
        own: dict[Path, float] = {}
        files = [find_model(member.path).resolve() for member in ensemble.members]
        for file, member, weight in zip(files, ensemble.members, ensemble.weights, strict=True):
            members.setdefault(file, member)
            own[file] = own.get(file, 0) + weight
        shares.append((str(path), own, ensemble.fitted_on, files, opened))
    entries = [
        _Entry(name, np.array([own.get(file, 0) for file in members], np.float32), fitted_on, files, opened)
        for name, own, fitted_on, files, opened in shares
    ]
    return Ensemble(list(members.values())), entries


def _fit(
    models: Ensemble,
    entries: Sequence[_Entry],
    images: LabeledImages,
    options: Options,
    tick: Tick | None,
    world: World,
    tested: Iterable[Tested] | None,
) -> tuple[float, ...]:
    """Return the weights of the named models that are best on other images."""
    trial = run_trial(models, images, num_views=options.views, tick=tick, world=world, tested=tested)
    k = options.top or default_k(len(models.class_names))
    return fit_weights([trial.average(entry.weights) for entry in entries], trial.labels, k=k)


def _part(tick: Tick | None, before: int, total: int) -> Tick | None:
    """Return the progress of a part of the work, `before` images after its start."""
    return None if tick is None else lambda done, _: tick(before + done, total)


def _write_files(assessment: Assessment, models: Ensemble, last: _Entry, options: Options) -> None:
    trial, written = assessment.trial, assessment.written
    if options.predictions and assessment.set_results:
        write_set_predictions(options.predictions, assessment.set_results[-1].evaluation, trial.paths)
        written[options.predictions] = "Predictions"
    elif options.predictions:
        evaluation = assessment.results[-1].evaluation
        unknown = assessment.results[-1].unknown
        measured = {"unknown": unknown.distances > unknown.threshold, "distance": unknown.distances} if unknown else {}
        write_predictions(options.predictions, evaluation, trial.paths, measured)
        written[options.predictions] = "Predictions"
    if options.submission and assessment.left_out:
        assessment.doubts.append(
            f"{options.submission} was not written: a line stands for an image by its place, and "
            f"{counted(len(assessment.left_out), 'image')} could not be read."
        )
    elif options.submission:
        write_submission(options.submission, assessment.results[-1].evaluation.probabilities, trial.paths)
        written[options.submission] = "Submission"
    if options.save_ensemble:
        kept = [place for place, weight in enumerate(last.weights) if weight]
        save_ensemble(
            options.save_ensemble,
            Ensemble(
                [models.members[place] for place in kept],
                [float(last.weights[place]) for place in kept],
                fitted_on=last.fitted_on,
            ),
        )
        written[options.save_ensemble] = "Ensemble"
