"""What `alexnet reproduce` does: plan, train, compare, show and write."""

import datetime
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alexnet.console.terminal import Terminal, duration
from alexnet.data.store.reader import Store
from alexnet.errors import ConfigError, StoreError
from alexnet.interpretation.drawing import save_drawing
from alexnet.pages.themes import THEMES
from alexnet.recipes.named import check_batch, find_recipe, scale_epochs
from alexnet.reproduction.contrasts import Contrast, Published, judge
from alexnet.reproduction.engine import State, read_failure, run_jobs
from alexnet.reproduction.experiments import TABLES, Experiment, find_experiment
from alexnet.reproduction.figure import draw_outcomes, draw_training_errors
from alexnet.reproduction.image_errors import write_errors
from alexnet.reproduction.outlook import Estimate, Outlook, estimate_jobs
from alexnet.reproduction.plan import FAILED, RUNS, Job, begin_experiment, plan_jobs
from alexnet.reproduction.results import Outcome, collect, collect_curves, collect_tests, write_results
from alexnet.reproduction.tables import collect_table, collect_table_tests, describe_table, list_rows, plan_table
from alexnet.reproduction.tabulation import compare_epochs, tabulate, tabulate_recorded
from alexnet.runs.requirements import find_spec
from alexnet.system import choose_compute, describe_storage, describe_system, memory_gib
from alexnet.text.wording import counted
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
    epochs: int | None,
    assignments: Sequence[str],
    larger: Store | None,
    devices: Sequence[str],
    precision: str,
    threads: int | None,
    dry_run: bool,
) -> dict[str, Any]:
    """Carry an experiment or a table out as far as the budget goes, show and write the result, and return it.

    Args:
        epochs: Length of each training; its drops of the rate move in proportion.
        larger: Store to pre-train on, for table 2.
        devices: One for each training at a time.
        precision: For trainings to which the experiment gives none.
    Raises:
        ConfigError, RecipeError: no such experiment, recipe, field, network or device.
        StoreError: the store has no validation images, any number of labels for an image, or too small images.
        Interrupted: what is done is kept; the same call goes on.
    """
    if "val" not in store.splits or not len(store["val"]):
        raise StoreError(
            f"{store.path}: has no validation images, which results are measured on. Prepare it again with "
            "--val-fraction 0.1."
        )
    for each in (store, larger):
        if each is not None and each.has_sets:
            raise StoreError(
                f"{each.path}: holds any number of labels for an image; the experiments are about images of one class "
                "each. Prepare such a store."
            )
    for device in devices:
        choose_compute(device)
    runs = out / RUNS
    if larger is not None and name != "table2":
        raise ConfigError(f"--larger is for table2; {name} trains on one store. Leave it out.")
    if larger is not None and larger.fingerprint == store.fingerprint:
        raise ConfigError(f"--larger {larger.path}: is the store to test on. Name one with other images, and more.")
    rows = list_rows(name, seeds) if name in TABLES else []
    experiment = describe_table(name, rows) if rows else find_experiment(name, store.size)
    recipe = recipe or (TABLE_RECIPE if rows else experiment.recipe)
    if epochs is not None and experiment.measure == "epochs":
        assignments = [f"optimization.total_epochs={epochs}", *assignments]
    elif epochs is not None:
        assignments = [*scale_epochs(find_recipe(recipe), epochs), *assignments]
    chosen: Any = {"recipe": recipe, "assignments": assignments, "seeds": seeds, "precision": precision}
    if rows:
        jobs = plan_table(name, store, runs, larger=larger, **chosen)
    else:
        jobs = plan_jobs(experiment, store, runs, **chosen)
    for job in jobs:
        check_batch(job.recipe, assignments, len(store["train"]))
    views = tuple(sorted({1, *(variant.views for variant in experiment.variants)}))
    jobs = [replace(job, views=views) for job in jobs]
    for job in jobs:
        find_spec(store if job.store == store.path else larger or store, job.recipe)
    if name == "table2" and larger is None:
        terminal.say("Rows with pre-trained nets stay empty without a store to pre-train on: --larger STORE.")
    estimates = estimate_jobs(jobs, devices[0])
    if dry_run:
        _show_plan(terminal, experiment, jobs, estimates, devices)
        seconds = _seconds_left(jobs, estimates, devices)
        return {"experiment": experiment.name, "trainings": len(jobs), "seconds": seconds}
    folder = out / experiment.name
    begin_experiment(folder, experiment.title, jobs)
    with terminal.progress(experiment.name, "epochs", times=False) as meter:

        def tell(state: State) -> None:
            if state.message:
                terminal.say(f"{state.message}. {state.done} of {counted(state.total, 'training')} done.")
            left = f"about {duration(state.seconds_left)} left, {', '.join(state.running) or 'nothing'} at work"
            meter(int(state.epochs_done), int(state.epochs_total), left)

        run_jobs(
            jobs,
            estimates,
            devices=devices,
            threads=threads,
            budget_seconds=None if budget_hours is None else 3600 * budget_hours,
            tell=tell,
        )
    outcomes = collect_table(rows, jobs) if rows else collect(experiment, jobs)
    conditions = {
        "date": datetime.date.today().isoformat(),
        "alexnet": __version__,
        "machine": {**describe_system(), "memory_gib": memory_gib(), "storage": describe_storage(store.path)},
        "store": {"fingerprint": store.fingerprint, "train": len(store["train"]), "val": len(store["val"])},
        "recipe": jobs[0].recipe.model_dump(mode="json"),
        "seeds": seeds,
        "precision": precision,
    }
    curves = collect_curves(jobs) if experiment.measure == "epochs" else []
    write_results(folder, experiment, outcomes, conditions, curves)
    tests = collect_table_tests(rows, jobs) if rows else collect_tests(experiment, jobs)
    if tests:
        write_errors(folder, tests, store.fingerprint)
    published = Published(store.path.name, {"experiment": experiment.name, **conditions}, tuple(outcomes), tuple(tests))
    contrasts = judge([published])
    for theme in THEMES:
        drawn = (
            draw_training_errors(experiment, curves, theme)
            if experiment.measure == "epochs"
            else draw_outcomes(experiment, outcomes, theme, contrasts=contrasts)
        )
        save_drawing(drawn, folder / f"figure-{theme}")
    _show_outcomes(terminal, experiment, outcomes, contrasts)
    missing = len({job.folder for job in jobs if not job.done})
    failed = len({job.folder for job in jobs if read_failure(job)})
    if missing:
        terminal.say(f"Not done: {counted(missing, 'training')} ({failed} failed). The same command goes on.")
        if failed:
            kept = shlex.quote(str(runs))
            terminal.say(f"What failed is not tried again until you delete its message: rm {kept}/*.{FAILED}")
    terminal.say(f"Results: {folder}")
    return {"experiment": experiment.name, "folder": str(folder), "not_done": missing, "failed": failed}


