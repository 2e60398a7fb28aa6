"""Learning curves of several runs beside each other; of a single one, see curves.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from alexnet.errors import ConfigError
from alexnet.interpretation.curves import finite_values, set_up_axes, spread_apart
from alexnet.interpretation.drawing import NORMAL, WIDTH_IN, Drawing, bare_axes, fit, new_figure, write
from alexnet.pages.themes import ThemeName, find_theme
from alexnet.text.wording import counted

_DASHES = (0, (3, 2))
_HEIGHT_IN, _GAP_IN, _ROW_IN = 3.6, 0.35, 0.26
_PANELS = (
    ("Loss (cross-entropy, nats)", "val_loss", "train_loss", 0.045, False),
    ("Top-1 error", "val_top1_error", "train_top1_error", 0.54, True),
)
"""Title, line of validation, line of training, left edge as a fraction of the width, whether it is a rate."""


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
    height_in = _HEIGHT_IN + _GAP_IN + _ROW_IN * len(histories)
    figure = new_figure(WIDTH_IN, height_in, colors)
    last = max((int(row["epoch"]) for rows in histories.values() for row in rows), default=1)
    for title, validation, training, left, is_rate in _PANELS:
        values = finite_values(
            [row.get(name) for rows in histories.values() for row in rows for name in (validation, training)]
        )
        top = 1.06 * max(values, default=1.0)
        bottom = 1 - 0.87 * _HEIGHT_IN / height_in
        axes = figure.add_axes((left, bottom, 0.41, 0.70 * _HEIGHT_IN / height_in))
        set_up_axes(axes, title, last, (min(1.0, top) if is_rate else top) or 0.05, colors, percent=is_rate)
        ends = []
        for number, (rows, hue) in enumerate(zip(histories.values(), hues, strict=True), start=1):
            end = None
            for name, dashes, width in ((training, _DASHES, 1.0), (validation, "-", 1.8)):
                points = [(int(row["epoch"]), float(row[name])) for row in rows if finite_values([row.get(name)])]
                if points:
                    xs, ys = zip(*points, strict=True)
                    marker = "o" if len(points) == 1 else None
                    axes.plot(
                        xs,
                        ys,
                        color=hue,
                        linestyle=dashes,
                        linewidth=width,
                        marker=marker,
                        markersize=3.6,
                        clip_on=False,
                    )
                    end = points[-1]
            if end:
                ends.append((str(number), *end, hue))
        low, high = axes.get_ylim()
        places = spread_apart([y for _, _, y, _ in ends], 0.065 * (high - low), low, high)
        for (number_text, x, _, hue), place in zip(ends, places, strict=True):
            write(axes, x + 0.02 * last, place, number_text, hue, NORMAL, weight="bold")

    key = bare_axes(figure, 0, _HEIGHT_IN + _GAP_IN - 0.1, WIDTH_IN, _ROW_IN * len(histories))
    key.set(xlim=(0, WIDTH_IN), ylim=(len(histories), 0))
    for index, ((name, rows), hue) in enumerate(zip(histories.items(), hues, strict=True)):
        note = _describe(rows)
        write(key, 0.43, index + 0.5, str(index + 1), hue, NORMAL, weight="bold", align="right")
        key.plot([0.53, 0.83], [index + 0.5] * 2, color=hue, linewidth=1.8)
        write(key, 0.93, index + 0.5, fit(figure, name, 4.2, size=NORMAL), colors.ink, NORMAL)
        write(key, 5.2, index + 0.5, note, colors.muted, NORMAL)
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
