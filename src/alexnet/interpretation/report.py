"""The report of a run: tests the classifier, chooses what to show, draws it and writes it down."""

import datetime
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.console.terminal import percent
from alexnet.data.store.format import VAL, choose_reported, find_start, find_store
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.record import KeptTests, forget_others, write_errors
from alexnet.evaluation.set_evaluation import SetEvaluation
from alexnet.interpretation.curves import draw_curves
from alexnet.interpretation.drawing import Format, Themed, in_both_themes, save_drawing
from alexnet.interpretation.evaluation_figures import count_confusions, draw_confusion
from alexnet.interpretation.figures import draw_class_errors, draw_filters
from alexnet.interpretation.page import write_report
from alexnet.interpretation.panels import (
    NEIGHBORS,
    PANEL_IMAGES,
    QUERIES,
    WHY_IMAGES,
    choose_mistakes,
    choose_panel,
    choose_queries,
    neighbors_panel,
    show_predictions,
    why_panel,
)
from alexnet.interpretation.pictures import Pictures
from alexnet.interpretation.set_figures import draw_class_precisions, draw_set_mistakes
from alexnet.runs.folder import CHECKPOINTS, FIGURES, MODEL, RECIPE, REPORT
from alexnet.text.commands import command, train_again
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

if TYPE_CHECKING:
    from alexnet.data.store.reader import Store

VIEWS = (1, 10)
"""Numbers of views that a run is tested with: the centre, as while training, and the paper's ten."""
UNFINISHED = " Training is not at its end: the network of its newest checkpoint was tested."
_DRAWN = ("curves", "filters", "predictions", "mistakes", "neighbours", "why", "class-errors", "class-precisions",
          "confusion")  # fmt: skip
MOST_SEARCHED = 1000
MOST_NUMBERS = 50_000
"""A figure with more rows of numbers than this has no CSV file in a run folder."""


def report_run(
    run_folder: Path,
    classifier: Classifier,
    store: "Store",
    history: Sequence[Mapping[str, Any]],
    *,
    weights: str,
    split: str | None = None,
    tick: Tick = untold,
    validation: Evaluation | None = None,
) -> tuple[Path, list[Evaluation | SetEvaluation]]:
    """Test a run's classifier with one and ten views, write errors.json, figures/ and report.html into its folder.

    Each test is kept in the folder until the report is written: interrupted, the same call goes on after the last one.
    Neighbours are searched among MOST_SEARCHED training images, evenly spaced, so that a report takes seconds.

    Returns the page and the tests. Where the store has no such split, or no images in it, the report is about the
    training alone.

    Args:
        history: The run's rows, one per epoch.
        split: What to test on; see `choose_reported` where it is None.
        weights: See `evaluation.record.digest_weights`; taken before the classifier was loaded.
        tick: Progress; each view of an image counts, and each image that is searched.
        validation: The test of these weights on split val with which training ended, where it is known.
    Raises:
        WeightsError: the store has classes that the classifier does not know, or images of another size.
    """
    run_folder = Path(run_folder)
    titles = classifier.model.class_titles
    split = split or choose_reported(store.filled_splits)
    tested = len(store[split]) if split in store.splits else 0
    total = sum(VIEWS) * tested + min(len(store["train"]), MOST_SEARCHED)
    precision = str(classifier.compute.dtype).removeprefix("torch.")
    kept = KeptTests(run_folder, weights, store.fingerprint, split, precision)
    if validation is not None and split == VAL:
        kept.keep(validation)
    classifier.check_labels(store)
    evaluations: list[Evaluation | SetEvaluation] = []
    for test, views in enumerate(VIEWS if tested else ()):
        evaluation: Evaluation | SetEvaluation | None
        if store.has_sets:
            evaluation = kept.find_sets(views, classifier.class_names, classifier.thresholds(views))
        else:
            evaluation = kept.find(views, classifier.class_names)
        if evaluation is None:
            count = _part(tick, sum(VIEWS[:test]) * tested, total, each=views)
            measure = classifier.evaluate_sets if store.has_sets else classifier.evaluate
            evaluation = measure(store, split=split, views=views, tick=count)
            kept.keep(evaluation)
        evaluations.append(evaluation)
    forget_others(run_folder, weights)
    write_errors(run_folder, evaluations, weights=weights, split=split, store_fingerprint=store.fingerprint)
    drawings = [
        in_both_themes(draw_curves, history, num_classes=len(titles)),
        in_both_themes(draw_filters, classifier.network),
    ]
    if evaluations:
        best = evaluations[-1]
        drawings += _show_images(classifier, store, split, best, _part(tick, sum(VIEWS) * tested, total))
        if isinstance(best, SetEvaluation):
            drawings.append(in_both_themes(draw_class_precisions, best, titles))
        else:
            drawings.append(in_both_themes(draw_class_errors, replace(best, class_names=titles)))
            drawings.append(in_both_themes(draw_confusion, count_confusions(best.probabilities, best.labels), titles))
    for name in _DRAWN:  # figures of an earlier report, which may not be drawn again
        for stem, form in itertools.product((name, f"{name}-dark"), ("png", "svg", "csv")):
            (run_folder / FIGURES / f"{stem}.{form}").unlink(missing_ok=True)
    for pair in drawings:
        _save(pair, run_folder / FIGURES)

    recipe, environment = _provenance(classifier, "recipe"), _provenance(classifier, "environment")
    recipe_name = str(recipe.get("name", "unknown"))
    is_finished = (run_folder / MODEL).exists() or not (run_folder / CHECKPOINTS).exists()
    path = run_folder / REPORT
    write_report(
        path,
        title=run_folder.resolve().name,
        recipe_name=recipe_name,
        history=history,
        evaluations=evaluations,
        drawings=drawings,
        facts=[
            ("Tested", f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}{f', on split {split}' if evaluations else ''}"),
            *_list_facts(classifier, store, history, recipe_name, environment),
        ],
        environment=[(name, str(value)) for name, value in environment.items()],
        next_commands=_list_next(run_folder, store),
        commands=_list_commands(run_folder, store, split if evaluations else None, recipe_name, environment),
        trained_on=_describe_images(store) + ("" if is_finished else UNFINISHED),
    )
    kept.drop()
    return path, evaluations


