"""Tables 1 and 2 of the paper: single networks, averages of several, and networks that were pre-trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet.data.store import Store
from alexnet.evaluation.comparison import compare_errors
from alexnet.evaluation.evaluate import default_k
from alexnet.recipes import find_recipe
from alexnet.reproduction.engine import read_failure
from alexnet.reproduction.experiment import Experiment, Reference, Variant
from alexnet.reproduction.experiments import TABLES
from alexnet.reproduction.plan import Job, make_job
from alexnet.reproduction.results import (
    Outcome,
    find_errors,
    read_labels,
    read_probabilities,
)
from alexnet.training.transfer import choose_dialect

PLAIN, PRETRAINED, PRETRAINING = "net", "pre-trained net", "pre-training"
"""Names of jobs."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: which networks it averages."""

    name: str
    plain: int
    """Networks trained from nothing."""
    pretrained: int
    views: int
    paper: str


def list_rows(table: str, seeds: int) -> list[Row]:
    """Return the rows of a table for so many plain networks.

    The paper averages five, and seven with the two that were pre-trained.
    """
    if table == "table1":
        return [
            Row("1 net, the central crop", 1, 0, 1, "39.0 / 18.3"),
            Row("1 net, ten views", 1, 0, 10, "37.5 / 17.0"),
        ]
    paper = {5: "38.1 / 16.4"}
    return [
        Row("1 net", 1, 0, 10, "40.7 / 18.2"),
        Row(f"{seeds} nets averaged", seeds, 0, 10, paper.get(seeds, "5 nets: 38.1 / 16.4")),
        Row("1 net, pre-trained", 0, 1, 10, "39.0 / 16.6"),
        Row(f"{seeds + 2} nets, 2 pre-trained", seeds, 2, 10, "36.7 / 15.4" if seeds == 5 else "7 nets: 36.7 / 15.4"),
    ]


def plan_table(
    table: str, store: Store, runs: Path, *, recipe: str, assignments: Sequence[str], seeds: int, larger: Store | None
) -> list[Job]:
    """Return the trainings of a table: plain networks, then one that pre-trains and two that start from it.

    Args:
        larger: Store of the larger label set to pre-train on; without one, the rows that need it stay empty.
    """
    base = find_recipe(recipe, assignments)
    count = 1 if table == "table1" else seeds
    jobs = [make_job(base, store, runs, variant=PLAIN, seed=seed) for seed in range(count)]
    if table == "table2" and larger is not None:
        sixth = choose_dialect(base, base.network.dialect, sixth_convolution=True)
        first = make_job(sixth, larger, runs, variant=PRETRAINING, seed=0)
        # What fine-tuning takes from its start is known already, so that its time can be estimated.
        same = (
            f"network.dialect={sixth.network.dialect}",
            f"optimization.total_epochs={base.optimization.total_epochs}",
        )
        tuned = find_recipe("fine-tune", [*same, f"batches.size={base.batches.size}"])
        jobs.append(first)
        jobs += [make_job(tuned, store, runs, variant=PRETRAINED, seed=seed, start=first) for seed in range(2)]
    return jobs


def collect_table(rows: Sequence[Row], jobs: Sequence[Job]) -> list[Outcome]:
    """Return an outcome for each row; a row whose networks are not all done has no value."""
    outcomes: list[Outcome] = []
    first = None
    for row in rows:
        plain = [job for job in jobs if job.variant == PLAIN][: row.plain]
        tuned = [job for job in jobs if job.variant == PRETRAINED][: row.pretrained]
        members = [*plain, *tuned]
        complete = len(members) == row.plain + row.pretrained and all(job.done for job in members)
        if not complete:
            failed = tuple(filter(None, map(read_failure, members)))
            seeds = tuple(job.seed for job in members if job.done)
            outcomes.append(
                Outcome(row.name, seeds, row.plain + row.pretrained, (), None, None, None, None, failed=failed)
            )
            continue
        probabilities = np.mean([read_probabilities(job, row.views) for job in members], axis=0)
        labels = read_labels(members[0])
        errors = find_errors(probabilities, labels)
        k = default_k(probabilities.shape[1])
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        first = errors if first is None else first
        comparison = compare_errors(first, errors)
        value = float(errors.mean())
        outcomes.append(
            Outcome(
                variant=row.name,
                seeds=tuple(job.seed for job in members),
                planned=len(members),
                values=(value,),
                mean=value,
                deviation=None,
                difference=comparison.difference if outcomes else None,
                interval=comparison.interval if outcomes else None,
                topk=float(1 - (best == labels[:, None]).any(1).mean()),
                k=k,
                seconds=sum(job.read_result()["seconds"] for job in members),
            )
        )
    return outcomes


def describe_table(table: str, rows: Sequence[Row]) -> Experiment:
    """Return what the report of a table needs, in the form of an experiment."""
    return Experiment(
        name=table,
        title=TABLES[table],
        question="How far do more views, more networks and pre-training on more classes bring the error down?",
        variants=tuple(Variant(row.name, views=row.views) for row in rows),
        references=(Reference("paper", {row.name: row.paper for row in rows}),),
        remark="The paper's figures are of ImageNet: ILSVRC-2010 test images in table 1, ILSVRC-2012 validation images "
        "in table 2.",
    )
