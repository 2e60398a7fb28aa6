"""What `alexnet reproduce` does: plan, train, compare, show and write."""

import datetime
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

from alexnet.cluster.nodes import Cluster
from alexnet.console.pace import seconds_in_turns
from alexnet.console.terminal import Terminal, duration
from alexnet.data.store.reader import Store
from alexnet.errors import ConfigError, StoreError
from alexnet.interpretation.drawing import save_drawing
from alexnet.pages.themes import THEMES
from alexnet.recipes.named import check_batch, find_recipe, scale_epochs
from alexnet.reproduction.contrasts import Contrast, Published, judge
from alexnet.reproduction.engine import State, choose_threads, read_failure, run_jobs
from alexnet.reproduction.experiments import TABLES, Experiment, find_experiment
from alexnet.reproduction.figure import draw_outcomes, draw_training_errors
from alexnet.reproduction.image_errors import write_errors
from alexnet.reproduction.outlook import Cost, Estimate, estimate_jobs
from alexnet.reproduction.plan import FAILED, RUNS, Job, begin_experiment, plan_jobs
from alexnet.reproduction.queue import Planned, Round, fit_rounds, measure_cost, order_rounds, share_tests
from alexnet.reproduction.results import Outcome, collect, collect_curves, collect_tests, write_results
from alexnet.reproduction.tables import collect_table, collect_table_tests, describe_table, list_rows, plan_table
from alexnet.reproduction.tabulation import compare_epochs, tabulate, tabulate_recorded
from alexnet.runs.folder import CHECKPOINTS
from alexnet.runs.requirements import find_spec
from alexnet.system import choose_compute, describe_storage, describe_system, memory_gib
from alexnet.text.wording import counted
from alexnet.version import __version__

TABLE_RECIPE = "small-data"


def carry_out(
    terminal: Terminal,
    names: Sequence[str],
    store: Store,
    out: Path,
    *,
    budget_hours: float | None,
    priority: Sequence[str] = (),
    larger: Store | None,
    devices: Sequence[str],
    threads: int | None,
    dry_run: bool,
    cluster: Cluster | None = None,
    **chosen: Any,
) -> dict[str, Any]:
    """Carry experiments and tables out as far as the hours go, show and write the results, and return them.

    How long it takes is measured and said before; then `queue.order_rounds` says what comes first.

    Args:
        budget_hours: What does not fit is named; no training begins that should end later.
        priority: Names of experiments that come first.
        larger: Store to pre-train on, for table 2.
        devices: One for each training at a time.
        cluster: Whose nodes train, in place of the devices of this machine.
        chosen: seeds; recipe, epochs (length of each training; its drops of the rate move in proportion) and
            assignments, see `_plan`; precision, for trainings to which the experiment gives none.
    Raises:
        ConfigError, RecipeError: no such experiment, recipe, field, network or device.
        StoreError: the store has no validation images, any number of labels for an image, or too small images.
        DistributionError: a training was lost again and again with nodes of the cluster.
        Interrupted: what is done is kept; the same call goes on.
    """
    _check(names, store, larger, priority)
    for device in devices:
        choose_compute(device)
    plans = [_plan(name, store, out / RUNS, larger=larger, **chosen) for name in dict.fromkeys(names)]
    if "table2" in names and larger is None:
        terminal.say("Rows with pre-trained nets stay empty without a store to pre-train on: --larger STORE.")
    plans = share_tests(plans)
    jobs = [job for plan in plans for job in plan.jobs]
    if cluster is not None:
        devices, threads = [cluster.device] * cluster.slots, cluster.threads
    with terminal.progress("measuring", "networks") as meter:
        count = 0

        def measure(job: Job) -> Cost | None:
            nonlocal count
            count += 1
            meter(count - 1, max(count, len({job.recipe.network.dialect for job in jobs})))
            return measure_cost(job, devices, choose_threads(threads, devices), cluster)

        estimates = estimate_jobs(jobs, devices, measure)
    seconds = {job.folder: each.seconds for job, each in zip(jobs, estimates, strict=True)}
    budget_seconds = None if budget_hours is None else 3600 * budget_hours
    rounds, others = fit_rounds(order_rounds(plans, priority), seconds, len(devices), budget_seconds)
    queued = {folder: job for each in rounds for folder, job in each.left().items()}
    foretold = seconds_in_turns([], [seconds[folder] for folder in queued], len(devices))
    sources = " and ".join(dict.fromkeys(each.source for each in estimates))
    about = f"{counted(len(queued), 'training')}, about {duration(foretold)} to go (from {sources})."
    if dry_run:
        for plan in plans:
            _show_plan(terminal, plan, seconds)
        terminal.print(f"\n{about}")
        _say_unfitting(terminal, others)
        return {
            "experiment": ", ".join(plan.experiment.name for plan in plans),
            "trainings": len(queued),
            "seconds": foretold,
        }
    if queued:
        terminal.say(about)
    _say_unfitting(terminal, others)
    for plan in plans:
        begin_experiment(out / plan.experiment.name, plan.experiment.title, plan.jobs)
    began = time.monotonic()
    with terminal.progress(", ".join(plan.experiment.name for plan in plans), "epochs", times=False) as meter:

        def tell(state: State) -> None:
            if state.message:
                terminal.say(f"{state.message}. {state.done} of {counted(state.total, 'training')} done.")
            left = f"about {duration(state.seconds_left)} left, {', '.join(state.running) or 'nothing'} at work"
            meter(int(state.epochs_done), int(state.epochs_total), left)

        run_jobs(
            list(queued.values()),
            [Estimate(seconds[folder], "") for folder in queued],
            devices=devices,
            threads=threads,
            budget_seconds=budget_seconds,
            tell=tell,
            cluster=cluster,
        )
    if queued and all(job.done for job in queued.values()):
        terminal.say(f"Foretold {duration(foretold)}, took {duration(time.monotonic() - began)}.")
    for job in jobs:
        if job.done:  # a worker that was killed past its result left them
            rmtree(job.folder / CHECKPOINTS, ignore_errors=True)
    documents = [_conclude(terminal, plan, store, out, chosen) for plan in plans]
    missing = len({job.folder for job in jobs if not job.done})
    failed = len({job.folder for job in jobs if read_failure(job)})
    if missing:
        terminal.say(f"Not done: {counted(missing, 'training')} ({failed} failed). The same command goes on.")
        if failed:
            kept = shlex.quote(str(out / RUNS))
            terminal.say(f"What failed is not tried again until you delete its message: rm {kept}/*.{FAILED}")
    for document in documents:
        terminal.say(f"Results: {document['folder']}")
    if len(documents) == 1:
        return documents[0]
    return {"experiments": documents, "not_done": missing, "failed": failed}


