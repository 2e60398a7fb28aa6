"""What a prepared set looks like: pictures of each class, the mean image, the axes of its colours, what cropping cuts.

Everything is small enough for a page that holds it, and the same for the same images.
"""

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.prepare.statistics import PixelStatistics
from alexnet.text.wording import counted

SHOWN_CLASSES = 40
"""Of more classes, the first have pictures."""
SHOWN_IMAGES = 5
"""Pictures of a class: its first training images."""
THUMBNAIL_PX = 96
LISTED_CLASSES = 1000
"""Of more classes, the first are counted on the page; report.json has all of them."""
REACH = 2.0
"""Standard deviations to both sides of the mean colour that a strip of an axis shows."""


class Overview(NamedTuple):
    """What the page shows beside the tables."""

    counts: list[tuple[str, ...]]
    """A row for each class: its name and its images in each split."""
    samples: list[tuple[str, list[bytes]]]
    """A class and JPEGs of its first training images, as they are stored."""
    mean_image: bytes
    """JPEG."""
    axes: list[tuple[bytes, str]]
    """A strip of colours as a PNG, and its length in words, for each principal axis."""
    cropped: str
    """What making the images square cuts off, in words; empty where no original can be read."""


def look_over(
    class_titles: Sequence[str],
    splits: Mapping[str, Mapping[str, int]],
    train: Callable[[int], NDArray[np.uint8]],
    labels: NDArray[np.int64] | NDArray[np.bool_],
    paths: Sequence[str],
    statistics: PixelStatistics,
    read: Callable[[str], bytes],
) -> Overview:
    """Return what a set of images looks like.

    Args:
        splits: Split -> class -> number of its images, in the order of class_titles.
        train: Place of a training image -> (S, S, 3) uint8 RGB.
        labels: (N,) class of each training image, or (N, K) whether it has each class; paths: where each came from.
        statistics: Of the training images.
        read: Path -> bytes of the original; OSError and ValueError where they cannot be had.
    """
    columns = [list(each.values()) for each in splits.values()]
    counts = [
        (title, *(f"{column[label]:,}" for column in columns))
        for label, title in enumerate(class_titles[:LISTED_CLASSES])
    ]
    places = [
        np.flatnonzero(labels[:, label] if labels.ndim == 2 else labels == label)[:SHOWN_IMAGES]
        for label in range(min(len(class_titles), SHOWN_CLASSES))
    ]
    samples = [
        (title, [_encode(train(int(place))) for place in own]) for title, own in zip(class_titles, places, strict=False)
    ]
    colors = statistics.summarize_colors()
    deviations = np.sqrt(colors.eigenvalues)
    axes = [
        (draw_axis(colors.mean, colors.eigenvectors[:, axis] * deviations[axis]), f"{deviations[axis]:.1f} grey levels")
        for axis in range(3)
    ]
    shown = [paths[int(place)] for own in places for place in own]
    return Overview(
        counts, samples, _encode(statistics.mean_image().round().astype(np.uint8)), axes, say_cropped(map(read, shown))
    )


def draw_axis(mean: NDArray[np.float64], direction: NDArray[np.float64], *, width: int = 160) -> bytes:
    """Return a PNG of the colours from REACH directions below the mean to as many above it, from left to right.

    Args:
        mean, direction: (3,) R, G, B in grey levels.
    """
    steps = np.linspace(-REACH, REACH, width)[:, None]
    strip = np.clip(mean + steps * direction, 0, 255).round().astype(np.uint8)
    return _save(Image.fromarray(np.repeat(strip[None], 24, axis=0)), "PNG")


def say_cropped(originals: Iterable[bytes]) -> str:
    """Return what keeping the centred square of pictures cuts off, of those whose size can be read."""
    lost = []
    for data in originals:
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
                width, height = image.size
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
        lost.append(1 - min(width, height) / max(width, height))
    if not lost:
        return ""
    if not max(lost):
        return "Their originals are square already."
    most = f", at most {100 * max(lost):.0f} %" if len(lost) > 1 else ""
    return (
        f"Of the {counted(len(lost), 'picture')} below, the square cuts off {100 * float(np.mean(lost)):.0f} % of the "
        f"area on average{most}: what lies at the ends of the longer side."
    )


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return _save(image, "JPEG", quality=80)


def _save(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
