"""Views: which crop, whether mirrored, which colour offset; and the views that testing averages over (paper, 4.1).

A view is a description; the pixels are made by batches.assemble. Those of training are drawn by batches.augmentation.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError

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
    erased: NDArray[np.int64] | None = None
    """(N, 4) top, bottom, left and right, in pixels of the crop, of the part that is 0 in the inputs; bottom and right
    are outside."""


def check_views(num_views: int) -> None:
    """Raise ConfigError for a number of views that `evaluation_views` has none for."""
    if not isinstance(num_views, int | np.integer) or num_views not in (1, 9, 10):
        raise ConfigError(
            f"views is {num_views!r}; accepted are 1 (centre), 9 (three by three places) and 10 (corners, centre, and "
            "mirrored)."
        )


def evaluation_views(image_px: int, crop_px: int, num_views: int) -> list[Place]:
    """Return the views that testing averages over.

    One view is the centre. Nine are a grid of three by three offsets, without mirroring (the CIFAR tests of the 2012
    source and of cuda-convnet2). Ten are the four corners and the centre, then the same mirrored, in the order of the
    2012 source: top left, top right, centre, bottom left, bottom right (convdata_jpeg.py).

    Raises:
        ConfigError: num_views is none of these.
    """
    check_views(num_views)
    margin = image_px - crop_px
    center = (margin // 2, margin // 2)
    if num_views == 1:
        return [(*center, False)]
    if num_views == 9:
        grid = (0, margin // 2, margin)
        return [(y, x, False) for y in grid for x in grid]
    corners = [(0, 0), (0, margin), center, (margin, 0), (margin, margin)]
    return [(y, x, mirrored) for mirrored in (False, True) for y, x in corners]
