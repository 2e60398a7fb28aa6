"""The loops of `assemble`: a crop, mirrored or not, less its mean, written as float32 or as the bits of bfloat16."""

from typing import Any

import numpy as np

from alexnet.compiling import compile_function


@compile_function
def _read_row(source: Any, center: Any, mirrored: bool, offset: Any, scale: Any, row: Any, scratch: Any) -> None:
    """One row of the crop less its mean into `row`, all (crop * 3)."""
    length = row.shape[0]
    if mirrored:
        for i in range(length):
            scratch[i] = np.float32(source[i]) - center[i]
        for pixel in range(length // 3):
            for channel in range(3):
                value = scratch[length - 3 - pixel * 3 + channel] + offset[channel]
                row[pixel * 3 + channel] = value * scale
    else:
        for i in range(length):
            row[i] = (np.float32(source[i]) - center[i] + offset[i % 3]) * scale


@compile_function
def write_float32(
    image: Any, mean: Any, y: int, x: int, my: int, mx: int, mirrored: bool, offset: Any, scale: Any, out: Any
) -> None:
    """(image - mean + offset) * scale at y, x (the mean's at my, mx) into out, (crop, crop, 3) float32."""
    height, width, channels = out.shape
    length = width * channels
    scratch = np.empty(length, np.float32)
    for i in range(height):
        source = image[y + i].reshape(-1)[x * 3 : x * 3 + length]
        center = mean[my + i].reshape(-1)[mx * 3 : mx * 3 + length]
        _read_row(source, center, mirrored, offset, scale, out[i].reshape(-1), scratch)


@compile_function
def write_bfloat16(
    image: Any, mean: Any, y: int, x: int, my: int, mx: int, mirrored: bool, offset: Any, scale: Any, out: Any
) -> None:
    """The same into out, (crop, crop, 3) uint16: the bits of bfloat16."""
    height, width, channels = out.shape
    length = width * channels
    scratch = np.empty(length, np.float32)
    row = np.empty(length, np.float32)
    bits = row.view(np.uint32)
    for i in range(height):
        source = image[y + i].reshape(-1)[x * 3 : x * 3 + length]
        center = mean[my + i].reshape(-1)[mx * 3 : mx * 3 + length]
        _read_row(source, center, mirrored, offset, scale, row, scratch)
        target = out[i].reshape(-1)
        for j in range(length):  # round to nearest, ties to even
            b = bits[j]
            target[j] = np.uint16((b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
