"""Which formats are read beside JPEG: those that Pillow knows, and two that a plugin of Pillow brings.

HEIC and JPEG XL need a plugin each, the extras `heif` and `jxl`. A camera's raw file is told apart from a TIFF, as
which Pillow would read its small preview. Formats that would start another program (EPS) are refused.
"""

import functools
import importlib
import io
from typing import Any

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from alexnet.data.images.jpeg_xl import read_jpeg_xl_size
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
        UnusableError: it is not; says what it is, where that is known.
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
        except SyntaxError:  # so Pillow's plugins say that a header is damaged
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
