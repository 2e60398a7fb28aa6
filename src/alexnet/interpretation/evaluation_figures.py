"""Figures of a test: which classes are taken for which, whether confidence can be trusted, the surest mistakes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alexnet.evaluation.calibration import Calibration
from alexnet.interpretation.drawing import NORMAL, SMALL, WIDTH_IN, Drawing, fit, new_figure, write
from alexnet.pages.themes import ThemeName, find_theme

MOST_NAMED = 40
"""With more classes than this, a confusion matrix shows no names and no numbers."""


def count_confusions(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (K, K) how often a class, by row, was taken for a class, by column."""
    classes = probabilities.shape[1]
    pairs = labels * classes + probabilities.argmax(1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def draw_confusion(confusions: NDArray[np.int64], class_titles: Sequence[str], theme: ThemeName = "light") -> Drawing:
    """The confusion matrix: a row for each class, its images by the class they were given."""
    colors = find_theme(theme)
    classes = len(confusions)
    named = classes <= MOST_NAMED
    cell = min(0.52, 6.4 / classes) if named else 7.0 / classes
    names_in, side = (2.2 if named else 0.3), cell * classes
    height = side + (1.7 if named else 0.7)
    figure = new_figure(WIDTH_IN, height, colors)
    axes = figure.add_axes((names_in / WIDTH_IN, 0.2 / height, side / WIDTH_IN, side / height))
    shares = confusions / np.maximum(confusions.sum(1, keepdims=True), 1)
    right, wrong = (np.array(_rgb(color)) for color in (colors.training, colors.validation))
    back = np.array(_rgb(colors.background))
    strength = shares[..., None] ** 0.5
    own = np.eye(classes, dtype=bool)[..., None]
    axes.imshow(back + strength * (np.where(own, right, wrong) - back), interpolation="nearest", aspect="equal")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(colors.rule)
    write(axes, 0, 1 - 0 + 0.05 + (1.1 if named else 0.2) / side, "Rows: the class of an image. Columns: what it was "
          "taken for.", colors.muted, SMALL, transform=axes.transAxes)  # fmt: skip
    if named:
        size = min(SMALL, 24 * cell)
        for place, title in enumerate(class_titles):
            short = fit(figure, title, 2.0, size=NORMAL)
            write(axes, -0.08 / side, 1 - (place + 0.5) / classes, short, colors.ink, min(NORMAL, 26 * cell),
                  align="right", transform=axes.transAxes)  # fmt: skip
            above = fit(figure, title, 1.2, size=NORMAL)
            write(axes, place, -0.62, above, colors.ink, min(NORMAL, 26 * cell), rotation=55, rotation_mode="anchor",
                  verticalalignment="bottom")  # fmt: skip
        for row, column in zip(*np.nonzero(confusions), strict=True):
            dark = shares[row, column] > 0.3
            ink = colors.background if dark else colors.ink
            write(axes, column, row, str(confusions[row, column]), ink, size, align="center")
    rows, columns = (places.tolist() for places in np.nonzero(confusions))
    return Drawing(
        name="confusion",
        figure=figure,
        numbers={
            "class": [class_titles[row] for row in rows],
            "taken_for": [class_titles[column] for column in columns],
            "images": [int(confusions[row, column]) for row, column in zip(rows, columns, strict=True)],
        },
        title="What is taken for what",
        caption="Each row holds the images of one class, in the columns of the classes they were given. Right answers "
        "lie on the diagonal; colour is the share of the row, in square roots, so that rare mistakes are seen.",
    )


def draw_reliability(calibration: Calibration, theme: ThemeName = "light") -> Drawing:
    """Accuracy against confidence by ranges; on the diagonal a classifier is right as often as it says."""
    colors = find_theme(theme)
    figure = new_figure(WIDTH_IN, 4.0, colors)
    axes = figure.add_axes((0.09, 0.14, 0.37, 0.76))
    axes.set_facecolor("none")
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    axes.spines[["right", "top"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(colors.muted)
    axes.plot([0, 1], [0, 1], color=colors.muted, linewidth=1, linestyle=(0, (1, 2.5)))
    width = 1 / len(calibration.lower)
    total = max(1, sum(calibration.images))
    for lower, accuracy, confidence in zip(
        calibration.lower, calibration.accuracy, calibration.confidence, strict=True
    ):
        if accuracy is None or confidence is None:
            continue
        axes.bar(lower + width / 2, accuracy, 0.9 * width, color=colors.bar)
        axes.plot([confidence], [accuracy], "o", color=colors.training, markersize=4)
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        text = f"{100 * level:.0f} %"
        write(axes, level, -0.05, text, colors.muted, align="center", transform=axes.get_xaxis_transform())
        write(axes, -0.03, level, text, colors.muted, align="right", transform=axes.get_yaxis_transform())
    write(axes, 0.5, -0.12, "confidence", colors.muted, align="center", transform=axes.transAxes)
    write(axes, 0, 1.06, "share that is right", colors.muted, transform=axes.transAxes)
    right = figure.add_axes((0.58, 0.14, 0.37, 0.76))
    right.set_facecolor("none")
    shares = [count / total for count in calibration.images]
    right.set(xlim=(0, 1), ylim=(0, 1.08 * max(shares)), xticks=[], yticks=[])
    right.spines[["right", "top", "left"]].set_visible(False)
    right.spines["bottom"].set_color(colors.muted)
    right.bar([lower + width / 2 for lower in calibration.lower], shares, 0.9 * width, color=colors.bar)
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        write(right, level, -0.05, f"{100 * level:.0f} %", colors.muted, align="center",
              transform=right.get_xaxis_transform())  # fmt: skip
    write(right, 0.5, -0.12, "confidence", colors.muted, align="center", transform=right.transAxes)
    write(right, 0, 1.06, "share of the images", colors.muted, transform=right.transAxes)
    return Drawing(
        name="reliability",
        figure=figure,
        numbers={
            "confidence_from": list(calibration.lower),
            "images": list(calibration.images),
            "confidence": list(calibration.confidence),
            "accuracy": list(calibration.accuracy),
        },
        title="Can its confidence be trusted?",
        caption="Of images for which the highest probability is 80 %, 80 of 100 should be right: dots on the dotted "
        "line. Below it the network is too sure of itself, above it too modest. Expected calibration error: "
        f"{100 * calibration.expected_error:.1f} percentage points.",
    )


def _rgb(color: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(color)
