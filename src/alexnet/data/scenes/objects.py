"""The ten things that the drawn data set shows, each as a pile of flat parts.

An object lives in a square from -1 to 1, x to the right and y downwards, and is a list of parts painted in order. A
part has an outline, a tone and a height. The tone says which color of the scene's palette it takes, so that no class
owns a color; the height is what the light of the scene falls on. Proportions and the number of inner parts vary with
the generator. Where the object stands, how it is turned, colored, lit and covered is not known here: see scenes.py.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""An outline or a path, (points, 2) as x and y."""


class Part(NamedTuple):
    """A closed outline that is filled with one tone."""

    outline: Points
    tone: str
    """One of body, dark, light, accent, or hole, which cuts through everything painted before."""
    height: float = 0.6
    """Elevation towards the viewer, in (0, 1]; edges between heights catch the light."""


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0) -> Points:
    """Points along an ellipse from start to stop degrees, clockwise on the screen from three o'clock."""
    angles = np.radians(np.linspace(start, stop, max(6, int(abs(stop - start) / 9.0)) + 1))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """The four corners of an upright rectangle."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float64)


def polygon(*corners: tuple[float, float]) -> Points:
    """An outline through the corners as they are."""
    return np.array(corners, dtype=np.float64)


def smooth(*corners: tuple[float, float]) -> Points:
    """A closed curve through the corners (uniform Catmull-Rom, six points between two corners)."""
    p1 = np.array(corners, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    t = (np.arange(6) / 6.0)[None, :, None]
    a, b, c, d = p0[:, None], p1[:, None], p2[:, None], p3[:, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d)))
    return np.asarray(curve.reshape(-1, 2))


def stroke(path: Points | Sequence[tuple[float, float]], width: float, end_width: float | None = None) -> Points:
    """The outline of a path drawn with a flat pen whose width runs from width to end_width."""
    points = np.asarray(path, dtype=np.float64)
    tangents = np.gradient(points, axis=0)
    tangents /= np.maximum(np.sqrt((tangents**2).sum(axis=1, keepdims=True)), 1e-9)
    normals = np.stack([-tangents[:, 1], tangents[:, 0]], axis=1)
    half = 0.5 * np.linspace(width, width if end_width is None else end_width, len(points))[:, None]
    return np.concatenate([points + half * normals, (points - half * normals)[::-1]])


def mirrored(outline: Points) -> Points:
    """The outline on the other side of the vertical axis."""
    return np.asarray(outline * np.array([-1.0, 1.0]))


def _anchor(rng: np.random.Generator) -> list[Part]:
    width, reach = rng.uniform(0.17, 0.23), rng.uniform(0.66, 0.78)
    parts = [
        Part(ellipse(0, -0.74, 0.25, 0.25), "body"),
        Part(ellipse(0, -0.74, 0.12, 0.12), "hole"),
        Part(stroke([(0, -0.52), (0, 0.9)], width, width * 1.25), "body"),
        Part(stroke(ellipse(0, 0.12, reach, 0.74, 8, 172), width), "body", 0.7),
    ]
    for side in (-1, 1):
        fluke = polygon((reach, -0.16), (reach + 0.24, 0.34), (reach - 0.02, 0.26), (reach - 0.3, 0.3))
        parts.append(Part(fluke if side > 0 else mirrored(fluke), "dark", 0.8))
        parts.append(Part(ellipse(side * 0.52, -0.38, 0.11, 0.11), "accent", 0.9))
    parts.append(Part(box(-0.5, -0.46, 0.5, -0.3), "accent", 0.8))
    # A rope around the shank: the only slanted turns in the set.
    for y in np.arange(-0.12, 0.5, 0.15):
        turn = stroke([(-0.17, y + 0.08), (0.17, y - 0.06)], 0.09)
        parts.append(Part(turn, "light", 1.0))
    return parts


def _butterfly(rng: np.random.Generator) -> list[Part]:
    top, low = rng.uniform(0.85, 1.0), rng.uniform(0.62, 0.82)
    upper = smooth((0.05, -0.1), (0.35, -0.75), (0.8, -0.95 * top), (top, -0.6), (0.85, -0.15), (0.4, 0.08))
    lower = smooth((0.05, 0.0), (0.5, 0.05), (low, 0.25), (0.72, 0.66), (0.45, 0.9), (0.15, 0.45))
    parts: list[Part] = []
    spots = int(rng.integers(2, 5))
    for turn in (lambda outline: outline, mirrored):
        for wing, middle in ((upper, (0.55, -0.45)), (lower, (0.45, 0.36))):
            center = np.array(middle)
            parts.append(Part(turn(wing), "dark", 0.5))
            parts.append(Part(turn((wing - center) * 0.8 + center), "body", 0.65))
            parts.append(Part(turn((wing - center) * 0.42 + center), "accent", 0.75))
            parts.append(Part(turn(ellipse(*middle, 0.08, 0.08)), "dark", 0.85))
        for i in range(spots):
            y = -0.72 + 0.52 * i / max(1, spots - 1)
            parts.append(Part(turn(ellipse(0.84 * top, y, 0.05, 0.05)), "light", 0.8))
        parts.append(Part(turn(stroke([(0.02, -0.4), (0.1, -0.7), (0.26, -0.94)], 0.045)), "dark", 0.7))
        parts.append(Part(turn(ellipse(0.27, -0.95, 0.05, 0.05)), "dark", 0.7))
    parts.append(Part(ellipse(0, 0.08, 0.09, 0.5), "dark", 1.0))
    parts.append(Part(ellipse(0, -0.42, 0.1, 0.12), "dark", 1.0))
    return parts


def _fish(rng: np.random.Generator) -> list[Part]:
    fat, fork = rng.uniform(0.42, 0.55), rng.uniform(0.4, 0.55)
    parts = [
        Part(smooth((0.4, 0), (0.95, -fork), (0.85, -0.05), (0.98, fork), (0.55, 0.16)), "accent", 0.5),
        Part(smooth((-0.35, -fat * 0.8), (0.0, -fat - 0.26), (0.35, -fat - 0.05), (0.35, -0.25)), "accent", 0.5),
        Part(smooth((-0.1, fat * 0.8), (0.05, fat + 0.24), (0.3, fat + 0.12), (0.22, 0.3)), "accent", 0.5),
        Part(smooth((-0.98, 0.04), (-0.62, -fat * 0.75), (-0.1, -fat), (0.4, -0.22), (0.7, 0.0), (0.4, 0.22),
                    (-0.1, fat), (-0.62, fat * 0.75)), "body", 0.7),
    ]  # fmt: skip
    columns = int(rng.integers(4, 6))
    for i in range(columns):
        x = -0.22 + 0.62 * i / (columns - 1)
        rows = 4 if i < columns // 2 else 3
        reach = fat * (0.8 - 0.55 * i / columns)
        for y in np.linspace(-reach, reach, rows):
            scale = stroke(ellipse(x, y, 0.1, 0.12, 100, 260), 0.045)
            parts.append(Part(scale, "light", 0.85))
    for y in (-0.28, 0.0, 0.28):
        parts.append(Part(stroke([(0.66, y * 0.4), (0.88, y)], 0.04), "dark", 0.6))
    parts.append(Part(stroke(ellipse(-0.62, 0.0, 0.24, fat * 0.75, -62, 62), 0.06), "dark", 0.8))
    parts.append(Part(ellipse(-0.66, -0.13, 0.12, 0.12), "light", 0.85))
    parts.append(Part(ellipse(-0.68, -0.13, 0.06, 0.06), "dark", 0.9))
    parts.append(Part(stroke([(-0.97, 0.1), (-0.86, 0.15), (-0.76, 0.13)], 0.045), "dark", 0.7))
    return parts


def _gear(rng: np.random.Generator) -> list[Part]:
    teeth, depth = int(rng.integers(9, 14)), rng.uniform(0.16, 0.23)
    corners: list[tuple[float, float]] = []
    for tooth in range(teeth):
        for fraction, radius in ((0.0, 1 - depth), (0.14, 0.98), (0.44, 0.98), (0.58, 1 - depth)):
            angle = 2 * math.pi * (tooth + fraction) / teeth
            corners.append((radius * math.cos(angle), radius * math.sin(angle)))
    parts = [
        Part(polygon(*corners), "body", 0.7),
        Part(ellipse(0, 0, 0.66, 0.66), "dark", 0.4),
        Part(ellipse(0, 0, 0.61, 0.61), "light", 0.5),
    ]
    windows = int(rng.integers(4, 7))
    for i in range(windows):
        angle = 360.0 * i / windows
        half = 0.33 * 360.0 / windows
        arc = ellipse(0, 0, 0.55, 0.55, angle - half, angle + half)
        parts.append(Part(np.concatenate([arc, (arc * 0.5)[::-1]]), "hole"))
    parts.append(Part(ellipse(0, 0, 0.24, 0.24), "accent", 1.0))
    parts.append(Part(ellipse(0, 0, 0.1, 0.1), "hole"))
    return parts


def _house(rng: np.random.Generator) -> list[Part]:
    eave, wall = rng.uniform(-0.2, -0.05), rng.uniform(0.68, 0.78)
    chimney = rng.uniform(0.3, 0.5)
    parts = [
        Part(box(chimney, -0.85, chimney + 0.2, -0.2), "dark", 0.5),
        Part(box(chimney - 0.05, -0.93, chimney + 0.25, -0.82), "accent", 0.6),
        Part(box(-wall, eave, wall, 0.9), "body", 0.6),
        Part(polygon((-0.98, eave + 0.08), (-0.05, -0.95), (0.05, -0.95), (0.98, eave + 0.08)), "accent", 0.9),
    ]
    for row in range(1, 5):
        y = eave + 0.08 - 0.2 * row
        half = 0.98 * (y + 0.95) / (eave + 1.03) - 0.06
        if half > 0.1:
            parts.append(Part(box(-half, y, half, y + 0.045), "dark", 0.7))
    door = rng.uniform(-0.14, 0.14)
    parts.append(Part(box(door - 0.17, 0.34, door + 0.17, 0.9), "dark", 0.4))
    parts.append(Part(ellipse(door + 0.09, 0.64, 0.04, 0.04), "light", 0.9))
    for x in (-0.47, 0.47):
        parts.append(Part(box(x - 0.19, 0.1, x + 0.19, 0.5), "light", 0.8))
        parts.append(Part(box(x - 0.14, 0.15, x + 0.14, 0.45), "dark", 0.4))
        parts.append(Part(box(x - 0.025, 0.12, x + 0.025, 0.48), "light", 0.8))
        parts.append(Part(box(x - 0.16, 0.275, x + 0.16, 0.325), "light", 0.8))
    parts.append(Part(box(-wall - 0.08, 0.84, wall + 0.08, 0.98), "dark", 0.8))
    return parts


def _key(rng: np.random.Generator) -> list[Part]:
    bow, shaft = rng.uniform(0.42, 0.5), rng.uniform(0.15, 0.2)
    parts = [Part(stroke([(0, -0.3), (0, 0.98)], shaft), "body", 0.7)]
    tooth = 0.92
    for _ in range(int(rng.integers(3, 5))):
        length = rng.uniform(0.3, 0.5)
        parts.append(Part(box(-0.02, tooth - 0.13, length, tooth), "body", 0.7))
        tooth -= 0.21
    parts.append(Part(stroke([(0, -0.1), (0, 0.92)], 0.05), "dark", 0.4))
    if rng.random() < 0.5:
        parts.append(Part(ellipse(0, -0.5, bow, bow), "body", 0.8))
    else:
        for x, y in ((-0.26, -0.4), (0.26, -0.4), (0.0, -0.7)):
            parts.append(Part(ellipse(x, y, bow * 0.66, bow * 0.66), "body", 0.8))
    parts.append(Part(ellipse(0, -0.5, bow * 0.78, bow * 0.74), "light", 0.6))
    parts.append(Part(ellipse(0, -0.5, bow * 0.62, bow * 0.6), "dark", 0.5))
    parts.append(Part(ellipse(0, -0.5, bow * 0.5, bow * 0.48), "hole"))
    for y in (0.0, 0.1):
        parts.append(Part(box(-0.2, y - 0.035, 0.2, y + 0.035), "accent", 1.0))
    return parts


def _leaf(rng: np.random.Generator) -> list[Part]:
    width, waist = rng.uniform(0.5, 0.66), rng.uniform(-0.1, 0.3)
    notches = int(rng.integers(7, 11))
    half: list[tuple[float, float]] = []
    for i in range(notches + 1):
        y = -0.98 + 1.62 * i / notches
        # A skewed arch: zero at both tips, widest at the waist.
        t = (i / notches) ** (1.0 + waist)
        x = width * math.sin(math.pi * t) ** 0.85 if 0 < i < notches else 0.0
        half.append((x, y))
        if i < notches:
            half.append((x + 0.07, y + 0.1))
    outline = polygon(*half, *[(-x, y) for x, y in reversed(half)])
    parts = [
        Part(stroke([(0, 0.5), (0.03, 0.8), (0.12, 1.0)], 0.09, 0.12), "dark", 0.6),
        Part(outline, "body", 0.6),
        Part(np.maximum(outline, [0.0, -1.0]), "accent", 0.5),
    ]
    veins = int(rng.integers(5, 8))
    for i in range(veins):
        y = -0.52 + 1.0 * i / (veins - 1)
        reach = 0.84 * width * math.sin(math.pi * ((y + 0.8) / 1.62) ** (1.0 + waist)) ** 0.85
        for side in (-1, 1):
            path = [(0.0, y), (side * reach * 0.5, y - 0.12), (side * reach, y - 0.3)]
            parts.append(Part(stroke(path, 0.055, 0.02), "light", 0.8))
    parts.append(Part(stroke([(0, -0.9), (0, 0.0), (0, 0.66)], 0.03, 0.09), "light", 0.9))
    return parts


def _mug(rng: np.random.Generator) -> list[Part]:
    top, bottom = rng.uniform(0.55, 0.66), rng.uniform(0.46, 0.6)
    left = -0.28
    handle = ellipse(left + top - 0.04, 0.1, rng.uniform(0.44, 0.56), rng.uniform(0.42, 0.5), -88, 88)
    parts = [
        Part(stroke(handle, 0.19), "body", 0.6),
        Part(np.concatenate([polygon((left - top, -0.62), (left + top, -0.62)),
                             ellipse(left, 0.78, bottom, 0.17, 0, 180)]), "body", 0.7),
    ]  # fmt: skip
    band = np.linspace(-1, 1, 13)
    sag = 0.13 * np.sqrt(np.maximum(0.0, 1 - band**2))
    for y, thick, tone in ((-0.28, 0.1, "dark"), (0.52, 0.1, "dark")):
        reach = top + (bottom - top) * (y + 0.62) / 1.4 - 0.01
        upper = np.stack([left + reach * band, y + sag], axis=1)
        parts.append(Part(np.concatenate([upper, (upper + np.array([0.0, thick]))[::-1]]), tone, 0.75))
    dots = int(rng.integers(3, 5))
    for i in range(dots):
        position = -0.62 + 1.24 * i / (dots - 1)
        y = 0.15 + 0.13 * math.sqrt(1 - position**2)
        narrow = 0.15 * math.sqrt(1 - 0.6 * position**2)
        center = (left + position * 0.92 * (top + bottom) / 2, y)
        parts.append(Part(smooth((center[0] - narrow, y), (center[0], y - 0.19), (center[0] + narrow, y),
                                 (center[0], y + 0.19)), "accent", 0.8))  # fmt: skip
    parts.append(Part(ellipse(left, -0.66, top + 0.03, 0.22), "light", 0.9))
    parts.append(Part(ellipse(left, -0.65, top - 0.07, 0.15), "dark", 0.3))
    parts.append(Part(ellipse(left, -0.6, top - 0.15, 0.09), "accent", 0.35))
    return parts


def _mushroom(rng: np.random.Generator) -> list[Part]:
    width, crown = rng.uniform(0.86, 0.98), rng.uniform(0.84, 0.98)
    stem = rng.uniform(0.2, 0.28)
    parts = [
        Part(smooth((-stem, 0.0), (stem, 0.0), (stem * 1.05, 0.5), (stem * 1.6, 0.9), (0, 0.98), (-stem * 1.6, 0.9),
                    (-stem * 1.05, 0.5)), "light", 0.5),
        Part(ellipse(0, 0.1, width, 0.17), "dark", 0.4),
    ]  # fmt: skip
    for angle in np.arange(20, 165, 20.0):
        edge = ellipse(0, 0.1, width * 0.96, 0.15, angle, angle)[0]
        parts.append(Part(stroke([(edge[0] * 0.3, 0.08), (edge[0], edge[1])], 0.03, 0.05), "light", 0.5))
    parts.append(Part(smooth((-width, 0.08), (-0.8 * width, -0.45), (-0.35, -0.9 * crown), (0.0, -crown),
                             (0.35, -0.9 * crown), (0.8 * width, -0.45), (width, 0.08), (0.4, 0.0), (-0.4, 0.0)),
                      "body", 0.8))  # fmt: skip
    shift = rng.uniform(-0.08, 0.08)
    spots = [(-0.55, -0.2, 0.13), (-0.22, -0.56, 0.15), (0.08, -0.2, 0.16), (0.35, -0.6, 0.11), (0.6, -0.22, 0.13)]
    for x, y, radius in spots:
        size = radius * rng.uniform(0.8, 1.2)
        parts.append(Part(ellipse(x + shift, y, size, size * 0.85), "accent", 1.0))
    parts.append(Part(smooth((-stem * 1.3, 0.34), (0, 0.28), (stem * 1.3, 0.34), (stem * 1.5, 0.5), (0, 0.44),
                             (-stem * 1.5, 0.5)), "accent", 0.7))  # fmt: skip
    return parts


def _umbrella(rng: np.random.Generator) -> list[Part]:
    crown, panels = rng.uniform(0.78, 0.9), 2 * int(rng.integers(3, 5))
    hem, side = 0.06, 1.0 if rng.random() < 0.5 else -1.0
    hook = np.concatenate([[(0.0, -0.5)], ellipse(0.17, 0.78, 0.17, 0.19, 180, 20)]) * np.array([side, 1.0])
    parts = [
        Part(stroke(hook, 0.085, 0.11), "dark", 0.6),
        Part(stroke([(0, -1.0), (0, -0.7)], 0.05, 0.09), "dark", 0.6),
    ]
    # Ribs are ellipses through the tip, seen from the side: panels between them take turns in tone.
    arc = np.linspace(0, 1, 9)
    fall = hem - (crown + hem) * np.sqrt(np.maximum(0.0, 1 - arc**2))
    for i in range(panels):
        left, right = -1 + 2 * i / panels, -1 + 2 * (i + 1) / panels
        left, right = math.sin(left * math.pi / 2), math.sin(right * math.pi / 2)
        scallop = np.array(
            [[left + (right - left) * t, hem - 0.5 * (right - left) * t * (1 - t)] for t in (0.3, 0.5, 0.7)]
        )
        rib = np.stack([left * arc, fall], axis=1)
        next_rib = np.stack([right * arc, fall], axis=1)[::-1]
        parts.append(
            Part(np.concatenate([rib, scallop, next_rib]), "body" if i % 2 else "accent", 0.6 + 0.15 * (i % 2))
        )
    for i in range(1, panels):
        x = math.sin((-1 + 2 * i / panels) * math.pi / 2)
        parts.append(Part(stroke(np.stack([x * arc, fall], axis=1), 0.025, 0.035), "light", 0.9))
    return parts


OBJECTS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "anchor": _anchor,
    "butterfly": _butterfly,
    "fish": _fish,
    "gear": _gear,
    "house": _house,
    "key": _key,
    "leaf": _leaf,
    "mug": _mug,
    "mushroom": _mushroom,
    "umbrella": _umbrella,
}
"""Class name -> the function that draws one individual of the class; the order is the order of labels."""
