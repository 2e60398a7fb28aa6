"""The results of an experiment: means, spreads and paired differences of its trainings, and their files."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.evaluation.metrics import compare_errors
from alexnet.files.documents import parse_json
from alexnet.files.writing import format_csv, write_text
from alexnet.reproduction.engine import read_failure
from alexnet.reproduction.experiments import TARGET_ERROR, Experiment, Variant
from alexnet.reproduction.image_errors import VariantTests, read_image_errors, run_test
from alexnet.reproduction.plan import Job


@dataclass(frozen=True, slots=True)
class Outcome:
    """A variant with what its trainings gave. Rates are fractions; differences are to the first variant."""

    variant: str
    seeds: tuple[int, ...]
    """Seeds of the trainings behind the values; of averages all of one before those of the next."""
    planned: int
    """Trainings that the plan has."""
    values: tuple[float, ...]
    """Top-1 error, or number of epochs, for each seed; of averages for each of them."""
    mean: float | None
    deviation: float | None
    """Standard deviation of the values; None for fewer than two."""
    difference: float | None
    """Mean difference over the seeds that both have."""
    interval: tuple[float, float] | None
    """95 % interval from resampling images in pairs, all seeds together; it leaves out the spread of the seeds."""
    topk: float | None = None
    """Mean top-k error."""
    k: int | None = None
    one_view: float | None = None
    """Mean top-1 error with one view."""
    choice: str = ""
    """The best value of what was tried."""
    failed: tuple[str, ...] = ()
    """Messages of trainings that failed."""
    seconds: float = 0.0
    """Time of training and validation, all seeds."""
    beyond: int | None = None
    """For measure "epochs", if no training reached the target: the epochs of the longest."""
    differences: tuple[float, ...] = ()
    """Difference for each seed that both have; of averages for each of them, to the first variant's mean over its
    seeds."""

    @property
    def seeds_of_values(self) -> list[tuple[int, ...]]:
        """The seeds behind each value: one, or those of the networks of an average."""
        size = len(self.seeds) // max(1, len(self.values))
        return [self.seeds[place * size : (place + 1) * size] for place in range(len(self.values))]


@dataclass(frozen=True, slots=True)
class Curve:
    """The training error of one training, epoch by epoch."""

    variant: str
    choice: str
    errors: tuple[float, ...]
    """Mean training error of each epoch."""


def collect(experiment: Experiment, jobs: Sequence[Job]) -> list[Outcome]:
    """Return an outcome for each variant, in order; those without a finished training have no values."""
    of = {variant.name: [job for job in jobs if job.variant == variant.name] for variant in experiment.variants}
    if experiment.measure == "epochs":
        return [_collect_epochs(variant, of[variant.name]) for variant in experiment.variants]
    found = collect_tests(experiment, jobs)
    return [summarise_jobs(found, row, of[each.variant], len(of[each.variant])) for row, each in enumerate(found)]


def summarise_jobs(found: Sequence[VariantTests], row: int, jobs: Sequence[Job], planned: int) -> Outcome:
    """Return the outcome of a row from its tests and its jobs; see `summarise`."""
    failed = tuple(filter(None, map(read_failure, jobs)))
    seconds = sum(job.read_result()["seconds"] for job in jobs if job.done)
    return summarise(found[row], found[0] if row else None, planned, failed=failed, seconds=seconds)


def collect_tests(experiment: Experiment, jobs: Sequence[Job]) -> list[VariantTests]:
    """Return the errors by image of each variant's finished trainings, in order; none of measure "epochs"."""
    if experiment.measure == "epochs":
        return []
    done = [job for job in jobs if job.done]
    return [
        VariantTests(
            variant.name,
            tuple(run_test([job], variant.views) for job in done if job.variant == variant.name),
            tuple(run_test([job], 1) for job in done if job.variant == variant.name),
        )
        for variant in experiment.variants
    ]


def collect_curves(jobs: Sequence[Job]) -> list[Curve]:
    """Return the training errors of the trainings with the first seed that are done."""
    return [
        Curve(job.variant, job.choice, tuple(job.read_result()["train_top1_errors"]))
        for job in jobs
        if job.done and job.seed == 0
    ]