def _save(pair: Themed, folder: Path) -> None:
    """Write the files of a figure; of one with photographs only what is cheap, `alexnet draw` makes the rest."""
    light, dark = pair
    forms: list[Format] = ["png"] if light.has_photographs else ["png", "svg"]
    numbers: list[Format] = ["csv"] if light.num_rows <= MOST_NUMBERS else []
    save_drawing(light, folder / light.name, formats=[*forms, *numbers])
    if not light.has_photographs:
        save_drawing(dark, folder / f"{dark.name}-dark", formats=forms)


def _part(tick: Tick, before: int, total: int, *, each: int = 1) -> Tick:
    """Return the progress of a part of the work, `before` views after its start, whose images have `each` views."""
    return lambda done, _: tick(before + each * done, total)


def _show_images(
    classifier: Classifier, store: "Store", split: str, evaluation: Evaluation | SetEvaluation, tick: Tick
) -> list[Themed]:
    """Return what needs images of the split: a panel, the surest mistakes, heat, and neighbours among training."""
    pictures = Pictures.of_split(store, split, split)
    if isinstance(evaluation, SetEvaluation):
        drawings = draw_set_mistakes(evaluation, pictures.pixels, pictures.paths, classifier.class_titles, PANEL_IMAGES)
    else:
        drawings = _show_answers(classifier, pictures, evaluation)
    queries = choose_queries(pictures, QUERIES)
    if count := len(store["train"]):
        collection = Pictures.of_split(store, "train", counted(count, "training image"))
        found = neighbors_panel(
            classifier, collection, pictures, chosen=queries, k=min(NEIGHBORS, count), limit=MOST_SEARCHED, tick=tick
        )
        drawings.append(in_both_themes(found.panel))
    drawings.append(in_both_themes(why_panel(classifier, pictures, queries[:WHY_IMAGES], method="gradient").panel))
    return drawings


