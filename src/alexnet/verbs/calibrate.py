"""alexnet calibrate."""

from pathlib import Path
from typing import Any

import click

from alexnet.text.commands import command
from alexnet.verbs.options import CHANGED, PATH, compute_options, json_option, reject_option


@click.command()
@click.argument("model", type=CHANGED)
@click.argument("store", type=PATH)
@reject_option
@click.option("--split", default="val", help="Split of the store; none that the model learned from.")
@compute_options
@json_option
def calibrate(model: Path, store: Path, reject: float | None, split: str, as_json: bool, **compute: Any) -> None:
    """Measure on validation images how sure MODEL may be, and when it should answer "unknown".

    A temperature for one view and one for ten go into the model file. Nothing else changes: --calibrated of predict,
    evaluate and serve asks for the scaled probabilities. With --reject, so do the features of some training images; a
    picture that is farther from all of them than most validation images is then "unknown" wherever the model answers.

    \b
    alexnet calibrate RUN STORE
    alexnet calibrate RUN STORE --reject 0.05
    """

    from alexnet.console.terminal import Terminal
    from alexnet.functions import testing
    from alexnet.verbs.showing import show_confidence

    file, found = testing.calibrate(model, store, reject=reject, split=split, show=True, **compute)
    terminal = Terminal()
    if as_json:
        terminal.print_json({"file": str(file), **found.to_json()})
        return
    show_confidence(terminal, found)
    terminal.say(f"Kept in {file}. Use it: {command('predict', model, 'picture.jpg', calibrated=True)}")
