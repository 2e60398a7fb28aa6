"""The figure of an experiment: a row per variant with every training as a dot, or figure 1's falling curves."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from alexnet.interpretation.drawing import NORMAL, SMALL, WIDTH_IN, Drawing, fit, new_figure, write
from alexnet.pages.themes import Theme, ThemeName, find_theme
from alexnet.reproduction.experiment import TARGET_ERROR, Experiment
from alexnet.reproduction.results import Curve, Outcome, show_difference, show_error

_ROW_IN = 0.42
_NAMES_IN, _FIGURES_IN = 3.0, 2.3


def draw_outcomes(experiment: Experiment, outcomes: Sequence[Outcome], theme: ThemeName = "light") -> Drawing:
    """A row per variant: each training's error as a ring, their mean as a dot, and the difference to the first row."""
    colors = find_theme(theme)
    shown = [outcome for outcome in outcomes if outcome.values]
    height = 1.05 + _ROW_IN * len(outcomes)
    figure = new_figure(WIDTH_IN, height, colors)
    left, width = _NAMES_IN / WIDTH_IN, 1 - (_NAMES_IN + _FIGURES_IN) / WIDTH_IN
    axes = figure.add_axes((left, 0.55 / height, width, _ROW_IN * len(outcomes) / height))
    values = [value for outcome in shown for value in outcome.values]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max(0.15 * (high - low), 0.015)  # a few tenths of a point, within the noise, do not fill the figure
    _set_up(axes, experiment.title, low - room, high + room, len(outcomes), colors)
    for row, outcome in enumerate(outcomes):
        name = fit(figure, outcome.variant, _NAMES_IN - 0.2, size=NORMAL)
        write(axes, -0.02, row, name, colors.ink, NORMAL, align="right", transform=axes.get_yaxis_transform())
        axes.axhline(row, color=colors.rule, linewidth=0.8, zorder=0)
        color = colors.training if row == 0 else colors.validation
        axes.plot(outcome.values, [row] * len(outcome.values), "o", color=color, markerfacecolor="none", markersize=6)
        if outcome.mean is not None:
            axes.plot([outcome.mean], [row], "o", color=color, markersize=4)
        text = show_error(outcome.mean) if outcome.values else "not run"
        if outcome.difference is not None:
            text += "   " + show_difference(outcome)
        write(axes, 1.03, row, text, colors.ink, NORMAL, transform=axes.get_yaxis_transform())
    return Drawing(
        name=experiment.name,
        figure=figure,
        numbers={
            "variant": [outcome.variant for outcome in outcomes for _ in outcome.values],
            "seed": [seed for outcome in outcomes for seed in _seeds_of_values(outcome)],
            "top1_error": [value for outcome in outcomes for value in outcome.values],
        },
        title=experiment.title,
        caption=(
            "Top-1 error on the validation images: a ring for each training, a dot for their mean. On the right the "
            "mean and its difference to the first row in percentage points, with the 95 % interval over images."
        ),
    )


def _seeds_of_values(outcome: Outcome) -> list[str]:
    """Return the seed behind each value; behind an average there are several."""
    if len(outcome.values) == len(outcome.seeds):
        return [str(seed) for seed in outcome.seeds]
    return [" ".join(map(str, outcome.seeds))] * len(outcome.values)


def draw_training_errors(experiment: Experiment, curves: Sequence[Curve], theme: ThemeName = "light") -> Drawing:
    """Figure 1: the training error over epochs, solid for the first variant and dashed for the others, every choice."""
    colors = find_theme(theme)
    figure = new_figure(WIDTH_IN, 4.2, colors)
    axes = figure.add_axes((0.07, 0.13, 0.68, 0.72))
    last = max((len(curve.errors) for curve in curves), default=1)
    axes.set(xlim=(0, last), ylim=(0, max([0.8, *(error for curve in curves for error in curve.errors)])))
    _plain(axes, colors)
    write(axes, 0, 1.07, experiment.title, colors.ink, NORMAL + 2, weight="bold", transform=axes.transAxes)
    axes.axhline(TARGET_ERROR, color=colors.muted, linewidth=1, linestyle=(0, (1, 2.5)))
    below = axes.get_xaxis_transform()
    for epoch in [tick for tick in MaxNLocator(8, integer=True).tick_values(0, last) if 0 <= tick <= last]:
        write(axes, epoch, -0.06, f"{epoch:.0f}", colors.muted, align="center", transform=below)
    for level in (0.0, 0.25, 0.5, 0.75):
        write(
            axes,
            -0.012,
            level,
            f"{100 * level:.0f} %",
            colors.muted,
            align="right",
            transform=axes.get_yaxis_transform(),
        )
    write(axes, 0.5, -0.14, "epochs", colors.muted, align="center", transform=axes.transAxes)
    names = [variant.name for variant in experiment.variants]
    places = _spread([(len(curve.errors) - 0.5 + 0.01 * last, curve.errors[-1]) for curve in curves], 0.12 * last)
    for curve, place in zip(curves, places, strict=True):
        errors, first = curve.errors, curve.variant == names[0]
        color = colors.training if first else colors.validation
        points = [position + 0.5 for position in range(len(errors))]
        axes.plot(points, errors, color=color, linestyle="-" if first else (0, (4, 2)), linewidth=1.4)
        write(axes, *place, f"{curve.variant} {curve.choice}", color, SMALL)
    return Drawing(
        name=experiment.name,
        figure=figure,
        numbers={
            "variant": [curve.variant for curve in curves for _ in curve.errors],
            "choice": [curve.choice for curve in curves for _ in curve.errors],
            "epoch": [epoch + 1 for curve in curves for epoch in range(len(curve.errors))],
            "train_top1_error": [error for curve in curves for error in curve.errors],
        },
        title=experiment.title,
        caption=(
            "Training error, a mean over each epoch, at every learning rate that was tried (seed 0). The dotted line "
            "is 25 %, where a training ends."
        ),
    )


def _spread(places: Sequence[tuple[float, float]], width: float, height: float = 0.035) -> list[tuple[float, float]]:
    """Move names down, the highest first, until none lies over another; in the order given."""
    settled: dict[int, tuple[float, float]] = {}
    for number in sorted(range(len(places)), key=lambda number: -places[number][1]):
        x, y = places[number]
        while any(abs(x - other) < width and abs(y - taken) < height - 1e-9 for other, taken in settled.values()):
            y -= height / 4
        settled[number] = (x, y)
    return [settled[number] for number in range(len(places))]


def _set_up(axes: Axes, title: str, low: float, high: float, rows: int, colors: Theme) -> None:
    axes.set(xlim=(low, high), ylim=(rows - 0.5, -0.5))
    _plain(axes, colors)
    above: Any = axes.transAxes
    write(axes, 0, 1.0 + 0.45 / (_ROW_IN * rows), title, colors.ink, NORMAL + 2, weight="bold", transform=above)
    below = axes.get_xaxis_transform()
    for value in MaxNLocator(5).tick_values(low, high):
        if low <= value <= high:
            axes.axvline(value, color=colors.rule, linewidth=0.8, zorder=0)
            place = -0.25 / (_ROW_IN * rows)
            write(axes, value, place, f"{100 * value:.4g} %", colors.muted, align="center", transform=below)


def _plain(axes: Axes, colors: Theme) -> None:
    axes.set_facecolor("none")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(colors.muted)
    axes.set(xticks=[], yticks=[])
