"""The loops of `mixing`: boxes of images take a share of the next image's pixels, in place."""

from typing import Any

import numpy as np

from alexnet.compiling import compile_function


@compile_function
def mix_float32(images: Any, shares: Any, boxes: Any) -> None:
    """images (N + 1, crop, crop, 3) float32, shares (N,), boxes (N, 4): top, bottom, left, right."""
    for n in range(shares.shape[0]):
        top, bottom, left, right = boxes[n]
        own, other = shares[n], np.float32(1) - shares[n]
        for y in range(top, bottom):
            row = images[n, y].reshape(-1)[left * 3 : right * 3]
            behind = images[n + 1, y].reshape(-1)[left * 3 : right * 3]
            for i in range(row.shape[0]):
                row[i] = own * row[i] + other * behind[i]


@compile_function
def mix_bfloat16(images: Any, shares: Any, boxes: Any) -> None:
    """The same of uint16: the bits of bfloat16."""
    whole_bits = np.empty(images.shape[2] * 3, np.uint32)
    more_bits = np.empty(images.shape[2] * 3, np.uint32)
    for n in range(shares.shape[0]):
        top, bottom, left, right = boxes[n]
        own, other = shares[n], np.float32(1) - shares[n]
        length = (right - left) * 3
        bits, behind_bits = whole_bits[:length], more_bits[:length]
        mixed, behind = bits.view(np.float32), behind_bits.view(np.float32)
        for y in range(top, bottom):
            row = images[n, y].reshape(-1)[left * 3 : right * 3]
            source = images[n + 1, y].reshape(-1)[left * 3 : right * 3]
            if own == 0:
                row[:] = source
                continue
            for i in range(length):
                bits[i] = np.uint32(row[i]) << np.uint32(16)
                behind_bits[i] = np.uint32(source[i]) << np.uint32(16)
            for i in range(length):
                mixed[i] = own * mixed[i] + other * behind[i]
            for i in range(length):  # round to nearest, ties to even
                b = bits[i]
                row[i] = np.uint16((b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
