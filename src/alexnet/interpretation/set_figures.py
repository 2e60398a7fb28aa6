"""Figures of tests on images with any number of labels: how well each class is told, and what was missed or false."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.evaluation.set_evaluation import SetEvaluation
from alexnet.interpretation.curves import DOTS
from alexnet.interpretation.drawing import (
    NORMAL,
    WIDTH_IN,
    Drawing,
    Value,
    columns_of,
    fit,
    new_figure,
    place_image,
    sheet,
    show_percents,
    styled,
    write,
)
from alexnet.interpretation.figures import IMAGES_PER_ROW, MOST_CLASSES, whole_percent
from alexnet.interpretation.fonts import explain_stand_ins, legible
from alexnet.pages.themes import ThemeName, find_theme
from alexnet.text.wording import counted

_RIGHT, _FALSE, _MISSED = "right", "false", "missed"


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
    places = np.arange(len(shown))
    figure = new_figure(WIDTH_IN, 0.34 + 0.245 * len(shown), colors)
    axes = figure.subplots()
    axes.barh(places, [row[2] for row in shown], height=0.68, color=colors.bar)
    axes.plot([row[3] for row in shown], places, "o", color=colors.training, markersize=5, clip_on=False)
    axes.axvline(evaluation.mean_average_precision, color=colors.muted, linewidth=1, linestyle=DOTS)
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5))
    show_percents(axes.xaxis)
    axes.tick_params(top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    written = legible(list(titles))
    names = [fit(figure, written[row[8]], 2.6, size=NORMAL) for row in shown]
    axes.set_yticks(places, names, color=colors.ink, fontsize=NORMAL)
    axes.set_title("AP", loc="left", fontsize=NORMAL, x=-0.035, y=1, pad=5, ha="right")
    notes = axes.secondary_yaxis(1.02)
    notes.set_yticks(places, [f"{whole_percent(row[2])} ({row[1]:,})" for row in shown])
    notes.spines[:].set_visible(False)
    notes.tick_params(labelright=True, labelleft=False, left=False, right=False)
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
    columns = min(IMAGES_PER_ROW, len(images))
    gap_in, row_gap_in, bar_in = 0.22, 0.3, 0.235
    side_in = (WIDTH_IN - (IMAGES_PER_ROW - 1) * gap_in) / IMAGES_PER_ROW
    cell_in = side_in + 0.1 + bar_in * lines
    height_in = math.ceil(len(images) / columns) * (cell_in + row_gap_in) - row_gap_in
    figure = new_figure(columns * (side_in + gap_in) - gap_in, height_in, colors)
    page = sheet(figure)
    rows: list[tuple[Value, ...]] = []
    for index, (image, source, position) in enumerate(zip(images, sources, positions, strict=True)):
        left, top = index % columns * (side_in + gap_in), index // columns * (cell_in + row_gap_in)
        place_image(page, image, left, top, side_in)
        if not listed[index]:
            write(page, left + 0.06, top + side_in + 0.1 + bar_in / 2, "none", colors.muted)
        for turn, place in enumerate(listed[index]):
            middle = top + side_in + 0.1 + bar_in * (turn + 0.5)
            chance = float(evaluation.probabilities[position, place])
            is_there, is_said = bool(evaluation.labels[position, place]), bool(said[position, place])
            verdict = _RIGHT if is_there and is_said else _MISSED if is_there else _FALSE
            hue = colors.correct_bar if is_there else colors.bar
            page.barh([middle], [chance * side_in], 0.88 * bar_in, left, color=hue)
            page.hlines([middle + 0.47 * bar_in], left, left + side_in, colors.rule, linewidth=0.6)
            weight = "bold" if is_there else "normal"
            style: dict[str, Any] = {"weight": weight, "within_in": side_in - 1.15}
            write(page, left + 0.06, middle, written[place], colors.ink, **style)
            write(page, left + side_in - 0.06, middle, whole_percent(chance), colors.ink, align="right", weight=weight)
            if verdict != _RIGHT:
                write(page, left + side_in - 0.58, middle, verdict, colors.wrong, align="right", weight="bold")
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
