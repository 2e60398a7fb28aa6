"""Frames of an animated GIF or WebP, by Pillow."""

from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from alexnet.data.images.color import convert_to_rgb, simplify_mode
from alexnet.data.images.loading import QUIET_PILLOW
from alexnet.data.images.unusable import MAX_PIXELS, check_size, damaged_header
from alexnet.data.video.timeline import Decoded

FORMATS = ("GIF", "WEBP")
SUFFIXES = (".gif", ".webp")
SHORTEST_MS = 10
"""What is shown for no longer is shown for a tenth of a second, as every browser does."""
USUAL_S = 0.1
IMAGE, TRAILER = 0x2C, 0x3B
"""First bytes of a GIF's blocks."""


def is_animation(source: str | bytes) -> bool:
    """Whether a file is a GIF or WebP of more than one frame."""
    data = source if isinstance(source, bytes) else _read_start(source)
    if not data.startswith(b"GIF8") and not (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return False
    try:
        with QUIET_PILLOW, Image.open(_file(source), formats=FORMATS) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # decoders raise nearly any type; what is wrong with it, decoding it as an image tells
        return False


def decode_animation(
    source: str | bytes, notice: Callable[[str], None], max_pixels: int = MAX_PIXELS
) -> Iterator[Decoded]:
    """Frames in order; the first that cannot be decoded, and those that build on it, are left out and told to notice.

    Raises:
        UnusableError: it is too large, or its header is damaged.
        OSError: the system cannot read it.
    """
    try:
        image = Image.open(_file(source), formats=FORMATS)
    except OSError as problem:  # of Pillow itself, which reads a WebP as a whole or not at all
        if _is_of_system(problem):
            raise
        raise damaged_header() from None
    with image:
        check_size(*image.size, max_pixels)
        start_s, number = 0.0, 0
        while True:
            try:
                with QUIET_PILLOW:
                    image.seek(number)
                    image.load()
            except EOFError:  # also of a GIF that was cut between two frames
                if not _has_end(source):
                    notice("an end that is missing")
                return
            except Exception as problem:  # decoders raise nearly any type; the frames before it are whole
                if _is_of_system(problem):
                    raise
                notice("an end that cannot be decoded")
                return
            milliseconds = image.info.get("duration", 0)
            duration_s = milliseconds / 1000 if milliseconds > SHORTEST_MS else USUAL_S
            yield Decoded(start_s, duration_s, partial(_draw, image.copy()))
            start_s, number = start_s + duration_s, number + 1


def _is_of_system(problem: Exception) -> bool:
    """Whether it is the system that could not read, not Pillow, whose OSErrors have no number."""
    return isinstance(problem, OSError) and problem.errno is not None


def _has_end(source: str | bytes) -> bool:
    """Whether the blocks of a GIF go on to its trailer; others are read as a whole, or not at all."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if not data.startswith(b"GIF8"):
        return True
    try:
        place = 13 + _count_color_bytes(data[10])
        while (kind := data[place]) != TRAILER:
            if kind == IMAGE:
                place += 10 + _count_color_bytes(data[place + 9]) + 1  # the last byte is the size of codes
            else:
                place += 2
            while size := data[place]:
                place += 1 + size
            place += 1
    except IndexError:
        return False
    return True


def _count_color_bytes(flags: int) -> int:
    """Bytes of the table of colours that these flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _draw(image: Image.Image) -> NDArray[np.uint8]:
    with QUIET_PILLOW:
        upright = ImageOps.exif_transpose(image)
        return np.array(convert_to_rgb(simplify_mode(upright), image.info.get("icc_profile")))


def _read_start(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(12)
    except OSError:
        return b""


def _file(source: str | bytes) -> str | BytesIO:
    return source if isinstance(source, str) else BytesIO(source)
