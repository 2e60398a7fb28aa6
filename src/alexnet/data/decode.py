"""Bytes of an image file -> a square RGB array: the one way in, for preparing a store and for classifying a photograph.

Paper, section 2: the shorter side becomes 256 pixels and the central 256 x 256 square is kept. Here the central square
of the file is resampled straight to that size: the same picture for less work, as what would be cut away is never
computed. Reducing averages over the area that falls on a pixel (data/resample.py), enlarging is bicubic.

Pillow reads every format but JPEG, which data/jpeg.py decodes: faster, and strictly.

The picture is turned upright (EXIF) and reduced to its first frame; data/color.py tells how its colors become RGB.
Files are recognised by their content, never by their name; formats that would start another program (EPS) are refused.
Everything here may be called from several threads; Pillow's own settings are never changed.
"""

import contextlib
import errno
import functools
import io
import os
import struct
import threading
import warnings
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from alexnet.data.color import convert_to_rgb, keeps_rgb, simplify_mode
from alexnet.data.jpeg import JpegDamageError, decode_jpeg, read_jpeg_header
from alexnet.data.resample import resample_box
from alexnet.errors import ConfigError, ImageError
from alexnet.names import escape_name

FORMATS = ("PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Formats that are read beside JPEG, as Pillow names them; those that its version lacks are left out."""

MAX_PIXELS = 120_000_000
"""Largest width x height that is decoded: the largest common camera mode is 108 million; 360 MB as RGB."""

MAX_FILE_BYTES = 2**30
"""Largest file that is read."""

MAX_ASPECT_RATIO = 50
"""Largest ratio of the longer to the shorter side: beyond it the central square shows next to nothing."""

DRAFT_FACTOR = 2
"""JPEG is decoded at 1/2, 1/4 or 1/8 scale if its shorter side stays at least this many times the size asked for.

The result then differs from full decoding by less than 0.6 grey levels on average over photographs, and 3 in the worst.
"""

_JPEG_MAGIC = b"\xff\xd8\xff"
_MAGIC_BYTES = (b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
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
        data = read_file(os.fspath(path))
    except OSError as error:
        raise ImageError(explain_unreadable(str(path), error)) from None
    return decode_image(data, size=size, name=str(path))


def read_file(path: str) -> bytes:
    """All bytes of a file that may be a photograph.

    Raises:
        OSError: it cannot be read, or has more than MAX_FILE_BYTES.
    """
    with open(path, "rb", buffering=0) as file:  # a third faster than Path.read_bytes
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {MAX_FILE_BYTES:,} bytes, as no photograph has")
        return file.read()


def decode_image(
    data: bytes, *, size: int = 256, name: str = "image", out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The central square of a picture, upright, (size, size, 3) uint8 RGB in sRGB, C-contiguous and writable.

    With `short` the shorter side of the upright picture, the square starts floor((long - short) / 2) pixels from the
    left (or top) and is resampled to size x size; where short == size the pixels are taken as they are. Resizing the
    whole picture first and cutting then, with an offset rounded to a pixel of the result, gives the same picture moved
    by less than one pixel.

    Args:
        data: The whole file.
        size: Height and width of the result in pixels, at least 1.
        name: What messages call the picture, usually its path.
        out: Filled and returned when given; (size, size, 3) uint8, C-contiguous. After an error its content is open.
    Raises:
        ImageError: "NAME: reason (N bytes). Next step.", for data that is empty, cut off, damaged or no picture, and
            for pictures of more than MAX_PIXELS or beyond MAX_ASPECT_RATIO. Never another exception for any bytes.
        ConfigError: size is below 1.
    """
    if size < 1:
        raise ConfigError(f"size is {size}; it is a number of pixels, at least 1.")
    try:
        return _decode(data, size, np.empty((size, size, 3), np.uint8) if out is None else out)
    except _UnusableError as problem:
        text = f"{escape_name(name)}: {problem.reason} ({len(data):,} bytes). {problem.next_step}"
        raise ImageError(text) from None


def explain_unreadable(name: str, error: OSError) -> str:
    """The message of the ImageError for an image file that the system does not give out."""
    return f"{escape_name(name)}: cannot be read ({error.strerror}). Check that it exists and its permissions."


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


class _Loaded(NamedTuple):
    """A picture as its file holds it."""

    picture: NDArray[np.uint8] | Image.Image
    """An array is (H, W, 3) RGB, valid until this thread decodes again; an image has one of `simplify_mode`'s modes."""
    width: int
    height: int
    scale: int
    """The picture is width x height divided by this."""
    exif: Image.Exif
    icc_profile: bytes | None


def _decode(data: bytes, size: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        loaded = _load_jpeg(data, size) if data.startswith(_JPEG_MAGIC) else _load_other(data)
        transposition, mirrored_columns, mirrored_rows = _orientation(loaded.exif)
        box = _central_box(loaded.width, loaded.height, mirrored_columns, mirrored_rows)
        if isinstance(loaded.picture, np.ndarray):
            _resample_array(loaded.picture, box, loaded.scale, out)
            if transposition is None and keeps_rgb(loaded.icc_profile):
                return out
            image = Image.fromarray(out)
        else:
            image = _resample_image(loaded.picture, box, size, loaded.scale)
        image = convert_to_rgb(image, loaded.icc_profile)
        out[...] = np.asarray(image if transposition is None else image.transpose(transposition))
        return out
    except _UnusableError:
        raise
    # Decoders answer damaged bytes with nearly every type of exception, struct.error and MemoryError among them;
    # whichever it is, this picture cannot be used and the next one can.
    except Exception as error:
        raise _explain(error) from None


def _load_jpeg(data: bytes, size: int) -> _Loaded:
    try:
        header = read_jpeg_header(data)
    except JpegDamageError:
        raise _damaged_header() from None
    _check_size(header.width, header.height)
    pixels, scale = decode_jpeg(data, header, DRAFT_FACTOR * size)
    picture: NDArray[np.uint8] | Image.Image = pixels
    if pixels.shape[2] == 4:  # files with Adobe's marker hold the inverse of what the standard says
        inks = 255 - pixels if header.is_adobe else pixels
        picture = Image.frombytes("CMYK", (inks.shape[1], inks.shape[0]), inks.tobytes())
    elif header.color == "Gray" and header.icc_profile:  # a profile for grey needs one channel
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
    exif = Image.Exif()
    if header.exif is not None:
        # Damaged EXIF raises anything; the picture is then taken as stored.
        with contextlib.suppress(Exception), _QUIET_PILLOW:
            exif.load(header.exif)
    return _Loaded(picture, header.width, header.height, scale, exif, header.icc_profile)


def _load_other(data: bytes) -> _Loaded:
    with _QUIET_PILLOW:
        return _load_quietly(data)


def _load_quietly(data: bytes) -> _Loaded:
    image = _identify(data)
    _check_size(*image.size)
    if image.format == "PNG":
        _check_png(data)
    image.load()
    try:
        exif = image.getexif()
    except Exception:  # damaged EXIF raises anything; the picture is then taken as stored
        exif = Image.Exif()
    picture = simplify_mode(image)
    width, height = image.size  # after loading: a TIFF comes upright
    pixels = np.array(picture) if picture.mode == "RGB" else picture
    return _Loaded(pixels, width, height, 1, exif, image.info.get("icc_profile"))


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels()
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise _UnusableError(
            f"is {width} x {height} pixels, one side over {MAX_ASPECT_RATIO} times the other", "Cut out a part of it."
        )


def _identify(data: bytes) -> Image.Image:
    """The picture with its header read; pixels are not decoded yet."""
    if not data:
        raise _UnusableError("is empty", "Copy it again from where it came, or delete it.")
    try:
        return Image.open(io.BytesIO(data), formats=_available_formats())
    except UnidentifiedImageError:
        if data.startswith(_MAGIC_BYTES):
            raise _damaged_header() from None
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


def _orientation(exif: Image.Exif) -> tuple[Image.Transpose | None, bool, bool]:
    try:
        value = exif.get(_ORIENTATION_TAG)
    except Exception:  # damaged entries raise anything, and are read only when they are asked for
        value = None
    return _ORIENTATIONS.get(value, (None, False, False)) if isinstance(value, int) else (None, False, False)


def _central_box(width: int, height: int, mirrored_columns: bool, mirrored_rows: bool) -> tuple[int, int, int]:
    """Left, top and side of the central square of a picture as it is stored."""
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    # The offset is rounded down in the upright picture, so where the stored one is mirrored it is rounded up.
    return (
        width - short - left if mirrored_columns else left,
        height - short - top if mirrored_rows else top,
        short,
    )


def _resample_array(pixels: NDArray[np.uint8], box: tuple[int, int, int], scale: int, out: NDArray[np.uint8]) -> None:
    """The box of a picture that was decoded at 1/scale, into out."""
    left, top, short = box
    size = len(out)
    if short == size:
        out[...] = pixels[top : top + size, left : left + size]
    else:
        resample_box(pixels, left / scale, top / scale, short / scale, short / scale, out)


def _resample_image(picture: Image.Image, box: tuple[int, int, int], size: int, scale: int) -> Image.Image:
    """The same for modes other than RGB."""
    left, top, short = box
    if short == size:
        return picture.crop((left, top, left + size, top + size))
    filter_ = Image.Resampling.BICUBIC if short < size else Image.Resampling.BILINEAR
    edges = (left / scale, top / scale, (left + short) / scale, (top + short) / scale)
    return picture.resize((size, size), filter_, box=edges)


def _check_png(data: bytes) -> None:
    """Compare the checksums of the chunks with pixels, which Pillow does not."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if kind == b"IDAT" and data[end : end + 4] != zlib.crc32(data[position + 4 : end]).to_bytes(4, "big"):
            raise ValueError("Truncated" if end + 4 > len(data) else "a checksum of its pixels does not agree")
        position = end + 4


def _damaged_header() -> _UnusableError:
    return _UnusableError("has a damaged header or ends early", "Copy it again from where it came.")


def _too_many_pixels() -> _UnusableError:
    return _UnusableError(f"has more than {MAX_PIXELS:,} pixels", "Save a smaller copy of it.")


def _explain(error: Exception) -> _UnusableError:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "truncated" in text.lower() or "premature end" in text.lower():
        return _UnusableError("data ends early", "Copy it again from where it came.")
    if isinstance(error, Image.DecompressionBombError):
        return _too_many_pixels()
    return _UnusableError(f"is damaged: {text[:120].rstrip('.')}", "Copy it again from where it came.")
