"""alexnet predict."""

from pathlib import Path
from typing import Any

import click

from alexnet.verbs.ending import tell_left_out
from alexnet.verbs.options import (
    PATH,
    Whole,
    calibrated_option,
    compute_options,
    json_option,
    views_option,
)
from alexnet.verbs.temporal import is_temporal, predict_clips


@click.command()
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option(
    "--top",
    type=Whole(1),
    help="Classes to list.  [default: 5; with --one-line 1; where several may be there, those that are]",
)
@click.option(
    "--one-line",
    is_flag=True,
    help="A line for each image: path, class, probability, …, with tabs between; or path, unknown, distance; or path, "
    "none.",
)
@views_option
@calibrated_option
@compute_options
@json_option
def predict(
    model: Path,
    images: tuple[Path, ...],
    top: int | None,
    one_line: bool,
    views: str,
    calibrated: bool,
    as_json: bool,
    **compute: Any,
) -> None:
    """Name what is in IMAGES, with probabilities.

    IMAGES are files or folders of any size and mode. One that cannot be read is named and left out (exit code 1).
    Probabilities are those of ten views, averaged; alexnet serve takes one unless told otherwise. Of a model that was
    calibrated with --reject, a picture unlike all it learned is "unknown", with its distance. Of one that learned
    pictures with any number of classes, those are listed that are at or above their thresholds, or "none".

    Of a model of clips (train --temporal), IMAGES are clips, each of which gets one answer.

    \b
    alexnet predict RUN picture.jpg
    alexnet predict RUN PHOTOS --one-line | cut -f 2 | sort | uniq -c     how many of each class
    """

    if is_temporal(model):
        predict_clips(model, images, top=top, one_line=one_line, every_s=None, as_json=as_json, **compute)
        return
    from alexnet.console.terminal import percent
    from alexnet.errors import ImageError
    from alexnet.evaluation.prediction import describe_distance, describe_labels
    from alexnet.functions.opening import image_files, open_model
    from alexnet.network.confidence import UNKNOWN
    from alexnet.network.independent import NO_CLASS
    from alexnet.text.names import escape_name
    from alexnet.text.wording import say_views

    terminal, classifier = open_model(model, **compute)
    paths = image_files(images)
    titles = dict(zip(classifier.class_names, map(escape_name, classifier.class_titles), strict=True))
    best_k = top or (1 if one_line else 5)
    most = classifier.rejection.threshold(int(views)) if classifier.rejection else None
    predictions: list[dict[str, Any]] = []
    left_out: list[str] = []
    with terminal.progress("predicting", "images") as meter:
        for number, outcome in enumerate(classifier.predict_each(paths, views=int(views), calibrated=calibrated)):
            if isinstance(outcome, ImageError):
                left_out.append(str(outcome))
            elif as_json:
                best = [
                    {"name": escape_name(name), "title": titles[name], "probability": probability}
                    for name, probability in outcome.top(best_k)
                ]
                labels = describe_labels(outcome, titles)
                row = {"path": escape_name(outcome.source), **describe_distance(outcome), **labels, "top": best}
                predictions.append(row)
            elif one_line:
                listed = outcome.found if outcome.thresholds is not None and top is None else outcome.top(best_k)
                cells = [f"{titles[name]}\t{probability:.4f}" for name, probability in listed] or [NO_CLASS]
                if outcome.is_unknown:
                    cells = [f"{UNKNOWN}\t{outcome.distance:.4f}"]
                terminal.print("\t".join([escape_name(outcome.source), *cells]))
            else:
                terminal.print(escape_name(outcome.source))
                if outcome.is_unknown:
                    terminal.print(
                        f"  {UNKNOWN}: its distance is {outcome.distance:.4f}, accepted are up to {most:.4f}"
                    )
                listed = outcome.top(best_k)
                if outcome.thresholds is not None:
                    listed = outcome.found if top is None else listed
                    if not outcome.found:
                        terminal.print(f"  {NO_CLASS} of the classes is at or above its threshold")
                for name, probability in listed:
                    bar = "█" * round(20 * probability)
                    terminal.print(f"  {percent(probability):>9}  {bar:<20}  {titles[name]}")
            meter(number + 1, len(paths))
    if as_json:
        document = {
            "model": escape_name(str(model)),
            "views": int(views),
            "calibrated": calibrated,
            **({} if most is None else {"threshold": most}),
            "images": predictions,
            "left_out": left_out,
        }
        terminal.print_json(document)
    elif len(left_out) < len(paths):
        terminal.say(f"Each picture was seen in {say_views(int(views))} (--views {views}).")
    tell_left_out(terminal, left_out)
