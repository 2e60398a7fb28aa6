"""Drawn clips whose classes differ in motion alone: rises, falls, turns right, turns left, grows, shrinks.

In each, one of the ten things of the drawn pictures moves before a scene that stands still. Its height, its turn and
its size are three paths through the same distribution. Of a class, one of them is followed, and the other two stand at
a moment of theirs that is drawn. So a frame, taken at a moment that is drawn, looks the same whatever the class: no
still picture tells them apart. The opposite class is the same clip played backwards.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images.encoding import encode_image
from alexnet.data.scenes.scenes import CLASS_NAMES, VALIDATION_START, Placed, check_numbers, paint_scene
from alexnet.errors import ConfigError
from alexnet.files.writing import write_bytes
from alexnet.text.progress import Tick, untold

MOTIONS: tuple[str, ...] = ("rises", "falls", "turns right", "turns left", "grows", "shrinks")
"""The classes; those of a pair are each other's, played backwards."""

FRAMES = 12
"""Frames of a clip."""
FRAME_SECONDS = 0.125
HEIGHT = 0.22
"""Farthest that a thing stands above or below the middle, as a fraction of the picture."""
TURN_DEGREES = 75.0
"""Farthest that a thing is turned from how it is drawn, either way."""
SCALE = (0.4, 0.9)
"""Smallest and largest extent, against one that is alone in its picture."""
SPAN = (0.7, 1.0)
"""Shortest and longest part of its range, from one end to the other, that a path covers."""
_STREAM = 2_000
"""Keeps these scenes' random numbers apart from those of pictures, whose second number is lower."""


class _Pose(NamedTuple):
    """How a thing is seen in a frame; each is in [-1, 1]."""

    height: float
    turn: float
    size: float

    def place(self, class_name: str) -> Placed:
        low, high = map(math.log, SCALE)
        scale = math.exp((low + high + self.size * (high - low)) / 2)
        return Placed(class_name, (0.5, 0.5 - HEIGHT * self.height), scale, TURN_DEGREES * self.turn)


def draw_poses(rng: np.random.Generator, axis: int, frames: int) -> list[_Pose]:
    """Poses of a thing that rises (axis 0), turns right (1) or grows (2); the other two stay as they are."""
    spans = rng.uniform(*SPAN, 3)
    starts = rng.uniform(-1, 1 - 2 * spans)
    moments = rng.integers(0, frames, 3)
    steps = np.arange(frames) / max(1, frames - 1)
    paths = starts + 2 * spans * steps[:, None]
    still = paths[moments, range(3)]
    return [_Pose(*np.where(np.arange(3) == axis, path, still).tolist()) for path in paths]


def draw_clip(
    motion: str, index: int, *, seed: int = 0, size: int = 128, frames: int = FRAMES
) -> list[NDArray[np.uint8]]:
    """The frames of a clip, each (size, size, 3) uint8 RGB.

    The same arguments give the same clip; with the opposite motion they give it backwards.

    Args:
        motion: One of MOTIONS.
        index: Which individual of the class; 0 or more.
        seed: Which data set; 0 or more.
        size: Side of the frames in pixels; 16 or more.
        frames: Of the clip; 2 or more.
    Raises:
        ConfigError: An argument is outside what is accepted.
    """
    if motion not in MOTIONS:
        raise ConfigError(f"unknown motion {motion!r}. The drawn clips have: {', '.join(MOTIONS)}.")
    check_numbers(index=(index, 0), seed=(seed, 0), size=(size, 16), frames=(frames, 2))
    axis, is_opposite = divmod(MOTIONS.index(motion), 2)
    key = [seed, _STREAM + axis, index]
    rng = np.random.default_rng(key)
    class_name = CLASS_NAMES[int(rng.integers(len(CLASS_NAMES)))]
    poses = draw_poses(rng, axis, frames)
    # The same numbers for every frame: all that is drawn of a scene but the pose stands still.
    clip = [paint_scene(np.random.default_rng([*key, 1]), [pose.place(class_name)], size)[0] for pose in poses]
    return clip[::-1] if is_opposite else clip


def write_clips(
    folder: str | Path,
    *,
    train: int = 100,
    val: int = 40,
    seed: int = 0,
    size: int = 128,
    frames: int = FRAMES,
    progress: Tick = untold,
) -> None:
    """Write clips as folder/<split>/<motion>/<index>.webp: animated WebP without loss, eight frames a second.

    No two hold the same frames: of opposite classes, one has the even indices and the other the odd ones. Files appear
    whole or not at all.

    Args:
        train, val: Number of clips of each class; none of them above VALIDATION_START / 2.
        seed: Which data set.
        size: Side of the frames in pixels.
        frames: Of each clip.
        progress: Called with the clips that are there and the total, after each.
    Raises:
        ConfigError: a number is outside what is accepted.
    """
    counts = {"train": train, "val": val}
    check_numbers(**{split: (count, 0, VALIDATION_START // 2) for split, count in counts.items()})
    done, total = 0, len(MOTIONS) * sum(counts.values())
    for (split, count), start in zip(counts.items(), (0, VALIDATION_START), strict=True):
        for label, motion in enumerate(MOTIONS):
            place = Path(folder) / split / motion
            place.mkdir(parents=True, exist_ok=True)
            for index in range(start + label % 2, start + 2 * count, 2):
                clip = draw_clip(motion, index, seed=seed, size=size, frames=frames)
                write_bytes(place / f"{index:05d}.webp", encode_webp(clip))
                done += 1
                progress(done, total)


def encode_webp(clip: Sequence[NDArray[np.uint8]]) -> bytes:
    """An animated WebP of frames, each FRAME_SECONDS long, that gives back every pixel."""
    first, *others = map(Image.fromarray, clip)
    duration_ms = round(1000 * FRAME_SECONDS)
    return encode_image(first, "WEBP", save_all=True, append_images=others, duration=duration_ms, lossless=True)
