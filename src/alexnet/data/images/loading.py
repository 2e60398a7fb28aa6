"""Bytes of an image file -> its picture as the file holds it: whole, perhaps lying on its side, in its own colors.

JPEG is decoded by data/images/jpeg.py, faster than by Pillow and strictly; every other format by Pillow, or by a plugin
of it (data/images/formats.py). Files are recognised by their content, never by their name.

For PNG two things are done here that Pillow does not do: checksums of the pixels are compared, and a file whose texts
are damaged is read.
"""

import contextlib
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images.color import build_display_p3, simplify_mode
from alexnet.data.images.formats import open_header
from alexnet.data.images.jpeg import JpegDamageError, decode_jpeg, decode_odd_jpeg, find_oddity, read_jpeg_header
from alexnet.data.images.unusable import check_size, damaged_header

LARGEST_PROFILE_BYTES = 2**24
"""Largest ICC profile of a PNG that is applied; Pillow alone refuses a PNG where it is over 2**20."""

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def check_pixels(data: bytes) -> None:
    """Compare the checksums of the chunks with pixels.

    Raises:
        ValueError: one does not agree, or is cut off.
    """
    for kind, start, end in _chunks(data):
        if kind == b"IDAT" and data[end : end + 4] != zlib.crc32(data[start - 4 : end]).to_bytes(4, "big"):
            raise ValueError("Truncated" if end + 4 > len(data) else "a checksum of its pixels does not agree")


def drop_texts(data: bytes) -> tuple[bytes, bytes | None]:
    """Return a PNG without texts and color profile, for which Pillow may refuse it, and the profile if it is sound."""
    kept, position, profile = [data[:8]], 8, None
    for kind, start, end in _chunks(data):
        position = end + 4
        if kind == b"iCCP":
            _, _, packed = data[start:end].partition(b"\0")
            unpacker = zlib.decompressobj()
            with contextlib.suppress(zlib.error):
                profile = unpacker.decompress(packed[1:], LARGEST_PROFILE_BYTES)
                profile = profile if unpacker.eof else None
        elif kind not in (b"tEXt", b"zTXt", b"iTXt"):
            kept.append(data[start - 8 : position])
    return b"".join(kept) + data[position:], profile


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, where its content starts, and where it should end; four bytes of checksum follow."""
    position = len(PNG_MAGIC)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position + 8, position + 8 + length
        position += 12 + length


Notice = Callable[[str], None]
"""Called with what is odd about a picture that is still used, as words after "has"."""

_JPEG_MAGIC = b"\xff\xd8\xff"
_P3_PRIMARIES = 12  # ITU-T H.273


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


QUIET_PILLOW = _QuietPillow()


class LoadedPicture(NamedTuple):
    """A picture as its file holds it."""

    picture: NDArray[np.uint8] | Image.Image
    """An array is (H, W, 3) RGB, valid until this thread decodes again; an image has one of `simplify_mode`'s modes."""
    width: int
    height: int
    scale: int
    """The picture is width x height divided by this."""
    exif: Image.Exif
    icc_profile: bytes | None


def load_picture(data: bytes, smallest: int | None, notice: Notice, max_pixels: int) -> LoadedPicture:
    """Return the first picture of a file.

    Args:
        smallest: A JPEG may be reduced as far as its shorter side stays at least this; None keeps every pixel.
        max_pixels: Largest width x height that is decoded.
    Raises:
        UnusableError: it is too large, too narrow, or of no format that is read.
        Exception: it is damaged; decoders raise nearly any type.
    """
    if data.startswith(_JPEG_MAGIC):
        return _load_jpeg(data, smallest, notice, max_pixels)
    return _load_other(data, notice, max_pixels)


def _load_jpeg(data: bytes, smallest: int | None, notice: Notice, max_pixels: int) -> LoadedPicture:
    try:
        header = read_jpeg_header(data)
    except JpegDamageError:
        raise damaged_header() from None
    check_size(header.width, header.height, max_pixels)
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
        with contextlib.suppress(Exception), QUIET_PILLOW:
            exif.load(header.exif)
    return LoadedPicture(picture, header.width, header.height, scale, exif, header.icc_profile)


def _load_other(data: bytes, notice: Notice, max_pixels: int) -> LoadedPicture:
    with QUIET_PILLOW:
        try:
            return _load_quietly(data, max_pixels)
        except Exception:  # Pillow raises many kinds for a damaged chunk; without a chunk to drop it is raised again
            lighter, profile = drop_texts(data) if data.startswith(PNG_MAGIC) else (data, None)
            if len(lighter) == len(data):
                raise
            loaded = _load_quietly(lighter, max_pixels)._replace(icc_profile=profile)
            notice("text or a profile that is damaged or over a megabyte")
            return loaded


def _load_quietly(data: bytes, max_pixels: int) -> LoadedPicture:
    image = open_header(data)
    check_size(*image.size, max_pixels)
    if image.format == "PNG":
        check_pixels(data)
    image.load()
    check_size(*image.size, max_pixels)  # the size of HEIC is known only after loading
    # The decoder of JPEG XL turns the picture itself, and leaves the entry; that of a JPEG packed in one does not.
    is_upright = image.format == "JXL" and not getattr(image, "jpeg", False)
    try:
        exif = Image.Exif() if is_upright else image.getexif()
    except Exception:  # damaged EXIF raises anything; the picture is then taken as stored
        exif = Image.Exif()
    picture = simplify_mode(image)
    width, height = image.size  # after loading, which turns a TIFF upright
    pixels = np.array(picture) if picture.mode == "RGB" else picture
    return LoadedPicture(pixels, width, height, 1, exif, _find_profile(image.info))


def _find_profile(info: Mapping[Any, Any]) -> bytes | None:
    """The ICC profile of a picture, or that of the colors that a HEIC file names by a number."""
    profile: bytes | None = info.get("icc_profile")
    named = info.get("nclx_profile")
    is_p3 = isinstance(named, dict) and named.get("color_primaries") == _P3_PRIMARIES
    return build_display_p3() if not profile and is_p3 else profile
