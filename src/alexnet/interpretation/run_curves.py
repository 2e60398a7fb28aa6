"""Learning curves of several runs beside each other; of a single one, see curves.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D

from alexnet.errors import ConfigError
from alexnet.interpretation.curves import finite_values, plot_values, set_up_axes
from alexnet.interpretation.drawing import NORMAL, WIDTH_IN, Drawing, fit, label_lines, new_figure, styled
from alexnet.pages.themes import ThemeName, find_theme
from alexnet.text.wording import counted

_DASHES = (0, (3, 2))
_PANELS = (
    ("Loss (cross-entropy, nats)", "val_loss", "train_loss", False),
    ("Top-1 error", "val_top1_error", "train_top1_error", True),
)
"""Title, line of validation, line of training, whether it is a rate."""


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
    colors = find_theme(theme)
    hues = [colors.runs[index % len(colors.runs)] for index in range(len(histories))]
    figure = new_figure(WIDTH_IN, 3.7 + 0.22 * len(histories), colors)
    last = max((int(row["epoch"]) for rows in histories.values() for row in rows), default=1)
    for axes, (title, validation, training, is_rate) in zip(figure.subplots(1, 2), _PANELS, strict=True):
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
    columns = ("epoch", "learning_rate", "train_loss", "val_loss", "train_top1_error", "val_top1_error")
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
            f"Loss and top-1 error of {counted(len(histories), 'run')} after each epoch: validation as a line, "
            "training broken. Training values are measured on distorted images with dropout on, so they may lie above "
            "the validation values. Runs can be compared where they were tested on the same images; one run each says "
            "nothing about chance."
        ),
    )


def _describe(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "no epoch has ended yet"
    tested = [row for row in rows if finite_values([row.get("val_top1_error")])]
    if not tested:
        return f"{counted(len(rows), 'epoch')}, not tested"
    best = min(tested, key=lambda row: float(row["val_top1_error"]))
    return f"lowest validation error {100 * best['val_top1_error']:.1f} %, epoch {best['epoch']} of {rows[-1]['epoch']}"
