"""Heat beside the images it is of: where a class is decided. Nothing here runs a network; see why.py and panels.py."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alexnet.interpretation.drawing import (
    LARGE,
    NORMAL,
    WIDTH_IN,
    Drawing,
    Value,
    new_figure,
    place_image,
    sheet,
    write,
)
from alexnet.interpretation.maps import find_scale, shade
from alexnet.pages.themes import ThemeName, find_theme

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
    numbers: dict[str, list[Value]] = {
        name: [] for name in ("image", "class", "y", "x", "heat", *(f"tower_{letter}" for letter in letters))
    }
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
        y, x = np.divmod(np.arange(values.size), values.shape[1])
        numbers["image"] += [sources[index]] * values.size
        numbers["class"] += [titles[index]] * values.size
        numbers["y"] += y.tolist()
        numbers["x"] += x.tolist()
        numbers["heat"] += values.ravel().astype(float).tolist()
        for letter, part in zip(letters, own_towers, strict=True):
            numbers[f"tower_{letter}"] += part.ravel().astype(float).tolist()
    return Drawing(
        name="why",
        figure=figure,
        numbers=numbers,
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
