"""The structure of MATLAB's files of version 5, walked before scipy reads them: it looks types up without a check.

A value whose tag is of no known type ends the process, and so does a file of tables within tables within tables.
"""

import io
import zlib
from typing import Protocol

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = frozenset({*range(1, 8), 9, 12, 13, 16, 17, 18})
_SPARSE, _FIRST_VALUES, _LAST_VALUES = 5, 4, 15
"""Classes that hold values: letters, sparse numbers, numbers. The others hold matrices, whose tags scipy checks."""
_COMPLEX = 0x800
_DEEPEST = 50
_CHUNK_BYTES = 2**16


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Inflated:
    """What was compressed, a piece at a time."""

    def __init__(self, data: bytes) -> None:
        self._file, self._unpacker, self._held = io.BytesIO(data), zlib.decompressobj(), b""

    def read(self, size: int) -> bytes:
        while len(self._held) < size:
            piece = self._unpacker.unconsumed_tail or self._file.read(_CHUNK_BYTES)
            if not piece:
                break
            self._held += self._unpacker.decompress(piece, _CHUNK_BYTES)
        found, self._held = self._held[:size], self._held[size:]
        return found


def check_tags(data: bytes) -> None:
    """Compare the tags of a file with what they can be; files of other versions pass.

    Raises:
        ValueError: a tag is of another type, or says that there is more than there is.
        zlib.error: what is compressed is damaged.
    """
    if 0 in data[:4] or len(data) < 128:  # version 4 begins with small numbers, 5 with a text
        return
    walk = _Walk("little" if data[126:128] == b"IM" else "big")
    file = io.BytesIO(data)
    file.seek(128)
    while len(tag := file.read(8)) == 8:
        kind, size = walk.words(tag)
        inside: _Stream = io.BytesIO(file.read(size))
        if kind == _COMPRESSED:
            inside = _Inflated(inside.read(size))
            kind, size = walk.words(inside.read(8))
        if kind == _MATRIX:
            walk.check_matrix(inside, size, 0)


class _Walk:
    def __init__(self, order: str) -> None:
        self._order = order

    def words(self, data: bytes) -> tuple[int, int]:
        if len(data) < 8:
            raise ValueError("it ends early")
        first, second = (int.from_bytes(part, self._order) for part in (data[:4], data[4:8]))  # type: ignore[arg-type]
        return first, second

    def check_matrix(self, stream: _Stream, size: int, depth: int) -> None:
        """Read a matrix of so many bytes from a stream."""
        if not size:
            return
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        flags, _ = self.words(stream.read(16)[8:])
        left = size - 16
        kind = flags & 0xFF
        holds_values = _FIRST_VALUES <= kind <= _LAST_VALUES
        parts = 1 + bool(flags & _COMPLEX) + 2 * (kind == _SPARSE)
        number = 0
        while left > 0 or (holds_values and number < 2 + parts):  # its sides, its name, then what it holds
            part, length = self.words(stream.read(8))
            left -= 8
            if part >> 16:  # so short that it stands in its tag
                part, length = part & 0xFFFF, 0
            if number == 0 and (length < 8 or length % 4):
                raise ValueError("it has fewer than two sides")
            padded = length + -length % 8
            left -= padded
            if left < 0 and left < length - padded:
                raise ValueError("it claims more than it has")
            if holds_values and 2 <= number < 2 + parts and part not in _NUMBERS:
                raise ValueError(f"it holds values of type {part}, which there is not")
            if part == _MATRIX and not holds_values:
                self.check_matrix(stream, length, depth + 1)
                padded -= length
            self._skip(stream, padded)
            number += 1

    @staticmethod
    def _skip(stream: _Stream, size: int) -> None:
        while size > 0 and (found := stream.read(min(size, _CHUNK_BYTES))):
            size -= len(found)
