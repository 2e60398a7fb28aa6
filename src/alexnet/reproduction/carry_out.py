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
from alexnet.reproduction.results import Outcome, collect, show_difference, show_error, write_results
from alexnet.reproduction.tables import collect_table, describe_table, list_rows, plan_table
from alexnet.system import describe_system
from alexnet.terminal import Terminal, duration
from alexnet.version import __version__

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
                terminal.say(f"{state.message}. {state.done} of {state.total} trainings done.")
            left = f"about {duration(state.seconds_left)} left, {', '.join(state.running) or 'nothing'} at work"
            meter(int(state.epochs_done), int(state.epochs_total), left)

        run_jobs(
            jobs,
            estimates,
            views=views,
            side_by_side=side_by_side,
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
    write_results(folder, experiment, outcomes, conditions)
    for theme in THEMES:
        drawn = (
            draw_training_errors(experiment, jobs, theme)
            if experiment.measure == "epochs"
            else draw_outcomes(experiment, outcomes, theme)
        )
        save_drawing(drawn, folder / f"figure-{theme}")
    _show_outcomes(terminal, experiment, outcomes)
    missing = len({job.folder for job in jobs if not job.done})
    if missing:
        failed = len({job.folder for job in jobs if read_failure(job)})
        terminal.say(f"{missing} trainings are not done ({failed} failed). The same command goes on.")
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
    terminal.print(f"\n{count} trainings, about {duration(left)} to go on this machine (estimated from {source}).")


def _seconds_left(jobs: Sequence[Job], estimates: Sequence[Estimate]) -> float:
    left = {
        job.folder: each.seconds
        for job, each in zip(jobs, estimates, strict=True)
        if not job.done and not read_failure(job)
    }
    return sum(left.values())


def _show_outcomes(terminal: Terminal, experiment: Experiment, outcomes: Sequence[Outcome]) -> None:
    terminal.print(f"{experiment.title}. {experiment.question}\n")
    if experiment.measure == "epochs":
        terminal.table(
            ["variant", "seeds", "epochs", "best choice", *(each.by for each in experiment.references)],
            [
                [
                    each.variant,
                    f"{len(each.seeds)} of {each.planned}",
                    f"{each.mean:.1f}" if each.mean is not None else "–",
                    each.choice or "–",
                    *(reference.figures.get(each.variant, "–") for reference in experiment.references),
                ]
                for each in outcomes
            ],
        )
        known = [each.mean for each in outcomes if each.mean]
        if len(known) > 1:
            terminal.print(f"\n{outcomes[1].variant} takes {known[1] / known[0]:.1f} times as many epochs.")
    else:
        k = next((each.k for each in outcomes if each.k), 5)
        terminal.table(
            ["variant", "seeds", "top-1", "± sd", f"top-{k}", "difference, 95 %"],
            [
                [
                    each.variant,
                    f"{len(each.seeds)} of {each.planned}",
                    show_error(each.mean),
                    show_error(each.deviation),
                    show_error(each.topk),
                    show_difference(each),
                ]
                for each in outcomes
            ],
        )
        recorded = [
            [each.variant, *(reference.figures.get(each.variant, "–") for reference in experiment.references)]
            for each in outcomes
        ]
        if experiment.references:
            terminal.print("")
            terminal.table(["recorded, top-1 / top-5 in %", *(each.by for each in experiment.references)], recorded)
    for message in (message for each in outcomes for message in each.failed):
        terminal.print(f"\nfailed: {message}")
    if experiment.remark:
        terminal.print(f"\n{experiment.remark}")
