"""Pixels of a view: crop, reflection, mean subtraction and colour offset in one pass, into the network's own layout.

A Numba kernel without the interpreter lock, so that a background thread prepares the next batch while the network
computes. One thread writes 9,000 images/s in float32; the ceiling is the writing of 600 KB per image, or half of it in
bfloat16.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.views import Views


def assemble_views(
    images: Sequence[NDArray[np.uint8]], mean_image: NDArray[np.float32], views: Views, out: Tensor, *, divisor: float
) -> None:
    """Write (image - mean + colour offset) / divisor of every view into `out`.

    The mean is aligned with the crop: each pixel loses the mean of its own position. (The 2012 source subtracts the
    central part of the mean from every crop.)

    Args:
        images: N images (S, S, 3) uint8 RGB; views of a memory map are read as they are.
        mean_image: (S, S, 3) float32 RGB.
        views: N views.
        out: (N, 3, crop, crop), channels_last, float32 or bfloat16, on the CPU. Overwritten.
        divisor: 1 keeps the 0-255 scale.
    """
    target = out.permute(0, 2, 3, 1)
    assert target.is_contiguous()
    write, pixels = _kernels()[out.dtype], target
    array = pixels.view(torch.uint16).numpy() if out.dtype == torch.bfloat16 else pixels.numpy()
    for position, image in enumerate(images):
        write(
            image,
            mean_image,
            int(views.y[position]),
            int(views.x[position]),
            bool(views.mirrored[position]),
            views.color_offset[position],
            np.float32(1 / divisor),
            array[position],
        )


@functools.cache
def _kernels() -> dict[torch.dtype, Callable[..., None]]:
    """Compile on first use: importing this module must not import Numba."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def read_row(
        image: Any, mean: Any, y: int, x: int, mirrored: bool, offset: Any, scale: Any, row: Any, scratch: Any
    ) -> None:
        """One row of the crop into `row`, (crop * 3) float32."""
        length = row.shape[0]
        source = image[y].reshape(-1)[x * 3 : x * 3 + length]
        center = mean[y].reshape(-1)[x * 3 : x * 3 + length]
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

    @numba.njit(nogil=True, cache=True)
    def write_float32(image: Any, mean: Any, y: int, x: int, mirrored: bool, offset: Any, scale: Any, out: Any) -> None:
        height, width, channels = out.shape
        scratch = np.empty(width * channels, np.float32)
        for i in range(height):
            read_row(image, mean, y + i, x, mirrored, offset, scale, out[i].reshape(-1), scratch)

    @numba.njit(nogil=True, cache=True)
    def write_bfloat16(
        image: Any, mean: Any, y: int, x: int, mirrored: bool, offset: Any, scale: Any, out: Any
    ) -> None:
        height, width, channels = out.shape
        scratch = np.empty(width * channels, np.float32)
        row = np.empty(width * channels, np.float32)
        bits = row.view(np.uint32)
        for i in range(height):
            read_row(image, mean, y + i, x, mirrored, offset, scale, row, scratch)
            target = out[i].reshape(-1)
            for j in range(width * channels):  # round to nearest, ties to even
                b = bits[j]
                target[j] = np.uint16((b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

    return {torch.float32: write_float32, torch.bfloat16: write_bfloat16}
