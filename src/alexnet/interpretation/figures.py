"""The figures of the paper and of a report: data in, a `Drawing` out.

Each function takes what it draws and a theme, computes the numbers first and paints them afterwards. Nothing here reads
or writes a file, runs a network or chooses images: report.py does.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.metrics import wilson_interval
from alexnet.evaluation.prediction import Prediction
from alexnet.interpretation.curves import DOTS
from alexnet.interpretation.drawing import (
    LARGE,
    NORMAL,
    PNG_DPI,
    WIDTH_IN,
    Drawing,
    Value,
    bare_axes,
    columns_of,
    fit,
    new_figure,
    place_image,
    sheet,
    show_percents,
    styled,
    write,
)
from alexnet.interpretation.fonts import explain_stand_ins, families, legible
from alexnet.network.alexnet import AlexNet
from alexnet.network.rows import Convolution
from alexnet.pages.themes import Theme, ThemeName, find_theme
from alexnet.text.wording import counted

KERNELS_PER_ROW = 16
"""As in figure 3 of the paper and in the 2012 source, shownet.py."""
IMAGES_PER_ROW, GAP_IN, BAR_IN = 4, 0.22, 0.235
SIDE_IN = (WIDTH_IN - (IMAGES_PER_ROW - 1) * GAP_IN) / IMAGES_PER_ROW
NUM_BARS = 5
MOST_CLASSES = 40
"""More are drawn as the worst half of this number and the best half."""


def draw_filters(network: AlexNet, theme: ThemeName = "light") -> Drawing:
    """Figure 3 of the paper: the kernels of the first layer as colours, one tower above the other.

    One min-max scaling over the whole layer, so kernels can be compared; every weight is an exact square of pixels.

    Raises:
        ConfigError: the first layer is not a convolution.
    """
    colors = find_theme(theme)
    row, layer = network.named_layers()[0]
    if not isinstance(row, Convolution):
        raise ConfigError(
            f"layer {row.name} of dialect {network.spec.dialect} has no kernels to draw; its first layer is not a "
            "convolution."
        )
    kernels = np.ascontiguousarray(layer.weight.detach().float().cpu().permute(0, 2, 3, 1).numpy())
    low, high = float(kernels.min()), float(kernels.max())
    shown = (kernels - low) / (high - low) if high > low else np.full_like(kernels, 0.5)

    towers, side, gap_in = network.spec.towers, row.window_px, 0.15
    per_tower = math.ceil(len(kernels) / towers)
    columns = min(KERNELS_PER_ROW, per_tower)
    magnify = max(1, min(24, int(WIDTH_IN * PNG_DPI) // (columns * (side + 1) - 1)))
    starts = range(0, len(kernels), per_tower)
    plates = [
        tile_kernels(shown[start : start + per_tower], columns, gap=colors.background, magnify=magnify)
        for start in starts
    ]
    sizes_in = [(plate.shape[1] / PNG_DPI, plate.shape[0] / PNG_DPI) for plate in plates]
    heading_in = 0.3 if towers > 1 else 0.0
    figure = new_figure(
        max(width for width, _ in sizes_in),
        sum(heading_in + height for _, height in sizes_in) + gap_in * (len(plates) - 1),
        colors,
    )
    top = 0.0
    for tower, (plate, (width, height)) in enumerate(zip(plates, sizes_in, strict=True)):
        axes = bare_axes(figure, 0, top + heading_in, width, height)
        axes.imshow(plate, interpolation="none", aspect="auto")
        if heading_in:
            axes.set_title(f"Tower {_letter(tower)}", loc="left", color=colors.muted, fontsize=LARGE, family=families())
        top += heading_in + height + gap_in

    count, pixels = len(kernels), side * side
    number = np.repeat(np.arange(count), pixels)
    y, x = np.divmod(np.tile(np.arange(pixels), count), side)
    weights = kernels.reshape(-1, 3).astype(float)
    specialised = " In the paper, one tower came to care about shape and the other about colour; which one is chance."
    return Drawing(
        name="filters",
        figure=figure,
        numbers={
            "kernel": (number + 1).tolist(),
            "tower": [_letter(int(k) // per_tower) for k in number],
            "y": y.tolist(),
            "x": x.tolist(),
            "red": weights[:, 0].tolist(),
            "green": weights[:, 1].tolist(),
            "blue": weights[:, 2].tolist(),
        },
        title="First-layer filters",
        caption=(
            f"The {count} kernels of {row.name}, {side} × {side} pixels each, as the colours they answer to. All share "
            f"one scale, from the smallest weight ({_signed(low)}) to the largest ({_signed(high)}). Look for smooth "
            "stripes and blobs of colour: these are edge and colour detectors. Kernels that look like noise have "
            f"learned little yet.{specialised if towers == 2 else ''}"
        ),
    )


def tile_kernels(kernels: NDArray[Any], columns: int, *, gap: str, magnify: int) -> NDArray[np.uint8]:
    """Return (K, h, w, 3) kernels in [0, 1] as one uint8 RGB image, in rows, a gap of one weight between them.

    Args:
        gap: Colour of the gaps and of places without a kernel, as #rrggbb.
        magnify: Side in pixels of the square that one weight becomes.
    """
    count, height, width, _ = kernels.shape
    rows = math.ceil(count / columns)
    plate = np.empty((rows * (height + 1), columns * (width + 1), 3), np.uint8)
    plate[:] = [int(gap[i : i + 2], 16) for i in (1, 3, 5)]
    for index, kernel in enumerate(np.rint(255 * kernels).astype(np.uint8)):
        y, x = index // columns * (height + 1), index % columns * (width + 1)
        plate[y : y + height, x : x + width] = kernel
    return plate[:-1, :-1].repeat(magnify, 0).repeat(magnify, 1)


def draw_predictions(
    images: Sequence[NDArray[np.uint8]],
    predictions: Sequence[Prediction],
    labels: Sequence[int | None] | None = None,
    theme: ThemeName = "light",
) -> Drawing:
    """Figure 4 of the paper, left: images in rows of four, each above its five most probable classes.

    The bar of the correct class is yellow and its name bold; the others are blue. An image whose most probable class is
    not its label carries the word "wrong", in red: red means nothing else.

    Args:
        images: (H, W, 3) uint8 RGB.
        predictions: One for each image; their class names are what is written.
        labels: Class index of each image, None where it is not known.
    Raises:
        ConfigError: there are no images, or not as many predictions and labels.
    """
    colors = find_theme(theme)
    known = list(labels) if labels is not None else [None] * len(images)
    if not images or not len(images) == len(predictions) == len(known):
        raise ConfigError(
            f"{counted(len(images), 'image')} with {counted(len(predictions), 'prediction')} and "
            f"{counted(len(known), 'label')} cannot be drawn; there must be one of each for at least one image."
        )
    ranked = [rank_classes(p.probabilities, label) for p, label in zip(predictions, known, strict=True)]
    num_bars = max(len(best) for best, _ in ranked)
    labeled = any(label is not None for label in known)
    missed = any(place is not None and place > len(best) for best, place in ranked)

    label_in, side_in = 0.34 if labeled else 0.1, SIDE_IN
    figure, page, corners = lay_out_images(images, label_in + BAR_IN * (num_bars + missed), colors)
    rows: list[tuple[Value, ...]] = []
    for (left, top), prediction, label, (best, place) in zip(corners, predictions, known, ranked, strict=True):
        names, written = prediction.class_names, legible(prediction.class_names)
        if label is not None:
            middle, below = left + side_in / 2, top + side_in + label_in / 2
            bold: dict[str, Any] = {"align": "center", "weight": "bold", "within_in": side_in}
            write(page, middle, below, written[label], colors.ink, LARGE, **bold)
            if place != 1:
                badge = {"boxstyle": "round,pad=0.32,rounding_size=0.5", "facecolor": colors.wrong, "edgecolor": "none"}
                corner: dict[str, Any] = {"align": "right", "va": "top", "weight": "bold", "bbox": badge}
                write(page, left + 0.965 * side_in, top + 0.035 * side_in, "wrong", colors.on_wrong, **corner)
        chances = prediction.probabilities[best].astype(float)
        middles = top + side_in + label_in + BAR_IN * (np.arange(num_bars + missed) + 0.5)
        draw_bars(page, left, middles[: len(best)], chances, [kind == label for kind in best], colors)
        for position, (kind, probability, middle) in enumerate(zip(best, chances, middles, strict=False), start=1):
            weight = "bold" if kind == label else "normal"
            write(page, left + 0.06, middle, written[kind], colors.ink, weight=weight, within_in=side_in - 0.62)
            percents = whole_percent(probability)
            write(page, left + side_in - 0.06, middle, percents, colors.ink, align="right", weight=weight)
            own, is_own = (None, None) if label is None else (names[label], int(kind == label))
            rows.append((prediction.source, own, place, position, names[kind], probability, is_own))
        if label is not None and label not in best:
            verdict = f"correct class: place {place}, {whole_percent(float(prediction.probabilities[label]))}"
            write(page, left + 0.06, middles[len(best)], verdict, colors.ink, weight="bold")
    shown = f"its {num_bars} most probable classes" if num_bars > 1 else "its most probable class"
    shown_classes = [
        kind for (best, _), label in zip(ranked, known, strict=True) for kind in (label, *best) if kind is not None
    ]
    teaching = (
        " The correct class is written under the image and has the yellow bar. Look at the second and third guesses "
        "too: a network that has understood something confuses things that look alike."
    )
    return Drawing(
        name="predictions",
        figure=figure,
        numbers=columns_of(("image", "label", "place_of_label", "place", "class", "probability", "is_label"), rows),
        title="What the network believes",
        caption=(
            f"Under each image {shown}, as bars from 0 to 100 %.{teaching if labeled else ''}"
            + explain_stand_ins(predictions[0].class_names, shown_classes)
        ),
        has_photographs=True,
    )


def lay_out_images(
    images: Sequence[NDArray[np.uint8]], below_in: float, colors: Theme
) -> tuple[Figure, Axes, list[tuple[float, float]]]:
    """Return a figure, its sheet with the images in rows of four, each above so much room, and their corners."""
    columns = min(IMAGES_PER_ROW, len(images))
    pitch_in, cell_in, row_gap_in = SIDE_IN + GAP_IN, SIDE_IN + below_in, 0.3
    height_in = math.ceil(len(images) / columns) * (cell_in + row_gap_in) - row_gap_in
    figure = new_figure(columns * pitch_in - GAP_IN, height_in, colors)
    page = sheet(figure)
    corners = [(i % columns * pitch_in, i // columns * (cell_in + row_gap_in)) for i in range(len(images))]
    for image, (left, top) in zip(images, corners, strict=True):
        place_image(page, image, left, top, SIDE_IN)
    return figure, page, corners


def draw_bars(
    page: Axes, left: float, middles: NDArray[Any], chances: NDArray[Any], correct: Iterable[bool], colors: Theme
) -> None:
    """Draw probabilities as bars under an image of a sheet; those of correct classes are yellow."""
    hues = [colors.correct_bar if is_correct else colors.bar for is_correct in correct]
    page.barh(middles, np.nan_to_num(chances) * SIDE_IN, 0.88 * BAR_IN, left, color=hues)
    page.hlines(middles + 0.47 * BAR_IN, left, left + SIDE_IN, colors.rule, linewidth=0.6)


def rank_classes(
    probabilities: NDArray[np.float32], label: int | None, k: int = NUM_BARS
) -> tuple[list[int], int | None]:
    """Return the k most probable classes, best first, and the place of the label, counted from 1."""
    order = np.argsort(-probabilities, kind="stable")
    place = None if label is None else int(np.flatnonzero(order == label)[0]) + 1
    return order[:k].tolist(), place


@styled
def draw_class_errors(evaluation: Evaluation, theme: ThemeName = "light") -> Drawing:
    """Top-1 error of each class with its 95 % Wilson interval, worst first; classes without images are left out.

    Where there are more than MOST_CLASSES, the worst and the best, half of that many each, are drawn. The numbers hold
    all of them.

    Raises:
        ConfigError: no class has an image.
    """
    colors = find_theme(theme)
    counts = zip(evaluation.class_names, evaluation.class_images, evaluation.class_errors, strict=True)
    rows = [
        (name, count, errors, errors / count, *wilson_interval(errors, count), number)
        for number, (name, count, errors) in enumerate(counts, start=1)
        if count
    ]
    if not rows:
        raise ConfigError("no class has an image; there are no errors to draw.")
    rows.sort(key=lambda row: (-row[3], -row[1]))
    hidden = max(0, len(rows) - MOST_CLASSES)
    half = MOST_CLASSES // 2
    shown = [*rows[:half], None, *rows[-half:]] if hidden else rows

    places = [place for place, row in enumerate(shown) if row]
    drawn = [row for row in shown if row]
    rates, lows, highs = (np.array([row[column] for row in drawn]) for column in (3, 4, 5))
    written = legible(evaluation.class_names)
    notes = [f"{whole_percent(row[3])} ({row[2]:.4g} of {row[1]:,})" for row in drawn]
    names = [written[row[6] - 1] for row in drawn]
    figure, axes = bars_of_classes("Top-1 error", places, rates.tolist(), names, notes, colors)
    whiskers = np.maximum(0, (rates - lows, highs - rates))
    axes.errorbar(rates, places, xerr=whiskers, fmt="none", ecolor=colors.training, capsize=3, elinewidth=1.3)
    axes.axvline(evaluation.top1_error, color=colors.muted, linewidth=1, linestyle=DOTS)
    reach = min(1.0, math.ceil(10 * max(row[5] for row in rows)) / 10)
    axes.set_xlim(0, reach)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if hidden:
        behind = {"facecolor": colors.background, "edgecolor": "none", "pad": 1.5}
        gap = f"… {counted(hidden, 'more class', 'more classes')} between these …"
        write(axes, 0.01 * reach, half, gap, colors.muted, NORMAL, style="italic", bbox=behind)
    columns = ("class", "images", "errors", "top1_error", "lower", "upper", "class_number")
    classes = counted(len(evaluation.class_names), "class", "classes")
    empty = len(evaluation.class_names) - len(rows)
    without = f" Without images here, and left out: {empty:,} of {classes}." if empty else ""
    return Drawing(
        name="class-errors",
        figure=figure,
        numbers=columns_of(columns, rows),
        title="Error by class",
        caption=(
            "Share of each class's images whose most probable class is another one, worst first; the dotted line is "
            "the error over all images. The whiskers are 95 % intervals: with few images they are long, and classes "
            f"whose whiskers overlap cannot be put in order.{without}"
            + explain_stand_ins(evaluation.class_names, [row[6] - 1 for row in shown if row])
        ),
    )


def bars_of_classes(
    title: str, places: Sequence[int], rates: Sequence[float], names: Sequence[str], notes: Sequence[str], colors: Theme
) -> tuple[Figure, Axes]:
    """Return axes with a bar for each class at its place, counted from the top, between its name and a note."""
    lines = places[-1] + 1
    figure = new_figure(WIDTH_IN, 0.34 + 0.245 * lines, colors)
    axes = figure.subplots()
    axes.barh(places, rates, height=0.68, color=colors.bar)
    axes.set(xlim=(0, 1), ylim=(lines - 0.5, -0.5))
    show_percents(axes.xaxis)
    axes.tick_params(top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    fitted = [fit(figure, name, 2.6, size=NORMAL) for name in names]
    axes.set_yticks(places, fitted, color=colors.ink, fontsize=NORMAL)
    axes.set_title(title, loc="left", fontsize=NORMAL, x=-0.035, y=1, pad=5, ha="right")
    beside = axes.secondary_yaxis(1.02)
    beside.set_yticks(places, notes)
    beside.spines[:].set_visible(False)
    beside.tick_params(labelright=True, labelleft=False, left=False, right=False)
    return figure, axes


def whole_percent(rate: float) -> str:
    """Return a fraction in whole percents, but never 0 or 100 for what is not quite that."""
    if not math.isfinite(rate):
        return "–"
    if 0 < rate < 0.005:
        return "< 1 %"
    if 0.995 <= rate < 1:
        return "> 99 %"
    return f"{100 * rate:.0f} %"


def _letter(tower: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[tower] if tower < 26 else str(tower + 1)


def _signed(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")
