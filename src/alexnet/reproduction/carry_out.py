"""What `alexnet reproduce` does: plan, train, compare, show and write."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet.data.store import Store
from alexnet.errors import ConfigError, StoreError
from alexnet.interpretation.drawing import THEMES, save_drawing
from alexnet.reproduction.engine import Estimate, State, estimate_jobs, read_failure, run_jobs
from alexnet.reproduction.experiment import Experiment
from alexnet.reproduction.experiments import TABLES, find_experiment
from alexnet.reproduction.figure import draw_outcomes, draw_training_errors
from alexnet.reproduction.plan import Job, plan_jobs
from alexnet.reproduction.results import (
    Outcome,
    collect,
    collect_curves,
    compare_epochs,
    tabulate,
    tabulate_recorded,
    write_results,
)
from alexnet.reproduction.tables import collect_table, describe_table, list_rows, plan_table
from alexnet.system import describe_system
from alexnet.terminal import Terminal, duration
from alexnet.version import __version__
from alexnet.wording import counted

TABLE_RECIPE = "small-data"


def carry_out(
    terminal: Terminal,
    name: str,
    store: Store,
    out: Path,
    *,
    seeds: int,
    budget_hours: float | None,
    recipe: str | None,
    assignments: Sequence[str],
    larger: Store | None,
    side_by_side: int,
    threads: int | None,
    dry_run: bool,
) -> dict[str, Any]:
    """Carry an experiment or a table out as far as the budget goes, show and write the result, and return it.

    Raises:
        ConfigError, RecipeError: no such experiment, recipe, field or network.
        StoreError: the store has no validation images.
        Interrupted: what is done is kept; the same call goes on.
    """
    if "val" not in store.splits or not len(store["val"]):
        raise StoreError(
            f"{store.path}: has no validation images, which results are measured on. Prepare it again with "
            "--val-fraction 0.1."
        )
    runs = out / "runs"
    rows = list_rows(name, seeds) if name in TABLES else []
    if rows:
        experiment = describe_table(name, rows)
        jobs = plan_table(
            name, store, runs, recipe=recipe or TABLE_RECIPE, assignments=assignments, seeds=seeds, larger=larger
        )
    else:
        if larger is not None:
            raise ConfigError(f"--larger is for table2; {name} trains on one store. Leave it out.")
        experiment = find_experiment(name, store.size)
        jobs = plan_jobs(experiment, store, runs, recipe=recipe, assignments=assignments, seeds=seeds)
    estimates = estimate_jobs(jobs, len(store["train"]), len(store.class_names))
    if dry_run:
        _show_plan(terminal, experiment, jobs, estimates, side_by_side)
        return {"experiment": experiment.name, "trainings": len(jobs), "seconds": _seconds_left(jobs, estimates)}
    views = sorted({1, *(variant.views for variant in experiment.variants)})
    with terminal.progress(experiment.name, "epochs") as meter:

        def tell(state: State) -> None:
            if state.message:
                terminal.say(f"{state.message}. {state.done} of {counted(state.total, 'training')} done.")
            left = f"about {duration(state.seconds_left)} left, {', '.join(state.running) or 'nothing'} at work"
            meter(int(state.epochs_done), int(state.epochs_total), left)

        run_jobs(
            jobs,
            estimates,
            views=views,
            side_by_side=side_by_side,
            threads=threads,
            budget_seconds=None if budget_hours is None else 3600 * budget_hours,
            tell=tell,
        )
    outcomes = collect_table(rows, jobs) if rows else collect(experiment, jobs)
    conditions = {
        "date": datetime.date.today().isoformat(),
        "alexnet": __version__,
        "machine": describe_system(),
        "store": {"fingerprint": store.fingerprint, "train": len(store["train"]), "val": len(store["val"])},
        "recipe": jobs[0].recipe.model_dump(mode="json"),
        "seeds": seeds,
    }
    folder = out / experiment.name
    curves = collect_curves(jobs) if experiment.measure == "epochs" else []
    write_results(folder, experiment, outcomes, conditions, curves)
    for theme in THEMES:
        drawn = (
            draw_training_errors(experiment, curves, theme)
            if experiment.measure == "epochs"
            else draw_outcomes(experiment, outcomes, theme)
        )
        save_drawing(drawn, folder / f"figure-{theme}")
    _show_outcomes(terminal, experiment, outcomes)
    missing = len({job.folder for job in jobs if not job.done})
    if missing:
        failed = len({job.folder for job in jobs if read_failure(job)})
        terminal.say(f"Not done: {counted(missing, 'training')} ({failed} failed). The same command goes on.")
    terminal.say(f"Results: {folder}")
    return {"experiment": experiment.name, "folder": str(folder), "not_done": missing}


def _show_plan(
    terminal: Terminal, experiment: Experiment, jobs: Sequence[Job], estimates: Sequence[Estimate], side_by_side: int
) -> None:
    terminal.print(f"{experiment.title}. {experiment.question}\n")
    rows = []
    for job, estimate in zip(jobs, estimates, strict=True):
        state = "done" if job.done else "failed" if read_failure(job) else duration(estimate.seconds)
        choice = f", {job.choice}" if job.choice else ""
        rows.append([f"{job.variant}{choice}", str(job.seed), str(job.recipe.optimization.total_epochs), state])
    terminal.table(["variant", "seed", "epochs", "time"], rows)
    left = _seconds_left(jobs, estimates) / side_by_side
    source = "finished runs" if any(each.source == "from finished runs" for each in estimates) else "operations"
    count = len({job.folder for job in jobs})
    terminal.print(
        f"\n{counted(count, 'training')}, about {duration(left)} to go on this machine (estimated from {source})."
    )


def _seconds_left(jobs: Sequence[Job], estimates: Sequence[Estimate]) -> float:
    left = {
        job.folder: each.seconds
        for job, each in zip(jobs, estimates, strict=True)
        if not job.done and not read_failure(job)
    }
    return sum(left.values())


def _show_outcomes(terminal: Terminal, experiment: Experiment, outcomes: Sequence[Outcome]) -> None:
    terminal.print(f"{experiment.title}. {experiment.question}\n")
    terminal.table(*tabulate(experiment, outcomes))
    if experiment.measure == "epochs":
        if sentence := compare_epochs(outcomes):
            terminal.print(f"\n{sentence}")
    elif experiment.references:
        terminal.print("")
        terminal.table(*tabulate_recorded(experiment))
    for message in (message for each in outcomes for message in each.failed):
        terminal.print(f"\nfailed: {message}")
    if experiment.remark:
        terminal.print(f"\n{experiment.remark}")
