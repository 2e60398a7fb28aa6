"""What `alexnet train` does beyond training: it shows it, tests the result, and writes the report."""

from pathlib import Path
from typing import Any

from alexnet.data.store import Store
from alexnet.distribution.team import ALONE, Team
from alexnet.evaluation.classifier import load
from alexnet.interpretation.report import REPORT, report_run
from alexnet.network.model_file import MODEL
from alexnet.recipes import Recipe
from alexnet.runs import train
from alexnet.terminal import Terminal
from alexnet.training.journal import read_metrics
from alexnet.training.loop import Silent
from alexnet.training_display import TrainingDisplay


def train_and_report(terminal: Terminal, store: Store, recipe: Recipe, out: Path, **options: Any) -> None:
    """Train with a display, then test and write the report. Options are those of `runs.train`.

    A finished run that was interrupted before its report was written gets the report. Of several processes, all train
    and the first does the rest.
    """
    team: Team = options.get("team", ALONE)
    only_report = team.from_leader(lambda: (out / MODEL).exists() and not (out / REPORT).exists())
    if not team.leads:
        if not only_report:
            train(store, recipe, out, listener=Silent(), **options)
        return
    with terminal.progress("training", "images") as meter:
        display = TrainingDisplay(
            terminal,
            meter,
            num_classes=len(store.class_names),
            total_epochs=recipe.optimization.total_epochs,
            at_most=recipe.optimization.schedule == "plateau",
        )
        if not only_report:
            train(store, recipe, out, listener=display, tick=display.validated, **options)
        meter.restart("testing")
        classifier = load(out, device=options.get("device", "auto"), precision=options.get("precision", "auto"))
        report = report_run(out, classifier, store, read_metrics(out), tick=meter)
        terminal.say(f"Report: {report}")