def _show_plan(
    terminal: Terminal,
    experiment: Experiment,
    jobs: Sequence[Job],
    estimates: Sequence[Estimate],
    devices: Sequence[str],
) -> None:
    terminal.print(f"{experiment.title}. {experiment.question}\n")
    rows = []
    for job, estimate in zip(jobs, estimates, strict=True):
        state = "done" if job.done else "failed" if read_failure(job) else duration(estimate.seconds)
        choice = f", {job.choice}" if job.choice else ""
        rows.append([f"{job.variant}{choice}", str(job.seed), str(job.recipe.optimization.total_epochs), state])
    terminal.table(["variant", "seed", "epochs", "time"], rows)
    left = _seconds_left(jobs, estimates, devices)
    source = "finished runs" if any(each.source == "from finished runs" for each in estimates) else "operations"
    count = len({job.folder for job in jobs})
    terminal.print(
        f"\n{counted(count, 'training')}, about {duration(left)} to go on this machine (estimated from {source})."
    )


def _seconds_left(jobs: Sequence[Job], estimates: Sequence[Estimate], devices: Sequence[str]) -> float:
    outlook = Outlook({job.folder: each.seconds for job, each in zip(jobs, estimates, strict=True)}, devices)
    left = {job.folder: job for job in jobs if not job.done and not read_failure(job)}
    return outlook.seconds_left([], list(left.values()), 0.0)


def _show_outcomes(
    terminal: Terminal, experiment: Experiment, outcomes: Sequence[Outcome], contrasts: Sequence[Contrast]
) -> None:
    terminal.print(f"{experiment.title}. {experiment.question}\n")
    terminal.table(*tabulate(experiment, outcomes, contrasts))
    if experiment.measure == "epochs":
        if sentence := compare_epochs(outcomes):
            terminal.print(f"\n{sentence}")
    elif experiment.references:
        terminal.print("")
        terminal.table(*tabulate_recorded(experiment))
    for message in dict.fromkeys(message for each in outcomes for message in each.failed):
        terminal.print(f"\nfailed: {message}")
    if experiment.remark:
        terminal.print(f"\n{experiment.remark}")
