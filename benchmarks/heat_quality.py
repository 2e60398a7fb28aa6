"""Can heat be believed: how much of it lies on the object, and whether the network loses the class without it.

For images whose object is known pixel by pixel, as that of the drawn scenes is (`draw_scene_and_mask`).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier
from alexnet.interpretation.saliency import center_inputs
from alexnet.text.wording import counted

DELETION_STEPS = 20
"""Steps in which the pixels of a view are taken away."""


def share_inside(heat: NDArray[np.floating], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share of each map's heat that lies on the object: (N,) in [0, 1]; 0 for a map without heat.

    Heat that knows nothing has the object's share of the area.

    Args:
        heat: (N, H, W), at least 0.
        masks: (N, H, W), True on the object.
    Raises:
        ConfigError: masks and heat differ in shape.
    """
    _check_masks(heat, masks)
    total = heat.sum((1, 2), dtype=np.float64)
    return np.asarray((heat * masks).sum((1, 2), dtype=np.float64) / np.where(total > 0, total, 1))


def points_inside(heat: NDArray[np.floating], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how often the hottest pixel of each map lies on the object: (N,), 1 or 0; the pointing game.

    Where several pixels are hottest, the share of them that lies on it; so a map without heat has the object's share of
    the area. No tolerance is given around the object.

    Args and errors as in `share_inside`.
    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop" (2016), section 4.1.
    """
    _check_masks(heat, masks)
    hottest = heat == heat.max((1, 2), keepdims=True)
    return np.asarray((hottest & masks).sum((1, 2)) / hottest.sum((1, 2)))


def deletion_curves(
    classifier: Classifier,
    images: Sequence[NDArray[np.uint8]],
    classes: Sequence[int],
    heat: NDArray[np.floating],
    *,
    steps: int = DELETION_STEPS,
) -> NDArray[np.float64]:
    """Return the probability of a class while the hottest pixels of each view are taken away: (N, steps + 1).

    The first is that of the whole centre view; each step takes an equal number of pixels, the hottest first and equally
    hot ones in reading order, until all are gone. Taken away means: replaced by the mean image, zeros for the network.

    Args:
        images: (S, S, 3) uint8 RGB of the stored size.
        classes: Class index for each image.
        heat: (N, crop, crop), of any network.
    Raises:
        ConfigError: heat has another shape than the views.
    Source: Petsiuk, Das and Saenko, "RISE" (2018), section 4.1.
    """
    crop_px = classifier.network.spec.input_px
    if heat.shape != (len(images), crop_px, crop_px):
        raise ConfigError(
            f"heat of shape {heat.shape} for {counted(len(images), 'view')} of {crop_px} px. Give maps of the centre "
            "views, as explain returns them."
        )
    curves = []
    for image, kind, values in zip(images, classes, heat, strict=True):
        view = center_inputs(classifier, [image], classifier.compute.dtype)
        rank = np.empty(crop_px**2, np.int64)
        rank[np.argsort(-values.ravel(), kind="stable")] = np.arange(crop_px**2)
        ends = np.linspace(0, crop_px**2, steps + 1).round().astype(np.int64)
        kept = torch.from_numpy(rank[None] >= ends[:, None]).view(-1, 1, crop_px, crop_px).to(view.device)
        with torch.inference_mode():
            logits = classifier.network(view * kept)
        curves.append(logits.double().softmax(1)[:, kind].cpu().numpy())
    return np.stack(curves) if curves else np.zeros((0, steps + 1))


def area_under(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under each curve (N, steps + 1) over a width of 1: (N,), by trapezoids."""
    return np.asarray(((curves[:, 1:] + curves[:, :-1]) / 2).mean(1))


def correlate_ranks(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of two maps, pair by pair: (N,) in [-1, 1]; nan where a map is constant.

    Equal values share the mean of their ranks.

    Args:
        first, second: (N, H, W).
    Raises:
        ConfigError: they differ in shape.
    """
    if first.shape != second.shape:
        raise ConfigError(f"maps of shapes {first.shape} and {second.shape} cannot be compared. Give pairs of a size.")
    return np.array([_correlate(_rank(a), _rank(b)) for a, b in zip(first, second, strict=True)])


def _rank(values: NDArray[np.floating]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])


def _correlate(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    first, second = first - first.mean(), second - second.mean()
    size = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return float((first * second).sum()) / size if size else math.nan


def _check_masks(heat: NDArray[np.floating], masks: NDArray[np.bool_]) -> None:
    if heat.shape != masks.shape:
        raise ConfigError(
            f"masks of shape {masks.shape} for heat of shape {heat.shape}. Cut the masks as the network cuts the "
            "images: crop_center does both."
        )
