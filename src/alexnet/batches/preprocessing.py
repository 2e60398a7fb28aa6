"""From a stored image to the inputs of a network, as it was trained on them.

PyTorch is imported where views are made, so that reading a model's header takes no time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from alexnet.batches.views import Divisor, MeanPlace, Place, Views, evaluation_views

if TYPE_CHECKING:
    import torch

Framing = Literal["square", "torchvision", "caffe"]
FRAMINGS: tuple[Framing, ...] = get_args(Framing)
"""As `data.images.decode.Framing`, which would bring Pillow."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From a stored image to the inputs of the network."""

    mean_image: NDArray[np.float32]
    """(S, S, 3) RGB, subtracted position by position."""
    divisor: Divisor
    """Inputs are divided by this afterwards: one number, or one each for R, G and B."""
    mean_place: MeanPlace = "aligned"
    """Part of the mean image that a crop loses: its own place, or the middle for every crop."""
    framing: Framing = "square"
    """How a photograph becomes an image of S x S: as prepare does it, or as the program that made the weights."""

    @property
    def image_px(self) -> int:
        """Side S of the images that views are cropped from."""
        return int(self.mean_image.shape[0])

    def make_views(
        self,
        images: Sequence[NDArray[np.uint8]],
        crop_px: int,
        dtype: "torch.dtype",
        *,
        views: int | Sequence[Place] = 1,
    ) -> "torch.Tensor":
        """Return the inputs (N, V, 3, crop, crop) of all V views of every image, without colour noise, on the CPU.

        Args:
            images: N images (S, S, 3) uint8 RGB.
            dtype: float32 or bfloat16.
            views: How many, see `evaluation_views`; or where.
        Raises:
            ConfigError: an image has another shape or type, or there is no such number of views.
        """
        import torch

        from alexnet.batches.assemble import assemble_views

        places = evaluation_views(self.image_px, crop_px, views) if isinstance(views, int) else views
        count = len(images) * len(places)
        y, x, mirrored = (np.tile(column, len(images)) for column in zip(*places, strict=True))
        out = torch.empty((count, 3, crop_px, crop_px), dtype=dtype, memory_format=torch.channels_last)
        assemble_views(
            [image for image in images for _ in places],
            self.mean_image,
            Views(y, x, mirrored, color_offset=np.zeros((count, 3), np.float32)),
            out,
            divisor=self.divisor,
            mean_place=self.mean_place,
        )
        return out.view(len(images), len(places), *out.shape[1:])
