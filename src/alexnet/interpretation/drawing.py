"""What every figure shares: the `Drawing` that a figure function returns, its two themes, its text, and its files.

Figures are made with `matplotlib.figure.Figure` alone: no pyplot, no window, no settings left behind.
"""

import functools
import inspect
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from alexnet.files.writing import format_csv, write_bytes
from alexnet.interpretation.fonts import families, missing_glyphs_drawn_as_boxes
from alexnet.pages.themes import COLUMN_PX, MARGIN_PX, THEMES, Theme, find_theme
from alexnet.text.names import escape_controls, escape_name

Format = Literal["png", "svg", "webp", "csv"]
Value = str | int | float | None
P = ParamSpec("P")

SMALL, NORMAL, LARGE = 8.5, 9.0, 10.5
"""Sizes of text in points."""
SCREEN_DPI = 100
WIDTH_IN = COLUMN_PX / SCREEN_DPI
"""Width of a figure without its margin."""
MARGIN_IN = MARGIN_PX / SCREEN_DPI
"""Added on every side when a figure is rendered."""
PNG_DPI = 2 * SCREEN_DPI
"""Sharp on screens with two device pixels per CSS pixel."""


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
        if form == "svg":
            self._draw(buffer, "svg", metadata={"Title": self.title, "Date": None})
        elif form == "webp":
            lossy, lossless = {"quality": 85, "method": 2}, {"lossless": True, "quality": 20, "method": 1}
            self._pixels.save(buffer, "WEBP", **lossy if self.has_photographs else lossless)
        else:
            title = PngInfo()
            title.add_text("Title", self.title)
            # Photographs hardly become smaller by more effort, which would take four times as long.
            level = 2 if self.has_photographs else 6
            self._pixels.save(buffer, "PNG", pnginfo=title, dpi=(PNG_DPI, PNG_DPI), compress_level=level)
        return buffer.getvalue()

    @functools.cached_property
    def _pixels(self) -> Image.Image:
        """The figure in RGB at PNG_DPI: drawn once for every format of pixels."""
        buffer = io.BytesIO()
        self._draw(buffer, "tiff")  # TIFF is not compressed, so it is fast
        return Image.open(buffer).convert("RGB")

    def _draw(self, buffer: io.BytesIO, form: str, **options: Any) -> None:
        width, height = self.figure.get_size_inches()
        frame = Bbox([[-MARGIN_IN, -MARGIN_IN], [width + MARGIN_IN, height + MARGIN_IN]])
        # The salt makes the ids in an SVG file repeatable; it is a setting of matplotlib and cannot be passed along.
        with missing_glyphs_drawn_as_boxes(), matplotlib.rc_context({"svg.hashsalt": "alexnet"}):
            self.figure.savefig(
                buffer, format=form, dpi=PNG_DPI, bbox_inches=frame, facecolor=self.figure.get_facecolor(), **options
            )

    def _csv(self) -> bytes:
        rows = (map(_write_value, row) for row in zip(*self.numbers.values(), strict=True))
        return format_csv([self.numbers, *rows]).encode()


def styled(draw: Callable[P, Drawing]) -> Callable[P, Drawing]:
    """Have a figure drawn in the style of the house and the colours of its argument `theme`, and laid out once.

    In it, every text is written exactly as it is, neither $ nor _ has a meaning, and in fonts that have its letters.
    """
    names = inspect.signature(draw)

    @functools.wraps(draw)
    def drawn(*args: P.args, **options: P.kwargs) -> Drawing:
        theme = find_theme(names.bind(*args, **options).arguments.get("theme", "light"))
        with matplotlib.rc_context(_style(theme)), missing_glyphs_drawn_as_boxes():
            drawing = draw(*args, **options)
            for text in drawing.figure.findobj(Text):
                text.set_fontfamily(families(text.get_text()))
            if layout := drawing.figure.get_layout_engine():
                layout.execute(drawing.figure)  # once for all formats, while the style holds, as it makes ticks
                drawing.figure.set_layout_engine("none")
        return drawing

    return drawn


@functools.cache
def _style(theme: Theme) -> dict[Any, Any]:
    house = Path(__file__).with_name("house.mplstyle")
    muted = ("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    return {
        **matplotlib.rc_params_from_file(house, use_default_template=False),
        **dict.fromkeys(muted, theme.muted),
        "text.color": theme.ink,
        "grid.color": theme.rule,
        "font.family": families(),
    }


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


def columns_of(names: Sequence[str], rows: Iterable[Sequence[Value]]) -> dict[str, list[Value]]:
    """Return rows of numbers as the columns of a `Drawing`; every row has a value for each name."""
    columns: dict[str, list[Value]] = {name: [] for name in names}
    for row in rows:
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    return columns


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
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return axes


def place_image(axes: Axes, image: NDArray[np.uint8], left_in: float, top_in: float, side_in: float) -> None:
    """Show an image, (S, S, 3), in a square of a sheet."""
    axes.imshow(image, extent=(left_in, left_in + side_in, top_in + side_in, top_in), aspect="auto")


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    color: str,
    size: float = SMALL,
    *,
    align: str = "left",
    within_in: float = math.inf,
    **style: Any,
) -> Text:
    """Write text exactly as it is: neither $ nor _ has a meaning. It is centred on y unless `style` says otherwise.

    Args:
        x, y: In data coordinates, unless `style` has another transform.
        size: In points.
        align: "left", "center" or "right".
        within_in: Room for it; what is longer is cut off, see `fit`.
        style: Further properties of matplotlib's Text.
    """
    assert isinstance(axes.figure, Figure)
    text = fit(axes.figure, text, within_in, size=size, weight=style.get("weight", "normal"))
    style = {"verticalalignment": "center_baseline", "fontfamily": families(text), **style}
    return axes.text(x, y, text, color=color, fontsize=size, ha=align, parse_math=False, **style)


def fit(figure: Figure, text: str, width_in: float, *, size: float, weight: str = "normal") -> str:
    """Return text that is at most this wide in points `size`: whole, or cut off with an ellipsis."""
    text = printable(text)
    if width_in == math.inf or measure_in(figure, text, size=size, weight=weight) <= width_in:
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


def show_percents(axis: Axis) -> None:
    """Write the ticks of an axis of fractions as percents."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))


def label_lines(axes: Axes, labels: Sequence[tuple[str, tuple[float, float], str]], **style: Any) -> None:
    """Write each text to the right of its point, the end of a line, in its colour; they are kept apart.

    Axes must have their limits. Matplotlib's own annotations would lie over each other.
    """
    low, high = axes.get_ylim()
    gap = 0.15 * SCREEN_DPI / axes.bbox.height * (high - low)
    places = spread_apart([y for _, (_, y), _ in labels], gap, low, high)
    offset: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "annotation_clip": False}
    for (text, (x, _), color), y in zip(labels, places, strict=True):
        axes.annotate(text, (x, y), va="center_baseline", color=color, fontsize=NORMAL, **offset, **style)


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
