"""What Pillow does not do for PNG: compare the checksums of the pixels, and read a file whose texts are damaged."""

import contextlib
import struct
import zlib
from collections.abc import Iterator

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
    """Return a PNG without texts and color profile, for which Pillow refuses it, and the profile, if it is sound."""
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
