"""alexnet evaluate."""

from pathlib import Path
from typing import Any

import click

from alexnet.verbs.ending import tell_left_out, tell_odd
from alexnet.verbs.options import (
    FOLDER,
    NEW_FILE,
    PATH,
    Number,
    Whole,
    calibrated_option,
    cluster_option,
    compute_options,
    devices_option,
    json_option,
    read_devices,
    timeout_option,
    typed_besides,
    views_option,
)
from alexnet.verbs.temporal import evaluate_clips, is_temporal


@click.command()
@click.argument("models", nargs=-1, required=True, type=PATH, metavar="MODEL...")
@click.argument("images", type=PATH)
@views_option
@calibrated_option
@click.option("--split", help="Split of the images to test on.  [default: test where there is one, else val]")
@click.option("--top", type=Whole(1), help="The k of the top-k error.  [default: 5]")
@click.option("--average", is_flag=True, help="Also average the probabilities of all models (paper, section 6).")
@click.option("--fit-weights", metavar="SPLIT", help="Average with weights found on another split.")
@click.option("--save-ensemble", type=NEW_FILE, help="File to keep the average in; used like a model.")
@click.option("--html", type=NEW_FILE, help="Report with confusions, calibration and the surest mistakes.")
@click.option("--figures", type=FOLDER, help="Folder for the report's figures: PNG, SVG and CSV.")
@click.option("--predictions", type=NEW_FILE, help="Each image with label and best classes: .csv or .parquet.")
@click.option("--submission", type=NEW_FILE, help="Five class numbers a line, counted from 1, by file name.")
@click.option(
    "--suspects",
    type=NEW_FILE,
    help="MODEL is a folder of train --folds: a CSV of its images whose label is doubtful; --html shows them.",
)
@click.option(
    "--every",
    type=Number(0.001),
    metavar="SECONDS",
    help="IMAGES is a folder of clips: test a frame every so many seconds, and each clip by the mean of its frames.",
)
@compute_options
@devices_option
@timeout_option
@cluster_option
@json_option
def evaluate(
    models: tuple[Path, ...],
    images: Path,
    as_json: bool,
    threads: int | None,
    devices: str | None,
    timeout_seconds: float,
    suspects: Path | None,
    **options: Any,
) -> None:
    """Measure the errors of one or more MODELs on IMAGES (paper, section 6).

    MODEL is a run folder, a model file or an ensemble file; IMAGES a store, or a folder with a folder of pictures for
    each class. Every image is decoded once, for all models. Intervals are 95 %: Wilson's for errors, for
    differences from resampling the images in pairs.

    MODEL may be a model of clips (train --temporal) and IMAGES a store of clips: told are the errors of single frames,
    of their mean, and of the model.

    \b
      alexnet evaluate RUN STORE
      alexnet evaluate RUN STORE --html report.html --predictions predictions.csv
      alexnet evaluate A B C STORE --average --save-ensemble three.json
      alexnet evaluate A B C STORE --split test --fit-weights val --save-ensemble three.json
      alexnet evaluate FOLDS STORE --suspects suspects.csv --html suspects.html
    """

    if any(map(is_temporal, models)):
        compute = {"device": options["device"], "precision": options["precision"], "threads": threads}
        evaluate_clips(models, images, split=options["split"], as_json=as_json, **compute)
        return
    from alexnet.console.terminal import Terminal
    from alexnet.distribution.launch import REPEAT
    from alexnet.distribution.session import join_world, start_if_asked
    from alexnet.functions import testing
    from alexnet.functions.opening import begin
    from alexnet.text.wording import list_reasons
    from alexnet.verbs.showing import show_assessment, show_suspects

    if suspects:
        _refuse_beside_suspects(models)
        show_suspects(begin(threads), models[0], images, suspects, options["html"], as_json=as_json)
        return
    places = read_devices(devices, cluster=options["cluster"])
    if start_if_asked(places, advice=REPEAT):
        return
    options |= {"views": int(options["views"]), "threads": threads, "show": True}
    with join_world(None, places, options.pop("device"), timeout_seconds, advice=REPEAT) as (world, own_device):
        assessment = testing.evaluate(models, images, device=own_device, world=world, **options)
    if not world.is_main:
        return
    terminal = Terminal()
    for path, what in assessment.written.items():
        terminal.say(f"{what}: {path}")
    if assessment.passed_over:
        terminal.say(f"Passed over: {list_reasons(assessment.passed_over)}.")
    tell_odd(terminal, assessment.odd)
    for sentence in assessment.doubts:
        terminal.say(f"Note: {sentence}")
    if as_json:
        terminal.print_json(assessment.to_json())
    else:
        show_assessment(terminal, assessment)
    tell_left_out(terminal, assessment.left_out)


def _refuse_beside_suspects(models: tuple[Path, ...]) -> None:
    """Refuse what tests a model where none is tested."""
    given = typed_besides({"models", "images", "suspects", "html", "as_json", "threads"})
    if given or len(models) > 1:
        what = f"{', '.join(given)} does" if given else "a second MODEL does"
        raise click.UsageError(
            f"--suspects reads what train --folds predicted and tests nothing: {what} not go with it. Write: evaluate "
            "FOLDS STORE --suspects FILE.csv --html PAGE.html"
        )
