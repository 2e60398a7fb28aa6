"""Several experiments as one queue: what tells most comes first, and as much as fits into the hours."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from alexnet.cluster.nodes import Cluster
from alexnet.cluster.parts import Work
from alexnet.console.pace import seconds_in_turns
from alexnet.reproduction.elsewhere import begin_probing
from alexnet.reproduction.engine import read_failure, start_process, write_description
from alexnet.reproduction.experiments import Experiment
from alexnet.reproduction.outlook import Cost
from alexnet.reproduction.plan import Job
from alexnet.reproduction.tables import Row

PROBE = "alexnet.reproduction.probe"


@dataclass(frozen=True)
class Planned:
    """An experiment or a table with its trainings."""

    experiment: Experiment
    rows: Sequence[Row]
    """Of a table; else empty."""
    jobs: Sequence[Job]


class Round(NamedTuple):
    """The trainings of an experiment with one seed: one of them alone compares nothing."""

    experiment: str
    seed: int
    jobs: list[Job]
    """Those that another starts from too."""

    def left(self) -> dict[Path, Job]:
        """Return by their folders those that are neither done nor failed; of equal ones the first."""
        left: dict[Path, Job] = {}
        for job in self.jobs:
            if not job.done and not read_failure(job):
                left.setdefault(job.folder, job)
        return left


def share_tests(plans: Sequence[Planned]) -> list[Planned]:
    """Return plans in which a training that several need is tested with the views that any of them asks for."""
    views: dict[Path, set[int]] = {}
    for job in (job for plan in plans for job in plan.jobs):
        views.setdefault(job.folder, set()).update(job.views)
    return [
        replace(plan, jobs=[replace(job, views=tuple(sorted(views[job.folder]))) for job in plan.jobs])
        for plan in plans
    ]


def order_rounds(plans: Sequence[Planned], priority: Sequence[str]) -> list[Round]:
    """Return the rounds of several experiments, the most telling first.

    An experiment with a priority has all its seeds first. Of the others all first seeds come before all second ones, in
    the order of the experiments: a second seed makes an answer surer, and the first gives one.
    """
    rounds = []
    for plan in plans:
        by_folder = {job.folder: job for job in plan.jobs}
        for seed in sorted({job.seed for job in plan.jobs}):
            own = [job for job in plan.jobs if job.seed == seed]
            starts = [by_folder[job.start] for job in own if job.start in by_folder]
            rounds.append(Round(plan.experiment.name, seed, [*starts, *own]))
    names = [plan.experiment.name for plan in plans]
    ranks = {name: priority.index(name) if name in priority else len(priority) for name in names}
    places = {name: 0 if name in priority else place for place, name in enumerate(names)}
    return sorted(
        rounds,
        key=lambda each: (ranks[each.experiment], each.seed, places[each.experiment]),
    )


def fit_rounds(
    rounds: Sequence[Round], seconds: Mapping[Path, float], places: int, budget_seconds: float | None
) -> tuple[list[Round], list[tuple[Round, float]]]:
    """Return the rounds that fit into a time, and the others, each with the seconds that it would add.

    One that is too long is passed over, and a shorter one behind it may still fit. A training that several share counts
    once.

    Args:
        seconds: Folder of a job -> how long it takes.
        places: Trainings at a time.
    """
    chosen: dict[Path, Job] = {}
    fitting, others = [], []
    for each in rounds:
        with_it = chosen | each.left()
        before, after = (
            seconds_in_turns([], [seconds[folder] for folder in jobs], places) for jobs in (chosen, with_it)
        )
        if budget_seconds is None or after <= budget_seconds or len(with_it) == len(chosen):
            chosen = with_it
            fitting.append(each)
        else:
            others.append((each, after - before))
    return fitting, others


def measure_cost(job: Job, devices: Sequence[str], threads: int, cluster: Cluster | None) -> Cost | None:
    """Return what a few steps and tests of a job cost, beside as many of it as there are devices; None if they fail."""
    if cluster is not None:
        job.folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="probe-", dir=None if cluster is None else job.folder.parent) as folder:
        descriptions = [
            write_description(replace(job, folder=Path(folder, str(number), "run")), device, threads, began=time.time())
            for number, device in enumerate(devices)
        ]
        if cluster is not None:
            found = list(cluster.run(Work(begin_probing, ()), descriptions[:1]))
        else:
            found = _run_probes(descriptions, threads)
    known = [each for each in found if "image" in each]
    if not known:
        return None
    mean: Any = lambda values: sum(values) / len(known)  # noqa: E731
    views = {int(each): mean([one["views"][each] for one in known]) for each in known[0]["views"]}
    return Cost(mean([each["start"] for each in known]), mean([each["image"] for each in known]), views)


def _run_probes(descriptions: Sequence[Path], threads: int) -> list[dict[str, Any]]:
    logs = [description.with_suffix(".log") for description in descriptions]
    processes = [
        start_process(description, log, threads, module=PROBE)
        for description, log in zip(descriptions, logs, strict=True)
    ]
    try:
        for process in processes:
            process.wait()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    found = []
    for log in logs:
        with suppress(ValueError, IndexError):  # it failed: the training will say why
            found.append(json.loads(log.read_text(encoding="utf-8").splitlines()[-1]))
    return found
