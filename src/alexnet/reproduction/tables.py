"""Tables 1 and 2 of the paper, and averages of five: networks alone, averaged, and pre-trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet.data.store.reader import Store
from alexnet.errors import ConfigError
from alexnet.recipes.named import find_recipe
from alexnet.reproduction.experiments import TABLES, Experiment, Reference, Variant
from alexnet.reproduction.image_errors import VariantTests, run_test
from alexnet.reproduction.plan import Job, make_job
from alexnet.reproduction.results import Outcome, summarise_jobs
from alexnet.training.transfer import choose_dialect

PLAIN, PRETRAINED, PRETRAINING = "net", "pre-trained net", "pre-training"
"""Names of jobs."""
PRETRAINED_NETS = 2
"""Pre-trained networks, as many as in the paper."""
FIVE = 5
"""Networks of an average, as many as in the paper."""

_QUESTIONS = {
    "table1": "How far do more views bring the error down?",
    "table2": "How far do more networks, and pre-training on more classes, bring the error down?",
    "averages": "How far does an average of five networks bring the error down, and how sure is that?",
}
_IMAGES = {
    "table1": "ILSVRC-2010's test images",
    "table2": "ILSVRC-2012's validation images",
    "averages": "ILSVRC-2012's validation images, of one average (table 2)",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its networks, each by itself or averaged."""

    name: str
    plain: int
    """Networks trained from nothing."""
    pretrained: int
    views: int
    paper: str
    averaged: int = 0
    """Networks whose probabilities are averaged, again and again until all are used; 0 for each by itself."""


def list_rows(table: str, seeds: int) -> list[Row]:
    """Return the rows of a table for so many plain networks and two that were pre-trained.

    The paper averages five, and seven with the two. Its rows of one network test one; here they are the mean of all.
    Its average is one; "averages" has as many as there are fives without a network in common, so that it is seen how
    far they differ.
    """
    if table == "averages":
        return [
            Row("1 net", seeds, 0, 10, "40.7 / 18.2"),
            Row(f"{FIVE} nets averaged", seeds - seeds % FIVE, 0, 10, "38.1 / 16.4", averaged=FIVE),
        ]
    if table == "table1":
        return [
            Row("1 net, the central crop", seeds, 0, 1, "39.0 / 18.3"),
            Row("1 net, ten views", seeds, 0, 10, "37.5 / 17.0"),
        ]
    five = "38.1 / 16.4" if seeds == 5 else "5 nets: 38.1 / 16.4"
    seven = "36.7 / 15.4" if seeds == 5 else "7 nets: 36.7 / 15.4"
    return [
        Row("1 net", seeds, 0, 10, "40.7 / 18.2"),
        Row(f"{seeds} nets averaged", seeds, 0, 10, five, averaged=seeds),
        Row("1 net, pre-trained", 0, PRETRAINED_NETS, 10, "39.0 / 16.6"),
        Row(f"{seeds + 2} nets, 2 pre-trained", seeds, PRETRAINED_NETS, 10, seven, averaged=seeds + PRETRAINED_NETS),
    ]


def plan_table(
    table: str,
    store: Store,
    runs: Path,
    *,
    recipe: str,
    assignments: Sequence[str],
    seeds: int,
    larger: Store | None,
    precision: str = "auto",
) -> list[Job]:
    """Return the trainings of a table: plain networks, then one that pre-trains and two that start from it.

    Args:
        larger: Store of the larger label set to pre-train on; without one, the rows that need it stay empty.
    Raises:
        ConfigError: too few networks for a single average of five.
    """
    if table == "averages" and seeds < FIVE:
        raise ConfigError(
            f"averages: no average of {FIVE} networks can be made of {seeds}. Take --seeds {3 * FIVE}: three averages, "
            "which tell how far they differ."
        )
    base = find_recipe(recipe, assignments)
    jobs = [make_job(base, store, runs, variant=PLAIN, seed=seed, precision=precision) for seed in range(seeds)]
    if table == "table2" and larger is not None:
        sixth = choose_dialect(base, base.network.dialect, sixth_convolution=True)
        first = make_job(sixth, larger, runs, variant=PRETRAINING, seed=0, precision=precision)
        # What fine-tuning takes from its start is known already, so that its time can be estimated.
        same = (
            f"network.dialect={sixth.network.dialect}",
            f"optimization.total_epochs={base.optimization.total_epochs}",
        )
        tuned = find_recipe("fine-tune", [*same, f"batches.size={base.batches.size}"])
        jobs.append(first)
        for seed in range(PRETRAINED_NETS):
            jobs.append(make_job(tuned, store, runs, variant=PRETRAINED, seed=seed, precision=precision, start=first))
    return jobs


def collect_table(rows: Sequence[Row], jobs: Sequence[Job]) -> list[Outcome]:
    """Return an outcome for each row; an average whose networks are not all done has no value."""
    found = collect_table_tests(rows, jobs)
    return [
        summarise_jobs(found, place, _members(row, jobs), row.plain + row.pretrained) for place, row in enumerate(rows)
    ]


def collect_table_tests(rows: Sequence[Row], jobs: Sequence[Job]) -> list[VariantTests]:
    """Return the errors by image of each row; of an average, those of the mean probabilities."""
    found = []
    for row in rows:
        members, size = _members(row, jobs), max(1, row.averaged)
        averages = [members[first : first + size] for first in range(0, row.plain + row.pretrained, size)]
        whole = [each for each in averages if len(each) == size and all(job.done for job in each)]
        found.append(VariantTests(row.name, tuple(run_test(each, row.views) for each in whole)))
    return found


def _members(row: Row, jobs: Sequence[Job]) -> list[Job]:
    plain = [job for job in jobs if job.variant == PLAIN][: row.plain]
    return [*plain, *[job for job in jobs if job.variant == PRETRAINED][: row.pretrained]]


def describe_table(table: str, rows: Sequence[Row]) -> Experiment:
    """Return what the report of a table needs, in the form of an experiment."""
    return Experiment(
        name=table,
        title=TABLES[table],
        question=_QUESTIONS[table],
        variants=tuple(Variant(row.name, views=row.views) for row in rows),
        references=(Reference("paper", {row.name: row.paper for row in rows}),),
        remark=f"The paper's figures are of {_IMAGES[table]}.",
    )
