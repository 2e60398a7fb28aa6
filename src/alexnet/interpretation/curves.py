"""Learning curves: what a run recorded after each epoch, alone or beside other runs."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from alexnet.errors import ConfigError
from alexnet.interpretation.drawing import (
    NORMAL,
    WIDTH_IN,
    Drawing,
    fit,
    label_lines,
    new_figure,
    show_percents,
    styled,
)
from alexnet.pages.themes import Theme, ThemeName, find_theme
from alexnet.text.wording import counted

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
    k = re.sub(r"\D", "", topk or "")
    has_sets = any("train_set_error" in row for row in history)
    losses: list[tuple[str, str, str, Any]] = [
        ("training", "train_loss", colors.training, "-"),
        ("validation", "val_loss", colors.validation, "-"),
    ]
    if has_sets:
        titles = ("Loss (sum over the classes, nats)", "Set error, mean AP")
        errors: list[tuple[str, str, str, Any]] = [
            ("training set error", "train_set_error", colors.training, "-"),
            ("validation set error", "val_set_error", colors.validation, "-"),
            ("validation mean AP", "val_mean_average_precision", colors.validation, _DASHES),
        ]
    else:
        titles = ("Loss (cross-entropy, nats)", "Error")
        errors = [
            ("training top-1", "train_top1_error", colors.training, "-"),
            ("validation top-1", "val_top1_error", colors.validation, "-"),
            *([(f"validation top-{k}", topk, colors.validation, _DASHES)] if topk else []),
        ]
    names = ["learning_rate", *(name for _, name, _, _ in losses + errors)]
    numbers: dict[str, list[Any]] = {"epoch": epochs, **{name: [row.get(name) for row in history] for name in names}}
    drops = find_rate_drops(history)
    numbers["rate_dropped_by"] = [drops.get(epoch) for epoch in epochs]

    last = max(epochs, default=1)
    chance = math.log(num_classes) if num_classes and not has_sets else None
    figure = new_figure(WIDTH_IN, 3.6, colors)
    for axes, title, lines in zip(figure.subplots(1, 2), titles, (losses, errors), strict=True):
        is_rate = lines is errors
        guess = None if is_rate else chance
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
    rises = ", and the mean average precision rise" if has_sets else ""
    return Drawing(
        name="curves",
        figure=figure,
        numbers=numbers,
        title="Learning curves",
        caption=(
            f"Loss and error after each epoch; both should fall{rises}. When the validation lines turn up while the "
            "training lines still fall, the network is memorising. Training values are measured on distorted images "
            "with dropout on, so they may lie above the validation values."
            + (f" The dotted line is the loss of guessing, ln {num_classes}." if chance is not None else "")
            + (
                " The set error counts images whose classes, those above one half, are not told exactly."
                if has_sets
                else ""
            )
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


_DASHES = (0, (3, 2))
_PANELS = (
    ("Loss (cross-entropy, nats)", "val_loss", "train_loss", False),
    ("Top-1 error", "val_top1_error", "train_top1_error", True),
)
"""Title, line of validation, line of training, whether it is a rate."""
_SET_PANELS = (
    ("Loss (sum over the classes, nats)", "val_loss", "train_loss", False),
    ("Set error", "val_set_error", "train_set_error", True),
)
"""The same of runs on images with any number of labels."""


@styled
def draw_runs(histories: Mapping[str, Sequence[Mapping[str, Any]]], theme: ThemeName = "light") -> Drawing:
    """Loss and top-1 error of several runs over epochs, with a key that has the best epoch of each.

    Args:
        histories: Name of a run -> its rows, one per epoch, as a run records them; validation may be missing.
    Raises:
        ConfigError: there are no runs.
    """
    if not histories:
        raise ConfigError("there are no runs to draw.")
    kinds = {"train_set_error" in row for rows in histories.values() for row in rows[:1]}
    if len(kinds) > 1:
        raise ConfigError(
            "some of these runs name one class for a picture, others any number of them; their errors are not the same "
            "thing. Draw runs of one kind together."
        )
    has_sets = kinds == {True}
    panels = _SET_PANELS if has_sets else _PANELS
    colors = find_theme(theme)
    hues = [colors.runs[index % len(colors.runs)] for index in range(len(histories))]
    figure = new_figure(WIDTH_IN, 3.7 + 0.22 * len(histories), colors)
    last = max((int(row["epoch"]) for rows in histories.values() for row in rows), default=1)
    for axes, (title, validation, training, is_rate) in zip(figure.subplots(1, 2), panels, strict=True):
        every = [row.get(name) for rows in histories.values() for row in rows for name in (validation, training)]
        set_up_axes(axes, title, last, finite_values(every), is_rate=is_rate)
        ends = []
        for number, (rows, hue) in enumerate(zip(histories.values(), hues, strict=True), start=1):
            epochs = [int(row["epoch"]) for row in rows]
            end = None
            for name, style in ((training, {"linestyle": _DASHES, "linewidth": 1.0}), (validation, {})):
                values = [row.get(name) for row in rows]
                end = plot_values(axes, epochs, values, dots=1, color=hue, **style) or end
            if end:
                ends.append((str(number), end, hue))
        label_lines(axes, ends, weight="bold")
    names = [f"{number}   {fit(figure, name, 4.2, size=NORMAL)}" for number, name in enumerate(histories, start=1)]
    figure.legend(
        [Line2D([], [], color=hue) for hue in hues],
        [f"{name}: {_describe(rows)}" for name, rows in zip(names, histories.values(), strict=True)],
        loc="outside lower left",
    )
    columns = ("epoch", "learning_rate", *(name for _, *names, _ in panels for name in reversed(names)))
    flat = [(name, row) for name, rows in histories.items() for row in rows]
    return Drawing(
        name="curves",
        figure=figure,
        numbers={
            "run": [name for name, _ in flat],
            **{column: [row.get(column) for _, row in flat] for column in columns},
        },
        title="Learning curves",
        caption=(
            f"Loss and {panels[1][0].lower()} of {counted(len(histories), 'run')} after each epoch: "
            "validation as a line, training broken. Training values are measured on distorted images with dropout on, "
            "so they may lie above the validation values. Runs can be compared where they were tested on the same "
            "images; one run each says nothing about chance."
        ),
    )


def _describe(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "no epoch has ended yet"
    name = "val_set_error" if "train_set_error" in rows[0] else "val_top1_error"
    tested = [row for row in rows if finite_values([row.get(name)])]
    if not tested:
        return f"{counted(len(rows), 'epoch')}, not tested"
    best = min(tested, key=lambda row: float(row[name]))
    return f"lowest validation error {100 * best[name]:.1f} %, epoch {best['epoch']} of {rows[-1]['epoch']}"
