"""Which formats are read beside JPEG: those that Pillow knows, and two that a plugin of Pillow brings.

HEIC and JPEG XL need a plugin each, the extras `heif` and `jxl`. Cameras' raw files are refused: Pillow would read
their small preview, as of a TIFF. Formats that would start another program (EPS) are refused too.

The size of a JPEG XL picture is read from its first bytes, since its plugin decodes even a bomb before it tells the
size (ISO/IEC 18181-1, SizeHeader; ISO/IEC 18181-2 for the boxes around it).
"""

import functools
import importlib
import io
from collections.abc import Iterator
from typing import Any

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from alexnet.data.images.unusable import MAX_PIXELS, UnusableError, check_size, damaged_header, explain, too_many_pixels
from alexnet.files.kinds import AVIF, HEIC, JPEG_XL, RAW_PHOTOGRAPH, recognize_bytes

FORMATS = ("PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Formats that are read beside JPEG, as Pillow names them; those that its version lacks are left out."""

_PLUGINS = {HEIC: ("pillow_heif", "HeifImageFile"), JPEG_XL: ("pillow_jxl.JpegXLImagePlugin", "JXLImageFile")}
"""Format -> module and class of the plugin of Pillow that reads it."""
_MAGIC_BYTES = (b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")


def open_header(data: bytes) -> Image.Image:
    """Return a picture with its header read; pixels are not decoded yet, but of JPEG XL, whose size is checked.

    Raises:
        UnusableError: its header is damaged, or it is of no format that is read.
    """
    if not data:
        raise UnusableError("is empty", "Copy it again from where it came, or delete it.")
    if data.startswith((b"II*\0", b"MM\0*")) and _is_raw_photograph(data):
        raise UnusableError(f"is {RAW_PHOTOGRAPH.what}, which is not read", RAW_PHOTOGRAPH.advice)
    try:
        return Image.open(io.BytesIO(data), formats=_available_formats())
    except UnidentifiedImageError:
        if data.startswith(_MAGIC_BYTES):
            raise damaged_header() from None
        return _open_by_plugin(data)
    except Image.DecompressionBombError:
        raise too_many_pixels() from None
    except Exception as error:  # decoders raise nearly any type
        raise explain(error) from None


def _open_by_plugin(data: bytes) -> Image.Image:
    """A picture that Pillow does not know, if it is of a format that a plugin reads which is installed.

    Raises:
        UnusableError: no plugin reads it; says what it is, where that is known.
    """
    kind = recognize_bytes(data)
    if kind is None:
        raise UnusableError(
            "is not an image of a known format", "Known are JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 and AVIF."
        )
    if kind is AVIF and "AVIF" in _available_formats():
        raise damaged_header()
    if kind in (HEIC, JPEG_XL, AVIF, RAW_PHOTOGRAPH):
        open_picture = _find_plugin(*_PLUGINS[kind]) if kind in _PLUGINS else None
        if open_picture is None:
            raise UnusableError(f"is {kind.what}, which is not read", kind.advice)
        if kind is JPEG_XL:
            check_size(*read_jpeg_xl_size(data), MAX_PIXELS)
        try:
            image: Image.Image = open_picture(io.BytesIO(data))
        except SyntaxError:  # how plugins of Pillow report a damaged header
            raise damaged_header() from None
        return image
    raise UnusableError(f"is {kind.what}, not an image", kind.advice.format(path="FILE"))


@functools.cache
def _find_plugin(module: str, name: str) -> Any:
    """The class that opens files of a format, or None where its module is not installed."""
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        return None


def _is_raw_photograph(data: bytes) -> bool:
    """Whether a TIFF is a camera's raw file, whose first picture is a small preview, or nothing that is read here.

    Told by Canon's mark, DNG's version, a first picture that calls itself a reduced one, or colors of a sensor.
    """
    if data[8:10] == b"CR":
        return True
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    try:
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        return 50706 in tags or bool(tags.get(254, 0) & 1) or tags.get(262) in (32803, 34892)
    except Exception:  # decoders raise nearly any type; what is wrong with it, opening it tells
        return False


@functools.cache
def _available_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(format_ for format_ in FORMATS if format_ in Image.OPEN)


_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height of each number in the header, from 1."""


def read_jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """Return width and height, before any turning.

    Raises:
        ValueError: the header is damaged, or ends early.
    """
    bits = int.from_bytes(_find_codestream(data)[2:18].ljust(16, b"\0"), "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    def take_side(is_small: bool) -> int:
        return 8 * (take(5) + 1) if is_small else take((9, 13, 18, 30)[take(2)]) + 1

    is_small = bool(take(1))
    height = take_side(is_small)
    ratio = take(3)
    if not ratio:
        return take_side(is_small), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


def _find_codestream(data: bytes) -> bytes:
    if data.startswith(b"\xff\x0a"):
        return data[:64]
    for kind, start in _boxes(data):
        inside = start + 4 if kind == b"jxlp" else start  # a part begins with its number
        if kind in (b"jxlc", b"jxlp") and data[inside : inside + 2] == b"\xff\x0a":
            return data[inside : inside + 64]
    raise ValueError("it has no picture, or is truncated")


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Kind of each box and where its content starts."""
    position = 0
    while position + 8 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        start = position + 8
        if length == 1:
            length, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        yield kind, start
        if length < 8:  # 0: the last box, to the end of the file; 1 to 7: damage
            return
        position += length
