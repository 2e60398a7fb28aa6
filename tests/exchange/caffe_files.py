"""Writes Caffe's files byte by byte, from the wire format alone: nothing of the reader is used."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def varint(value: int) -> bytes:
    out = b""
    while True:
        out += bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
        value >>= 7
        if not value:
            return out


def field(number: int, value: bytes | int | float) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + np.float32(value).tobytes()
    return varint(number << 3) + varint(value)


def blob(values: NDArray[np.float32], *, old: bool = False, shape: Sequence[int] | None = None) -> bytes:
    """BlobProto: the old generations have four sides, the new one a list of them."""
    sides = tuple(shape if shape is not None else values.shape)
    if old:
        sides = (1,) * (4 - len(sides)) + sides
        head = b"".join(field(number + 1, side) for number, side in enumerate(sides))
    else:
        head = field(7, field(1, b"".join(map(varint, sides))))
    return head + field(5, values.astype("<f4").tobytes())


def layer(name: str, kind: str, blobs: Sequence[bytes] = (), *, generation: int = 2, norm: bytes = b"") -> bytes:
    """One layer of a NetParameter, as `layer` (generation 2), `layers` (1) or `layers.layer` (0)."""
    text = name.encode()
    if generation == 2:
        body = field(1, text) + field(2, kind.encode()) + b"".join(field(7, each) for each in blobs)
        return field(100, body + (field(118, norm) if norm else b""))
    if generation == 1:
        number = {"Convolution": 4, "InnerProduct": 14, "LRN": 15, "Pooling": 17, "ReLU": 18, "Data": 5}[kind]
        body = field(4, text) + field(5, number) + b"".join(field(6, each) for each in blobs)
        return field(2, body + (field(18, norm) if norm else b""))
    old = {"Convolution": "conv", "InnerProduct": "innerproduct", "LRN": "lrn", "Pooling": "pool", "ReLU": "relu"}[kind]
    body = field(1, text) + field(2, old.encode()) + b"".join(field(50, each) for each in blobs)
    return field(2, field(1, body))


NORM = field(1, 5) + field(2, 0.0001) + field(3, 0.75)
"""lrn_param of bvlc_alexnet and CaffeNet; k is left at its default of 1."""
