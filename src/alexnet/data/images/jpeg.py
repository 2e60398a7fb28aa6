"""JPEG bytes -> pixels, by libjpeg-turbo, which tells of damage that other readers pass over in silence.

Other readers open a JPEG whose second half is missing, and show half of it grey. Here every warning of libjpeg-turbo is
an error. Progressive and arithmetic-coded files are read.
"""

import re
import threading
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

MAX_SCANS = 100
"""Most passes over the picture that a progressive file may make (encoders make about ten): each costs a decoding."""

KEPT_BYTES = 16 * 2**20
"""Memory that a thread keeps for the next picture: enough for 5 million pixels. Larger ones get memory of their own."""

_START_OF_SCAN = 0xDA
_END = b"\xff\xd9"
_FILLERS = ((b"\0", 1), (bytes(range(128)), 8))
"""Zeros or text in the place of lost pixels before an end marker, and how many bytes of them are enough to tell."""
_READ_AHEAD = 24
"""Stray bytes that libjpeg-turbo may have read with the last pixels, and so does not count."""
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_thread = threading.local()


class JpegDamageError(ValueError):
    """What libjpeg-turbo says is wrong with a file."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What stands before the pixels."""

    width: int
    height: int
    color: str
    """As libjpeg-turbo names it: "YCbCr", "RGB", "Gray", "CMYK" or "YCCK"."""
    exif: bytes | None
    icc_profile: bytes | None
    is_adobe: bool
    """Whether Adobe's marker is there: then CMYK is stored inverted."""
    is_progressive: bool
    scan: int
    """Where the marker of the first scan stands."""


def read_jpeg_header(data: bytes) -> JpegHeader:
    """The header of a JPEG, in a tenth of the time that Pillow takes.

    Raises:
        JpegDamageError: it is damaged, or ends early.
    """
    try:
        height, width, color, _ = simplejpeg.decode_jpeg_header(data)
    except KeyError:  # simplejpeg has no name for its colors
        raise JpegDamageError("its colors are of an unknown kind") from None
    except ValueError as error:
        raise JpegDamageError(str(error)) from None
    exif, profile, is_adobe, is_progressive = None, b"", False, False
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        kind = data[position + 1]
        if kind == 0xFF:  # a fill byte
            position += 1
            continue
        if kind == _START_OF_SCAN:
            break
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : end]
        if kind == 0xE1 and exif is None and body.startswith(b"Exif\0\0"):
            exif = body
        elif kind == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            profile += body[14:]
        elif kind == 0xEE and body.startswith(b"Adobe"):
            is_adobe = True
        elif kind in _PROGRESSIVE:
            is_progressive = True
        position = end
    return JpegHeader(width, height, color, exif, profile or None, is_adobe, is_progressive, position)


def decode_jpeg(
    data: bytes, header: JpegHeader | None = None, smallest: int | None = None
) -> tuple[NDArray[np.uint8], int]:
    """Pixels of a JPEG and the factor by which they were reduced in decoding: 1, 2, 4 or 8.

    (H, W, 3) RGB, grey with three equal channels; or (H, W, 4) CMYK as stored, YCCK converted to it. No profile or
    orientation is applied. The array is only valid until this thread calls again: its memory is used again, as fresh
    memory would cost as much as a tenth of the decoding.

    Args:
        header: Of these data, if it is known already.
        smallest: Reduce as far as the shorter side stays at least this; None keeps every pixel.
    Raises:
        JpegDamageError: the file is cut off or damaged in any way that can be noticed.
    """
    header = header or read_jpeg_header(data)
    if header.is_progressive and data.count(bytes((0xFF, _START_OF_SCAN))) > MAX_SCANS:
        raise JpegDamageError(f"it has more than {MAX_SCANS} scans")
    scale = 1
    while smallest is not None and scale < 8 and min(header.height, header.width) >= 2 * scale * smallest:
        scale *= 2
    layout, channels = ("CMYK", 4) if header.color in ("CMYK", "YCCK") else ("RGB", 3)
    rows, columns = -(-header.height // scale), -(-header.width // scale)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data,
            layout,
            min_height=rows if scale > 1 else 0,
            min_width=columns if scale > 1 else 0,
            min_factor=scale,
            buffer=_borrow_buffer(rows * columns * channels),
        )
    except ValueError as error:
        raise JpegDamageError(str(error)) from None
    return pixels, scale


