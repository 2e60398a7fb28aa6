"""Figures of tests on images with any number of labels: how well each class is told, and what was missed or false."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.evaluation.set_evaluation import SetEvaluation
from alexnet.interpretation.curves import DOTS
from alexnet.interpretation.drawing import Drawing, Themed, Value, columns_of, in_both_themes, styled, write
from alexnet.interpretation.figures import (
    BAR_IN,
    MOST_CLASSES,
    SIDE_IN,
    bars_of_classes,
    draw_bars,
    lay_out_images,
    whole_percent,
)
from alexnet.interpretation.fonts import explain_stand_ins, legible
from alexnet.pages.themes import ThemeName, find_theme
from alexnet.text.wording import counted


@styled
def draw_class_precisions(evaluation: SetEvaluation, titles: Sequence[str], theme: ThemeName = "light") -> Drawing:
    """Average precision of each class as a bar and its F1 score as a dot, worst first; the numbers hold all of them.

    Where there are more than MOST_CLASSES, the worst are drawn. Classes that no image has are left out.

    Args:
        titles: Readable names of the classes.
    Raises:
        ConfigError: no image has any class.
    """
    colors = find_theme(theme)
    rows = [
        (
            titles[place],
            evaluation.class_images[place],
            evaluation.class_precisions[place],
            float(evaluation.class_f1[place]),
            evaluation.thresholds[place],
            evaluation.right[place],
            evaluation.false[place],
            evaluation.missed[place],
            place,
        )
        for place in range(len(titles))
        if evaluation.class_images[place]
    ]
    if not rows:
        raise ConfigError("no image has any class; there are no average precisions to draw.")
    rows.sort(key=lambda row: (row[2], row[1]))
    shown = rows[:MOST_CLASSES]
    written = legible(list(titles))
    notes = [f"{whole_percent(row[2])} ({row[1]:,})" for row in shown]
    names = [written[row[8]] for row in shown]
    places = range(len(shown))
    figure, axes = bars_of_classes("AP", places, [row[2] for row in shown], names, notes, colors)
    axes.plot([row[3] for row in shown], places, "o", color=colors.training, markersize=5, clip_on=False)
    axes.axvline(evaluation.mean_average_precision, color=colors.muted, linewidth=1, linestyle=DOTS)
    hidden = len(rows) - len(shown)
    columns = ("class", "images", "average_precision", "f1", "threshold", "right", "false", "missed")
    return Drawing(
        name="class-precisions",
        figure=figure,
        numbers=columns_of(columns, [row[:8] for row in rows]),
        title="Average precision and F1 by class",
        caption=(
            "Bars are average precisions, the area under the precision-recall curve, worst first, with the number of "
            "images that have the class in brackets; the dotted line is their mean. Dots are F1 scores at the "
            "threshold of each class."
            + (f" {counted(hidden, 'class', 'classes')} with higher ones are in the numbers." if hidden else "")
            + explain_stand_ins(list(titles), [row[8] for row in shown])
        ),
    )


def choose_set_mistakes(evaluation: SetEvaluation, count: int) -> list[int]:
    """Return the positions of images with a class that was missed or said falsely, the surest mistakes first.

    How sure a mistake is: how far the probability lies beyond the threshold of its class, as a share of the room there.
    """
    limits = np.array(evaluation.thresholds)
    said = evaluation.said
    beyond = np.where(
        said, (evaluation.probabilities - limits) / (1 - limits), (limits - evaluation.probabilities) / limits
    )
    sure = np.where(said != evaluation.labels, beyond, -1.0).max(1)
    order = np.argsort(-sure, kind="stable")
    return [int(position) for position in order if sure[position] >= 0][:count]


def draw_set_mistakes(
    evaluation: SetEvaluation,
    decode: Callable[[int], NDArray[np.uint8]],
    paths: Sequence[str],
    titles: Sequence[str],
    count: int,
) -> list[Themed]:
    """Return the sheet of the surest mistakes, of images that are decoded by position; nothing where there are none."""
    chosen = choose_set_mistakes(evaluation, count)
    images, sources = list(map(decode, chosen)), [paths[position] for position in chosen]
    return [in_both_themes(draw_set_answers, images, sources, evaluation, chosen, titles)] if chosen else []


def draw_set_answers(
    images: Sequence[NDArray[np.uint8]],
    sources: Sequence[str],
    evaluation: SetEvaluation,
    positions: Sequence[int],
    titles: Sequence[str],
    theme: ThemeName = "light",
) -> Drawing:
    """Images in rows of four, each above the classes that are there or were said, with their probabilities.

    What is there has a yellow bar and a bold name. What was missed, and what was said falsely, carries the word in red.

    Args:
        images: (H, W, 3) uint8 RGB, with their paths, at these positions of the test.
        titles: Readable names of the classes.
    Raises:
        ConfigError: there are no images.
    """
    colors = find_theme(theme)
    if not images:
        raise ConfigError("there are no images to draw.")
    said, written = evaluation.said, legible(list(titles))
    listed = [
        sorted(
            np.flatnonzero(said[position] | evaluation.labels[position]).tolist(),
            key=lambda place, position=position: -float(evaluation.probabilities[position, place]),  # type: ignore[misc]
        )
        for position in positions
    ]
    lines = max(1, *(len(each) for each in listed))
    figure, page, corners = lay_out_images(images, 0.1 + BAR_IN * lines, colors)
    rows: list[tuple[Value, ...]] = []
    for (left, top), source, position, places in zip(corners, sources, positions, listed, strict=True):
        middles = top + SIDE_IN + 0.1 + BAR_IN * (np.arange(lines) + 0.5)
        if not places:
            write(page, left + 0.06, middles[0], "none", colors.muted)
        chances, there = evaluation.probabilities[position, places].astype(float), evaluation.labels[position, places]
        draw_bars(page, left, middles[: len(places)], chances, there, colors)
        for middle, place, chance, is_there in zip(middles, places, chances, there, strict=False):
            verdict = "false" if not is_there else "right" if said[position, place] else "missed"
            weight = "bold" if is_there else "normal"
            write(page, left + 0.06, middle, written[place], colors.ink, weight=weight, within_in=SIDE_IN - 1.15)
            write(page, left + SIDE_IN - 0.06, middle, whole_percent(chance), colors.ink, align="right", weight=weight)
            if verdict != "right":
                write(page, left + SIDE_IN - 0.58, middle, verdict, colors.wrong, align="right", weight="bold")
            rows.append((source, titles[place], verdict, chance, evaluation.thresholds[place]))
    shown = [place for each in listed for place in each]
    return Drawing(
        name="mistakes",
        figure=figure,
        numbers=columns_of(("image", "class", "verdict", "probability", "threshold"), rows),
        title="What was missed, and what was false",
        caption=(
            "Under each image the classes that are in it, bold and with yellow bars, and those that were said to be, "
            "with their probabilities from 0 to 100 %. A class is said from its threshold on, which may lie below one "
            "half. The surest mistakes come first." + explain_stand_ins(list(titles), shown)
        ),
        has_photographs=True,
    )
