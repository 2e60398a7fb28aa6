"""What the trainings of an experiment say together: means, spreads, paired differences, tables."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.store.reader import open_store
from alexnet.evaluation.metrics import compare_errors, find_errors
from alexnet.files.documents import parse_json
from alexnet.files.writing import format_csv, write_text
from alexnet.reproduction.engine import read_failure
from alexnet.reproduction.experiments import TARGET_ERROR, Experiment, Variant
from alexnet.reproduction.plan import PROBABILITIES, Job


@dataclass(frozen=True, slots=True)
class Outcome:
    """A variant with what its trainings gave. Rates are fractions; differences are to the first variant."""

    variant: str
    seeds: tuple[int, ...]
    """Of the trainings that are done."""
    planned: int
    """Trainings that the plan has."""
    values: tuple[float, ...]
    """By seed: the top-1 error, or the number of epochs."""
    mean: float | None
    deviation: float | None
    """Standard deviation over seeds; None for fewer than two."""
    difference: float | None
    """Mean over the seeds that both have."""
    interval: tuple[float, float] | None
    """95 %, from resampling images in pairs, all seeds together; of the seeds' spread it knows only their average."""
    topk: float | None = None
    """Mean top-k error."""
    k: int | None = None
    one_view: float | None = None
    """Mean top-1 error with one view."""
    choice: str = ""
    """What was tried and won."""
    failed: tuple[str, ...] = ()
    """Messages of trainings that failed."""
    seconds: float = 0.0
    """Training and validation, all seeds."""
    beyond: int | None = None
    """For measure "epochs", where no training got there: the epochs that the longest of them had."""
    differences: tuple[float, ...] = ()
    """By seed, of the seeds that both have."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The training error of one training, epoch by epoch."""

    variant: str
    choice: str
    errors: tuple[float, ...]
    """Means over each epoch."""


def collect(experiment: Experiment, jobs: Sequence[Job]) -> list[Outcome]:
    """Return an outcome for each variant, in order; those without a finished training have no values."""
    by_variant = {variant.name: [job for job in jobs if job.variant == variant.name] for variant in experiment.variants}
    if experiment.measure == "epochs":
        return [_collect_epochs(variant, by_variant[variant.name]) for variant in experiment.variants]
    first = experiment.variants[0]
    baseline = {job.seed: job for job in by_variant[first.name] if job.done}
    return [_collect_errors(variant, by_variant[variant.name], first, baseline) for variant in experiment.variants]


def collect_curves(jobs: Sequence[Job]) -> list[Curve]:
    """Return the training errors of the trainings with the first seed that are done."""
    return [
        Curve(job.variant, job.choice, tuple(job.read_result()["train_top1_errors"]))
        for job in jobs
        if job.done and job.seed == 0
    ]


def _collect_errors(variant: Variant, jobs: Sequence[Job], first: Variant, baseline: dict[int, Job]) -> Outcome:
    done = [job for job in jobs if job.done]
    results = [job.read_result() for job in done]
    figures = [result["views"][str(variant.views)] for result in results]
    values = [figure["top1_error"] for figure in figures]
    k = next(
        (
            int(name[3:-6])
            for name in (figures[0] if figures else ())
            if name.startswith("top") and name.endswith("_error") and name != "top1_error"
        ),
        None,
    )
    pairs = [(baseline[job.seed], job) for job in done if job.seed in baseline]
    difference = interval = None
    differences: tuple[float, ...] = ()
    if pairs and variant != first:
        ours = np.array([read_errors(job, variant.views) for _, job in pairs])
        theirs = np.array([read_errors(job, first.views) for job, _ in pairs])
        comparison = compare_errors(theirs.mean(axis=0), ours.mean(axis=0))
        difference, interval = comparison.difference, comparison.interval
        differences = tuple((ours - theirs).mean(axis=1).tolist())
    return Outcome(
        variant=variant.name,
        seeds=tuple(job.seed for job in done),
        planned=len(jobs),
        values=tuple(values),
        mean=float(np.mean(values)) if values else None,
        deviation=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        difference=difference,
        interval=interval,
        topk=float(np.mean([figure[f"top{k}_error"] for figure in figures])) if k else None,
        k=k,
        one_view=float(np.mean([result["views"]["1"]["top1_error"] for result in results])) if results else None,
        failed=tuple(filter(None, map(read_failure, jobs))),
        seconds=sum(result["seconds"] for result in results),
        differences=differences,
    )


