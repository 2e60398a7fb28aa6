"""The embedded data set: pictures of ten things, drawn, textured, lit and cluttered by the package itself.

A scene is a pure function of (seed, class, index). Everything but the thing itself varies in the same way for every
class: place, size, turn, palette, background, light, shadow, clutter below and in front, blur and noise. So neither
color nor position gives the class away, and a classifier has to know shapes. The ten things are in objects.py.

Difficulty is a set of constants in choices.py, tuned so that a linear classifier on pixels stays poor while the full
network learns within a few passes over a few thousand images. Equal releases of numpy and Pillow draw equal bytes on
equal processors; elsewhere a pixel may differ by one step, since numpy's sine is not rounded alike everywhere.
"""

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.scenes.choices import (
    MIDDLE,
    contrasting_lightness,
    draw_background,
    draw_clutter,
    draw_hue,
    draw_light,
    draw_occluders,
    draw_palette,
    expose,
    place_object,
)
from alexnet.data.scenes.objects import OBJECTS
from alexnet.data.scenes.painting import blur, draw_pattern, find_covered, paste
from alexnet.errors import AlexNetError, ConfigError
from alexnet.startup import available_cores
from alexnet.text.progress import Tick, untold

CLASS_NAMES: tuple[str, ...] = tuple(OBJECTS)
"""The ten classes, in the order of their labels."""

VALIDATION_START = 50_000
"""Scenes from this index on are for validation: the training scenes of a class end before it."""

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
    check_numbers(index=(index, 0), seed=(seed, 0), size=(size, 16))
    rng = np.random.default_rng([seed, CLASS_NAMES.index(class_name), index])
    picture, (mask,) = paint_scene(rng, [Placed(class_name)], size)
    return picture, mask


def check_numbers(**numbers: tuple[int, int] | tuple[int, int, int]) -> None:
    """Raise ConfigError for an argument (number, least, most) that is out of its range; the most may be left out."""
    for name, (number, least, *most) in numbers.items():
        if number < least or (most and number > most[0]):
            accepted = f"between {least} and {most[0]}" if most else f"{least} or more"
            raise ConfigError(f"{name} is {number}; it must be {accepted}.")


class Placed(NamedTuple):
    """A thing of a scene; see `choices.place_object`."""

    class_name: str
    place: tuple[float, float] = MIDDLE
    scale: float = 1.0
    turn_degrees: float = 0.0


def paint_scene(
    rng: np.random.Generator, things: Sequence[Placed], size: int
) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """A picture of things, and where each is seen if no other lies on it; see `draw_scene_and_mask`."""
    light = draw_light(rng)
    hue, lightness = draw_hue(rng), rng.uniform(0.2, 0.82)
    canvas = draw_background(rng, hue, lightness, size)
    paste(canvas, draw_clutter(rng, size), light, lift_px=0.016 * size)
    if rng.random() < 0.5:
        canvas = blur(canvas, rng.uniform(0.002, 0.012) * size)

    masks = []
    for class_name, place, scale, turn in things:
        body = contrasting_lightness(rng, lightness)
        palette = draw_palette(rng, hue, body)
        thing, center, half = place_object(rng, class_name, palette, size, place=place, scale=scale, turn_degrees=turn)
        texture = 1.0 + rng.uniform(0.0, 0.4) * (draw_pattern(rng, size) - np.float32(0.5))
        paste(canvas, thing, light, lift_px=rng.uniform(0.02, 0.06) * size, texture=texture)
        occluders = draw_occluders(rng, center, half)
        paste(canvas, occluders, light, lift_px=0.03 * size)
        masks.append(find_covered(thing, size) & ~find_covered(occluders, size))
    return expose(rng, canvas), masks


def write_scenes(
    folder: str | Path,
    *,
    train_per_class: int = 200,
    val_per_class: int = 50,
    seed: int = 0,
    workers: int | None = None,
    progress: Tick = untold,
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
    check_numbers(
        train_per_class=(train_per_class, 1, VALIDATION_START),
        val_per_class=(val_per_class, 0, VALIDATION_START),
        workers=(1 if workers is None else workers, 1, 1024),
        seed=(seed, 0),
    )
    jobs = list(_list_files(Path(folder), train_per_class, val_per_class, seed))
    for parent in {path.parent for *_, path in jobs}:
        parent.mkdir(parents=True, exist_ok=True)
    workers = workers or available_cores()
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
