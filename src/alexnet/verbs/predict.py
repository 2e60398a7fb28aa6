"""alexnet predict."""

from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from alexnet.verbs.ending import tell_left_out
from alexnet.verbs.options import (
    NEW_FILE,
    PATH,
    Number,
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
@click.option(
    "--every",
    type=Number(0.001),
    metavar="SECONDS",
    help="Of clips: time between the frames that are seen.  [default: 0.5, or as the model of clips learned]",
)
@click.option(
    "--window",
    default=5.0,
    type=Number(0),
    metavar="SECONDS",
    help="Of clips: probabilities are averaged over so long a time to tell when the class changes.",
)
@click.option("--csv", type=NEW_FILE, help="File for each frame and image: path, time, best classes.")
@compute_options
@json_option
def predict(
    model: Path,
    images: tuple[Path, ...],
    top: int | None,
    one_line: bool,
    views: str,
    calibrated: bool,
    every: float | None,
    window: float,
    csv: Path | None,
    as_json: bool,
    **compute: Any,
) -> None:
    """Name what is in IMAGES, with probabilities.

    IMAGES are files or folders of any size and mode, and clips. One that cannot be read is named and left out (exit
    code 1). Probabilities are those of ten views, averaged; alexnet serve takes one unless told otherwise. Of a model
    that was calibrated with --reject, a picture unlike all it learned is "unknown", with its distance. Of one that
    learned pictures with any number of classes, those are listed that are at or above their thresholds, or "none".

    Of a clip a frame is seen every half second; its classes are those of the mean of its frames, with the moments at
    which the best class changes.

    Of a model of clips (train --temporal), IMAGES are clips, each of which gets one answer.

    \b
    alexnet predict RUN picture.jpg
    alexnet predict RUN PHOTOS --one-line | cut -f 2 | sort | uniq -c     how many of each class
    alexnet predict RUN clip.mp4 --every 0.2 --csv frames.csv
    """

    if is_temporal(model):
        predict_clips(model, images, top=top, one_line=one_line, every_s=every, as_json=as_json, **compute)
        return
    from alexnet.data.video.clip import is_clip
    from alexnet.errors import ImageError
    from alexnet.evaluation.clips import EVERY_S, predict_clip
    from alexnet.evaluation.prediction_files import write_frames
    from alexnet.functions.opening import image_files, open_model
    from alexnet.verbs.predictions import Printer

    terminal, predictor = open_model(model, **compute)
    paths = image_files(images, clips=True)
    printer = Printer(terminal, predictor, views=int(views), top=top, one_line=one_line, as_json=as_json)
    rows = []
    left_out: list[str] = []
    with terminal.progress("predicting", "images") as meter:
        done = 0

        def tell_frames(done: int, frames: int, total: int) -> None:
            meter(done, len(paths), f"{frames:,} of {total:,} frames", work=(done + frames / total, len(paths)))

        for are_clips, given in groupby(paths, is_clip):
            if not are_clips:
                for outcome in predictor.predict_each(given, views=int(views), calibrated=calibrated):
                    if isinstance(outcome, ImageError):
                        left_out.append(str(outcome))
                    else:
                        printer.show_image(outcome)
                        rows.append(outcome)
                    done += 1
                    meter(done, len(paths))
                continue
            for path in given:
                try:
                    clip = predict_clip(
                        predictor,
                        path,
                        every_s=every or EVERY_S,
                        views=int(views),
                        window_s=window,
                        calibrated=calibrated,
                        tick=partial(tell_frames, done),
                    )
                    printer.show_clip(clip, every or EVERY_S)
                    rows += clip.frames
                except ImageError as problem:
                    left_out.append(str(problem))
                done += 1
                meter(done, len(paths))
    if csv is not None and rows:
        write_frames(csv, rows, top or 5)
    printer.finish(model, left_out, calibrated=calibrated, total=len(paths))
    if csv is not None:
        terminal.say(f"Each frame and image: {csv}" if rows else f"{csv} was not written: nothing could be read.")
    tell_left_out(terminal, left_out)
