"""What the page shows of a picture, as images inside HTML: crops, heat over a crop, maps of a layer, thumbnails."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images.encoding import encode_image
from alexnet.interpretation.figures import tile_kernels
from alexnet.interpretation.maps import find_scale, lay_out_units, shade
from alexnet.pages import writing
from alexnet.pages.themes import THEMES

Pixels = NDArray[np.uint8]

_HEAT_COLORS = "inferno"
_MAPS_PER_ROW = 16
_PLATE_PX = 640
"""Width of a plate of maps, about; small maps are magnified to fill it."""


def embed(pixels: Pixels, *, lossless: bool = False) -> str:
    """Return an image (H, W, 3) as a data address."""
    return writing.embed(encode_image(pixels, "WEBP", quality=85, lossless=lossless), "webp")


def shrink(pixels: Pixels, side_px: int) -> Pixels:
    """Return a square image no larger than side_px."""
    if len(pixels) <= side_px:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.LANCZOS))


def crop(pixels: Pixels, place: tuple[int, int, bool], crop_px: int) -> Pixels:
    """Return a view of an image: from row y and column x on, mirrored or not."""
    y, x, mirrored = place
    part = pixels[y : y + crop_px, x : x + crop_px]
    return np.ascontiguousarray(part[:, ::-1] if mirrored else part)


def paint_heat(view: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """Return a view in grey with heat over it, from nothing over red to yellow; the scale ends at `find_scale`.

    Heat of single pixels is spread a little, so that it can be seen: by a hundredth of the side.
    """
    end, _ = find_scale(heat)
    amount = _spread(np.clip(heat / end, 0, 1), max(1, round(len(view) / 100)))
    amount = np.clip(amount / max(float(amount.max(initial=0)), 1e-12), 0, 1)[..., None]
    gray = view.mean(2, keepdims=True) / 255
    colors = matplotlib.colormaps[_HEAT_COLORS](0.25 + 0.75 * amount[..., 0])[..., :3]
    mixed = (1 - amount) * (0.35 + 0.45 * gray) * np.ones(3) * gray**0.25 + amount * colors
    painted: Pixels = np.rint(255 * np.clip(mixed, 0, 1)).astype(np.uint8)
    return painted


def _spread(values: NDArray[np.floating], times: int) -> NDArray[np.floating]:
    """Average with the neighbours, again and again: nearly a Gaussian."""
    for axis in (0, 1):
        for _ in range(2 * times):
            padded = np.pad(values, [(1, 1) if each == axis else (0, 0) for each in (0, 1)], mode="edge")
            before, after = (np.take(padded, range(start, start + values.shape[axis]), axis) for start in (0, 2))
            values = (before + 2 * values + after) / 4
    return values


def paint_maps(values: NDArray[np.float32], towers: int) -> list[Pixels]:
    """Return a plate of maps for each tower, of what a layer makes of an image, (C, H, W) or (D,).

    All share one scale: zero is white, positive blue, negative orange.
    """
    light = THEMES["light"]
    end, is_signed = find_scale(values)
    plates = []
    for part in np.split(values / end, towers):
        shown = lay_out_units(part) if part.ndim == 1 else part
        columns = next(each for each in range(_MAPS_PER_ROW, 0, -1) if len(shown) % each == 0)  # full rows
        magnify = max(1, _PLATE_PX // (columns * (shown.shape[2] + 1)))
        plates.append(tile_kernels(shade(shown, light, signed=is_signed), columns, gap=light.rule, magnify=magnify))
    return plates


def describe_places(places: Sequence[tuple[int, int, bool]]) -> list[str]:
    """Return where views are, as people say it: "top left", "centre, mirrored"."""
    rows, columns = sorted({y for y, _, _ in places}), sorted({x for _, x, _ in places})
    words = []
    for y, x, mirrored in places:
        vertical = {rows[0]: "top", rows[-1]: "bottom"}.get(y, "") if len(rows) > 1 else ""
        horizontal = {columns[0]: "left", columns[-1]: "right"}.get(x, "") if len(columns) > 1 else ""
        words.append((f"{vertical} {horizontal}".strip() or "centre") + (", mirrored" if mirrored else ""))
    return words
