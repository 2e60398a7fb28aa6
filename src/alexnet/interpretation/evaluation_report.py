"""The report of a test: figures from what `assess` found, and one HTML page."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from alexnet.console.terminal import percent
from alexnet.evaluation.assessment import Assessment, Result
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.prediction import Prediction
from alexnet.interpretation.drawing import Themed, in_both_themes, save_drawing
from alexnet.interpretation.evaluation_figures import count_confusions, draw_confusion, draw_reliability
from alexnet.interpretation.figures import draw_predictions
from alexnet.interpretation.page import explain, headline, interval, show
from alexnet.interpretation.panels import choose_mistakes
from alexnet.interpretation.set_figures import draw_class_precisions, draw_set_mistakes
from alexnet.interpretation.tables import SET_HEAD, capitalized, list_classes, list_differences, list_set_row
from alexnet.pages.writing import write_page
from alexnet.text.wording import counted

MISTAKES = 12
"""Images on the sheet of the surest mistakes."""


def draw_assessment(assessment: Assessment) -> list[Themed]:
    """Return the figures of the last result, the only model or the average; among several their titles name it."""
    if assessment.set_results:
        return _draw_sets(assessment)
    result = assessment.results[-1]
    evaluation = result.evaluation
    titles = assessment.class_titles
    drawings = [
        in_both_themes(draw_reliability, result.calibration),
        in_both_themes(draw_confusion, count_confusions(evaluation.probabilities, evaluation.labels), titles),
    ]
    mistakes = choose_mistakes(evaluation.probabilities, evaluation.labels, MISTAKES)
    drawings += _draw_sheet(assessment, evaluation, mistakes, "mistakes", "The most confident mistakes")
    if len(assessment.results) == 1:
        return drawings
    named = [
        Themed(*(replace(drawing, title=f"{drawing.title} ({result.name})") for drawing in themed))
        for themed in drawings
    ]
    return [*named, *_draw_disagreements(assessment)]


def _draw_sets(assessment: Assessment) -> list[Themed]:
    """Return the figures of the last result, the only model or the average."""
    evaluation = assessment.set_results[-1].evaluation
    titles, trial = assessment.class_titles, assessment.trial
    drawings = [in_both_themes(draw_class_precisions, evaluation, titles)] if any(evaluation.class_images) else []
    return drawings + draw_set_mistakes(evaluation, trial.decode, trial.paths, titles, MISTAKES)


def choose_disagreements(right: Evaluation, wrong: Evaluation, count: int) -> list[int]:
    """Return the positions of images that one test gets right and another wrong, the furthest apart first.

    Args:
        right, wrong: Tests of two models on the same images.
        count: At most so many.
    """
    labels, every = right.labels, np.arange(len(right.labels))
    is_right, is_wrong = (each.probabilities.argmax(1) == labels for each in (right, wrong))
    found = np.flatnonzero(is_right & ~is_wrong)
    apart = (right.probabilities - wrong.probabilities)[every, labels][found]
    return [int(position) for position in found[np.argsort(-apart, kind="stable")][:count]]


def _draw_disagreements(assessment: Assessment) -> list[Themed]:
    """For each later model, what the first gets right and it does not, and the other way round."""
    first, *others = assessment.results
    drawings = []
    for number, other in enumerate(others, start=2):
        for name, right, wrong in ((f"lost-{number}", first, other), (f"won-{number}", other, first)):
            positions = choose_disagreements(right.evaluation, wrong.evaluation, MISTAKES)
            title = f"Right by {right.name}, wrong by {wrong.name}, whose answers these are"
            drawings += _draw_sheet(assessment, wrong.evaluation, positions, name, title)
    return drawings


def _draw_sheet(
    assessment: Assessment, evaluation: Evaluation, positions: Sequence[int], name: str, title: str
) -> list[Themed]:
    """The answers of a test to some of its images; nothing where there are none."""
    if not positions:
        return []
    trial, paths, titles = assessment.trial, assessment.trial.paths, assessment.class_titles
    answers = [Prediction(paths[place], titles, evaluation.probabilities[place]) for place in positions]
    labels = [int(evaluation.labels[place]) for place in positions]
    sheet = in_both_themes(draw_predictions, list(map(trial.decode, positions)), answers, labels)
    return [Themed(*(replace(drawing, name=name, title=title) for drawing in sheet))]


def write_assessment(assessment: Assessment, typed: str, *, html: Path | None, figures: Path | None) -> None:
    """Write the page, the figures, or both; they are added to `assessment.written`.

    Args:
        typed: The command that gives the same figures again.
    """
    drawings = draw_assessment(assessment)
    if figures:
        for light, dark in drawings:
            save_drawing(light, figures / light.name)
            save_drawing(dark, figures / f"{dark.name}-dark", formats=("png", "svg"))
        assessment.written[figures] = "Figures"
    if not html:
        return
    results = assessment.set_results or assessment.results
    last = results[-1]
    head, models = _list_models(assessment)
    class_head, classes = list_classes(assessment, interval)
    write_page(
        html,
        "test.html",
        kicker="AlexNet test",
        title=last.name,
        lead=f"Tested on {counted(last.evaluation.images, 'image')} of {assessment.images}.",
        description=headline(last.evaluation),
        result=explain(last.evaluation),
        differences=list_differences(results),
        notes=[*assessment.doubts, *(f"Left out: {reason}" for reason in assessment.left_out[:20])],
        figures=map(show, drawings),
        commands=[typed],
        head=head,
        models=models,
        compared="Set error" if assessment.set_results else "Top-1 error",
        class_head=capitalized(class_head),
        classes=classes,
    )
    assessment.written[html] = "Report"


def _list_models(assessment: Assessment) -> tuple[list[str], list[list[str]]]:
    if assessment.set_results:
        rows = [[result.name, *list_set_row(result.evaluation, interval)] for result in assessment.set_results]
        return ["Model", *capitalized(SET_HEAD)], rows
    results = assessment.results
    k = results[0].evaluation.k
    is_scaled = any(result.scaled for result in results)
    columns: list[tuple[str, Callable[[Result], str]]] = [
        ("Model", lambda result: result.name),
        ("Top-1 error", lambda result: percent(result.evaluation.top1_error)),
        ("95 % interval", lambda result: interval(result.evaluation.top1_interval)),
        *([(f"Top-{k} error", lambda result: percent(result.evaluation.topk_error))] if k > 1 else []),
        ("Balanced error", lambda result: percent(result.evaluation.balanced_error[0])),
        ("95 % interval", lambda result: interval(result.evaluation.balanced_error[1:])),
        ("Macro F1", lambda result: f"{result.evaluation.f1_macro:.3f}"),
        ("Cross-entropy", lambda result: f"{result.evaluation.cross_entropy:.4f}"),
        ("Calibration error", lambda result: percent(result.calibration.expected_error)),
        *([("Scaled", lambda result: percent(result.scaled and result.scaled.expected_error))] if is_scaled else []),
    ]
    return [name for name, _ in columns], [[show_cell(result) for _, show_cell in columns] for result in results]
