"""The report of a run: tests the classifier, chooses what to show, draws it and writes it down."""

import shlex
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.evaluation.classifier import Classifier, Prediction
from alexnet.evaluation.evaluate import Evaluation, Tick, match_classes
from alexnet.interpretation.drawing import Themed, in_both_themes, save_drawing
from alexnet.interpretation.figures import draw_class_errors, draw_curves, draw_filters, draw_predictions
from alexnet.interpretation.page import write_report
from alexnet.terminal import percent

if TYPE_CHECKING:
    from alexnet.data.store import Store

__all__ = ["choose_panel", "report_run", "write_report"]

REPORT, FIGURES = "report.html", "figures"
"""Names in a run folder."""
PANEL_IMAGES = 8
LEAST_MISTAKES = 2
VIEWS = (1, 10)


def report_run(
    run_folder: Path,
    classifier: Classifier,
    store: "Store",
    history: Sequence[Mapping[str, Any]],
    *,
    split: str = "val",
    tick: Tick | None = None,
) -> Path:
    """Test a run's classifier with one and ten views, write report.html and figures/ into its folder; return the page.

    Where the store has no such split, or no images in it, the report is about the training alone.

    Args:
        history: The run's rows, one per epoch.
        tick: Progress; each image counts once for each test.
    Raises:
        WeightsError: the store has classes that the classifier does not know, or images of another size.
    """
    run_folder = Path(run_folder)
    titles = classifier.model.class_titles
    evaluations = _evaluate(classifier, store, split, tick) if split in store.splits and len(store[split]) else []
    drawings = [
        in_both_themes(draw_curves, history, num_classes=len(titles)),
        in_both_themes(draw_filters, classifier.network),
    ]
    if evaluations:
        best = evaluations[-1]
        drawings.append(_draw_panel(classifier, store, split, best))
        drawings.append(in_both_themes(draw_class_errors, replace(best, class_names=titles)))
    for light, dark in drawings:
        save_drawing(light, run_folder / FIGURES / light.name)
        save_drawing(dark, run_folder / FIGURES / f"{dark.name}-dark", formats=("png", "svg"))

    recipe, environment = _provenance(classifier, "recipe"), _provenance(classifier, "environment")
    recipe_name = str(recipe.get("name", "unknown"))
    path = run_folder / REPORT
    write_report(
        path,
        title=run_folder.resolve().name,
        recipe_name=recipe_name,
        history=history,
        evaluations=evaluations,
        drawings=drawings,
        facts=_list_facts(classifier, store, history, recipe_name, environment),
        commands=_list_commands(run_folder, store, split if evaluations else None, recipe_name, environment),
        trained_on=_describe_images(store),
    )
    return path


def choose_panel(probabilities: NDArray[np.float32], labels: NDArray[np.int64], count: int = PANEL_IMAGES) -> list[int]:
    """Return the positions of images to show, in the order of their labels: always the same for the same numbers.

    Mistakes have about the share that they have among all images, but at least LEAST_MISTAKES where there are any, so
    that a panel is neither flattering nor silent about what goes wrong. Classes are taken in turn and evenly spaced.
    """
    is_wrong = probabilities.argmax(1) != labels
    wrong, right = np.flatnonzero(is_wrong), np.flatnonzero(~is_wrong)
    num_wrong = min(len(wrong), max(LEAST_MISTAKES, round(count * float(is_wrong.mean()))), count)
    num_right = min(len(right), count - num_wrong)
    num_wrong = min(len(wrong), count - num_right)
    used: Counter[int] = Counter()
    chosen = _spread_over_classes(wrong, labels, num_wrong, used) + _spread_over_classes(right, labels, num_right, used)
    return sorted(chosen, key=lambda position: (int(labels[position]), position))


def _spread_over_classes(
    candidates: NDArray[np.int64], labels: NDArray[np.int64], count: int, used: Counter[int]
) -> list[int]:
    """Return `count` candidates, from the classes used least so far, and count their use."""
    groups: dict[int, list[int]] = {}
    for position in candidates.tolist():
        groups.setdefault(int(labels[position]), []).append(position)
    chosen: list[int] = []
    while len(chosen) < count:
        fewest = min(used[label] for label, group in groups.items() if group)
        classes = [label for label in sorted(groups) if groups[label] and used[label] == fewest]
        wanted = min(count - len(chosen), len(classes))
        for label in (classes[(2 * turn + 1) * len(classes) // (2 * wanted)] for turn in range(wanted)):
            chosen.append(groups[label].pop(len(groups[label]) // 2))
            used[label] += 1
    return chosen


def _evaluate(classifier: Classifier, store: "Store", split: str, tick: Tick | None) -> list[Evaluation]:
    images = len(store[split])
    evaluations = []
    for test, views in enumerate(VIEWS):

        def report(done: int, total: int, before: int = test * images) -> None:
            if tick:
                tick(before + done, len(VIEWS) * images)

        evaluations.append(classifier.evaluate(store, split=split, views=views, tick=report))
    return evaluations


def _draw_panel(classifier: Classifier, store: "Store", split: str, evaluation: Evaluation) -> Themed:
    known = match_classes(
        store.class_names, classifier.class_names, given_by=str(store.path), known_by=str(classifier.path)
    )
    labels = known[store[split].labels]
    positions = choose_panel(evaluation.probabilities, labels)
    titles = classifier.model.class_titles
    paths = store[split].paths
    return in_both_themes(
        draw_predictions,
        [np.asarray(store[split].images[position]) for position in positions],
        [Prediction(paths[position], titles, evaluation.probabilities[position]) for position in positions],
        [int(labels[position]) for position in positions],
    )


def _describe_images(store: "Store") -> str:
    counts = {name: len(part) for name, part in store.splits.items()}
    training = counts.pop("train", 0)
    others = ", ".join(f"{count:,} set aside ({name})" for name, count in counts.items())
    classes = f"{len(store.class_names):,} classes"
    return f"Trained on {training:,} images of {classes} from {store.path.name}{'; ' + others if others else ''}."


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
    recorded = run_folder / "recipe.yaml"
    train = ["alexnet", "train", environment.get("store", store.path)]
    train += ["--recipe", recorded if recorded.exists() else recipe_name]
    for name in ("seed", "device", "precision", "threads"):
        if name in environment:
            train += [f"--{name}", environment[name]]
    again = run_folder.with_name(f"{run_folder.resolve().name}-again")
    commands = [[*train, "--out", again]]
    if split:
        chosen = [] if split == "val" else ["--split", split]
        commands += [["alexnet", "evaluate", again, store.path, *chosen, "--views", views] for views in VIEWS]
    return [shlex.join(map(str, command)) for command in commands]


def _provenance(classifier: Classifier, part: str) -> Mapping[str, Any]:
    found = classifier.model.provenance.get(part)
    return found if isinstance(found, dict) else {}
