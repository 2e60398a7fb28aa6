"""The embedded data set: pictures of ten things, drawn, textured, lit and cluttered by the package itself.

A scene is a pure function of (seed, class, index). Everything but the thing itself varies in the same way for every
class: place, size, turn, palette, background, light, shadow, clutter below and in front, blur and noise. So neither
color nor position gives the class away, and a classifier has to know shapes. The ten things are in scene_objects.py.

Difficulty is a set of constants below, tuned so that a linear classifier on pixels stays poor while the full network
learns within a few passes over a few thousand images. Equal releases of numpy and Pillow draw equal bytes on equal
processors; elsewhere a pixel may differ by one step, since numpy's sine is not rounded alike everywhere.
"""

import colorsys
import math
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.scenes.objects import OBJECTS, Points, ellipse, smooth, stroke
from alexnet.data.scenes.painting import Color, Floats, Light, Shape, blur, draw_pattern, find_covered, paste, to_pixels
from alexnet.errors import AlexNetError, ConfigError
from alexnet.text.progress import Tick

CLASS_NAMES: tuple[str, ...] = tuple(OBJECTS)
"""The ten classes, in the order of their labels."""

VALIDATION_START = 50_000
"""Scenes from this index on are for validation: the training scenes of a class end before it."""

HALF_EXTENT = (0.29, 0.39)
"""Half of the thing's longer side, as a fraction of the picture."""
MAX_TURN_DEGREES = 28.0
MAX_SHIFT = 0.09
"""Largest distance of the thing's center from the picture's, along each axis and as a fraction of the picture."""
MAX_OCCLUDERS = 1
CLUTTER = (2, 7)
"""Fewest and most shapes that lie under the thing."""
MIN_CONTRAST = 0.3
"""Least difference in lightness between the thing's body and the background, in either direction."""

JPEG_QUALITY = 90


def draw_scene(class_name: str, index: int, *, seed: int = 0, size: int = 256) -> NDArray[np.uint8]:
    """One picture of the class, (size, size, 3) uint8 RGB.

    The same arguments give the same picture. Another size draws the same scene with other pixels.

    Args:
        class_name: One of CLASS_NAMES.
        index: Which individual of the class; 0 or more.
        seed: Which data set; 0 or more.
        size: Side of the picture in pixels; 16 or more.

    Raises:
        ConfigError: An argument is outside what is accepted.
    """
    return draw_scene_and_mask(class_name, index, seed=seed, size=size)[0]


