"""What every figure shares: the `Drawing` that a figure function returns, its two themes, its text, and its files.

Figures are made with `matplotlib.figure.Figure` alone: no pyplot, no window, no settings left behind.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.files.writing import write_bytes
from alexnet.interpretation.fonts import families, missing_glyphs_drawn_as_boxes
from alexnet.text.names import escape_controls, escape_name

ThemeName = Literal["light", "dark"]
Format = Literal["png", "svg", "webp", "csv"]
Value = str | int | float | None
P = ParamSpec("P")

WIDTH_IN = 9.6
"""Width of a figure without its margin; at SCREEN_DPI it is 960 pixels, the column of the report."""
MARGIN_IN = 0.15
"""Added on every side when a figure is rendered."""
SMALL, NORMAL, LARGE = 8.5, 9.0, 10.5
"""Sizes of text in points."""
SCREEN_DPI = 100
PNG_DPI = 2 * SCREEN_DPI
"""Sharp on screens with two device pixels per CSS pixel."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by meaning. Pairs that must be told apart differ for all common kinds of colour blindness."""

    background: str
    raised: str
    """Background of tables and code in the report."""
    ink: str
    muted: str
    rule: str
    """Grid lines and borders."""
    training: str
    validation: str
    runs: tuple[str, ...]
    """One for each of several runs; more than these share them."""
    bar: str
    """A class that is not the correct one; `ink` is readable on it."""
    correct_bar: str
    """The correct one: yellow, as red means that something is wrong; its name is bold as well."""
    wrong: str
    on_wrong: str
    """Text on `wrong`."""


THEMES: Mapping[ThemeName, Theme] = {
    "light": Theme(
        background="#ffffff",
        raised="#f5f7f9",
        ink="#1b2027",
        muted="#59636e",
        rule="#dde2e7",
        training="#0b62b0",
        validation="#bf5208",
        runs=("#0b62b0", "#bf5208", "#1b7a3d", "#8a3ab9", "#a8155f", "#6a5d00"),
        bar="#c3d9f0",
        correct_bar="#f2d27a",
        wrong="#b3261e",
        on_wrong="#ffffff",
    ),
    "dark": Theme(
        background="#14171b",
        raised="#1c2026",
        ink="#e8ebee",
        muted="#9da7b2",
        rule="#2e353d",
        training="#6db3f2",
        validation="#f2a65e",
        runs=("#6db3f2", "#f2a65e", "#7fd08f", "#c9a0f0", "#f08ab4", "#d6cf6a"),
        bar="#2c4e76",
        correct_bar="#7a5c10",
        wrong="#f08a80",
        on_wrong="#14171b",
    ),
}


