"""Data augmentation: random crops, reflections and colour noise, drawn as views (paper, section 4.1)."""

import numpy as np
from numpy.typing import NDArray

from alexnet.batches.randomness import Purpose, draw_integer, draw_normal_triple, draw_uniform
from alexnet.batches.views import Views
from alexnet.errors import ConfigError
from alexnet.recipes.fields import Batches


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
    erased = None
    if recipe.erasing:
        erased = draw_erased(indices, recipe.erasing, seed=seed, epoch=epoch, crop_px=crop_px)
    return Views(y, x, mirrored, offset.astype(np.float32), boxes, erased)


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


def draw_erased(
    indices: NDArray[np.int64], probability: float, *, seed: int, epoch: int, crop_px: int
) -> NDArray[np.int64]:
    """Return (N, 4) top, bottom, left and right of the rectangles that random erasing takes; empty where it does not.

    The share of the area is uniform from 2 to 33 %, the logarithm of width to height uniform from 3:10 to 10:3, the
    place uniform (Zhong et al. 2020); sides are rounded to whole pixels, and no longer than the crop.
    """

    def draw(purpose: Purpose) -> NDArray[np.float64]:
        return draw_uniform(indices, seed=seed, epoch=epoch, purpose=purpose)

    share = 0.02 + 0.31 * draw(Purpose.ERASED_AREA)
    ratio = np.exp(np.log(10 / 3) * (2 * draw(Purpose.ERASED_ASPECT) - 1))
    chosen = draw(Purpose.ERASED) < probability
    sides = [np.minimum(np.rint(np.sqrt(each) * crop_px), crop_px) * chosen for each in (share / ratio, share * ratio)]
    places = [
        np.floor((crop_px - side + 1) * draw(purpose))
        for side, purpose in zip(sides, (Purpose.ERASED_Y, Purpose.ERASED_X), strict=True)
    ]
    (top, left), (height, width) = places, sides
    return np.stack([top, top + height, left, left + width], axis=1).astype(np.int64)


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
