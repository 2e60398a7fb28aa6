"""Pixels of a view: crop, reflection, mean subtraction and colour offset in one pass, into the network's own layout.

A Numba kernel without the interpreter lock, so that a background thread prepares the next batch while the network
computes. One thread writes 9,000 images/s in float32; the ceiling is the writing of 600 KB per image, or half of it in
bfloat16.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.views import Views

MeanPlace = Literal["aligned", "central"]
"""Which part of the mean image a crop loses: its own place, or the middle for every crop (2012 source)."""
Divisor = float | tuple[float, float, float]
"""One number, or one each for R, G and B."""


def assemble_views(
    images: Sequence[NDArray[np.uint8]],
    mean_image: NDArray[np.float32],
    views: Views,
    out: Tensor,
    *,
    divisor: Divisor,
    mean_place: MeanPlace = "aligned",
) -> None:
    """Write (image - mean + colour offset) / divisor of every view into `out`.

    "aligned": each pixel loses the mean of its own position in the image, also where it is mirrored. "central": every
    crop, mirrored or not, loses the central part of the mean image as it is (2012 source, convdata_jpeg.py 95-97).

    Args:
        images: N images (S, S, 3) uint8 RGB; views of a memory map are read as they are.
        mean_image: (S, S, 3) float32 RGB.
        views: N views.
        out: (N, 3, crop, crop), channels_last, float32 or bfloat16, on the CPU. Overwritten.
        divisor: 1 keeps the 0-255 scale. Three numbers take a second pass over `out`.
    """
    target = out.permute(0, 2, 3, 1)
    assert target.is_contiguous()
    central = central_mirrored = mean_image
    if mean_place == "central":
        first = (mean_image.shape[0] - out.shape[2]) // 2
        central = np.ascontiguousarray(mean_image[first : first + out.shape[2], first : first + out.shape[3]])
        central_mirrored = np.ascontiguousarray(central[:, ::-1])  # mirrored with its crop, it is as it was
    scale = np.float32(1 / divisor) if isinstance(divisor, float | int) else np.float32(1)
    write, pixels = _kernels()[out.dtype], target
    array = pixels.view(torch.uint16).numpy() if out.dtype == torch.bfloat16 else pixels.numpy()
    for position, image in enumerate(images):
        y, x, mirrored = int(views.y[position]), int(views.x[position]), bool(views.mirrored[position])
        mean, mean_y, mean_x = mean_image, y, x
        if mean_place == "central":
            mean, mean_y, mean_x = (central_mirrored if mirrored else central), 0, 0
        write(image, mean, y, x, mean_y, mean_x, mirrored, views.color_offset[position], scale, array[position])
    if not isinstance(divisor, float | int):
        out.div_(torch.tensor(divisor, dtype=torch.float32).to(out.dtype)[:, None, None])


@functools.cache
def _kernels() -> dict[torch.dtype, Callable[..., None]]:
    """Compile on first use: importing this module must not import Numba."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def read_row(source: Any, center: Any, mirrored: bool, offset: Any, scale: Any, row: Any, scratch: Any) -> None:
        """One row of the crop and its mean into `row`, all (crop * 3)."""
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

    @numba.njit(nogil=True, cache=True)
    def write_float32(
        image: Any, mean: Any, y: int, x: int, my: int, mx: int, mirrored: bool, offset: Any, scale: Any, out: Any
    ) -> None:
        height, width, channels = out.shape
        length = width * channels
        scratch = np.empty(length, np.float32)
        for i in range(height):
            source = image[y + i].reshape(-1)[x * 3 : x * 3 + length]
            center = mean[my + i].reshape(-1)[mx * 3 : mx * 3 + length]
            read_row(source, center, mirrored, offset, scale, out[i].reshape(-1), scratch)

    @numba.njit(nogil=True, cache=True)
    def write_bfloat16(
        image: Any, mean: Any, y: int, x: int, my: int, mx: int, mirrored: bool, offset: Any, scale: Any, out: Any
    ) -> None:
        height, width, channels = out.shape
        length = width * channels
        scratch = np.empty(length, np.float32)
        row = np.empty(length, np.float32)
        bits = row.view(np.uint32)
        for i in range(height):
            source = image[y + i].reshape(-1)[x * 3 : x * 3 + length]
            center = mean[my + i].reshape(-1)[mx * 3 : mx * 3 + length]
            read_row(source, center, mirrored, offset, scale, row, scratch)
            target = out[i].reshape(-1)
            for j in range(length):  # round to nearest, ties to even
                b = bits[j]
                target[j] = np.uint16((b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

    return {torch.float32: write_float32, torch.bfloat16: write_bfloat16}