def find_theme(name: str) -> Theme:
    """Return a theme by name.

    Raises:
        ConfigError: no theme has this name.
    """
    for known, theme in THEMES.items():
        if known == name:
            return theme
    raise ConfigError(f"unknown theme {name!r}. Known: {', '.join(THEMES)}.")


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure with the numbers behind it."""

    name: str
    """What it is, as a file name without suffix: "filters"."""
    figure: Figure
    numbers: Mapping[str, Sequence[Value]]
    """Columns of equal length."""
    title: str
    caption: str
    """Plain sentences: what is shown, and what to look for."""
    has_photographs: bool = False
    """As WebP it is then compressed with loss, which nobody sees in photographs and makes it ten times smaller; as PNG
    quickly: a fifth of the time for files that are a sixth larger."""
    _rendered: dict[Format, bytes] = field(default_factory=dict, repr=False, init=False)

    @property
    def num_rows(self) -> int:
        """Rows of its numbers."""
        return len(next(iter(self.numbers.values()), ()))

    def render(self, form: Format) -> bytes:
        """Return the content of its file in this format; the same drawing gives the same bytes."""
        if form not in self._rendered:
            self._rendered[form] = self._csv() if form == "csv" else self._picture(form)
        return self._rendered[form]

    def _picture(self, form: Format) -> bytes:
        buffer = io.BytesIO()
        width, height = self.figure.get_size_inches()
        frame = Bbox([[-MARGIN_IN, -MARGIN_IN], [width + MARGIN_IN, height + MARGIN_IN]])
        every: dict[str, dict[str, Any]] = {
            "png": {
                "metadata": {"Title": self.title, "Software": None},
                "pil_kwargs": {"compress_level": 2} if self.has_photographs else {},
            },
            "svg": {"metadata": {"Title": self.title, "Date": None}},
            "webp": {"pil_kwargs": {"quality": 85, "method": 2} if self.has_photographs else {"lossless": True}},
        }
        # The salt makes the ids in an SVG file repeatable; it is a setting of matplotlib and cannot be passed along.
        with missing_glyphs_drawn_as_boxes(), matplotlib.rc_context({"svg.hashsalt": "alexnet"}):
            self.figure.savefig(
                buffer,
                format=form,
                dpi=PNG_DPI,
                bbox_inches=frame,
                facecolor=self.figure.get_facecolor(),
                **every[form],
            )
        return buffer.getvalue()

    def _csv(self) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.numbers)
        for row in zip(*self.numbers.values(), strict=True):
            writer.writerow(map(_write_value, row))
        return text.getvalue().encode()


class Themed(NamedTuple):
    """One drawing in both themes."""

    light: Drawing
    dark: Drawing


def in_both_themes(draw: Callable[P, Drawing], *args: P.args, **options: P.kwargs) -> Themed:
    """Return what `draw` makes of these arguments in each theme; `theme` is not among them."""
    light, dark = (draw(*args, **{**options, "theme": theme}) for theme in THEMES)  # type: ignore[arg-type]
    return Themed(light, dark)


def save_drawing(
    drawing: Drawing, path_without_suffix: str | Path, *, formats: Sequence[Format] = ("png", "svg", "csv")
) -> list[Path]:
    """Write a drawing as PNG and SVG and the numbers behind it as CSV; return the paths.

    Each file appears whole or not at all. Folders are made as needed.

    Args:
        path_without_suffix: "figures/filters" makes figures/filters.png and its siblings.
    """
    stem = Path(path_without_suffix)
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for form in formats:
        path = stem.with_name(f"{stem.name}.{form}")
        write_bytes(path, drawing.render(form))
        paths.append(path)
    return paths


def new_figure(width_in: float, height_in: float, theme: Theme) -> Figure:
    """Return an empty figure that can measure text."""
    figure = Figure(figsize=(width_in, height_in), dpi=SCREEN_DPI, facecolor=theme.background)
    FigureCanvasAgg(figure)
    return figure


def bare_axes(figure: Figure, left_in: float, top_in: float, width_in: float, height_in: float) -> Axes:
    """Return axes without ticks and frame, placed in inches from the upper left corner of the figure."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left_in / width, 1 - (top_in + height_in) / height, width_in / width, height_in / height))
    axes.set_axis_off()
    return axes


def sheet(figure: Figure) -> Axes:
    """Return axes over the whole figure whose coordinates are inches from its upper left corner.

    For figures of many parts: making one axes each would take longer than drawing them.
    """
    width, height = figure.get_size_inches()
    axes = bare_axes(figure, 0, 0, width, height)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return axes


def place_image(axes: Axes, image: NDArray[np.uint8], left_in: float, top_in: float, side_in: float) -> None:
    """Show an image, (S, S, 3), in a square of a sheet."""
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(image, extent=(left_in, left_in + side_in, top_in + side_in, top_in), aspect="auto")
    axes.set(xlim=limits[0], ylim=limits[1])


def write(
    axes: Axes, x: float, y: float, text: str, color: str, size: float = SMALL, *, align: str = "left", **style: Any
) -> Text:
    """Write text exactly as it is: neither $ nor _ has a meaning. It is centred on y unless `style` says otherwise.

    Args:
        x, y: In data coordinates, unless `style` has another transform.
        size: In points.
        align: "left", "center" or "right".
        style: Further properties of matplotlib's Text.
    """
    text = printable(text)
    style = {"verticalalignment": "center_baseline", "fontfamily": families(text), **style}
    return axes.text(x, y, text, color=color, fontsize=size, ha=align, parse_math=False, **style)


def fit(figure: Figure, text: str, width_in: float, *, size: float, weight: str = "normal") -> str:
    """Return text that is at most this wide in points `size`: whole, or cut off with an ellipsis."""
    text = printable(text)
    if measure_in(figure, text, size=size, weight=weight) <= width_in:
        return text
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        fits = measure_in(figure, text[:middle].rstrip() + "…", size=size, weight=weight) <= width_in
        low, high = (middle, high) if fits else (low, middle)
    return text[:low].rstrip() + "…"


def measure_in(figure: Figure, text: str, *, size: float, weight: str = "normal") -> float:
    """Return the width of text in inches."""
    font = FontProperties(family=families(text), size=size, weight=weight)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]  # new_figure made it an Agg canvas
    with missing_glyphs_drawn_as_boxes():
        width, _, _ = renderer.get_text_width_height_descent(text, font, False)
    return float(width) / SCREEN_DPI


def printable(text: str) -> str:
    """Return text on one line, with what cannot be written (control characters, undecodable bytes) escaped."""
    return escape_controls(" ".join(text.split()))


def _write_value(value: Value) -> str | int:
    if isinstance(value, float):
        return f"{value:.6g}"
    return escape_name(value) if isinstance(value, str) else "" if value is None else value
