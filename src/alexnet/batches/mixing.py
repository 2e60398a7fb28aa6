"""Training images that are mixed with their neighbours: mixup and CutMix.

Not in the paper. The neighbour of an image is the one that follows it in the order of the epoch, the first after the
last: so a mixture does not depend on the size of a batch, nor on who computes which part of it.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.randomness import Purpose
from alexnet.recipes.fields import Batches


class Mixtures(NamedTuple):
    """How each of N images is mixed with its neighbour."""

    labels: NDArray[np.float32]
    """(N,) share of its own label, at least one half; the rest is the neighbour's."""
    pixels: NDArray[np.float32]
    """(N,) share of its own pixels inside the box; outside they are all its own."""
    boxes: NDArray[np.int32]
    """(N, 4) top, bottom, left and right of the box in pixels of the crop; bottom and right are outside."""

    def at(self, places: NDArray[np.int64]) -> "Mixtures":
        """Return the mixtures of the images at these places."""
        return Mixtures(self.labels[places], self.pixels[places], self.boxes[places])


def draw_mixtures(num_images: int, recipe: Batches, *, seed: int, epoch: int, crop_px: int) -> Mixtures | None:
    """Return the mixtures of an epoch, by place in its order; None where nothing is mixed.

    mixup (Zhang et al. 2018): the box is the whole crop, and pixels and labels have the same share, drawn from
    Beta(mixup, mixup). CutMix (Yun et al. 2019): the box is the neighbour's, a square around any pixel that covers a
    share drawn from Beta(cutmix, cutmix) where it lies inside the crop; labels count by the pixels that were taken.
    Where both are asked for, each image has one of them, with probability one half. The larger of the two shares is
    always the image's own: which of two images is called the neighbour is arbitrary, and so each counts once an epoch.
    """
    if not recipe.mixes_in(epoch):
        return None
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, Purpose.MIXTURE])))
    cuts = generator.random(num_images) < (0.5 if recipe.mixup else 1.0)
    if not recipe.cutmix:
        cuts[:] = False
    other = np.zeros(num_images)
    for alpha, chosen in ((recipe.mixup, ~cuts), (recipe.cutmix, cuts)):
        if alpha:
            drawn = generator.beta(alpha, alpha, num_images)
            other[chosen] = np.minimum(drawn, 1 - drawn)[chosen]
    center = generator.integers(0, crop_px, (num_images, 2))
    half = np.sqrt(other)[:, None] * crop_px / 2
    first, after = (np.clip(np.rint(center + sign * half), 0, crop_px) for sign in (-1, 1))
    first[~cuts], after[~cuts] = 0, crop_px
    boxes = np.stack([first, after], axis=2).reshape(num_images, 4).astype(np.int32)
    area = (after - first).prod(1) / crop_px**2
    return Mixtures(
        np.where(cuts, 1 - area, 1 - other).astype(np.float32), np.where(cuts, 0, 1 - other).astype(np.float32), boxes
    )


def mix_neighbors(inputs: Tensor, mixtures: Mixtures) -> None:
    """Mix each of N + 1 inputs but the last, in place, with the one behind it as it was before it was mixed itself.

    In bfloat16 the rounded inputs are mixed in float32, and the result is rounded again.

    Args:
        inputs: (N + 1, 3, crop, crop), channels_last, float32 or bfloat16, on the CPU.
    """
    from alexnet.batches.mixing_kernel import mix_bfloat16, mix_float32  # imports Numba

    images = inputs.permute(0, 2, 3, 1)
    assert images.is_contiguous()
    if inputs.dtype == torch.bfloat16:
        mix_bfloat16(images.view(torch.uint16).numpy(), mixtures.pixels, mixtures.boxes)
    else:
        mix_float32(images.numpy(), mixtures.pixels, mixtures.boxes)
