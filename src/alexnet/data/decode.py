"""Bytes of an image file -> a square RGB array: the one way in, for preparing a store and for classifying a photograph.

Paper, section 2: the shorter side becomes 256 pixels and the central 256 x 256 square is kept. Here the central square
of the file is resampled straight to that size: the same picture for less work, as what would be cut away is never
computed. Reducing averages over the area that falls on a pixel (Pillow's BILINEAR, a triangle that widens with the
factor, as PyTorch's antialiased resize), enlarging is bicubic.

The picture is turned upright (EXIF) and reduced to its first frame; data/color.py tells how its colors become RGB.
Files are recognised by their content, never by their name; formats that would start another program (EPS) are refused.
Everything here may be called from several threads; Pillow's own settings are never changed.
"""

import functools
import io
import os
import threading
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from alexnet.data.color import convert_to_rgb, simplify_mode
from alexnet.errors import ConfigError, ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Formats that are read, as Pillow names them; those that its version lacks are left out."""

MAX_PIXELS = 120_000_000
"""Largest width x height that is decoded: the largest common camera mode is 108 million; 360 MB as RGB."""

MAX_ASPECT_RATIO = 50
"""Largest ratio of the longer to the shorter side: beyond it the central square shows next to nothing."""

DRAFT_FACTOR = 2
"""JPEG is decoded at 1/2, 1/4 or 1/8 scale if its shorter side stays at least this many times the size asked for.

The result then differs from full decoding by less than 0.6 grey levels on average over photographs, and 3 in the worst.
"""

_MAGIC_BYTES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
_ORIENTATION_TAG = 0x0112
# EXIF orientation -> (transposition that turns the picture upright, stored columns mirrored, stored rows mirrored)
_ORIENTATIONS = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, True, False),
    3: (Image.Transpose.ROTATE_180, True, True),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False, True),
    5: (Image.Transpose.TRANSPOSE, False, False),
    6: (Image.Transpose.ROTATE_270, False, True),
    7: (Image.Transpose.TRANSVERSE, True, True),
    8: (Image.Transpose.ROTATE_90, True, False),
}


def open_image(path: str | os.PathLike[str], size: int = 256) -> NDArray[np.uint8]:
    """The picture in a file as `decode_image` gives it.

    Raises:
        ImageError: the file is missing, cannot be read, or is no usable picture; the message starts with path.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(explain_unreadable(str(path), error)) from None
    return decode_image(data, size=size, name=str(path))


def decode_image(data: bytes, *, size: int = 256, name: str = "image") -> NDArray[np.uint8]:
    """The central square of a picture, upright, (size, size, 3) uint8 RGB in sRGB, C-contiguous and writable.

    With `short` the shorter side of the upright picture, the square starts floor((long - short) / 2) pixels from the
    left (or top) and is resampled to size x size; where short == size the pixels are taken as they are. Resizing the
    whole picture first and cutting then, with an offset rounded to a pixel of the result, gives the same picture moved
    by less than one pixel.

    Args:
        data: The whole file.
        size: Height and width of the result in pixels, at least 1.
        name: What messages call the picture, usually its path.
    Raises:
        ImageError: "NAME: reason (N bytes). Next step.", for data that is empty, cut off, damaged or no picture, and
            for pictures of more than MAX_PIXELS or beyond MAX_ASPECT_RATIO. Never another exception for any bytes.
        ConfigError: size is below 1.
    """
    if size < 1:
        raise ConfigError(f"size is {size}; it is a number of pixels, at least 1.")
    try:
        with _QUIET_PILLOW:
            return np.array(_decode(data, size))
    except _UnusableError as problem:
        text = f"{show_name(name)}: {problem.reason} ({len(data):,} bytes). {problem.next_step}"
        raise ImageError(text) from None


def show_name(name: str) -> str:
    """A path as messages show it: what cannot be printed, such as bytes that are not UTF-8, is escaped."""
    if name.isprintable():
        return name
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def explain_unreadable(name: str, error: OSError) -> str:
    """The message of the ImageError for an image file that the system does not give out."""
    return f"{show_name(name)}: cannot be read ({error.strerror}). Check that it exists and its permissions."


