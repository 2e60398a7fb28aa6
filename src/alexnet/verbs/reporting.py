"""alexnet report."""

from pathlib import Path

import click

from alexnet.verbs.options import PATH, device_option, precision_option, threads_option


@click.command()
@click.argument("run", type=PATH)
@click.argument("store", required=False, type=PATH)
@click.option("--split", default="val", show_default=True, help="Split of the store to test on.")
@device_option
@precision_option
@threads_option
def report(run: Path, store: Path | None, split: str, device: str, precision: str, threads: int | None) -> None:
    """Test RUN and write its report again: RUN/report.html, one file that needs nothing else, and RUN/figures.

    STORE is the one that it was trained on, where that was moved. Training ends with the same report.
    """
    from alexnet.data.store import open_store
    from alexnet.errors import RunError
    from alexnet.evaluation.classifier import load
    from alexnet.interpretation.report import report_run
    from alexnet.system import set_threads, tune_allocator
    from alexnet.terminal import Terminal
    from alexnet.training.journal import read_environment, read_metrics

    environment = read_environment(run)
    place = store or Path(str(environment.get("store", "")))
    if store is None and not place.is_dir():
        raise RunError(
            f"{run}: was trained on {place}, which is not there. Say where it is: alexnet report {run} STORE"
        )
    opened = open_store(place)
    terminal = Terminal()
    set_threads(threads)
    tune_allocator()
    classifier = load(run, device=device, precision=precision)
    if environment.get("store_fingerprint") not in (None, opened.fingerprint):
        terminal.say(f"{place} is not the store that this run was trained on; the report is about its images.")
    with terminal.progress("testing", "images") as meter:
        path = report_run(run, classifier, opened, read_metrics(run), split=split, tick=meter)
    terminal.print(f"Report: {path}")
