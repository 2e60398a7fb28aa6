"""What varies from scene to scene, and how much: light, palette, place, clutter, what lies in front, the photograph.

Every function draws from its generator in the same order each time, so that a scene is a function of its seed.
"""

import colorsys
import math

import numpy as np
from numpy.typing import NDArray

from alexnet.data.scenes.objects import OBJECTS, Points, ellipse, smooth, stroke
from alexnet.data.scenes.painting import Color, Floats, Light, Shape, blur, draw_pattern, to_pixels

HALF_EXTENT = (0.29, 0.39)
"""Half of the thing's longer side, as a fraction of the picture."""
MAX_TURN_DEGREES = 28.0
MAX_SHIFT = 0.09
"""Largest distance of the thing's center from the picture's, along each axis and as a fraction of the picture."""
MIDDLE = (0.5, 0.5)
MAX_OCCLUDERS = 1
CLUTTER = (2, 7)
"""Fewest and most shapes that lie under the thing."""
MIN_CONTRAST = 0.3
"""Least difference in lightness between the thing's body and the background, in either direction."""


def draw_light(rng: np.random.Generator) -> Light:
    """The lamp of a scene."""
    azimuth, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(32, 62))
    return Light(
        x=math.cos(azimuth) * math.cos(elevation),
        y=math.sin(azimuth) * math.cos(elevation),
        z=math.sin(elevation),
        ambient=rng.uniform(0.25, 0.5),
        shadow=rng.uniform(0.3, 0.7),
        gloss=rng.uniform(0.0, 0.5) ** 2 * 2,
    )


def make_color(hue: float, lightness: float, saturation: float) -> Color:
    """A color that is neither black nor white; a hue beyond [0, 1) goes round."""
    return colorsys.hls_to_rgb(hue % 1.0, min(0.94, max(0.06, lightness)), saturation)


def draw_hue(rng: np.random.Generator) -> float:
    """A hue in [0, 1): any, or one of wood, sand and brick, which would be rare otherwise."""
    return rng.random() if rng.random() < 0.65 else rng.uniform(0.04, 0.12)


def contrasting_lightness(rng: np.random.Generator, background: float) -> float:
    """The lightness of a thing's body, MIN_CONTRAST from the background's or more."""
    darker, brighter = background - MIN_CONTRAST, background + MIN_CONTRAST
    room_below, room_above = max(0.0, darker - 0.15), max(0.0, 0.85 - brighter)
    if rng.random() * (room_below + room_above) < room_below:
        return rng.uniform(0.15, darker)
    return rng.uniform(brighter, max(brighter, 0.85))


def draw_palette(rng: np.random.Generator, background_hue: float, body: float) -> dict[str, Color | None]:
    """The color of each tone of a thing whose body has this lightness."""
    hue, saturation = background_hue + rng.uniform(0.2, 0.8), rng.uniform(0.25, 0.9)
    accent_hue = hue + rng.choice([-1, 1]) * rng.uniform(0.08, 0.45)
    dark, light = max(0.1, body - rng.uniform(0.22, 0.4)), min(0.92, body + rng.uniform(0.22, 0.4))
    if rng.random() < 0.3:
        dark, light = light, dark
    accent = body + rng.choice([-1, 1]) * rng.uniform(0.12, 0.25)
    return {
        "body": make_color(hue, body, saturation),
        "dark": make_color(hue + 0.03, dark, saturation * 0.8),
        "light": make_color(hue - 0.03, light, saturation * 0.8),
        "accent": make_color(accent_hue, accent if 0.12 < accent < 0.88 else 1 - accent, rng.uniform(0.4, 0.95)),
        "hole": None,
    }


def place_object(
    rng: np.random.Generator,
    class_name: str,
    palette: dict[str, Color | None],
    size: int,
    *,
    place: tuple[float, float] = MIDDLE,
    scale: float = 1.0,
    turn_degrees: float = 0.0,
) -> tuple[list[Shape], Points, float]:
    """The thing's shapes in pixels, its center and half of its extent.

    Args:
        place: Near its center, x and y as fractions of the picture.
        scale: Factor of its extent, and of how far it may be from its place.
        turn_degrees: Added to the turn that is drawn, clockwise.
    """
    half = scale * rng.uniform(*HALF_EXTENT)
    shift = scale * min(MAX_SHIFT, 0.47 - half / scale)
    center = size * (np.array(place) + rng.uniform(-shift, shift, 2))
    angle = math.radians(turn_degrees + rng.uniform(-MAX_TURN_DEGREES, MAX_TURN_DEGREES))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    skew = np.array([[rng.choice([-1.0, 1.0]), rng.uniform(-0.15, 0.15)], [0.0, rng.uniform(0.85, 1.0)]])
    matrix = half * size * (turn @ skew)
    parts = OBJECTS[class_name](rng)
    shapes = [Shape(part.outline @ matrix.T + center, palette[part.tone], part.height) for part in parts]
    return shapes, center, half * size