def _collect_epochs(variant: Variant, jobs: Sequence[Job]) -> Outcome:
    """The fastest choice of every seed counts; a training that did not get there counts for none."""
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


def read_errors(job: Job, views: int) -> NDArray[np.float64]:
    """Return (N,) the top-1 errors of a tested job on each image, 0 or 1."""
    return find_errors(read_probabilities(job, views), read_labels(job))


def read_probabilities(job: Job, views: int) -> NDArray[np.float32]:
    """Return (N, K) the probabilities of a tested job."""
    probabilities: NDArray[np.float32] = np.load(job.folder / PROBABILITIES.format(views=views), allow_pickle=False)
    return probabilities


def read_labels(job: Job) -> NDArray[np.int64]:
    """Return (N,) labels of the images that a job was tested on."""
    return np.asarray(open_store(job.store)["val"].labels, np.int64)


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
    """Return what `write_results` wrote: the whole document, the outcomes and the curves."""
    document: dict[str, Any] = parse_json((folder / "results.json").read_bytes())
    outcomes = [Outcome(**fields) for fields in document["outcomes"]]
    return document, outcomes, [Curve(**fields) for fields in document["curves"]]


def tabulate(experiment: Experiment, outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of an experiment's table; what was not run is a dash."""
    if experiment.measure == "epochs":
        return ["variant", "seeds", "epochs", "best choice", *(each.by for each in experiment.references)], [
            [
                each.variant,
                f"{len(each.seeds)} of {each.planned}",
                show_epochs(each),
                each.choice or "–",
                *(reference.figures.get(each.variant, "–") for reference in experiment.references),
            ]
            for each in outcomes
        ]
    k = next((each.k for each in outcomes if each.k), 5)
    by_seed = any(len(each.differences) > 1 for each in outcomes)
    return ["variant", "seeds", "top-1", "± sd", f"top-{k}", "difference, 95 %", *(["by seed"] if by_seed else [])], [
        [
            each.variant,
            f"{len(each.seeds)} of {each.planned}",
            show_error(each.mean),
            show_error(each.deviation),
            show_error(each.topk),
            show_difference(each),
            *([", ".join(f"{100 * value:+.1f}" for value in each.differences) or "–"] if by_seed else []),
        ]
        for each in outcomes
    ]


def tabulate_recorded(experiment: Experiment) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of what others recorded of an experiment's variants."""
    return ["recorded, top-1 / top-5 in %", *(each.by for each in experiment.references)], [
        [each.name, *(reference.figures.get(each.name, "–") for reference in experiment.references)]
        for each in experiment.variants
    ]


def compare_epochs(outcomes: Sequence[Outcome]) -> str | None:
    """Return a sentence about how many times the epochs of the first variant the second one takes."""
    first, second = outcomes[0].mean, outcomes[1].mean if len(outcomes) > 1 else None
    if first and second:
        return f"{outcomes[1].variant} takes {second / first:.1f} times as many epochs."
    if first and len(outcomes) > 1 and outcomes[1].beyond:
        return f"{outcomes[1].variant} takes more than {outcomes[1].beyond / first:.1f} times as many epochs."
    return None


def show_epochs(outcome: Outcome) -> str:
    """Return 5.5, or > 30 where no training got there, or a dash where none was run."""
    if outcome.mean is not None:
        return f"{outcome.mean:.1f}"
    return f"> {outcome.beyond}" if outcome.beyond else "–"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (tuple, list)):
        return " ".join(map(_cell, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def show_error(value: float | None) -> str:
    """Return 23.73 % or a dash."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.2%}".replace("%", " %")


def show_difference(outcome: Outcome) -> str:
    """Return +1.4 [+0.2, +2.5] in percentage points, or a dash."""
    if outcome.difference is None or outcome.interval is None:
        return "–"
    low, high = outcome.interval
    return f"{100 * outcome.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
