"""Bytes of an image file -> a square RGB array: the one way in, for preparing a store and for classifying a photograph.

Paper, section 2: the shorter side becomes 256 pixels and the central 256 x 256 square is kept. Here the central square
of the file is resampled straight to that size: the same picture for less work, as what would be cut away is never
computed. Reducing averages over the area that falls on a pixel (data/images/resample.py), enlarging is bicubic.
For weights of other programs there are their own ways, `Framing`.

Pillow reads every format but JPEG, which data/images/jpeg.py decodes: faster, and strictly. HEIC and JPEG XL need a
plugin of Pillow each, the extras `heif` and `jxl`.

The picture is turned upright (EXIF) and reduced to its first frame; data/images/color.py tells how its colors become
RGB. Files are recognised by their content, never by their name; formats that would start another program (EPS) are
refused. Everything here may be called from several threads; Pillow's own settings are never changed.
"""

import contextlib
import errno
import functools
import importlib
import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from alexnet.data.images.color import build_display_p3, convert_to_rgb, keeps_rgb, simplify_mode
from alexnet.data.images.jpeg import JpegDamageError, decode_jpeg, decode_odd_jpeg, find_oddity, read_jpeg_header
from alexnet.data.images.jpeg_xl import read_jpeg_xl_size
from alexnet.data.images.resample import resample_box
from alexnet.errors import ConfigError, ImageError
from alexnet.files.kinds import AVIF, HEIC, JPEG_XL, RAW_PHOTOGRAPH, recognize_bytes
from alexnet.files.writing import read_bytes
from alexnet.text.names import escape_name

Framing = Literal["square", "torchvision", "caffe"]
"""How a picture of any size becomes a square one.

- square: the central square, as the top of this module says.
- torchvision: Resize, then CenterCrop. The whole picture is reduced, or enlarged, by an antialiased triangle until its
  shorter side fits, the longer one rounded down; the square then starts at half of what is left over, rounded to even.
- caffe: the whole picture is squeezed into the square, each pixel from the four nearest, without antialiasing, as
  OpenCV's default in Caffe's convert_imageset.
"""

Notice = Callable[[str], None]
"""Is told what is odd about a picture that is used all the same, as words after "has"."""

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

LARGEST_PROFILE_BYTES = 2**24
"""Largest ICC profile of a PNG that is applied; Pillow alone refuses a PNG where it is over 2**20."""

