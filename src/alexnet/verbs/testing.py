"""alexnet evaluate and alexnet predict."""

import sys
from pathlib import Path
from typing import Any

import click

from alexnet.verbs.options import (
    NEW_FILE,
    PATH,
    device_option,
    image_files,
    json_option,
    precision_option,
    threads_option,
)


@click.command()
@click.argument("model", type=PATH)
@click.argument("store", type=PATH)
@click.option(
    "--views",
    default="10",
    show_default=True,
    type=click.Choice(["1", "9", "10"]),
    help="1: centre; 9: three by three places; 10: corners and centre and their mirror images.",
)
@click.option("--split", default="val", show_default=True, help="Split of the store to test on.")
@click.option("--predictions", type=NEW_FILE, help="CSV to write: each image with its label and five best classes.")
@device_option
@precision_option
@threads_option
@json_option
def evaluate(
    model: Path,
    store: Path,
    views: str,
    split: str,
    predictions: Path | None,
    device: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure the top-1 and top-5 error of MODEL on STORE (paper, section 6).

    MODEL is a run folder or a model file. Every image is used once; intervals are 95 % (Wilson).
    """
    import json

    from alexnet.data.store import open_store
    from alexnet.evaluation.classifier import load
    from alexnet.evaluation.evaluate import write_predictions
    from alexnet.system import set_threads, tune_allocator
    from alexnet.terminal import Terminal

    terminal = Terminal()
    set_threads(threads)
    tune_allocator()
    opened = open_store(store)
    classifier = load(model, device=device, precision=precision)
    with terminal.progress("evaluating", "images") as meter:
        result = classifier.evaluate(opened, split=split, views=int(views), tick=meter)
    if predictions:
        write_predictions(predictions, result, opened[split].paths)
        terminal.say(f"Predictions: {predictions}")
    if as_json:
        terminal.print_json(json.dumps({"model": str(model), "store": str(store), "split": split, **result.to_json()}))
        return
    _show_evaluation(terminal, result)


@click.command()
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Classes to list.")
@click.option(
    "--views",
    default="10",
    show_default=True,
    type=click.Choice(["1", "9", "10"]),
    help="1: centre; 9: three by three places; 10: corners and centre and their mirror images.",
)
@device_option
@precision_option
@threads_option
@json_option
def predict(
    model: Path,
    images: tuple[Path, ...],
    top: int,
    views: str,
    device: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Name what is in IMAGES, with probabilities.

    IMAGES are files or folders of any size and mode. One that cannot be read is named and left out (exit code 1).
    """
    import json

    from alexnet.errors import ImageError
    from alexnet.evaluation.classifier import load
    from alexnet.system import set_threads, tune_allocator
    from alexnet.terminal import Terminal, percent

    terminal = Terminal()
    set_threads(threads)
    tune_allocator()
    classifier = load(model, device=device, precision=precision)
    paths = image_files(images)
    predictions: list[dict[str, Any]] = []
    left_out: list[str] = []
    with terminal.progress("predicting", "images") as meter:
        for number, outcome in enumerate(classifier.predict_each(paths, views=int(views))):
            if isinstance(outcome, ImageError):
                left_out.append(str(outcome))
            elif as_json:
                best = [{"name": name, "probability": probability} for name, probability in outcome.top(top)]
                predictions.append({"path": outcome.source, "top": best})
            else:
                terminal.print(outcome.source)
                for name, probability in outcome.top(top):
                    terminal.print(f"  {percent(probability):>9}  {'█' * round(20 * probability):<20}  {name}")
            meter(number + 1, len(paths))
    if as_json:
        document = {"model": str(model), "views": int(views), "images": predictions, "left_out": left_out}
        terminal.print_json(json.dumps(document))
    for reason in left_out:
        terminal.show_error("Left out", reason)
    if left_out:
        sys.exit(1)


def _show_evaluation(terminal: Any, result: Any) -> None:
    from alexnet.evaluation.metrics import wilson_interval
    from alexnet.terminal import percent

    def interval(bounds: tuple[float, float]) -> str:
        return f"{100 * bounds[0]:.2f} – {100 * bounds[1]:.2f} %"

    views = {1: "centre view", 9: "nine views", 10: "ten views"}[result.num_views]
    terminal.table(
        ["", "error", "95 % interval"],
        [
            ["top-1", percent(result.top1_error), interval(result.top1_interval)],
            [f"top-{result.k}", percent(result.topk_error), interval(result.topk_interval)],
        ],
        title=f"{result.images:,} images, {views}, cross-entropy {result.cross_entropy:.4f}",
    )
    terminal.print("")
    rows = sorted(
        zip(result.class_names, result.class_images, result.class_errors, strict=True),
        key=lambda row: -row[2] / max(1, row[1]),
    )
    shown = rows if len(rows) <= 20 else rows[:20]
    terminal.table(
        ["class" if len(rows) <= 20 else f"worst 20 of {len(rows)} classes", "images", "top-1 error", "95 % interval"],
        [
            [name, f"{count:,}", percent(errors / count) if count else "–", interval(wilson_interval(errors, count))]
            for name, count, errors in shown
        ],
    )
