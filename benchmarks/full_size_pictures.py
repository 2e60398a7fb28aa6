"""Pictures as many as ImageNet has: 1,281,167 for training and 50,000 for validation, in 1,000 classes.

Each class has a large smooth picture of random colours. A picture of the class is 64 px of it, cut out at random, made
lighter or darker, with one of a few textures of noise on it: every file and every decoded picture is another one,
though all are made from 1,000 pictures. Then some are planted twice, so that looking for duplicates has an answer:

- every 1,000th training picture is a copy, byte for byte, of the one before it;
- every 1,000th training picture, 500 later, is the one before it compressed again: a near copy;
- every 1,000th validation picture, the first of its class, is a copy of the first training picture of the class.

The same number of images gives the same bytes. benchmarks/full_size.py calls this.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

CLASSES = 1000
FULL = 1_281_167
FULL_VAL = 50_000
PLANTED_EVERY = 1000
_PX, _LARGE_PX, _TEXTURES = 64, 160, 64
_QUALITY, _AGAIN_QUALITY = 85, 70


class Planted(NamedTuple):
    """Pairs of paths inside the folder of pictures."""

    copies: list[tuple[str, str]]
    copies_across_splits: list[tuple[str, str]]
    near_copies: list[tuple[str, str]]


def count_val(images: int) -> int:
    """Validation pictures beside so many training pictures: ImageNet's share, and one of each class at least."""
    return max(CLASSES, round(FULL_VAL * images / FULL))


def name_class(label: int) -> str:
    """The name of a class, as ImageNet spells its own."""
    return f"n{label:08d}"


def plan_copies(images: int) -> Planted:
    """Return which pictures are made from which others."""
    planted = Planted([], [], [])
    number = 0
    for label in range(CLASSES):
        folder = f"train/{name_class(label)}"
        for place in range(_share(images, label)):
            number += 1
            pair = f"{folder}/{place - 1:05d}.jpg", f"{folder}/{place:05d}.jpg"
            if place and number % PLANTED_EVERY == 0:
                planted.copies.append(pair)
            elif place and number % PLANTED_EVERY == PLANTED_EVERY // 2:
                planted.near_copies.append(pair)
        if label % max(1, CLASSES * PLANTED_EVERY // count_val(images)) == 0:
            planted.copies_across_splits.append((f"{folder}/00000.jpg", f"val/{name_class(label)}/00000.jpg"))
    return planted


def make_pictures(folder: Path, images: int, labels: range = range(CLASSES)) -> None:
    """Write folder/train/<class>/ and folder/val/<class>/.

    Args:
        images: Training pictures; divided evenly over the classes.
        labels: Only these classes, while other processes make others.
    """
    planted = plan_copies(images)
    copies = {copy: original for original, copy in (*planted.copies, *planted.copies_across_splits)}
    again = {copy: original for original, copy in planted.near_copies}
    textures = np.random.default_rng(0).normal(0, 9, (_TEXTURES, _PX, _PX, 1)).astype(np.float32)
    for label in labels:
        picture = _draw_class(label)
        for split, count, seed in (("train", images, label), ("val", count_val(images), CLASSES + label)):
            own = f"{split}/{name_class(label)}"
            (folder / own).mkdir(parents=True)
            for place, pixels in enumerate(_vary(picture, textures, seed, _share(count, label))):
                name = f"{own}/{place:05d}.jpg"
                if name in copies:
                    data = (folder / copies[name]).read_bytes()
                elif name in again:
                    data = simplejpeg.encode_jpeg(
                        simplejpeg.decode_jpeg((folder / again[name]).read_bytes()), _AGAIN_QUALITY
                    )
                else:
                    data = simplejpeg.encode_jpeg(pixels, _QUALITY)
                with open(f"{folder}/{name}", "xb", buffering=0) as file:
                    file.write(data)


def _share(count: int, label: int) -> int:
    """How many of count things a class has."""
    return count // CLASSES + (label < count % CLASSES)


def _draw_class(label: int) -> NDArray[np.float32]:
    """The large picture of a class."""
    colors = np.random.default_rng([1, label]).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(colors).resize((_LARGE_PX, _LARGE_PX), Image.Resampling.BICUBIC), np.float32)


def _vary(
    picture: NDArray[np.float32], textures: NDArray[np.float32], seed: int, count: int
) -> Iterator[NDArray[np.uint8]]:
    """Pictures of a class, each another one."""
    rng = np.random.default_rng([2, seed])
    corners = rng.integers(0, _LARGE_PX - _PX + 1, (count, 2)).tolist()
    lights = rng.uniform(0.7, 1.1, count).tolist()
    chosen = rng.integers(0, len(textures), count).tolist()
    pixels = np.empty((_PX, _PX, 3), np.float32)
    for (top, left), light, texture in zip(corners, lights, chosen, strict=True):
        np.multiply(picture[top : top + _PX, left : left + _PX], np.float32(light), out=pixels)
        np.add(pixels, textures[texture], out=pixels)
        np.clip(pixels, 0, 255, out=pixels)
        yield pixels.astype(np.uint8)
