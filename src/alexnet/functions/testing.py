"""Testing: models on labelled images, a run with its report, and how sure a model may be.

What draws is imported when it is needed: a test without figures does without matplotlib.
"""

from pathlib import Path
from typing import NamedTuple

from alexnet.data.store.format import find_store
from alexnet.data.store.reader import open_store
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import Interrupted, RunError
from alexnet.evaluation import calibrating
from alexnet.evaluation.assessment import Assessment, assess
from alexnet.evaluation.assessment_options import Options
from alexnet.evaluation.calibrating import Confidence, save_calibration
from alexnet.evaluation.record import digest_weights
from alexnet.files.addresses import local, on_disk, send, working
from alexnet.functions.opening import (
    Place,
    Places,
    as_paths,
    begin_together,
    check_shared,
    open_classifier,
    open_model,
    share_work,
)
from alexnet.network.model_file import find_model
from alexnet.runs.folder import MODEL, read_environment, read_metrics
from alexnet.runs.train import Outcome
from alexnet.text.commands import command


def evaluate(
    models: Places,
    images: Place,
    *,
    views: int = 10,
    split: str | None = None,
    top: int | None = None,
    calibrated: bool = False,
    average: bool = False,
    fit_weights: str | None = None,
    save_ensemble: Place | None = None,
    html: Place | None = None,
    figures: Place | None = None,
    predictions: Place | None = None,
    submission: Place | None = None,
    every: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    show: bool = False,
    world: World = SINGLE_PROCESS,
    cluster: str | None = None,
) -> Assessment:
    """Measure the errors of models on labelled images (paper, section 6): `alexnet evaluate`.

    Every image is decoded once, for all models. Intervals are 95 %: Wilson's for errors, for differences from
    resampling the images in pairs.

    Args:
        models: One or several of: run folder, model file, ensemble file.
        images: A store, or a folder with a folder of pictures for each class.
        views: 1, the centre; 9, three by three places; 10, corners and centre and their mirror images.
        split: What to test on; `test` where there is one, else `val`, where None.
        top: The k of the top-k error; 5 where None, fewer of few classes.
        calibrated: Whether probabilities are scaled with the temperature that each model was calibrated with.
        average: Whether to average the probabilities of all models too.
        fit_weights: Average with weights that are found on this other split.
        save_ensemble: File to keep the average in.
        html, figures: Page to write, and folder for its figures: PNG, SVG and CSV.
        predictions: Table to write, .csv or .parquet: each image with its label and best classes.
        submission: File to write: five class numbers a line, counted from 1, by file name.
        every: `images` is a folder of clips: test a frame every so many seconds, and each clip by their mean.
        device, precision, threads, show, world: As for `train`.
        cluster: Address of a Ray cluster whose nodes share the images, see `cluster.nodes.join_cluster`; threads are
            then those of a part.
    Returns:
        What was found: `results`, one for each model and then the average, each with its `evaluation`; `left_out`, why
        some images could not be tested; `doubts`, why an error may be flattering.
    Raises:
        ConfigError: options that do not go together, or a file that cannot be written; before the first image is read.
        WeightsError, StoreError, SourceError: a model or the images cannot be used.
    """
    check_shared(cluster, models, images)
    paths, folder = as_paths(models), local(images)
    options = Options(
        views=views,
        split=split,
        top=top,
        calibrated=calibrated,
        average=average,
        fit_on=fit_weights,
        save_ensemble=_optional(save_ensemble),
        html=_optional(html),
        predictions=_optional(predictions),
        submission=_optional(submission),
        every=every,
        device=device,
        precision=precision,
    )
    terminal = begin_together(world, threads, *paths, quiet=not show)
    with (
        share_work(cluster, threads=threads, device=device) as executor,
        terminal.progress("evaluating", "images") as meter,
    ):
        assessment = assess(paths, folder, options, tick=meter, world=world, executor=executor)
    if world.is_main and (html or figures):
        from alexnet.interpretation.evaluation_report import write_assessment

        typed = command("evaluate", *paths, folder, *options.words())
        write_assessment(assessment, typed, html=options.html, figures=_optional(figures))
    return assessment


def report(
    run: Place,
    store: Place | None = None,
    *,
    split: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    show: bool = False,
) -> Outcome:
    """Test a run and write its report again: `alexnet report`. Training ends with the same.

    Args:
        run: A run folder; of an unfinished one the newest checkpoint is tested.
        store: The one that it was trained on, where that was moved.
        split: What to test on; `test` where there is one, else `val`, where None.
        device, precision, threads, show: As for `train`.
    Returns:
        The run with its tests in one view and in ten, and the page: `run`/report.html.
    Raises:
        RunError: `run` is no run folder, or its store is not there.
        StoreError, WeightsError: the store or the model is damaged, or they do not fit together.
        Interrupted: Ctrl-C; tests that are finished are kept.
    """
    from alexnet.interpretation.report import report_run

    folder = working(run)
    environment = read_environment(folder)
    place = _optional(store) or find_store(environment, folder)
    if place is None:
        named = environment.get("store_absolute", environment.get("store", "a store that is not recorded"))
        raise RunError(
            f"{folder}: was trained on {named}, which is not there. Say where it is: "
            f"{command('report', folder, 'STORE')}"
        )
    opened = open_store(place)
    weights = digest_weights(find_model(folder))
    terminal, classifier = open_classifier(folder, device=device, precision=precision, threads=threads, quiet=not show)
    if environment.get("store_fingerprint") not in (None, opened.fingerprint):
        terminal.say(f"{place} is not the store that this run was trained on; the report is about its images.")
    try:
        with terminal.progress("testing", "views") as meter:
            history = read_metrics(folder)
            page, tests = report_run(folder, classifier, opened, history, weights=weights, split=split, tick=meter)
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped; the report is not written. Tests that are finished are kept: the same command goes on after them."
        ) from None
    send(folder, last=MODEL)
    return Outcome(folder, history, tests=tests, report=page)


class Calibrated(NamedTuple):
    """A calibration, and where it is kept."""

    file: Path
    confidence: Confidence


def calibrate(
    model: Place,
    store: Place,
    *,
    reject: float | None = None,
    split: str = "val",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    show: bool = False,
) -> Calibrated:
    """Measure how sure a model may be, and when it should answer "unknown": `alexnet calibrate`.

    A temperature for one view and one for ten go into the model's file; with `reject`, so do the features of some
    training images. The network stays as it is.

    Args:
        model: A run folder, model file or ensemble file.
        reject: Share of the images, in (0, 1), that will be "unknown"; None for no such answer.
        split: Split of the store; none that the model learned from.
        device, precision, threads, show: As for `train`.
    Raises:
        ConfigError, WeightsError: the images or the model cannot be calibrated with.
    """
    path, opened = on_disk(model, "calibrate"), open_store(store)
    terminal, classifier = open_model(path, device=device, precision=precision, threads=threads, quiet=not show)
    with terminal.progress("calibrating", "views") as meter:
        found = calibrating.calibrate(classifier, opened, split=split, reject=reject, tick=meter)
    return Calibrated(save_calibration(classifier, found), found)


def _optional(path: Place | None) -> Path | None:
    return None if path is None else local(path)