def _show_answers(classifier: Classifier, pictures: Pictures, evaluation: Evaluation) -> list[Themed]:
    """The panel of what the network believes, and that of its surest mistakes."""
    labels = pictures.labels_of(classifier)

    def show(chosen: Sequence[int], *, mistakes: bool = False) -> Themed:
        rows, own = [evaluation.probabilities[i] for i in chosen], [int(labels[i]) for i in chosen]
        return in_both_themes(show_predictions(classifier, pictures, chosen, rows, own, mistakes=mistakes))

    drawings = [show(choose_panel(evaluation.probabilities, labels))]
    mistakes = choose_mistakes(evaluation.probabilities, labels, PANEL_IMAGES)
    if mistakes:
        drawings.append(show(mistakes, mistakes=True))
    return drawings


def _say_ending(history: Sequence[Mapping[str, Any]]) -> str | None:
    last = history[-1] if history else {}
    return f"after epoch {last['epoch']}: {last['ended']}" if "ended" in last else None


def _describe_images(store: "Store") -> str:
    counts = {name: len(part) for name, part in store.splits.items()}
    training = counts.pop("train", 0)
    others = ", ".join(f"{count:,} set aside ({name})" for name, count in counts.items())
    classes = counted(len(store.class_names), "class", "classes")
    return (
        f"Trained on {counted(training, 'image')} of {classes} from {store.path.name}{'; ' + others if others else ''}."
    )


def _list_facts(
    classifier: Classifier,
    store: "Store",
    history: Sequence[Mapping[str, Any]],
    recipe_name: str,
    environment: Mapping[str, Any],
) -> list[tuple[str, str]]:
    network = classifier.network
    parameters = sum(shape.parameters for shape in network.shapes)
    rates = [float(row["images_per_second"]) for row in history if row.get("images_per_second")]
    waiting = [float(row["waiting_share"]) for row in history if row.get("waiting_share") is not None]
    libraries = [
        f"{name} {environment[name]}" for name in ("alexnet", "python", "torch", "numpy") if name in environment
    ]
    facts = [
        ("Recipe", recipe_name),
        ("Training ended", _say_ending(history)),
        ("Seed", environment.get("seed")),
        ("Network", f"{network.spec.dialect}, {parameters:,} parameters, {network.spec.input_px} px input"),
        ("Store", f"{store.path}, images of {store.size} px"),
        ("Store fingerprint", environment.get("store_fingerprint")),
        ("Device", environment.get("device")),
        ("Processor", environment.get("processor")),
        ("Threads", environment.get("threads")),
        ("Precision", environment.get("precision")),
        ("Tested in", classifier.compute.explanation),
        ("Training speed", f"{statistics.median(rates):,.0f} images/s (median of the epochs)" if rates else None),
        ("Waiting for images", f"{percent(statistics.mean(waiting))} of the time" if waiting else None),
        ("Versions", ", ".join(libraries)),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _list_commands(
    run_folder: Path, store: "Store", split: str | None, recipe_name: str, environment: Mapping[str, Any]
) -> list[str]:
    """Return the commands that repeat a run; the recorded recipe holds every field, also those set by hand."""
    recorded = run_folder / RECIPE
    again = run_folder.with_name(f"{run_folder.resolve().name}-again")
    train = train_again(
        environment,
        recipe=recorded if recorded.exists() else recipe_name,
        store=find_store(environment, run_folder) or store.path,
        start=find_start(environment, run_folder),
        out=again,
    )
    chosen = None if split == choose_reported(store.filled_splits) else split
    tests = [command("evaluate", again, store.path, split=chosen, views=views) for views in VIEWS if split]
    return [train, *tests]


def _list_next(run_folder: Path, store: "Store") -> list[str]:
    """Return what a run can be used for."""
    return [
        command("predict", run_folder, "picture.jpg"),
        command("serve", run_folder),
        command("draw", "why", run_folder, store.path),
        command("train", run_folder, more_epochs=10, out=run_folder.with_name(f"{run_folder.resolve().name}-longer")),
    ]


def _provenance(classifier: Classifier, part: str) -> Mapping[str, Any]:
    found = classifier.model.provenance.get(part)
    return found if isinstance(found, dict) else {}
