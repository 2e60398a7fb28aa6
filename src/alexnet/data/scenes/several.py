"""Drawn scenes with any number of things: none, one or two, of different classes, and a table of what is in them.

A picture is a function of (seed, index): which things, where, and all that `scenes.draw_scene` varies.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.encoding import encode_image
from alexnet.data.scenes.scenes import CLASS_NAMES, JPEG_QUALITY, VALIDATION_START, Placed, check_numbers, paint_scene
from alexnet.files.writing import format_csv, write_bytes, write_text
from alexnet.text.progress import Tick, untold

TABLE = "labels.csv"
"""Name of the table: path, labels with "|" between, split."""
SHARES = (0.1, 0.45, 0.45)
"""Share of the pictures with no thing, with one, and with two."""
SCALE = 0.68
"""Extent of a thing, as a share of that in `scenes`: two have room, and size does not tell how many there are."""
APART = 0.23
"""Distance of a thing's place from the middle, as a fraction of the picture; two stand on opposite sides."""
_STREAM = 1_000
"""Second number of these scenes' random seeds; those of one thing have the number of a class there."""


def draw_several(index: int, *, seed: int = 0, size: int = 256) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """A picture, (size, size, 3) uint8 RGB, and the classes in it, in the order of CLASS_NAMES.

    Raises:
        ConfigError: an argument is outside what is accepted.
    """
    check_numbers(index=(index, 0), seed=(seed, 0), size=(size, 16))
    rng = np.random.default_rng([seed, _STREAM, index])
    count = int(rng.choice(len(SHARES), p=SHARES))
    chosen = rng.choice(len(CLASS_NAMES), count, replace=False).tolist()
    angle = rng.uniform(0, 2 * math.pi)
    things = [
        Placed(
            CLASS_NAMES[label],
            (0.5 + APART * math.cos(angle + turn * math.pi), 0.5 + APART * math.sin(angle + turn * math.pi)),
            SCALE,
        )
        for turn, label in enumerate(chosen)
    ]
    picture, _ = paint_scene(rng, things, size)
    return picture, tuple(CLASS_NAMES[label] for label in sorted(chosen))


def write_several(
    folder: str | Path,
    *,
    train: int = 3000,
    val: int = 500,
    test: int = 500,
    seed: int = 0,
    size: int = 256,
    progress: Tick = untold,
) -> None:
    """Write pictures as folder/<split>/<index>.jpg, and what is in them as folder/labels.csv.

    `alexnet prepare folder/labels.csv --labels several` reads them. Files appear whole or not at all, the table last.

    Args:
        train, val, test: Number of pictures of each split; none of them above VALIDATION_START / 2.
        seed: Which data set.
        size: Side of the pictures in pixels.
        progress: Called with the pictures that are there and the total, after each.
    Raises:
        ConfigError: a number is outside what is accepted.
    """
    counts = {"train": train, "val": val, "test": test}
    check_numbers(**{split: (count, 0, VALIDATION_START // 2) for split, count in counts.items()})
    starts = {"train": 0, "val": VALIDATION_START, "test": VALIDATION_START * 3 // 2}
    root, done = Path(folder), 0
    rows: list[tuple[str, str, str]] = [("path", "labels", "split")]
    for split, count in counts.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        for index in range(starts[split], starts[split] + count):
            picture, classes = draw_several(index, seed=seed, size=size)
            path = f"{split}/{index:05d}.jpg"
            write_bytes(root / path, encode_image(picture, "JPEG", quality=JPEG_QUALITY))
            rows.append((path, "|".join(classes), split))
            done += 1
            progress(done, sum(counts.values()))
    write_text(root / TABLE, format_csv(rows))
