"""Figures of a test: what is taken for what, whether confidence can be trusted, and how good binary codes are."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from alexnet.evaluation.metrics import Calibration
from alexnet.interpretation.curves import DOTS, plot_values
from alexnet.interpretation.drawing import (
    NORMAL,
    SMALL,
    WIDTH_IN,
    Drawing,
    Value,
    fit,
    label_lines,
    new_figure,
    show_percents,
    styled,
    write,
)
from alexnet.pages.themes import ThemeName, find_theme
from alexnet.retrieval.codes.comparison import EXACT, Comparison, K, Result
from alexnet.text.wording import counted

MOST_NAMED = 40
"""With more classes than this, a confusion matrix shows no names and no numbers."""


def count_confusions(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (K, K) how often a class, by row, was taken for a class, by column."""
    classes = probabilities.shape[1]
    pairs = labels * classes + probabilities.argmax(1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@styled
def draw_confusion(confusions: NDArray[np.int64], class_titles: Sequence[str], theme: ThemeName = "light") -> Drawing:
    """The confusion matrix: a row for each class, its images by the class they were given."""
    colors = find_theme(theme)
    classes = len(confusions)
    named = classes <= MOST_NAMED
    side_in = classes * min(0.52, 6.4 / classes) if named else 7.0
    figure = new_figure(WIDTH_IN, side_in + (1.7 if named else 0.5), colors)
    axes = figure.subplots()
    shares = confusions / np.maximum(confusions.sum(1, keepdims=True), 1)
    background, right, wrong = map(np.array, map(to_rgb, (colors.background, colors.training, colors.validation)))
    hues = np.where(np.eye(classes, dtype=bool)[..., None], right, wrong)
    axes.imshow(background + shares[..., None] ** 0.5 * (hues - background), interpolation="nearest")
    axes.set_anchor("W")
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=colors.rule)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel("Rows: the class of an image. Columns: what it was taken for.", loc="left")
    if named:
        cell_in = side_in / classes
        size = min(NORMAL, 26 * cell_in)
        names, short = ([fit(figure, title, most, size=NORMAL) for title in class_titles] for most in (2.0, 1.2))
        axes.set_yticks(range(classes), names, color=colors.ink, fontsize=size)
        axes.set_xticks(
            range(classes), short, color=colors.ink, fontsize=size, rotation=55, ha="left", rotation_mode="anchor"
        )
        axes.tick_params(bottom=False, labelbottom=False, labeltop=True)
        for row, column in zip(*np.nonzero(confusions), strict=True):
            ink = colors.background if shares[row, column] > 0.3 else colors.ink
            number = str(confusions[row, column])
            write(axes, column, row, number, ink, min(SMALL, 24 * cell_in), align="center")
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


@styled
def draw_reliability(calibration: Calibration, theme: ThemeName = "light") -> Drawing:
    """Accuracy against confidence by ranges; on the diagonal a classifier is right as often as it says."""
    colors = find_theme(theme)
    figure = new_figure(WIDTH_IN, 4.0, colors)
    left, right = figure.subplots(1, 2, sharex=True)
    width = 1 / len(calibration.lower)
    centers = np.array(calibration.lower) + width / 2
    accuracy, confidence = (np.array(column, float) for column in (calibration.accuracy, calibration.confidence))
    shares = np.array(calibration.images) / max(1, sum(calibration.images))
    left.bar(centers, np.nan_to_num(accuracy), 0.9 * width, color=colors.bar)
    left.plot([0, 1], [0, 1], color=colors.muted, linewidth=1, linestyle=DOTS)
    left.plot(confidence, accuracy, "o", color=colors.training, markersize=4)
    right.bar(centers, shares, 0.9 * width, color=colors.bar)
    for axes, title, top in ((left, "Share that is right", 1), (right, "Share of the images", 1.08 * shares.max())):
        axes.set_title(title, fontsize=NORMAL, pad=8)
        axes.set(xlim=(0, 1), ylim=(0, top or 1), xticks=np.linspace(0, 1, 5), xlabel="confidence")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        show_percents(axes.xaxis)
        show_percents(axes.yaxis)
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


RERANK = 500
DEPTH = 100
LABELS = {
    "autoencoder": "autoencoder",
    "random": "random hyperplanes",
    "pca": "PCA signs",
    "itq": "ITQ",
    "pixels": "autoencoder of pixels",
    EXACT: "exact search",
}


@styled
def draw_codes(comparison: Comparison, theme: ThemeName = "light") -> Drawing:
    """Recall of the nearest after ranking again, and class precision, over the length of codes; a line per method."""
    colors = find_theme(theme)
    figure = new_figure(WIDTH_IN, 3.9, colors)
    results = comparison.results
    methods = list(dict.fromkeys(result.method for result in results if result.bits))
    lengths = sorted({result.bits for result in results if result.bits})
    exact = next(result for result in results if result.method == EXACT)
    rerank = max(r for r in exact.recall if r <= RERANK)
    panels = [(f"Recall of the {K} nearest, best {rerank:,} codes ranked again", "recall", rerank)]
    if exact.precision:
        depth = max(k for k in exact.precision if k <= DEPTH)
        panels.append((f"Of the query's class, among the {depth} nearest codes", "precision", depth))
    for axes, (title, measure, at) in zip(figure.subplots(1, 2), panels, strict=False):
        axes.set_title(title, fontsize=NORMAL)
        axes.set(xlim=(-0.15, max(len(lengths) - 0.85, 0.15)), ylim=(0, 1), xlabel="bits")
        axes.set_xticks(range(len(lengths)), [str(bits) for bits in lengths])
        axes.set_yticks(np.linspace(0, 1, 5))
        show_percents(axes.yaxis)
        ends: list[tuple[str, tuple[float, float], str]] = []
        if measure == "precision":
            axes.axhline(exact.precision[at], color=colors.ink, linewidth=1.2, linestyle=DOTS)
            ends.append((LABELS[EXACT], (axes.get_xlim()[1], exact.precision[at]), colors.ink))
        for number, method in enumerate(methods):
            found = {result.bits: getattr(result, measure).get(at) for result in results if result.method == method}
            hue = colors.runs[number % len(colors.runs)]
            if end := plot_values(axes, range(len(lengths)), [found.get(bits) for bits in lengths], color=hue):
                ends.append((LABELS.get(method, method), end, hue))
        label_lines(axes, ends)
    if len(panels) == 1:
        figure.axes[1].set_axis_off()
    return Drawing(
        name="codes",
        figure=figure,
        numbers=_columns(results),
        title="Binary codes against exact search",
        caption=(
            f"{counted(comparison.queries, 'query', 'queries')} ({comparison.held_out}) among "
            f"{counted(comparison.database, 'other image')}, the only ones that codes were fitted to. Left: the "
            f"share of the {K} nearest images by exact distance that are among the {rerank:,} nearest codes, and so "
            "are found when these are ranked again. Right: how many of the nearest codes show the query's class; the "
            "dotted line is exact search."
        ),
    )


def _columns(results: list[Result]) -> dict[str, list[Value]]:
    recalls = sorted({r for result in results for r in result.recall})
    depths = sorted({k for result in results for k in result.precision})
    columns: dict[str, list[Value]] = {
        "method": [result.method for result in results],
        "bits": [result.bits for result in results],
    }
    columns |= {f"recall_{r}": [result.recall.get(r) for result in results] for r in recalls}
    columns |= {f"precision_{k}": [result.precision.get(k) for result in results] for k in depths}
    return columns
