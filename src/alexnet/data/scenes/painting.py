"""How the drawn scenes get their look: patterned surfaces, and shapes pasted with relief, highlight and cast shadow.

A picture in the making is a canvas: (3, height, width) float32 RGB planes, where 1.0 is white and what lies outside
[0, 1] is cut at the end. Nothing here chooses anything about a scene except the details of a pattern: see scenes.py.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from alexnet.data.scenes.objects import Points

Floats = NDArray[np.float32]
Color = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Light:
    """One distant lamp: (x, y) points towards it in the picture and z towards the viewer; a unit vector."""

    x: float
    y: float
    z: float
    ambient: float
    """Fraction of the light that comes from everywhere."""
    shadow: float
    """Fraction of the light that a shadow takes away."""
    gloss: float
    """Brightness of a highlight."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled outline in pixels, with its color and its height in (0, 1]; without a color it cuts a hole."""

    outline: Points
    color: Color | None
    height: float


# Surfaces


def draw_pattern(rng: np.random.Generator, size: int) -> Floats:
    """A square pattern in [0, 1]: clouds, boards, stripes, checks, weave, ripples, tiles or chips."""
    kind = rng.integers(8)
    if kind == 0:
        return _draw_boards(rng, size)
    clouds = _draw_clouds(rng, size)
    if kind == 1:
        return clouds
    x = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    y = x[:, None]
    if kind == 2:
        cells = int(rng.integers(3, 9))
        tones = _enlarge(rng.random((cells, cells)), size, Image.Resampling.NEAREST)
        edge = np.abs(np.mod(x * cells, 1) - 0.5) > 0.47
        pattern = np.where(edge | edge[:, None], np.float32(-1), tones)
    elif kind == 3:
        chips = Image.new("L", (size, size), int(rng.integers(100, 156)))
        pen = ImageDraw.Draw(chips)
        for spot in rng.random((int(rng.integers(60, 140)), 9)):
            corners = spot[:2] * 1.1 - 0.05 + (spot[2:8].reshape(3, 2) - 0.5) * 0.13
            pen.polygon([(int(px), int(py)) for px, py in np.rint(corners * size)], fill=int(spot[8] * 255))
        pattern = np.asarray(chips, dtype=np.float32) / 127.5 - 1
    else:
        angle, bends = rng.uniform(0, math.pi), np.float32(rng.uniform(0, 0.12)) * clouds
        along = np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y + bends
        across = np.float32(-math.sin(angle)) * x + np.float32(math.cos(angle)) * y + bends
        turns = np.float32(2 * math.pi * rng.uniform(4, 14))
        if kind == 4:
            pattern = np.tanh(3 * np.sin(turns * along))
        elif kind == 5:
            pattern = np.tanh(6 * np.sin(turns / 2 * along) * np.sin(turns / 2 * across))
        elif kind == 6:
            pattern = np.sin((turns + 100) * along) * np.sin((turns + 100) * across)
        else:
            away_x, away_y = rng.uniform(-0.5, 0.5, 2).astype(np.float32)
            pattern = np.sin(turns * (np.sqrt((x - away_x) ** 2 + (y - away_y) ** 2) + bends))
    return np.asarray(np.clip(0.35 + 0.4 * pattern + 0.3 * clouds, 0, 1), dtype=np.float32)


def _draw_clouds(rng: np.random.Generator, size: int) -> Floats:
    """Noise that is smooth from afar and rough from near: grids of doubling fineness and falling weight."""
    total, cells, weight = np.zeros((size, size), np.float32), int(rng.integers(3, 5)), 0.55
    while cells <= 48:
        total += np.float32(weight) * _enlarge(rng.random((cells, cells)), size)
        cells, weight = cells * 2, weight * 0.55
    return np.asarray(np.clip(1.2 * total - 0.22, 0, 1), dtype=np.float32)


def _draw_boards(rng: np.random.Generator, size: int) -> Floats:
    """Boards with grain: noise stretched along them, its level lines, and a dark seam between neighbors."""
    boards = int(rng.integers(2, 6))
    streaks = _enlarge(rng.random((96, 5)), size)
    rings = np.sin(np.float32(2 * math.pi * rng.uniform(3, 7)) * _enlarge(rng.random((boards * 5, 3)), size))
    tones = _enlarge(rng.random((boards, 1)), size, Image.Resampling.NEAREST)
    position = np.mod(np.arange(size) * boards / size, 1.0)
    seams = ((position < 0.02) | (position > 0.98)).astype(np.float32)[:, None]
    pattern = np.clip(0.2 + 0.25 * tones + 0.35 * streaks + 0.13 * rings - 0.45 * seams, 0, 1)
    return np.asarray(pattern.T if rng.random() < 0.5 else pattern, dtype=np.float32)


