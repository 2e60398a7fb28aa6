"""The size of a JPEG XL picture from its first bytes: the plugin decodes before it tells, and bombs must not get there.

Layout: ISO/IEC 18181-1, SizeHeader; ISO/IEC 18181-2 for the boxes around it.
"""

from collections.abc import Iterator

_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, by the number that stands for them, counted from 1."""


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
        if length < 8:  # the last one, to the end of the file; or damage
            return
        position += length