def draw_scene_and_mask(
    class_name: str, index: int, *, seed: int = 0, size: int = 256
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The picture that `draw_scene` returns, and where its thing is seen: (size, size), True on the thing.

    A pixel is on the thing if the thing covers at least half of it. Not on it are the holes in the thing, its shadow,
    and what lies in front of it.

    Raises:
        ConfigError: An argument is outside what is accepted.
    """
    if class_name not in OBJECTS:
        raise ConfigError(f"unknown class {class_name!r}. The drawn data set has: {', '.join(CLASS_NAMES)}.")
    for name, value, least in (("index", index, 0), ("seed", seed, 0), ("size", size, 16)):
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be {least} or more.")
    rng = np.random.default_rng([seed, CLASS_NAMES.index(class_name), index])
    light = _draw_light(rng)
    hue, lightness = _draw_hue(rng), rng.uniform(0.2, 0.82)
    canvas = _draw_background(rng, hue, lightness, size)
    paste(canvas, _draw_clutter(rng, size), light, lift_px=0.016 * size)
    if rng.random() < 0.5:
        canvas = blur(canvas, rng.uniform(0.002, 0.012) * size)

    body = _contrasting_lightness(rng, lightness)
    thing, center, half = _place_object(rng, class_name, _draw_palette(rng, hue, body), size)
    texture = 1.0 + rng.uniform(0.0, 0.4) * (draw_pattern(rng, size) - np.float32(0.5))
    paste(canvas, thing, light, lift_px=rng.uniform(0.02, 0.06) * size, texture=texture)
    occluders = _draw_occluders(rng, center, half)
    paste(canvas, occluders, light, lift_px=0.03 * size)
    return _expose(rng, canvas), find_covered(thing, size) & ~find_covered(occluders, size)


def write_scenes(
    folder: str | Path,
    *,
    train_per_class: int = 200,
    val_per_class: int = 50,
    seed: int = 0,
    workers: int | None = None,
    progress: Tick | None = None,
) -> None:
    """Write the data set as class folders: folder/train/<class>/<class>-<index>.jpg and folder/val/<class>/….

    Training scenes have the indices from 0 on and validation scenes those from VALIDATION_START on. Files appear whole
    or not at all; a second call draws only what is missing or was drawn with another seed, and removes nothing.

    Args:
        folder: Created if it is missing.
        train_per_class: Number of training pictures of each class; 1 to VALIDATION_START.
        val_per_class: Number of validation pictures of each class; 0 to VALIDATION_START.
        seed: Which data set.
        workers: Number of processes; None takes one per processor. It does not change what is drawn.
        progress: Called in this process with the pictures that are there and the total, after each picture.

    Raises:
        ConfigError: A count or the seed is outside what is accepted.
        AlexNetError: A process ended early.
    """
    for name, value, least, most in (
        ("train_per_class", train_per_class, 1, VALIDATION_START),
        ("val_per_class", val_per_class, 0, VALIDATION_START),
        ("workers", 1 if workers is None else workers, 1, 1024),
    ):
        if not least <= value <= most:
            raise ConfigError(f"{name} is {value}; it must be between {least} and {most}.")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must be 0 or more.")
    jobs = list(_list_files(Path(folder), train_per_class, val_per_class, seed))
    for parent in {path.parent for *_, path in jobs}:
        parent.mkdir(parents=True, exist_ok=True)
    workers = workers or os.cpu_count() or 1
    try:
        with ExitStack() as stack:
            finished: Iterable[None] = map(_write_scene, jobs)
            if workers > 1:
                # Processes, not threads: most calls into Pillow and numpy are too short to share one lock, and two
                # threads draw no faster than one. Started fresh: a process that has run torch must not be forked.
                pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_ignore_interrupts)
                stack.callback(pool.shutdown, cancel_futures=True)
                finished = pool.map(_write_scene, jobs, chunksize=8)
            for done, _ in enumerate(finished, start=1):
                if progress is not None:
                    progress(done, len(jobs))
    except BrokenProcessPool as error:
        raise AlexNetError(
            "a process that draws scenes ended early; what is written stays. Call again to draw the rest: in a "
            "script below `if __name__ == '__main__':`, elsewhere with workers=1."
        ) from error


def _list_files(
    folder: Path, train_per_class: int, val_per_class: int, seed: int
) -> Iterator[tuple[str, int, int, Path]]:
    for split, start, count in (("train", 0, train_per_class), ("val", VALIDATION_START, val_per_class)):
        for index in range(start, start + count):
            for class_name in CLASS_NAMES:
                yield class_name, index, seed, folder / split / class_name / f"{class_name}-{index:05d}.jpg"


def _ignore_interrupts() -> None:
    # Ctrl-C reaches every process; the first one alone decides, the others finish their picture.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_scene(job: tuple[str, int, int, Path]) -> None:
    class_name, index, seed, path = job
    # The comment inside the file tells whether an earlier call drew this very scene.
    comment = f"alexnet scene: {class_name} {index} of seed {seed}".encode()
    if path.exists():
        with Image.open(path) as present:
            if present.info.get("comment") == comment:
                return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    image = Image.fromarray(draw_scene(class_name, index, seed=seed))
    image.save(temporary, format="JPEG", quality=JPEG_QUALITY, comment=comment)
    os.replace(temporary, path)


# Choices


def _draw_light(rng: np.random.Generator) -> Light:
    azimuth, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(32, 62))
    return Light(
        x=math.cos(azimuth) * math.cos(elevation),
        y=math.sin(azimuth) * math.cos(elevation),
        z=math.sin(elevation),
        ambient=rng.uniform(0.25, 0.5),
        shadow=rng.uniform(0.3, 0.7),
        gloss=rng.uniform(0.0, 0.5) ** 2 * 2,
    )


def _make_color(hue: float, lightness: float, saturation: float) -> Color:
    return colorsys.hls_to_rgb(hue % 1.0, min(0.94, max(0.06, lightness)), saturation)


def _draw_hue(rng: np.random.Generator) -> float:
    """A hue in [0, 1): any, or one of wood, sand and brick, which would be rare otherwise."""
    return rng.random() if rng.random() < 0.65 else rng.uniform(0.04, 0.12)


def _contrasting_lightness(rng: np.random.Generator, background: float) -> float:
    darker, brighter = background - MIN_CONTRAST, background + MIN_CONTRAST
    room_below, room_above = max(0.0, darker - 0.15), max(0.0, 0.85 - brighter)
    if rng.random() * (room_below + room_above) < room_below:
        return rng.uniform(0.15, darker)
    return rng.uniform(brighter, max(brighter, 0.85))


def _draw_palette(rng: np.random.Generator, background_hue: float, body: float) -> dict[str, Color | None]:
    hue, saturation = background_hue + rng.uniform(0.2, 0.8), rng.uniform(0.25, 0.9)
    accent_hue = hue + rng.choice([-1, 1]) * rng.uniform(0.08, 0.45)
    dark, light = max(0.1, body - rng.uniform(0.22, 0.4)), min(0.92, body + rng.uniform(0.22, 0.4))
    if rng.random() < 0.3:
        dark, light = light, dark
    accent = body + rng.choice([-1, 1]) * rng.uniform(0.12, 0.25)
    return {
        "body": _make_color(hue, body, saturation),
        "dark": _make_color(hue + 0.03, dark, saturation * 0.8),
        "light": _make_color(hue - 0.03, light, saturation * 0.8),
        "accent": _make_color(accent_hue, accent if 0.12 < accent < 0.88 else 1 - accent, rng.uniform(0.4, 0.95)),
        "hole": None,
    }


def _place_object(
    rng: np.random.Generator, class_name: str, palette: dict[str, Color | None], size: int
) -> tuple[list[Shape], Points, float]:
    """The thing's shapes in pixels, its center and half of its extent."""
    half = rng.uniform(*HALF_EXTENT)
    shift = min(MAX_SHIFT, 0.47 - half)
    center = size * (0.5 + rng.uniform(-shift, shift, 2))
    angle = math.radians(rng.uniform(-MAX_TURN_DEGREES, MAX_TURN_DEGREES))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    skew = np.array([[rng.choice([-1.0, 1.0]), rng.uniform(-0.15, 0.15)], [0.0, rng.uniform(0.85, 1.0)]])
    matrix = half * size * (turn @ skew)
    parts = OBJECTS[class_name](rng)
    shapes = [Shape(part.outline @ matrix.T + center, palette[part.tone], part.height) for part in parts]
    return shapes, center, half * size


def _draw_free_shape(rng: np.random.Generator, center: Points, radius: float) -> Points:
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


def _draw_clutter(rng: np.random.Generator, size: int) -> list[Shape]:
    shapes = []
    for _ in range(int(rng.integers(CLUTTER[0], CLUTTER[1] + 1))):
        outline = _draw_free_shape(rng, rng.uniform(0, size, 2), size * rng.uniform(0.04, 0.16))
        color = _make_color(rng.random(), rng.uniform(0.15, 0.85), rng.uniform(0.1, 0.7))
        shapes.append(Shape(outline, color, rng.uniform(0.3, 0.7)))
    return shapes


def _draw_occluders(rng: np.random.Generator, center: Points, half: float) -> list[Shape]:
    shapes = []
    for _ in range(int(rng.integers(0, MAX_OCCLUDERS + 1))):
        direction, distance = rng.uniform(0, 2 * math.pi), half * rng.uniform(0.4, 1.2)
        spot = center + distance * np.array([math.cos(direction), math.sin(direction)])
        outline = _draw_free_shape(rng, spot, half * rng.uniform(0.15, 0.36))
        color = _make_color(rng.random(), rng.uniform(0.15, 0.85), rng.uniform(0.1, 0.9))
        shapes.append(Shape(outline, color, rng.uniform(0.5, 0.9)))
    return shapes


def _draw_background(rng: np.random.Generator, hue: float, lightness: float, size: int) -> Floats:
    """A canvas with a pattern between two related colors."""
    spread, saturation = rng.uniform(0.04, 0.12), rng.uniform(0.08, 0.5)
    second_hue = hue + rng.uniform(-0.12, 0.12)
    low = np.array(_make_color(hue, lightness - spread, saturation), dtype=np.float32)[:, None, None]
    high = np.array(_make_color(second_hue, lightness + spread, saturation), dtype=np.float32)[:, None, None]
    return low + draw_pattern(rng, size) * (high - low)


def _expose(rng: np.random.Generator, canvas: Floats) -> NDArray[np.uint8]:
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