class _UnusableError(Exception):
    def __init__(self, reason: str, next_step: str) -> None:
        self.reason = reason
        self.next_step = next_step


class _QuietPillow:
    """While any thread is inside, warnings from Pillow are not shown: what matters is raised as an error.

    warnings.catch_warnings alone would restore the filters in the wrong order when threads overlap.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._depth += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._filters.__exit__(None, None, None)


_QUIET_PILLOW = _QuietPillow()


def _decode(data: bytes, size: int) -> Image.Image:
    image = _identify(data)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_many_pixels()
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise _UnusableError(
            f"is {width} x {height} pixels, one side over {MAX_ASPECT_RATIO} times the other", "Cut out a part of it."
        )
    scale = 1
    try:
        if image.format in ("JPEG", "MPO") and (draft := image.draft(None, (DRAFT_FACTOR * size, DRAFT_FACTOR * size))):
            scale = round(width / draft[1][2])
        image.load()
        transposition, mirrored_columns, mirrored_rows = _orientation(image)
        width, height = (width, height) if scale > 1 else image.size  # a TIFF comes upright from load
        square = _resample_square(simplify_mode(image), width, height, scale, size, mirrored_columns, mirrored_rows)
        square = convert_to_rgb(square, image.info.get("icc_profile"))
    # Pillow's decoders answer damaged bytes with nearly every type of exception, struct.error and MemoryError among
    # them; whichever it is, this picture cannot be used and the next one can.
    except Exception as error:
        raise _explain(error) from None
    return square if transposition is None else square.transpose(transposition)


def _identify(data: bytes) -> Image.Image:
    """The picture with its header read; pixels are not decoded yet."""
    if not data:
        raise _UnusableError("is empty", "Copy it again from where it came, or delete it.")
    try:
        return Image.open(io.BytesIO(data), formats=_available_formats())
    except UnidentifiedImageError:
        if data.startswith(_MAGIC_BYTES):
            raise _UnusableError("has a damaged header or ends early", "Copy it again from where it came.") from None
        if data[:256].lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise _UnusableError("is a web page, not an image", "Download the image itself.") from None
        raise _UnusableError(
            "is not an image of a known format", "Known are JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 and AVIF."
        ) from None
    except Image.DecompressionBombError:
        raise _too_many_pixels() from None
    except Exception as error:  # as in _decode
        raise _explain(error) from None


@functools.cache
def _available_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(format_ for format_ in FORMATS if format_ in Image.OPEN)


def _orientation(image: Image.Image) -> tuple[Image.Transpose | None, bool, bool]:
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # damaged EXIF raises as many types as damaged pixels do; the picture is then taken as stored
        value = None
    return _ORIENTATIONS.get(value, (None, False, False)) if isinstance(value, int) else (None, False, False)


def _resample_square(
    image: Image.Image,
    width: int,
    height: int,
    scale: int,
    size: int,
    mirrored_columns: bool,
    mirrored_rows: bool,
) -> Image.Image:
    """The central square of a picture of width x height that was decoded at 1/scale."""
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    # The offset is rounded down in the upright picture, so where the stored one is mirrored it is rounded up.
    left = width - short - left if mirrored_columns else left
    top = height - short - top if mirrored_rows else top
    if scale == 1 and short == size:
        return image.crop((left, top, left + size, top + size))
    filter_ = Image.Resampling.BICUBIC if short < size else Image.Resampling.BILINEAR
    box = (left / scale, top / scale, (left + short) / scale, (top + short) / scale)
    return image.resize((size, size), filter_, box=box)


def _too_many_pixels() -> _UnusableError:
    return _UnusableError(f"has more than {MAX_PIXELS:,} pixels", "Save a smaller copy of it.")


def _explain(error: Exception) -> _UnusableError:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "truncated" in text.lower():
        return _UnusableError("data ends early", "Copy it again from where it came.")
    if isinstance(error, Image.DecompressionBombError):
        return _too_many_pixels()
    return _UnusableError(f"is damaged: {text[:120].rstrip('.')}", "Copy it again from where it came.")