_PLUGINS = {HEIC: ("pillow_heif", "HeifImageFile"), JPEG_XL: ("pillow_jxl.JpegXLImagePlugin", "JXLImageFile")}
"""Format -> module and class of the plugin of Pillow that reads it."""
_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_MAGIC_BYTES = (b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
_ORIENTATION_TAG = 0x0112
_P3_PRIMARIES = 12  # ITU-T H.273
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


def open_image(path: str | os.PathLike[str], size: int = 256, *, framing: Framing = "square") -> NDArray[np.uint8]:
    """The picture in a file as `decode_image` gives it.

    Raises:
        ImageError: the file is missing, cannot be read, or is no usable picture; the message starts with path.
    """
    try:
        data = read_file(os.fspath(path))
    except OSError as error:
        raise ImageError(explain_unreadable(str(path), error)) from None
    return decode_image(data, size=size, name=str(path), framing=framing)


def read_file(path: str) -> bytes:
    """All bytes of a file that may be a photograph.

    Raises:
        OSError: it cannot be read, is a pipe or device, or has more than MAX_FILE_BYTES.
    """
    return read_bytes(path, MAX_FILE_BYTES)


def decode_image(
    data: bytes,
    *,
    size: int = 256,
    name: str = "image",
    out: NDArray[np.uint8] | None = None,
    framing: Framing = "square",
    notice: Notice | None = None,
    max_pixels: int = MAX_PIXELS,
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
        framing: How the picture becomes a square; of "square" the above is true.
        notice: Called where the file is odd and its picture whole.
        max_pixels: Largest width x height that is decoded, at most MAX_PIXELS.
    Raises:
        ImageError: "NAME: reason (N bytes). Next step.", for data that is empty, cut off, damaged or no picture, and
            for pictures of more than max_pixels or beyond MAX_ASPECT_RATIO. Never another exception for any bytes.
        ConfigError: size is below 1.
    """
    if size < 1:
        raise ConfigError(f"size is {size}; it is a number of pixels, at least 1.")
    try:
        target = np.empty((size, size, 3), np.uint8) if out is None else out
        return _decode(data, size, target, framing, notice or (lambda oddity: None), max_pixels)
    except _UnusableError as problem:
        text = f"{escape_name(name)}: {problem.reason} ({len(data):,} bytes). {problem.next_step}"
        raise ImageError(text) from None


def explain_unreadable(name: str, error: OSError) -> str:
    """The message of the ImageError for an image file that the system does not give out."""
    advice = "Give a file." if error.errno == errno.EINVAL else "Check that it exists and its permissions."
    return f"{escape_name(name)}: cannot be read ({error.strerror}). {advice}"


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
                warnings.filterwarnings("ignore", module=r"PIL\.|pillow_")
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


def _decode(
    data: bytes, size: int, out: NDArray[np.uint8], framing: Framing, notice: Notice, max_pixels: int
) -> NDArray[np.uint8]:
    try:
        if data.startswith(_JPEG_MAGIC):
            loaded = _load_jpeg(data, DRAFT_FACTOR * size if framing == "square" else None, notice, max_pixels)
        else:
            loaded = _load_other(data, notice, max_pixels)
        transposition, mirrored_columns, mirrored_rows = _orientation(loaded.exif)
        if framing != "square":
            picture = loaded.picture
            image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
            image = convert_to_rgb(image, loaded.icc_profile)
            image = image if transposition is None else image.transpose(transposition)
            out[...] = np.asarray(_frame(image, size, framing))
            return out
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


def _frame(image: Image.Image, size: int, framing: Framing) -> Image.Image:
    """An upright picture, RGB, as another program would give it to its network."""
    width, height = image.size
    if framing == "caffe":
        return image.transform(
            (size, size), Image.Transform.EXTENT, (0, 0, width, height), resample=Image.Resampling.BILINEAR
        )
    long = int(size * max(width, height) / min(width, height))
    width, height = (size, long) if width <= height else (long, size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))


def _load_jpeg(data: bytes, smallest: int | None, notice: Notice, max_pixels: int) -> _Loaded:
    try:
        header = read_jpeg_header(data)
    except JpegDamageError:
        raise _damaged_header() from None
    _check_size(header.width, header.height, max_pixels)
    try:
        pixels, scale = decode_jpeg(data, header, smallest)
        oddity = find_oddity(data, header)
    except JpegDamageError as damage:
        try:
            pixels, scale, oddity = decode_odd_jpeg(data, header, smallest)
        except JpegDamageError:
            raise damage from None
    if oddity is not None:
        notice(oddity)
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


def _load_other(data: bytes, notice: Notice, max_pixels: int) -> _Loaded:
    with _QUIET_PILLOW:
        if not data.startswith(_PNG_MAGIC):
            return _load_quietly(data, max_pixels)
        try:
            return _load_quietly(data, max_pixels)
        except Exception:  # Pillow raises many kinds for a damaged chunk; without a chunk to drop it is raised again
            lighter, profile = _drop_png_texts(data)
            if len(lighter) == len(data):
                raise
            loaded = _load_quietly(lighter, max_pixels)._replace(icc_profile=profile)
            notice("text or a profile that is damaged or over a megabyte")
            return loaded


def _load_quietly(data: bytes, max_pixels: int) -> _Loaded:
    image = _identify(data)
    _check_size(*image.size, max_pixels)
    if image.format == "PNG":
        _check_png(data)
    image.load()
    _check_size(*image.size, max_pixels)  # of HEIC, loading tells
    # The decoder of JPEG XL turns the picture itself, and leaves the entry; that of a JPEG packed in one does not.
    is_upright = image.format == "JXL" and not getattr(image, "jpeg", False)
    try:
        exif = Image.Exif() if is_upright else image.getexif()
    except Exception:  # damaged EXIF raises anything; the picture is then taken as stored
        exif = Image.Exif()
    picture = simplify_mode(image)
    width, height = image.size  # after loading: a TIFF comes upright
    pixels = np.array(picture) if picture.mode == "RGB" else picture
    return _Loaded(pixels, width, height, 1, exif, _find_profile(image.info))


def _find_profile(info: Mapping[Any, Any]) -> bytes | None:
    """The ICC profile of a picture, or that of the colors that a HEIC file names by a number."""
    profile: bytes | None = info.get("icc_profile")
    named = info.get("nclx_profile")
    is_p3 = isinstance(named, dict) and named.get("color_primaries") == _P3_PRIMARIES
    return build_display_p3() if not profile and is_p3 else profile


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _too_many_pixels(max_pixels)
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise _UnusableError(
            f"is {width} x {height} pixels, one side over {MAX_ASPECT_RATIO} times the other", "Cut out a part of it."
        )


def _identify(data: bytes) -> Image.Image:
    """The picture with its header read; pixels are not decoded yet, but of JPEG XL, whose size is checked."""
    if not data:
        raise _UnusableError("is empty", "Copy it again from where it came, or delete it.")
    if data.startswith((b"II*\0", b"MM\0*")) and _is_raw_photograph(data):
        raise _UnusableError(f"is {RAW_PHOTOGRAPH.what}, which is not read", RAW_PHOTOGRAPH.advice)
    try:
        return Image.open(io.BytesIO(data), formats=_available_formats())
    except UnidentifiedImageError:
        if data.startswith(_MAGIC_BYTES):
            raise _damaged_header() from None
        return _open_by_plugin(data)
    except Image.DecompressionBombError:
        raise _too_many_pixels() from None
    except Exception as error:  # as in _decode
        raise _explain(error) from None


def _open_by_plugin(data: bytes) -> Image.Image:
    """A picture that Pillow does not know, if it is of a format that a plugin reads which is installed.

    Raises:
        _UnusableError: it is not; says what it is, where that is known.
    """
    kind = recognize_bytes(data)
    if kind is None:
        raise _UnusableError(
            "is not an image of a known format", "Known are JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 and AVIF."
        )
    if kind is AVIF and "AVIF" in _available_formats():
        raise _damaged_header()
    if kind in (HEIC, JPEG_XL, AVIF, RAW_PHOTOGRAPH):
        open_picture = _find_plugin(*_PLUGINS[kind]) if kind in _PLUGINS else None
        if open_picture is None:
            raise _UnusableError(f"is {kind.what}, which is not read", kind.advice)
        if kind is JPEG_XL:
            _check_size(*read_jpeg_xl_size(data), MAX_PIXELS)
        try:
            image: Image.Image = open_picture(io.BytesIO(data))
        except SyntaxError:  # so Pillow's plugins say that a header is damaged
            raise _damaged_header() from None
        return image
    raise _UnusableError(f"is {kind.what}, not an image", kind.advice.format(path="FILE"))


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
    except Exception:  # as in _decode; what is wrong with it, opening it tells
        return False


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


def _drop_png_texts(data: bytes) -> tuple[bytes, bytes | None]:
    """A PNG without texts and color profile, for which Pillow refuses the file, and the profile, if it is sound."""
    kept, position, profile = [data[:8]], 8, None
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind == b"iCCP":
            _, _, packed = data[position + 8 : end - 4].partition(b"\0")
            unpacker = zlib.decompressobj()
            with contextlib.suppress(zlib.error):
                profile = unpacker.decompress(packed[1:], LARGEST_PROFILE_BYTES)
                profile = profile if unpacker.eof else None
        elif kind not in (b"tEXt", b"zTXt", b"iTXt"):
            kept.append(data[position:end])
        position = end
    return b"".join(kept) + data[position:], profile


def _damaged_header() -> _UnusableError:
    return _UnusableError("has a damaged header or ends early", "Copy it again from where it came.")


def _too_many_pixels(most: int = MAX_PIXELS) -> _UnusableError:
    return _UnusableError(f"has more than {most:,} pixels", "Save a smaller copy of it.")


def _explain(error: Exception) -> _UnusableError:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "truncated" in text.lower() or "premature end" in text.lower():
        return _UnusableError("data ends early", "Copy it again from where it came.")
    if isinstance(error, Image.DecompressionBombError):
        return _too_many_pixels()
    return _UnusableError(f"is damaged: {text[:120].rstrip('.')}", "Copy it again from where it came.")
