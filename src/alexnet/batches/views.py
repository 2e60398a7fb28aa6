"""Views: which crop, whether mirrored, which colour offset (paper, section 4.1).

A view is a description; the pixels are made by batches.assemble.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alexnet.batches.randomness import Purpose, draw_integer, draw_normal_triple, draw_uniform
from alexnet.errors import ConfigError
from alexnet.recipes.fields import Batches

MeanPlace = Literal["aligned", "central"]
"""Which part of the mean image a crop loses: its own place, or the middle for every crop (2012 source)."""
Divisor = float | tuple[float, float, float]
"""One number, or one each for R, G and B."""
Place = tuple[int, int, bool]
"""Top row and left column of a crop in its image, and whether it is mirrored."""


@dataclass(frozen=True, slots=True)
class Views:
    """One view for each of N images."""

    y: NDArray[np.int64]
    """(N,) top row of the crop."""
    x: NDArray[np.int64]
    """(N,) left column of the crop."""
    mirrored: NDArray[np.bool_]
    """(N,) whether the crop is reflected left to right."""
    color_offset: NDArray[np.float32]
    """(N, 3) grey levels added to R, G and B of every pixel."""
    boxes: NDArray[np.float64] | None = None
    """(N, 4) left, top, width and height in pixels of the part of the image that is resized to the crop, for scaled
    crops; y and x then mean nothing."""


def draw_views(
    indices: NDArray[np.int64],
    recipe: Batches,
    *,
    seed: int,
    epoch: int,
    image_px: int,
    crop_px: int,
    color_axes: NDArray[np.float64],
    crop_indices: NDArray[np.int64] | None = None,
) -> Views:
    """Return the training views of these samples in this epoch.

    Offsets are uniform on 0 .. image_px - crop_px inclusive (0..32 for 224 of 256), reflections have probability one
    half, and the colour offset is color_noise * color_axes @ z with z standard normal: all per image, and all pure
    functions of (seed, epoch, index). Without `random_crops` the crop is the central one; for `scaled_crops` see
    `draw_boxes`.

    Args:
        recipe: Crops, reflections and colour noise; `color_noise_unit` and `images_per_crop` are not used.
        color_axes: (3, 3), columns are the principal axes times their scale; see `scale_axes`.
        crop_indices: Offset and reflection are drawn from these instead of `indices`; equal numbers share them.
    Source: paper 4.1; the 2012 source draws crop and reflection once for 32 consecutive images instead.
    """
    crops = indices if crop_indices is None else crop_indices
    margin = image_px - crop_px
    num_images = len(indices)
    if recipe.random_crops:
        y = draw_integer(crops, margin + 1, seed=seed, epoch=epoch, purpose=Purpose.CROP_Y)
        x = draw_integer(crops, margin + 1, seed=seed, epoch=epoch, purpose=Purpose.CROP_X)
    else:
        y = x = np.full(num_images, margin // 2)
    mirrored = np.zeros(num_images, dtype=bool)
    if recipe.reflections:
        mirrored = draw_uniform(crops, seed=seed, epoch=epoch, purpose=Purpose.REFLECTION) < 0.5
    offset = np.zeros((num_images, 3))
    if color_noise := recipe.color_noise_in(epoch):
        offset = color_noise * draw_normal_triple(indices, seed=seed, epoch=epoch) @ color_axes.T
    boxes = None
    if recipe.scaled_crops is not None:
        boxes = draw_boxes(crops, recipe.scaled_crops, seed=seed, epoch=epoch, image_px=image_px)
    return Views(y, x, mirrored, offset.astype(np.float32), boxes)


def draw_boxes(
    indices: NDArray[np.int64], area: tuple[float, float], *, seed: int, epoch: int, image_px: int
) -> NDArray[np.float64]:
    """Return (N, 4) left, top, width and height of boxes inside a square image, whole or parts of pixels.

    The share of the area is uniform on `area`, the logarithm of width to height uniform from 3:4 to 4:3 (Szegedy et
    al. 2015) as far as the box then fits, the place uniform.
    """

    def draw(purpose: Purpose) -> NDArray[np.float64]:
        return draw_uniform(indices, seed=seed, epoch=epoch, purpose=purpose)

    share = area[0] + (area[1] - area[0]) * draw(Purpose.CROP_AREA)
    widest = np.minimum(np.log(4 / 3), -np.log(share))  # sqrt(share * ratio) may not exceed 1
    ratio = np.exp(widest * (2 * draw(Purpose.CROP_ASPECT) - 1))
    width, height = np.sqrt(share * ratio) * image_px, np.sqrt(share / ratio) * image_px
    left, top = (image_px - width) * draw(Purpose.CROP_X), (image_px - height) * draw(Purpose.CROP_Y)
    return np.stack([left, top, np.minimum(width, image_px - left), np.minimum(height, image_px - top)], axis=1)


def scale_axes(
    eigenvectors: NDArray[np.float64], eigenvalues: NDArray[np.float64], *, unit: str
) -> NDArray[np.float64]:
    """Return the principal axes of RGB values times the scale on which colour noise moves along them.

    "standard_deviation" scales each axis by the square root of its eigenvalue, as the 2012 source does. "eigenvalue" is
    the printed formula taken literally on pixels in [0, 1] (the reading of most later code), expressed in grey levels.

    Args:
        eigenvectors: (3, 3), columns; of the covariance of RGB values on the 0-255 scale.
        eigenvalues: (3,), in squared grey levels.
    Raises:
        ConfigError: unknown unit.
    """
    if unit == "standard_deviation":
        return eigenvectors * np.sqrt(np.maximum(eigenvalues, 0))
    if unit == "eigenvalue":
        return eigenvectors * (eigenvalues / 255)
    raise ConfigError(f"unknown color noise unit {unit!r}. Known: standard_deviation, eigenvalue.")


def evaluation_views(image_px: int, crop_px: int, num_views: int) -> list[Place]:
    """Return the views that testing averages over.

    One view is the centre. Nine are a grid of three by three offsets, without mirroring (the CIFAR tests of the 2012
    source and of cuda-convnet2). Ten are the four corners and the centre, then the same mirrored, in the order of the
    2012 source: top left, top right, centre, bottom left, bottom right (convdata_jpeg.py).

    Raises:
        ConfigError: num_views is none of these.
    """
    margin = image_px - crop_px
    center = (margin // 2, margin // 2)
    if num_views == 1:
        return [(*center, False)]
    if num_views == 9:
        grid = (0, margin // 2, margin)
        return [(y, x, False) for y in grid for x in grid]
    if num_views != 10:
        raise ConfigError(
            f"views is {num_views}; accepted are 1 (centre), 9 (three by three places) and 10 (corners, centre, and "
            "mirrored)."
        )
    corners = [(0, 0), (0, margin), center, (margin, 0), (margin, margin)]
    return [(y, x, mirrored) for mirrored in (False, True) for y, x in corners]
