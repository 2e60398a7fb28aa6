"""Pictures of numbers laid out like an image: what a layer makes of one image, where a class is decided, and how
numbers become colours.

Nothing here runs a network; see panels.py and why.py for that.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from numpy.typing import NDArray

from alexnet.interpretation.drawing import (
    LARGE,
    NORMAL,
    PNG_DPI,
    SMALL,
    WIDTH_IN,
    Drawing,
    Value,
    bare_axes,
    columns_of,
    new_figure,
    place_image,
    sheet,
    write,
)
from alexnet.interpretation.figures import tile_kernels
from alexnet.interpretation.fonts import families
from alexnet.pages.themes import Theme, ThemeName, find_theme
from alexnet.text.wording import counted

MAPS_PER_ROW = 16
UNITS_PER_ROW = 64
UNIT_PX = 30
LARGEST_MAP_PX = 400
"""Side of a map in pixels of the figure, at most, where there are few of them."""
SHARE_IN_SCALE = 0.995
"""The strongest of 200 values is cut off at the end of the scale, so that outliers do not make the rest pale."""
_GAP_IN, _IMAGE_IN, _HEADING_IN = 0.2, 2.2, 0.32


def draw_activations(
    values: NDArray[np.float32],
    *,
    layer: str,
    towers: Sequence[str],
    image: NDArray[np.uint8],
    source: str,
    theme: ThemeName = "light",
) -> Drawing:
    """What a layer makes of one image: its maps in rows, one tower below the other; units of a dense layer as cells.

    One scale over the whole layer, so that maps can be compared; it ends at SHARE_IN_SCALE of the values.

    Args:
        values: (C, H, W), or (D,) of a dense layer; finite.
        towers: Letters of the towers that share the channels or units equally, in order; empty if there are none.
        image: (S, S, 3) uint8 RGB, the crop that the network saw.
        source: Where the image came from.
    """
    colors = find_theme(theme)
    is_dense = values.ndim == 1
    what = "unit" if is_dense else "map"
    end, is_signed = find_scale(values)
    scaled = values / end
    names = list(towers) or [""]
    parts = np.split(scaled, len(names))
    plates = []
    for part in parts:
        shown = lay_out_units(part) if is_dense else part
        side, available_px = max(shown.shape[1:]), int(WIDTH_IN * PNG_DPI)
        columns = max(1, min(MAPS_PER_ROW, len(shown), available_px // (side + 1)))
        largest = UNIT_PX if is_dense else LARGEST_MAP_PX // side
        magnify = max(1, min(largest, available_px // (columns * (side + 1) - 1)))
        painted = shade(shown, colors, signed=is_signed)
        plates.append(tile_kernels(painted, columns, gap=colors.rule, magnify=magnify))
    heading_in = _HEADING_IN if towers else 0.0
    heights_in = [plate.shape[0] / PNG_DPI for plate in plates]
    width_in = max(WIDTH_IN, *(plate.shape[1] / PNG_DPI for plate in plates))
    total_in = _IMAGE_IN + sum(_GAP_IN + heading_in + height for height in heights_in)
    figure = new_figure(width_in, total_in, colors)

    bare_axes(figure, 0, 0, _IMAGE_IN, _IMAGE_IN).imshow(image, aspect="equal")
    text_in = WIDTH_IN - _IMAGE_IN - _GAP_IN
    words = bare_axes(figure, _IMAGE_IN + _GAP_IN, 0, text_in, _IMAGE_IN)
    words.set(xlim=(0, text_in), ylim=(_IMAGE_IN, 0))
    shape = " × ".join(map(str, values.shape))
    silent = _count_silent(values)
    silence = (
        f"{silent:,} of {counted(len(values), what)} {'is' if silent == 1 else 'are'} zero"
        f"{'' if is_dense else ' everywhere'}"
    )
    write(words, 0, 0.14, layer, colors.ink, LARGE + 3, weight="bold")
    kind = f"{shape} units" if is_dense else f"{shape}: maps, rows, columns"
    write(words, 0, 0.45, kind, colors.muted, NORMAL)
    write(words, 0, 0.70, source, colors.muted, NORMAL, within_in=text_in)
    if silent:
        write(words, 0, 0.95, silence, colors.muted, NORMAL)
    bar = bare_axes(figure, _IMAGE_IN + _GAP_IN, _IMAGE_IN - 0.42, 2.6, 0.19)
    bar.set_axis_on()
    scale = ScalarMappable(Normalize(-end if is_signed else 0, end), _ramp(colors, is_signed))
    ends = [-end, 0, end] if is_signed else [0, end]
    legend = figure.colorbar(scale, bar, orientation="horizontal", ticks=ends, format=lambda value, _: _short(value))
    legend.outline.set_edgecolor(colors.rule)
    bar.tick_params(length=0, labelsize=SMALL, labelcolor=colors.muted, labelfontfamily=families())
    for label, align in zip(bar.get_xticklabels()[:: len(ends) - 1], ("left", "right"), strict=True):
        label.set(horizontalalignment=align)

    top = _IMAGE_IN
    for name, plate, height in zip(names, plates, heights_in, strict=True):
        top += _GAP_IN + heading_in
        axes = bare_axes(figure, 0, top, plate.shape[1] / PNG_DPI, height)
        axes.imshow(plate, interpolation="none", aspect="auto")
        if name:
            axes.set_title(f"Tower {name}", loc="left", color=colors.muted, fontsize=LARGE, family=families())
        top += height
    laid_out = "Each square is one unit, in reading order." if is_dense else "Each square is one map of the layer."
    return Drawing(
        name="activations",
        figure=figure,
        numbers=_list_values(values, names, what),
        title=f"What {layer} makes of an image",
        caption=(
            f"{laid_out} All share one scale, which ends at {_short(end)}; the strongest value is "
            f"{_short(float(np.abs(values).max(initial=0)))}. "
            f"Look for {what}s that answer to one thing in the image and are silent elsewhere."
            + (f" {silence} for this image." if silent else "")
        ),
        has_photographs=True,
    )


def shade(values: NDArray[np.floating], colors: Theme, *, signed: bool) -> NDArray[np.float64]:
    """Return (..., 3) RGB in [0, 1] of values in [-1, 1]; what lies outside is cut off.

    Zero is the background. Unsigned values go through the theme's blue to its ink; with signed ones, blue is positive
    and orange negative.
    """
    amount = np.clip(values, -1, 1) / 2 + 0.5 if signed else np.clip(np.abs(values), 0, 1)
    painted: NDArray[np.float64] = _ramp(colors, signed)(amount.astype(np.float64))[..., :3]
    return painted


def _ramp(colors: Theme, signed: bool) -> Colormap:
    stops = [colors.validation, colors.background, colors.training] if signed else [colors.background, colors.training]
    return LinearSegmentedColormap.from_list("ramp", stops if signed else [*stops, colors.ink], N=257)  # has a middle


def find_scale(values: NDArray[np.floating]) -> tuple[float, bool]:
    """Return where the scale of these values ends, above 0, and whether any of them is negative."""
    sizes = np.abs(values[np.isfinite(values)])
    end = float(np.quantile(sizes, SHARE_IN_SCALE)) if sizes.size else 0.0
    return end or float(sizes.max(initial=0)) or 1.0, bool((values < 0).any())


def lay_out_units(part: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one map, (1, rows, columns), that holds units in reading order; zeros fill up its last row."""
    columns = min(UNITS_PER_ROW, len(part))
    rows = math.ceil(len(part) / columns)
    padded = np.zeros(rows * columns, part.dtype)
    padded[: len(part)] = part
    return padded.reshape(1, rows, columns)


