"""Pixels of a view: crop, reflection, mean subtraction and colour offset in one pass, into the network's own layout.

A Numba kernel without the interpreter lock, so that a background thread prepares the next batch while the network
computes. One thread writes 9,000 images/s in float32; the ceiling is the writing of 600 KB per image, or half of it in
bfloat16.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.views import Divisor, MeanPlace, Views
from alexnet.data.images.resample import resample_box
from alexnet.errors import ConfigError


def check_image(image: NDArray[np.uint8], size: int, name: str = "an image") -> NDArray[np.uint8]:
    """Return the pixels of an image as the kernels read them, C-contiguous; they check no bounds themselves.

    Raises:
        ConfigError: it is not (size, size, 3) uint8.
    """
    if image.shape != (size, size, 3) or image.dtype != np.uint8:
        raise ConfigError(
            f"{name} is an array {image.shape} {image.dtype}; accepted are ({size}, {size}, 3) uint8 RGB. Give "
            "another picture as a file or as a PIL image, of any size."
        )
    return image if image.flags.c_contiguous else np.ascontiguousarray(image)


def assemble_views(
    images: Sequence[NDArray[np.uint8]],
    mean_image: NDArray[np.float32],
    views: Views,
    out: Tensor,
    *,
    divisor: Divisor,
    mean_place: MeanPlace = "aligned",
) -> None:
    """Write (image - mean + colour offset) / divisor of every view into `out`, and 0 where it is erased.

    "aligned": each pixel loses the mean of its own position in the image, also where it is mirrored. "central": every
    crop, mirrored or not, loses the central part of the mean image as it is (2012 source, convdata_jpeg.py 95-97); so
    does every scaled crop, which has no place of its own in it.

    Args:
        images: N images (S, S, 3) uint8 RGB; views of a memory map are read as they are.
        mean_image: (S, S, 3) float32 RGB.
        views: N views.
        out: (N, 3, crop, crop), channels_last, float32 or bfloat16, on the CPU. Overwritten.
        divisor: 1 keeps the 0-255 scale. Three numbers take a second pass over `out`.
    Raises:
        ConfigError: an image has another shape or type than that.
    """
    from alexnet.batches.assemble_kernel import write_bfloat16, write_float32  # imports Numba

    target = out.permute(0, 2, 3, 1)
    assert target.is_contiguous()
    crop_px = out.shape[2]
    central = central_mirrored = mean_image
    if mean_place == "central" or views.boxes is not None:
        first = (mean_image.shape[0] - crop_px) // 2
        central = np.ascontiguousarray(mean_image[first : first + crop_px, first : first + crop_px])
        central_mirrored = np.ascontiguousarray(central[:, ::-1])  # so that mirrored crops get it unmirrored
    scale = np.float32(1 / divisor) if isinstance(divisor, float | int) else np.float32(1)
    if out.dtype == torch.bfloat16:
        write, array = write_bfloat16, target.view(torch.uint16).numpy()
    else:
        write, array = write_float32, target.numpy()
    resized = np.empty((crop_px, crop_px, 3), np.uint8)
    for position, given in enumerate(images):
        image = check_image(given, mean_image.shape[0])
        mirrored = bool(views.mirrored[position])
        mean, mean_y, mean_x = (central_mirrored if mirrored else central), 0, 0
        if views.boxes is not None:
            left, top, width, height = views.boxes[position].tolist()
            resample_box(image, left, top, width, height, resized)
            image, y, x = resized, 0, 0
        else:
            y, x = int(views.y[position]), int(views.x[position])
            if mean_place == "aligned":
                mean, mean_y, mean_x = mean_image, y, x
        write(image, mean, y, x, mean_y, mean_x, mirrored, views.color_offset[position], scale, array[position])
        if views.erased is not None:
            top, bottom, start, end = views.erased[position].tolist()
            array[position, top:bottom, start:end] = 0  # the bits of bfloat16 0 are 0 too
    if not isinstance(divisor, float | int):
        out.div_(torch.tensor(divisor, dtype=torch.float32).to(out.dtype)[:, None, None])
