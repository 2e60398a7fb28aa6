"""The figure of an experiment: a row per variant with every training as a dot, or figure 1's falling curves."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from alexnet.interpretation.curves import DOTS
from alexnet.interpretation.drawing import (
    NORMAL,
    SMALL,
    WIDTH_IN,
    Drawing,
    fit,
    new_figure,
    show_percents,
    styled,
    write,
)
from alexnet.pages.themes import ThemeName, find_theme
from alexnet.reproduction.contrasts import SMALLEST_OF_INTEREST, Contrast
from alexnet.reproduction.experiments import TARGET_ERROR, Experiment
from alexnet.reproduction.results import Curve, Outcome
from alexnet.reproduction.tabulation import show_error, show_interval, show_points

_ROW_IN = 0.42
_NAMES_IN = 2.8


@styled
def draw_outcomes(
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    theme: ThemeName = "light",
    *,
    contrasts: Sequence[Contrast] = (),
) -> Drawing:
    """A row per variant: each training's error as a ring, their mean as a dot, and the difference to the first row."""
    colors = find_theme(theme)
    of = {contrast.variant: contrast for contrast in contrasts}
    shown = [outcome for outcome in outcomes if outcome.values]
    figure = new_figure(WIDTH_IN, 0.9 + _ROW_IN * len(outcomes), colors)
    axes = figure.subplots()
    values = [value for outcome in shown for value in outcome.values]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max(0.15 * (high - low), 0.015)  # a few tenths of a point, within the noise, do not fill the figure
    axes.set(xlim=(low - room, high + room), ylim=(len(outcomes) - 0.5, -0.5), title=experiment.title)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    show_percents(axes.xaxis)
    axes.grid(visible=True, axis="both")
    names = [fit(figure, outcome.variant, _NAMES_IN, size=NORMAL) for outcome in outcomes]
    axes.set_yticks(range(len(outcomes)), names, color=colors.ink, fontsize=NORMAL)
    for row, outcome in enumerate(outcomes):
        color = colors.training if row == 0 else colors.validation
        axes.plot(outcome.values, [row] * len(outcome.values), "o", color=color, markerfacecolor="none", markersize=6)
        if outcome.mean is not None:
            axes.plot([outcome.mean], [row], "o", color=color, markersize=4)
    notes = axes.secondary_yaxis(1.03)
    texts = [_describe(outcome, of.get(outcome.variant)) for outcome in outcomes]
    notes.set_yticks(range(len(outcomes)), texts, color=colors.ink, fontsize=NORMAL)
    notes.spines[:].set_visible(False)
    notes.tick_params(labelright=True, labelleft=False)
    return Drawing(
        name=experiment.name,
        figure=figure,
        numbers={
            "variant": [outcome.variant for outcome in outcomes for _ in outcome.values],
            "seed": [" ".join(map(str, seeds)) for outcome in outcomes for seeds in outcome.seeds_of_values],
            "top1_error": [value for outcome in outcomes for value in outcome.values],
        },
        title=experiment.title,
        caption=(
            "Top-1 error on the validation images: a ring for each training, a dot for their mean. On the right the "
            "mean, and the difference to the first row over the same seeds in percentage points, with its 95 % "
            "interval over images and seeds where the spread over seeds is known."
        ),
    )


def _describe(outcome: Outcome, contrast: Contrast | None) -> str:
    error = show_error(outcome.mean) if outcome.values else "not run"
    if contrast is None:
        return error
    interval = f" [{show_interval(contrast.both.interval)}]" if contrast.both else ""
    return f"{error}   {show_points(contrast.difference)}{interval}"


@styled
def draw_contrasts(contrasts: Sequence[Contrast], title: str, theme: ThemeName = "light") -> Drawing:
    """A row per contrast: its difference as a dot, its 95 % interval over images and seeds as a line.

    Contrasts without such an interval are left out; filled dots are those with a verdict.
    """
    colors = find_theme(theme)
    shown = [each for each in contrasts if each.both]
    figure = new_figure(WIDTH_IN, 0.9 + 0.26 * len(shown), colors)
    axes = figure.subplots()
    axes.set(ylim=(len(shown) - 0.5, -0.5), title=title, xlabel="difference in top-1 error, percentage points")
    axes.grid(visible=True, axis="x")
    axes.axvline(0, color=colors.muted, linewidth=1)
    axes.axvspan(-100 * SMALLEST_OF_INTEREST, 100 * SMALLEST_OF_INTEREST, color=colors.muted, alpha=0.15, linewidth=0)
    names = [fit(figure, each.variant, _NAMES_IN, size=SMALL) for each in shown]
    axes.set_yticks(range(len(shown)), names, color=colors.ink, fontsize=SMALL)
    for row, each in enumerate(shown):
        assert each.both is not None
        decided = each.verdict in ("higher", "lower")
        color = colors.training if decided else colors.validation
        axes.plot([100 * end for end in each.both.interval], [row, row], color=color, linewidth=1.4)
        axes.plot(
            [100 * each.difference], [row], "o", color=color, markersize=5, markerfacecolor=None if decided else "none"
        )
    return Drawing(
        name="verdicts",
        figure=figure,
        numbers={
            "variant": [each.variant for each in shown],
            "against": [each.against for each in shown],
            "difference": [each.difference for each in shown],
            "low": [each.both.interval[0] for each in shown if each.both],
            "high": [each.both.interval[1] for each in shown if each.both],
        },
        title=title,
        caption="Differences in top-1 error with 95 % intervals over images and seeds; filled: higher or lower by the "
        "rule. The band is smaller than the smallest difference of interest.",
    )


@styled
def draw_training_errors(experiment: Experiment, curves: Sequence[Curve], theme: ThemeName = "light") -> Drawing:
    """Figure 1: the training error over epochs, solid for the first variant and dashed for the others, every choice."""
    colors = find_theme(theme)
    figure = new_figure(WIDTH_IN, 4.2, colors)
    axes = figure.subplots()
    last = max((len(curve.errors) for curve in curves), default=1)
    top = max([0.8, *(error for curve in curves for error in curve.errors)])
    axes.set(xlim=(0, last), ylim=(0, top), xlabel="epochs", title=experiment.title, yticks=np.arange(4) / 4)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    show_percents(axes.yaxis)
    axes.grid(visible=False)
    axes.axhline(TARGET_ERROR, color=colors.muted, linewidth=1, linestyle=DOTS)
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