def _count_silent(values: NDArray[np.float32]) -> int:
    return int((values.reshape(len(values), -1) == 0).all(1).sum())


def _list_values(values: NDArray[np.float32], towers: Sequence[str], what: str) -> dict[str, list[Value]]:
    each = values[0].size
    number = np.repeat(np.arange(len(values)), each)
    per_tower = len(values) // len(towers)
    columns: dict[str, list[Value]] = {what: [int(index) + 1 for index in number]}
    columns["tower"] = [towers[index] for index in (number // per_tower).tolist()]
    if values.ndim > 1:
        y, x = np.divmod(np.tile(np.arange(each), len(values)), values.shape[2])
        columns["y"], columns["x"] = list(map(int, y)), list(map(int, x))
    columns["value"] = values.ravel().astype(float).tolist()
    return columns


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


_GAP_IN, _PAIR_GAP_IN, _LINE_IN, _ROW_GAP_IN = 0.08, 0.3, 0.54, 0.16
_PICTURE_SHARE = 0.3
"""How much of the picture shows through below smooth heat, so that one sees where a spot lies."""


def draw_heat(
    images: Sequence[NDArray[np.uint8]],
    heat: Sequence[NDArray[np.float32]],
    known: Sequence[str],
    titles: Sequence[str],
    notes: Sequence[str],
    sources: Sequence[str],
    theme: ThemeName = "light",
    *,
    shows: str,
    towers: Sequence[NDArray[np.float32]] = (),
    over_picture: bool = False,
    explanation: str = "",
) -> Drawing:
    """Each image beside its heat: two images in a row, or one where the towers have maps of their own.

    Args:
        images: (S, S, 3) uint8 RGB, the crops that the network saw.
        heat: (S, S), at least 0; each has a scale of its own, which ends at SHARE_IN_SCALE of its values.
        known: The class of each image, as in the other figures below it; "" where it is not known.
        titles: The class of each map, below it.
        notes: What is said of that class, such as its probability.
        sources: Where each image came from.
        shows: What heat is, in the caption.
        towers: (T, S, S) for each image, of either sign: what each tower adds. They stand before the heat, share its
            scale, and are empty where negative.
        over_picture: Whether the picture shows through, as is right for smooth heat.
        explanation: A sentence that ends the caption.
    """
    colors = find_theme(theme)
    side_in = (WIDTH_IN - _PAIR_GAP_IN - 2 * _GAP_IN) / 4
    pitch_in = side_in + _GAP_IN
    num_towers = len(towers[0]) if towers else 0
    group_in = (2 + num_towers) * pitch_in - _GAP_IN
    columns = min(1 if num_towers else 2, len(images))
    rows = math.ceil(len(images) / columns)
    row_in = side_in + _LINE_IN + _ROW_GAP_IN
    width_in = columns * group_in + (columns - 1) * _PAIR_GAP_IN
    figure = new_figure(width_in, rows * row_in - _ROW_GAP_IN, colors)
    page = sheet(figure)
    letters = "abcdefgh"[:num_towers]
    lines: list[tuple[Value, ...]] = []
    for index, (image, values) in enumerate(zip(images, heat, strict=True)):
        row, column = divmod(index, columns)
        left, top = column * (group_in + _PAIR_GAP_IN), row * row_in
        below_in = top + side_in + 0.18
        own_towers = towers[index] if num_towers else ()
        end, _ = find_scale(np.stack([values, *np.maximum(own_towers, 0)]))
        place_image(page, image, left, top, side_in)
        write(page, left, below_in, known[index], colors.ink, LARGE, weight="bold", within_in=side_in)
        for place, part in enumerate((*own_towers, values), start=1):
            painted = shade(np.maximum(part, 0) / end, colors, signed=False)
            if over_picture:
                gray = image.mean(2, keepdims=True) / 255
                painted = painted * (1 - _PICTURE_SHARE) + gray * _PICTURE_SHARE
            pixels = (255 * painted).round().astype(np.uint8)
            place_image(page, pixels, left + place * pitch_in, top, side_in)
        for place, letter in enumerate(letters, start=1):
            write(page, left + place * pitch_in, below_in, f"tower {letter}", colors.muted, NORMAL)
        map_in = left + (1 + num_towers) * pitch_in
        write(page, map_in, below_in, titles[index], colors.ink, LARGE, within_in=side_in)
        write(page, map_in, below_in + 0.21, notes[index], colors.muted, NORMAL)
        columns_here = (each.astype(float).ravel().tolist() for each in (values, *own_towers))
        lines += [
            (sources[index], titles[index], *place, *pixel)
            for place, *pixel in zip(np.ndindex(values.shape), *columns_here, strict=True)
        ]
    return Drawing(
        name="why",
        figure=figure,
        numbers=columns_of(("image", "class", "y", "x", "heat", *(f"tower_{letter}" for letter in letters)), lines),
        title="Where the network looks",
        caption=(
            ("Each image with its class, and beside it " if any(known) else "Beside each image ")
            + f"{shows}. "
            + ("Each tower has a map; the last is their sum, on the same scale. " if num_towers else "")
            + "Each image has its own scale. Look for marks on the thing itself; marks on the background mean that the "
            "network relies on what surrounds it." + explanation
        ),
        has_photographs=True,
    )
