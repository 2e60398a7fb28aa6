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
            row, behind = images[n, y].reshape(-1), images[n + 1, y].reshape(-1)
            for i in range(left * 3, right * 3):
                row[i] = own * row[i] + other * behind[i]


@compile_function
def mix_bfloat16(images: Any, shares: Any, boxes: Any) -> None:
    """The same of uint16: the bits of bfloat16."""
    length = images.shape[2] * 3
    bits = np.empty((2, length), np.uint32)
    numbers = bits.view(np.float32)
    for n in range(shares.shape[0]):
        top, bottom, left, right = boxes[n]
        own, other = shares[n], np.float32(1) - shares[n]
        for y in range(top, bottom):
            row, behind = images[n, y].reshape(-1), images[n + 1, y].reshape(-1)
            for i in range(left * 3, right * 3):
                bits[0, i] = np.uint32(row[i]) << np.uint32(16)
                bits[1, i] = np.uint32(behind[i]) << np.uint32(16)
            for i in range(left * 3, right * 3):
                numbers[0, i] = own * numbers[0, i] + other * numbers[1, i]
            for i in range(left * 3, right * 3):  # round to nearest, ties to even
                b = bits[0, i]
                row[i] = np.uint16((b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
