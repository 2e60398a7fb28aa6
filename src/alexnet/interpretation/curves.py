"""Learning curves: what a run recorded after each epoch."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from alexnet.interpretation.drawing import NORMAL, SMALL, WIDTH_IN, Drawing, new_figure, write
from alexnet.pages.themes import Theme, ThemeName, find_theme

DROP_FACTOR = 2.0
"""A learning rate that falls by this factor between two epochs was dropped."""
_DASHES, _DOTS = (0, (4, 2)), (0, (1, 2.5))


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

    figure = new_figure(WIDTH_IN, 3.6, colors)
    last = max(epochs, default=1)
    chance = math.log(num_classes) if num_classes else None
    losses = finite_values(*(numbers[name] for name in ("train_loss", "val_loss")))
    left = figure.add_axes((0.045, 0.13, 0.355, 0.70))
    set_up_axes(left, "Loss (cross-entropy, nats)", last, 1.06 * max([*losses, chance or 0.0]) or 1.0, colors)
    notes = []
    if chance is not None:
        left.axhline(chance, color=colors.muted, linewidth=1, linestyle=_DOTS)
        notes = [(f"guessing: {chance:.2f}", chance, colors.muted)]
    loss_lines = [
        ("training", numbers["train_loss"], colors.training, "-"),
        ("validation", numbers["val_loss"], colors.validation, "-"),
    ]
    _plot_lines(left, epochs, loss_lines, notes)

    error_lines: list[tuple[str, Sequence[Any], str, Any]] = [
        ("training top-1", numbers["train_top1_error"], colors.training, "-"),
        ("validation top-1", numbers["val_top1_error"], colors.validation, "-"),
    ]
    k = re.sub(r"\D", "", topk or "")
    if topk:
        error_lines.append((f"validation top-{k}", numbers[topk], colors.validation, _DASHES))
    errors = finite_values(*(values for _, values, _, _ in error_lines))
    right = figure.add_axes((0.55, 0.13, 0.335, 0.70))
    set_up_axes(right, "Error", last, min(1.0, 1.06 * max(errors, default=1.0)) or 0.05, colors, percent=True)
    _plot_lines(right, epochs, error_lines)
    for axes in (left, right):
        _mark_drops(axes, drops, last, colors)
        if not history:
            middle = axes.transAxes
            write(axes, 0.5, 0.5, "no epoch has ended yet", colors.muted, NORMAL, align="center", transform=middle)
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


def spread_apart(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return the positions moved so that none is closer than `gap` to another.

    They keep their order, and stay within [low, high] if they fit there.
    """
    order = np.argsort(np.asarray(positions, dtype=float), kind="stable")
    placed = [0.0] * len(order)
    floor = low
    for index in order:
        placed[index] = floor = max(positions[index], floor)
        floor += gap
    ceiling = high
    for index in reversed(order):
        placed[index] = ceiling = min(placed[index], ceiling)
        ceiling -= gap
    return placed


def set_up_axes(axes: Axes, title: str, last_epoch: int, top: float, colors: Theme, *, percent: bool = False) -> None:
    """Give axes a title, and scales from 0 to the last epoch and to `top`."""
    axes.set_facecolor("none")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(colors.muted)
    axes.set(xlim=(0, last_epoch), ylim=(0, top), yticks=[])
    write(axes, 0, 1.17, title, colors.ink, NORMAL + 2, weight="bold", transform=axes.transAxes)
    epochs = MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]).tick_values(0, last_epoch)
    axes.set_xticks([epoch for epoch in epochs if 0 <= epoch <= last_epoch], [])
    axes.tick_params(length=3, color=colors.muted)
    for epoch in axes.get_xticks():
        below = axes.get_xaxis_transform()
        write(axes, epoch, -0.055, f"{epoch:.0f}", colors.muted, align="center", transform=below)
    write(axes, 0.5, -0.135, "epochs", colors.muted, align="center", transform=axes.transAxes)
    steps = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, top)
    for step in (float(value) for value in steps if 0 <= value <= top):
        axes.axhline(step, color=colors.rule, linewidth=0.8, zorder=0)
        text = f"{100 * step:.4g} %" if percent else f"{step:.4g}"
        write(axes, -0.015, step, text, colors.muted, align="right", transform=axes.get_yaxis_transform())


def _plot_lines(
    axes: Axes,
    epochs: Sequence[int],
    lines: Sequence[tuple[str, Sequence[Any], str, Any]],
    notes: Sequence[tuple[str, float, str]] = (),
) -> None:
    """Plot each line where it has values, and write its name beside its end; notes are names at other heights."""
    ends = list(notes)
    for label, values, color, dashes in lines:
        points = [(x, y) for x, y in zip(epochs, values, strict=True) if finite_values([y])]
        if not points:
            continue
        xs, ys = zip(*points, strict=True)
        marker = "o" if len(points) <= 12 else None
        axes.plot(xs, ys, color=color, linestyle=dashes, linewidth=1.8, marker=marker, markersize=3.6, clip_on=False)
        ends.append((label, ys[-1], color))
    low, high = axes.get_ylim()
    places = spread_apart([y for _, y, _ in ends], 0.065 * (high - low), low, high)
    for (label, _, color), place in zip(ends, places, strict=True):
        write(axes, 1.025, place, label, color, NORMAL, transform=axes.get_yaxis_transform())


def _mark_drops(axes: Axes, drops: Mapping[int, float | None], last_epoch: int, colors: Theme) -> None:
    previous = -math.inf
    for epoch, factor in drops.items():
        axes.axvline(epoch, color=colors.muted, linewidth=0.6, alpha=0.7, zorder=1)
        if factor and epoch - previous > 0.16 * last_epoch:
            above = axes.get_xaxis_transform()
            write(
                axes, epoch, 1.045, f"rate ÷ {factor:.3g}", colors.muted, SMALL - 0.5, align="center", transform=above
            )
            previous = epoch


def finite_values(*columns: Sequence[Any]) -> list[float]:
    """Return the values that are numbers."""
    values = (value for column in columns for value in column)
    return [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