def _check(names: Sequence[str], store: Store, larger: Store | None, priority: Sequence[str]) -> None:
    """Refuse stores and names that do not go together."""
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
    if larger is not None and "table2" not in names:
        raise ConfigError(f"--larger is for table2; {' and '.join(names)} trains on one store. Leave it out.")
    if larger is not None and larger.fingerprint == store.fingerprint:
        raise ConfigError(f"--larger {larger.path}: is the store to test on. Name one with other images, and more.")
    if unknown := [name for name in priority if name not in names]:
        raise ConfigError(
            f"--priority {unknown[0]}: is none of the experiments named: {', '.join(names)}. Name it among them, too."
        )


def _plan(
    name: str,
    store: Store,
    runs: Path,
    *,
    seeds: int,
    recipe: str | None,
    epochs: int | None,
    assignments: Sequence[str],
    larger: Store | None,
    precision: str,
) -> Planned:
    """Return an experiment or a table with its trainings, all of which have been checked."""
    rows = list_rows(name, seeds) if name in TABLES else []
    experiment = describe_table(name, rows) if rows else find_experiment(name, store.size)
    recipe = recipe or (TABLE_RECIPE if rows else experiment.recipe)
    if epochs is not None and experiment.measure == "epochs":
        assignments = [f"optimization.total_epochs={epochs}", *assignments]
    elif epochs is not None:
        assignments = [*scale_epochs(find_recipe(recipe), epochs), *assignments]
    chosen: Any = {"recipe": recipe, "assignments": assignments, "seeds": seeds, "precision": precision}
    if rows:
        jobs = plan_table(name, store, runs, larger=larger if name == "table2" else None, **chosen)
    else:
        jobs = plan_jobs(experiment, store, runs, **chosen)
    for job in jobs:
        check_batch(job.recipe, assignments, len(store["train"]))
    views = tuple(sorted({1, *(variant.views for variant in experiment.variants)}))
    jobs = [replace(job, views=views) for job in jobs]
    for job in jobs:
        find_spec(store if job.store == store.path else larger or store, job.recipe)
    return Planned(experiment, rows, jobs)


def _conclude(terminal: Terminal, plan: Planned, store: Store, out: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Compare what is done, show it and write it; return what is told of it."""
    experiment, rows, jobs = plan.experiment, plan.rows, plan.jobs
    folder = out / experiment.name
    outcomes = collect_table(rows, jobs) if rows else collect(experiment, jobs)
    conditions = {
        "date": datetime.date.today().isoformat(),
        "alexnet": __version__,
        "machine": {**describe_system(), "memory_gib": memory_gib(), "storage": describe_storage(store.path)},
        "store": {"fingerprint": store.fingerprint, "train": len(store["train"]), "val": len(store["val"])},
        "recipe": jobs[0].recipe.model_dump(mode="json"),
        "seeds": chosen["seeds"],
        "precision": chosen["precision"],
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
    return {"experiment": experiment.name, "folder": str(folder), "not_done": missing, "failed": failed}


def _show_plan(terminal: Terminal, plan: Planned, seconds: Mapping[Path, float]) -> None:
    terminal.print(f"{plan.experiment.title}. {plan.experiment.question}\n")
    rows = []
    for job in plan.jobs:
        state = "done" if job.done else "failed" if read_failure(job) else duration(seconds[job.folder])
        choice = f", {job.choice}" if job.choice else ""
        rows.append([f"{job.variant}{choice}", str(job.seed), str(job.recipe.optimization.total_epochs), state])
    terminal.table(["variant", "seed", "epochs", "time"], rows)


def _say_unfitting(terminal: Terminal, others: Sequence[tuple[Round, float]]) -> None:
    """Name what the hours do not suffice for."""
    for each, seconds in others:
        missing = counted(len(each.left()), "training")
        terminal.say(f"Does not fit: {each.experiment}, seed {each.seed}: {missing}, {duration(seconds)} more.")


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
