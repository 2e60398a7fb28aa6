"""alexnet report."""

from pathlib import Path
from typing import Any

import click

from alexnet.text.commands import command
from alexnet.verbs.opening import open_classifier
from alexnet.verbs.options import PATH, compute_options


@click.command()
@click.argument("run", type=PATH)
@click.argument("store", required=False, type=PATH)
@click.option("--split", help="Split of the store to test on.  [default: test where there is one, else val]")
@compute_options
def report(run: Path, store: Path | None, split: str | None, **compute: Any) -> None:
    """Test RUN and write its report again: RUN/report.html, one file that needs nothing else, and RUN/figures.

    STORE is the one that it was trained on, where that was moved. Training ends with the same report.
    """
    from alexnet.data.store.format import find_store
    from alexnet.data.store.reader import open_store
    from alexnet.errors import Interrupted, RunError
    from alexnet.evaluation.record import digest_weights
    from alexnet.interpretation.report import report_run
    from alexnet.network.model_file import find_model
    from alexnet.runs.folder import read_environment, read_metrics

    environment = read_environment(run)
    place = store or find_store(environment, run)
    if place is None:
        named = environment.get("store_absolute", environment.get("store", "a store that is not recorded"))
        raise RunError(
            f"{run}: was trained on {named}, which is not there. Say where it is: {command('report', run, 'STORE')}"
        )
    opened = open_store(place)
    weights = digest_weights(find_model(run))
    terminal, classifier = open_classifier(run, **compute)
    if environment.get("store_fingerprint") not in (None, opened.fingerprint):
        terminal.say(f"{place} is not the store that this run was trained on; the report is about its images.")
    try:
        with terminal.progress("testing", "views") as meter:
            history = read_metrics(run)
            path, _ = report_run(run, classifier, opened, history, weights=weights, split=split, tick=meter)
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped; the report is not written. Tests that are finished are kept: the same command goes on after them."
        ) from None
    terminal.print(f"Report: {path}")