def draw_free_shape(rng: np.random.Generator, center: Points, radius: float) -> Points:
    """An outline that belongs to no class: pebble, polygon, bar, arc or disc."""
    kind, angle = rng.integers(5), rng.uniform(0, 2 * math.pi)
    if kind == 0:
        angles = angle + np.arange(7) * (2 * math.pi / 7)
        reach = rng.uniform(0.6, 1.1, 7)
        outline = smooth(*zip(reach * np.cos(angles), reach * np.sin(angles), strict=True))
    elif kind == 1:
        corners = int(rng.integers(3, 7))
        angles = angle + (np.arange(corners) + rng.uniform(-0.2, 0.2, corners)) * (2 * math.pi / corners)
        outline = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind == 2:
        tip = np.array([math.cos(angle), math.sin(angle)]) * rng.uniform(1.2, 2.2)
        outline = stroke(np.stack([-tip, 0 * tip, tip]), rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.5))
    elif kind == 3:
        start = math.degrees(angle)
        outline = stroke(ellipse(0, 0, 0.85, 0.85, start, start + rng.uniform(90, 330)), rng.uniform(0.2, 0.4))
    else:
        outline = ellipse(0, 0, 0.9, 0.9)
    return np.asarray(outline * radius + center)


def draw_clutter(rng: np.random.Generator, size: int) -> list[Shape]:
    """The shapes under the things, anywhere in the picture."""
    shapes = []
    for _ in range(int(rng.integers(CLUTTER[0], CLUTTER[1] + 1))):
        outline = draw_free_shape(rng, rng.uniform(0, size, 2), size * rng.uniform(0.04, 0.16))
        color = make_color(rng.random(), rng.uniform(0.15, 0.85), rng.uniform(0.1, 0.7))
        shapes.append(Shape(outline, color, rng.uniform(0.3, 0.7)))
    return shapes


def draw_occluders(rng: np.random.Generator, center: Points, half: float) -> list[Shape]:
    """The shapes in front of a thing with this center and half extent, in pixels."""
    shapes = []
    for _ in range(int(rng.integers(0, MAX_OCCLUDERS + 1))):
        direction, distance = rng.uniform(0, 2 * math.pi), half * rng.uniform(0.4, 1.2)
        spot = center + distance * np.array([math.cos(direction), math.sin(direction)])
        outline = draw_free_shape(rng, spot, half * rng.uniform(0.15, 0.36))
        color = make_color(rng.random(), rng.uniform(0.15, 0.85), rng.uniform(0.1, 0.9))
        shapes.append(Shape(outline, color, rng.uniform(0.5, 0.9)))
    return shapes


def draw_background(rng: np.random.Generator, hue: float, lightness: float, size: int) -> Floats:
    """A canvas with a pattern between two related colors."""
    spread, saturation = rng.uniform(0.04, 0.12), rng.uniform(0.08, 0.5)
    second_hue = hue + rng.uniform(-0.12, 0.12)
    low = np.array(make_color(hue, lightness - spread, saturation), dtype=np.float32)[:, None, None]
    high = np.array(make_color(second_hue, lightness + spread, saturation), dtype=np.float32)[:, None, None]
    return low + draw_pattern(rng, size) * (high - low)


def expose(rng: np.random.Generator, canvas: Floats) -> NDArray[np.uint8]:
    """The finished photograph: uneven light, tint, focus and sensor noise."""
    size = canvas.shape[1]
    tilt_x, tilt_y, falloff = rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.35), rng.uniform(0.0, 0.4)
    x = np.linspace(-1, 1, size, dtype=np.float32)
    lit = np.float32(1.05) + np.float32(tilt_x) * x + np.float32(tilt_y) * x[:, None]
    lit -= np.float32(0.5 * falloff) * (x**2 + x[:, None] ** 2)
    tint = rng.uniform(0.9, 1.2) * (1 + rng.uniform(-0.08, 0.08, 3))
    canvas = canvas * lit * tint.astype(np.float32)[:, None, None]
    if rng.random() < 0.3:
        canvas = blur(canvas, rng.uniform(0.001, 0.004) * size)
    # The difference of two bytes is noise with a triangular density; raw bytes are the same on every machine.
    strength, raw = np.float32(rng.uniform(0.0, 0.0003)), np.frombuffer(rng.bytes(2 * canvas.size), np.uint8)
    noise = np.subtract(raw[: canvas.size], raw[canvas.size :], dtype=np.float32)
    canvas += strength * noise.reshape(canvas.shape)
    return to_pixels(canvas)