def _enlarge(grid: NDArray[np.float64], size: int, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Floats:
    return np.asarray(Image.fromarray(grid.astype(np.float32)).resize((size, size), resample))


# Canvases


def from_image(image: Image.Image) -> Floats:
    """An RGB image as a canvas."""
    return np.asarray(np.asarray(image).transpose(2, 0, 1), dtype=np.float32, order="C") * np.float32(1 / 255)


def to_pixels(canvas: Floats) -> NDArray[np.uint8]:
    """A canvas as (height, width, 3) uint8, each value cut to [0, 1] and rounded."""
    pixels = (np.clip(canvas, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def blur(canvas: Floats, radius_px: float) -> Floats:
    """The canvas out of focus, as a new one."""
    return from_image(Image.fromarray(to_pixels(canvas)).filter(ImageFilter.GaussianBlur(radius_px)))


def paste(canvas: Floats, shapes: list[Shape], light: Light, *, lift_px: float, texture: Floats | None = None) -> None:
    """Lay shapes on the canvas, in place: cast a shadow from lift_px above it, then paint them lit and embossed.

    Only the window that the shapes and their shadow touch is worked on. The texture, as large as the canvas,
    multiplies the color of the shapes.
    """
    if not shapes:
        return
    size = canvas.shape[1]
    margin = lift_px * (1 + 1 / light.z) + 0.04 * size
    outlines = np.concatenate([shape.outline for shape in shapes])
    left, top = (max(0, int(low)) for low in outlines.min(axis=0) - margin)
    right, bottom = (min(size, math.ceil(high)) for high in outlines.max(axis=0) + margin)
    if left >= right or top >= bottom:
        return
    colors, coverage, height = _rasterize(shapes, left, top, right - left, bottom - top)
    window = canvas[:, top:bottom, left:right]

    reach = lift_px / light.z
    shadow = Image.new("L", coverage.size)
    shadow.paste(coverage, (round(-light.x * reach), round(-light.y * reach)))
    window *= 1 - np.float32(light.shadow) * _soften(shadow, 0.5 * lift_px)

    shade, gleam = _light_relief(height, light, size)
    if texture is not None:
        shade = shade * texture[top:bottom, left:right]
    alpha = np.asarray(coverage, dtype=np.float32) / 255
    window *= 1 - alpha
    window += colors * shade
    window += alpha * gleam


def find_covered(shapes: list[Shape], size: int) -> NDArray[np.bool_]:
    """Where shapes lie on a canvas: (size, size), True where they cover at least half of a pixel; holes are not."""
    _, coverage, _ = _rasterize(shapes, 0, 0, size, size)
    return np.asarray(coverage) >= 128


def _rasterize(
    shapes: list[Shape], left: int, top: int, width: int, height: int
) -> tuple[Floats, Image.Image, Image.Image]:
    """Colors times coverage, coverage and elevation of a window: painted at twice the size, averaged down."""
    colors = Image.new("RGB", (2 * width, 2 * height))
    coverage, elevation = Image.new("L", colors.size), Image.new("L", colors.size)
    pens = [ImageDraw.Draw(layer) for layer in (colors, coverage, elevation)]
    for shape in shapes:
        # Whole coordinates, so that no platform's rounding inside Pillow decides a pixel.
        corners = [(int(x), int(y)) for x, y in np.rint(2 * (shape.outline - (left, top))).tolist()]
        if shape.color is None:
            inks: tuple[tuple[int, ...] | int, ...] = ((0, 0, 0), 0, 0)
        else:
            inks = (tuple(round(255 * value) for value in shape.color), 255, round(255 * shape.height))
        for pen, ink in zip(pens, inks, strict=True):
            pen.polygon(corners, fill=ink)
    return from_image(colors.reduce(2)), coverage.reduce(2), elevation.reduce(2)


def _soften(layer: Image.Image, radius_px: float) -> Floats:
    """A wide blur of an 8-bit layer, in [0, 1]: at half the size, where it costs a quarter."""
    small = layer.reduce(2).filter(ImageFilter.GaussianBlur(radius_px / 2))
    whole = small.resize(layer.size, Image.Resampling.BILINEAR, box=(0, 0, layer.width / 2, layer.height / 2))
    return np.asarray(whole, dtype=np.float32) * np.float32(1 / 255)


def _light_relief(elevation: Image.Image, light: Light, size: int) -> tuple[Floats, Floats]:
    """Brightness and highlight of a relief; one wide and one narrow blur round its edges."""
    narrow = elevation.filter(ImageFilter.GaussianBlur(0.005 * size))
    relief = _soften(elevation, 0.028 * size) + np.asarray(narrow, dtype=np.float32) * np.float32(0.35 / 255)
    slope_y, slope_x = np.gradient(relief * np.float32(0.06 * size))
    towards = np.float32(light.x) * slope_x + np.float32(light.y) * slope_y
    steepness = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = np.maximum((np.float32(light.z) - towards) * steepness, 0)
    shade = np.float32(light.ambient) + np.float32((1 - light.ambient) / light.z) * facing
    # Blinn's highlight: the surface that faces halfway between lamp and viewer, to the 32nd power.
    half_z = math.sqrt((1 + light.z) / 2)
    mirror = (np.float32(half_z) - towards / np.float32(2 * half_z)) * steepness
    for _ in range(5):
        mirror = mirror * mirror
    return np.minimum(shade, np.float32(1.7)), np.float32(light.gloss) * mirror
