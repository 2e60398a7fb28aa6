"""The figures and tables of a test on images with any number of labels, for the page of a test."""

from typing import Any

from alexnet.console.terminal import percent
from alexnet.evaluation.assessment import Assessment
from alexnet.interpretation.drawing import Themed, in_both_themes
from alexnet.interpretation.page import SET_HEAD, list_set_row
from alexnet.interpretation.set_figures import choose_set_mistakes, draw_class_precisions, draw_set_answers

MISTAKES = 12
"""Images on the sheet of what was missed or false."""


def draw_sets(assessment: Assessment) -> list[Themed]:
    """Return the figures of the last result, the only model or the average."""
    evaluation = assessment.set_results[-1].evaluation
    titles, trial = assessment.class_titles, assessment.trial
    drawings = [in_both_themes(draw_class_precisions, evaluation, titles)] if any(evaluation.class_images) else []
    chosen = choose_set_mistakes(evaluation, MISTAKES)
    if chosen:
        images = [trial.images.decode(int(trial.numbers[position])) for position in chosen]
        sources = [trial.paths[position] for position in chosen]
        drawings.append(in_both_themes(draw_set_answers, images, sources, evaluation, chosen, titles))
    return drawings


def tabulate_sets(assessment: Assessment) -> dict[str, Any]:
    """Return the tables of models and classes, as the template of a test has them."""
    found = assessment.set_results[-1].evaluation
    worst = sorted(
        range(len(assessment.class_titles)),
        key=lambda place: found.class_precisions[place] if found.class_images[place] else 2.0,
    )
    return {
        "models": [[result.name, *list_set_row(result.evaluation)] for result in assessment.set_results],
        "head": ["Model", *SET_HEAD],
        "compared": "Set error",
        "class_head": ("Class", "Images", "AP", "F1", "Right", "False", "Missed", "Said from"),
        "classes": [
            [
                assessment.class_titles[place],
                f"{found.class_images[place]:,}",
                f"{found.class_precisions[place]:.3f}" if found.class_images[place] else "–",
                f"{found.class_f1[place]:.3f}" if found.class_images[place] else "–",
                f"{found.right[place]:,}",
                f"{found.false[place]:,}",
                f"{found.missed[place]:,}",
                percent(found.thresholds[place]),
            ]
            for place in worst
        ],
    }