def summarise(
    found: VariantTests,
    first: VariantTests | None,
    planned: int,
    *,
    failed: tuple[str, ...] = (),
    seconds: float = 0.0,
) -> Outcome:
    """Return the outcome of a variant from its errors image by image.

    Args:
        first: What it is compared with, over the seeds that both have; an average of several trainings with the mean
            of their errors. None where it is the first itself.
        planned, failed, seconds: as in `Outcome`.
    """
    values = [float(test.top1.mean()) for test in found.tests]
    outcome = Outcome(
        variant=found.variant,
        seeds=tuple(seed for test in found.tests for seed in test.seeds),
        planned=planned,
        values=tuple(values),
        mean=float(np.mean(values)) if values else None,
        deviation=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        difference=None,
        interval=None,
        topk=float(np.mean([test.topk.mean() for test in found.tests])) if values else None,
        k=found.tests[0].k if values else None,
        one_view=float(np.mean([test.top1.mean() for test in found.one_view])) if found.one_view else None,
        failed=failed,
        seconds=seconds,
    )
    pairs = [] if first is None else pair_errors(found, first)
    if not pairs:
        return outcome
    ours, theirs = map(np.array, zip(*pairs, strict=True))
    comparison = compare_errors(theirs.mean(axis=0), ours.mean(axis=0))
    return replace(
        outcome,
        difference=comparison.difference,
        interval=comparison.interval,
        differences=tuple((ours - theirs).mean(axis=1).tolist()),
    )


def pair_errors(found: VariantTests, first: VariantTests) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return (N,) errors of each test beside those of the same seeds of the first variant; without any, nothing."""
    by_seed = {test.seeds[0]: test.top1 for test in first.tests}
    return [
        (test.top1, np.mean([by_seed[seed] for seed in sorted(set(test.seeds))], axis=0))
        for test in found.tests
        if set(test.seeds) <= by_seed.keys()
    ]


def _collect_epochs(variant: Variant, jobs: Sequence[Job]) -> Outcome:
    """Return the outcome by the fastest choice of every seed; trainings that miss the target do not count."""
    best: dict[int, tuple[float, str]] = {}
    for job in jobs:
        if job.done:
            epochs = count_epochs(job.read_result()["train_top1_errors"], TARGET_ERROR)
            if epochs is not None and (job.seed not in best or epochs < best[job.seed][0]):
                best[job.seed] = (epochs, job.choice)
    values = [value for value, _ in best.values()]
    lengths = [job.read_result()["epochs"] for job in jobs if job.done]
    return Outcome(
        variant=variant.name,
        seeds=tuple(best),
        planned=len({job.seed for job in jobs}),
        values=tuple(values),
        mean=float(np.mean(values)) if values else None,
        deviation=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        difference=None,
        interval=None,
        choice=", ".join(sorted({choice for _, choice in best.values()})),
        failed=tuple(filter(None, map(read_failure, jobs))),
        seconds=sum(job.read_result()["seconds"] for job in jobs if job.done),
        beyond=max(lengths, default=None) if not values else None,
    )


def count_epochs(errors: Sequence[float], target: float) -> float | None:
    """Return the epochs until the training error falls to target, parts of one by straight lines; None for never.

    The error of an epoch is a mean over it, and so stands for its middle.
    """
    before, middle = 1.0, 0.0
    for position, error in enumerate(errors):
        now = position + 0.5
        if error <= target:
            return middle + (now - middle) * (before - target) / (before - error) if before > error else now
        before, middle = error, now
    return None


def write_results(
    folder: Path,
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    conditions: dict[str, Any],
    curves: Sequence[Curve] = (),
) -> None:
    """Write results.csv (a line per variant), results.json (all of it, with the conditions) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [[*asdict(outcomes[0]), *(reference.by for reference in experiment.references)]]
    for outcome in outcomes:
        recorded = [reference.figures.get(outcome.variant, "") for reference in experiment.references]
        rows.append([*map(_cell, asdict(outcome).values()), *recorded])
    write_text(folder / "results.csv", format_csv(rows))
    document = {
        "experiment": experiment.name,
        "question": experiment.question,
        **conditions,
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "curves": [asdict(curve) for curve in curves],
        "references": [{"by": each.by, "figures": dict(each.figures)} for each in experiment.references],
        "remark": experiment.remark,
    }
    write_text(folder / "results.json", json.dumps(document, indent=2) + "\n")


def read_results(folder: Path) -> tuple[dict[str, Any], list[Outcome], list[Curve]]:
    """Return what `write_results` wrote: the whole document, the outcomes and the curves.

    Where errors.json is there, errors and differences are computed from it again.
    """
    document: dict[str, Any] = parse_json((folder / "results.json").read_bytes())
    outcomes = [Outcome(**_as_tuples(fields)) for fields in document["outcomes"]]
    if found := read_image_errors(folder):
        first = found[0]
        again = [
            summarise(each, first if each is not first else None, old.planned, failed=old.failed, seconds=old.seconds)
            for each, old in zip(found, outcomes, strict=True)
        ]
        outcomes = [replace(new, seeds=old.seeds) for new, old in zip(again, outcomes, strict=True)]
    return document, outcomes, [Curve(**fields) for fields in document["curves"]]


def _as_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (tuple, list)):
        return " ".join(map(_cell, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