def find_oddity(data: bytes, header: JpegHeader) -> str | None:
    """Return what is unusual about a JPEG that was decoded without a complaint, as words after "has"."""
    if header.is_progressive and not _holds_every_scan(data, header.scan):
        return "fewer scans than all of its detail needs"
    if not data.endswith(_END):
        return "data behind its end marker"
    return "stray bytes before its end marker" if data.endswith(b"\0\0" + _END) else None


def decode_odd_jpeg(data: bytes, header: JpegHeader, smallest: int | None = None) -> tuple[NDArray[np.uint8], int, str]:
    """As `decode_jpeg`, for a file that lacks its end marker or has stray bytes before it, but has all of its pixels.

    It is decoded again, strictly, with its end mended: so missing pixels are noticed. Lost pixels may also have been
    replaced by zeros or text, which decode as pixels, so stray bytes may only begin where these end.

    Returns:
        The pixels, the factor, and what is odd, as words after "has".
    Raises:
        JpegDamageError: it is damaged in another way too, or pixels are missing.
    """
    end = data.find(_END, header.scan)
    oddity = "stray bytes before its end marker"
    if not _holds_every_scan(data[:end] if end >= 0 else data, header.scan):
        raise JpegDamageError("premature end of its scans")
    if end < 0:
        data, end, oddity = data + _END, len(data), "no end marker"
    try:
        return *decode_jpeg(data, header, smallest), oddity
    except JpegDamageError as damage:
        found = re.search(r"(\d+) extraneous bytes before marker 0xd9", str(damage))
        count = int(found[1]) if found else 0
        if not any(
            least <= count <= end - len(data[header.scan : end].rstrip(filler)) - header.scan <= count + _READ_AHEAD
            for filler, least in _FILLERS
        ):
            raise
    return *decode_jpeg(data[: end - count] + _END, header, smallest), oddity


def _holds_every_scan(data: bytes, position: int) -> bool:
    """Whether the scans from here on refine every coefficient of every component that they begin to its last bit.

    A progressive file may end between two scans, and only lack detail.
    """
    left: dict[tuple[int, int], int] = {}
    marker = bytes((0xFF, _START_OF_SCAN))
    if data.count(marker) > MAX_SCANS:
        return False
    while (position := data.find(marker, position)) >= 0:
        count = data[position + 4] if position + 4 < len(data) else 0
        components = data[position + 5 : position + 5 + 2 * count : 2]
        spectrum = data[position + 5 + 2 * count : position + 8 + 2 * count]
        if not count or len(spectrum) < 3:
            return False
        for component in components:
            left |= {(component, place): spectrum[2] & 15 for place in range(spectrum[0], min(spectrum[1], 63) + 1)}
        position += 2
    components_met = {component for component, _ in left}
    return bool(left) and len(left) == 64 * len(components_met) and not any(left.values())


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """An RGB image (H, W, 3) as JPEG with 4:2:0 chroma: the same bytes for the same pixels."""
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality, colorsubsampling="420")
    return data


def _borrow_buffer(num_bytes: int) -> NDArray[np.uint8]:
    if num_bytes > KEPT_BYTES:
        return np.empty(num_bytes, np.uint8)
    kept: NDArray[np.uint8] | None = getattr(_thread, "buffer", None)
    if kept is None or len(kept) < num_bytes:
        kept = _thread.buffer = np.empty(num_bytes, np.uint8)
    return kept
