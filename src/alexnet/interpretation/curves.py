"""Learning curves: what a run recorded after each epoch."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from alexnet.interpretation.drawing import WIDTH_IN, Drawing, label_lines, new_figure, show_percents, styled
from alexnet.pages.themes import Theme, ThemeName, find_theme

DROP_FACTOR = 2.0
"""A learning rate that falls by this factor between two epochs was dropped."""
_DASHES, DOTS = (0, (4, 2)), (0, (1, 2.5))


@styled
def draw_curves(
    history: Sequence[Mapping[str, Any]], theme: ThemeName = "light", *, num_classes: int | None = None
) -> Drawing:
    """Learning curves: loss on the left, errors on the right, over epochs.

    Args:
        history: One row per epoch, as a run records them; validation may be missing from some.
        num_classes: Where given, the loss of guessing is marked.
    """
    colors = find_theme(theme)
    epochs = [int(row["epoch"]) for row in history]
    topk = find_topk(history)
    names = ["learning_rate", "train_loss", "val_loss", "train_top1_error", "val_top1_error", *filter(None, [topk])]
    numbers: dict[str, list[Any]] = {"epoch": epochs}
    numbers |= {name: [row.get(name) for row in history] for name in names}
    drops = find_rate_drops(history)
    numbers["rate_dropped_by"] = [drops.get(epoch) for epoch in epochs]

    last = max(epochs, default=1)
    chance = math.log(num_classes) if num_classes else None
    k = re.sub(r"\D", "", topk or "")
    figure = new_figure(WIDTH_IN, 3.6, colors)
    left, right = figure.subplots(1, 2)
    losses = [("training", "train_loss", colors.training, "-"), ("validation", "val_loss", colors.validation, "-")]
    errors: list[tuple[str, str, str, Any]] = [
        ("training top-1", "train_top1_error", colors.training, "-"),
        ("validation top-1", "val_top1_error", colors.validation, "-"),
        *([(f"validation top-{k}", topk, colors.validation, _DASHES)] if topk else []),
    ]
    for axes, title, lines in ((left, "Loss (cross-entropy, nats)", losses), (right, "Error", errors)):
        is_rate, guess = axes is right, None if axes is right else chance
        values = finite_values(*(numbers[name] for _, name, _, _ in lines), [guess])
        set_up_axes(axes, title, last, values, is_rate=is_rate)
        labels = [] if guess is None else [(f"guessing: {guess:.2f}", (last, guess), colors.muted)]
        if guess is not None:
            axes.axhline(guess, color=colors.muted, linewidth=1, linestyle=DOTS)
        for label, name, color, dashes in lines:
            if end := plot_values(axes, epochs, numbers[name], color=color, linestyle=dashes):
                labels.append((label, (last, end[1]), color))
        label_lines(axes, labels)
        _mark_drops(axes, drops, colors)
        if not history:
            axes.text(0.5, 0.5, "no epoch has ended yet", color=colors.muted, ha="center", transform=axes.transAxes)
    return Drawing(
        name="curves",
        figure=figure,
        numbers=numbers,
        title="Learning curves",
        caption=(
            "Loss and error after each epoch; both should fall. When the validation lines turn up while the training "
            "lines still fall, the network is memorising. Training values are measured on distorted images with "
            "dropout on, so they may lie above the validation values."
            + (f" The dotted line is the loss of guessing, ln {num_classes}." if num_classes else "")
            + (f" Top-{k} counts an image as wrong if its class is not among the {k} most probable." if topk else "")
            + (" Upright lines mark where the learning rate was lowered." if drops else "")
        ),
    )


def find_topk(history: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the name under which the top-k error is recorded, k above 1; None if it is not."""
    names = (name for row in history for name in row)
    return next((name for name in names if re.fullmatch(r"val_top(?!1_)\d+_error", name)), None)


def find_rate_drops(history: Sequence[Mapping[str, Any]]) -> dict[int, float | None]:
    """Return the epochs after which the learning rate was dropped, with the factor (None where it is not known).

    A drop is one that the schedule's sentence reports, or a fall by DROP_FACTOR or more next to an epoch of constant
    rate; so the smooth end of a cosine is none.
    """
    rates = [float(row.get("learning_rate") or 0) for row in history]
    factors = [before / after if before and after else None for before, after in itertools.pairwise(rates)]
    drops: dict[int, float | None] = {}
    for index, row in enumerate(history):
        factor = factors[index] if index < len(factors) else None
        beside = [factors[i] for i in (index - 1, index + 1) if 0 <= i < len(factors)]
        steady = any(other and math.isclose(other, 1, rel_tol=0.01) for other in beside)
        if "divided" in str(row.get("schedule", "")) or (factor and factor >= DROP_FACTOR and steady):
            drops[int(row["epoch"])] = factor
    return drops


def set_up_axes(axes: Axes, title: str, last_epoch: int, values: Sequence[float], *, is_rate: bool) -> None:
    """Give axes a title, and scales from 0 to the last epoch and to a little above the highest of the values."""
    top = 1.06 * max(values, default=1.0)
    axes.set(title=title, xlim=(0, last_epoch), ylim=(0, (min(1.0, top) if is_rate else top) or 0.05), xlabel="epochs")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if is_rate:
        show_percents(axes.yaxis)


def plot_values(
    axes: Axes, xs: Sequence[int], values: Sequence[Any], *, dots: int = 12, **style: Any
) -> tuple[float, float] | None:
    """Plot a line through the values that are numbers, with dots if no more than `dots`; return its last point."""
    points = [(x, float(y)) for x, y in zip(xs, values, strict=True) if finite_values([y])]
    if not points:
        return None
    axes.plot(*zip(*points, strict=True), marker="o" if len(points) <= dots else None, clip_on=False, **style)
    return points[-1]


def _mark_drops(axes: Axes, drops: Mapping[int, float | None], colors: Theme) -> None:
    previous, above = -math.inf, axes.get_xaxis_transform()
    for epoch, factor in drops.items():
        axes.axvline(epoch, color=colors.muted, linewidth=0.6, alpha=0.7, zorder=1)
        if factor and epoch - previous > 0.16 * axes.get_xlim()[1]:
            axes.text(epoch, 1.02, f"rate ÷ {factor:.3g}", color=colors.muted, ha="center", transform=above)
            previous = epoch


def finite_values(*columns: Sequence[Any]) -> list[float]:
    """Return the values that are numbers."""
    values = (value for column in columns for value in column)
    return [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
