"""The report of prepare as one HTML page: what was kept, what was left out and how it looks; it loads nothing.

It shows pictures of each class, the mean image, the axes of the colours and what cropping cuts off, the same for the
same images.
"""

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images.encoding import encode_image
from alexnet.data.images.unusable import MAX_PIXELS
from alexnet.data.prepare.statistics import PixelStatistics
from alexnet.pages import writing as pages
from alexnet.text.names import unescape_name
from alexnet.text.wording import counted

SHOWN_CLASSES = 40
"""Classes that have pictures, at most: the first."""
SHOWN_IMAGES = 5
"""Pictures of a class: its first training images."""
THUMBNAIL_PX = 96
LISTED_CLASSES = 1000
"""Classes that are counted on the page, at most; report.json has all of them."""
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
    find_size: Callable[[str], Sequence[int] | None],
) -> Overview:
    """Return what a set of images looks like.

    Args:
        splits: Split -> class -> number of its images, in the order of class_titles.
        train: Place of a training image -> (S, S, 3) uint8 RGB.
        labels: (N,) class of each training image, or (N, K) whether it has each class; paths: where each came from.
        statistics: Statistics of the training images.
        find_size: Path -> both sides of the original in pixels; None where they cannot be had.
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
    mean_image = _encode(statistics.mean_image().round().astype(np.uint8))
    return Overview(counts, samples, mean_image, axes, say_cropped(map(find_size, shown)))


def draw_axis(mean: NDArray[np.float64], direction: NDArray[np.float64], *, width: int = 160) -> bytes:
    """Return a PNG of the colours from REACH directions below the mean to as many above it, from left to right.

    Args:
        mean, direction: (3,) R, G, B in grey levels.
    """
    steps = np.linspace(-REACH, REACH, width)[:, None]
    strip = np.clip(mean + steps * direction, 0, 255).round().astype(np.uint8)
    return encode_image(np.repeat(strip[None], 24, axis=0), "PNG")


def measure(path: str, read: Callable[[str], bytes]) -> tuple[int, int] | None:
    """Return width and height of a picture as it is stored, in pixels; None where they cannot be read."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(read(path))) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def say_cropped(sizes: Iterable[Sequence[int] | None]) -> str:
    """Return what keeping the centred square of pictures cuts off, of those whose size, both sides, is known."""
    lost = [1 - min(size) / max(size) for size in sizes if size is not None]
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
    return encode_image(image, "JPEG", quality=80)


WORDS_BYTES = 40
"""Part of a text file that is shown in place of a picture."""
LISTED_IMAGES = 200
"""Images left out that the page shows; report.json has all of them."""


def build_page(
    title: str, report: Mapping[str, Any], overview: Overview, next_command: str | None, read: Callable[[str], bytes]
) -> bytes:
    """The page, the same for the same report and images.

    Args:
        title: Name of the source.
        report: The content of report.json.
        overview: What the images look like.
        next_command: What to type to train on them; None where no network reads images of their size.
        read: Path of an image -> its bytes; OSError and ValueError where they cannot be had.
    """
    skipped, splits = report["skipped"], report["splits"]
    return pages.build_page(
        "prepared.html",
        kicker="AlexNet prepare",
        title=f"Prepared: {title}",
        lead="",
        description="What was kept, what was left out and how it looks",
        splits=[(name, f"{each['kept']:,}", f"{each['found'] - each['kept']:,}") for name, each in splits.items()],
        split_names=list(splits),
        overview=overview,
        next_command=next_command,
        notes=report["notes"],
        ignored=[(why, f"{number:,}") for why, number in report["ignored"].items()],
        left_out=counted(len(skipped), "image"),
        is_cut=len(skipped) > LISTED_IMAGES,
        skipped=[
            (_preview(unescape_name(each["path"]), read), each["path"], each["reason"])
            for each in skipped[:LISTED_IMAGES]
        ],
        duplicates=[" = ".join(group) for group in report["duplicates"]["groups"][:LISTED_IMAGES]],
    ).encode()


def draw_thumbnail(data: bytes) -> bytes | None:
    """What can be seen of a damaged JPEG, as a small JPEG; None where nothing can."""
    try:
        height, width, color, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        if color in ("CMYK", "YCCK") or height * width > MAX_PIXELS:
            return None
        blank = np.full(height * width * 3, 128, np.uint8)  # what is missing stays grey, the same every time
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=False, buffer=blank)
    except (ValueError, KeyError):  # KeyError for colors that simplejpeg has no name for
        return None
    return _encode(pixels)


def _preview(path: str, read: Callable[[str], bytes]) -> bytes | str | None:
    """What is seen of a file: a JPEG, else its words, else b""; None where it cannot be read."""
    try:
        data = read(path)
    except (OSError, ValueError):
        return None
    return draw_thumbnail(data) or _read_words(data[:WORDS_BYTES]) or b""


def _read_words(data: bytes) -> str:
    """The beginning of a text, as of a web page that was saved as an image; empty where it is no text."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("ascii", "replace")
    if not all(character.isprintable() or character in "\r\n\t" for character in text) or "\ufffd" in text:
        return ""
    return " ".join(text.split())
