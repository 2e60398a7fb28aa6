"""Where in an image a class is decided, found at its pixels: by the gradient of the score, or by covering squares.

Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks" (2013); Zeiler and Fergus, "Visualizing and
Understanding Convolutional Networks" (2013), section 4.2.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from alexnet.batches.views import evaluation_views
from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.shared_views import Place, can_share, share_covered_first_layer
from alexnet.network.alexnet import AlexNet
from alexnet.network.independent import to_log_probabilities
from alexnet.text.progress import Tick, untold

Value = TypeVar("Value", bound=np.generic)


def crop_center(images: Sequence[NDArray[Value]], classifier: Classifier) -> list[NDArray[Value]]:
    """Return the part of each stored image that the network sees in one view, (crop, crop, 3); of masks likewise."""
    crop_px = classifier.network.spec.input_px
    ((y, x, _),) = evaluation_views(classifier.image_px, crop_px, 1)
    return [np.asarray(image[y : y + crop_px, x : x + crop_px]) for image in images]


def center_inputs(classifier: Classifier, images: Sequence[NDArray[np.uint8]], dtype: torch.dtype) -> torch.Tensor:
    """Return the inputs (N, 3, crop, crop) of the centre views of stored images, on the classifier's device."""
    inputs = classifier.model.preprocessing.make_views(images, classifier.network.spec.input_px, dtype)
    return inputs[:, 0].to(classifier.compute.device)


def measure_saliency(
    classifier: Classifier, images: Sequence[NDArray[np.uint8]], classes: Sequence[int], *, tick: Tick = untold
) -> NDArray[np.float32]:
    """Return how strongly each pixel of the centre view moves the score of a class: (N, crop, crop), at least 0.

    It is the largest absolute derivative of the class's logit by the red, green and blue of a pixel, per grey level,
    in testing mode. The gradient is computed in float32, whatever the classifier computes in: the derivatives of
    neighbouring pixels nearly cancel, and half precision would show its own rounding.

    Arguments as of `why.explain`; the unit is an image. Source: Simonyan et al., sections 3 and 3.1.
    """
    network, preprocessing = classifier.network, classifier.model.preprocessing
    crop_px = network.spec.input_px
    # Detached: only the pixels ask for a gradient, so none is computed for 60 million weights.
    weights = {name: tensor.detach().float() for name, tensor in network.state_dict().items()}
    divisor = torch.as_tensor(preprocessing.divisor, dtype=torch.float32).reshape(-1, 1, 1)
    maps = []
    for image, kind in zip(images, classes, strict=True):
        inputs = center_inputs(classifier, [image], torch.float32).requires_grad_()
        with torch.enable_grad():
            score = functional_call(network, weights, (inputs,))[0, kind]
            (gradient,) = torch.autograd.grad(score, inputs)
        per_level = gradient[0].float().cpu() / divisor
        maps.append(per_level.abs().amax(0).numpy())
        tick(len(maps), len(images))
    return np.stack(maps) if maps else np.zeros((0, crop_px, crop_px), np.float32)


SQUARES_ACROSS = 7
"""The covering square has this fraction of the view's side: 32 pixels of 224."""
_BATCH = 64
"""Covered views computed together."""


def measure_occlusion(
    classifier: Classifier,
    images: Sequence[NDArray[np.uint8]],
    classes: Sequence[int],
    *,
    side_px: int | None = None,
    tick: Tick = untold,
) -> NDArray[np.float32]:
    """Return how far covering each pixel of the centre view lowers a class: (N, crop, crop), at least 0, in nats.

    A square is moved over the view in steps of half its side, and to its last row and column. A pixel's value is the
    mean, over the squares that cover it, of the fall of the logarithm of the class's probability; 0 where it rises.
    Covered means: replaced by the mean image, zeros for the network. Zeiler and Fergus cover with grey and show the
    probability itself; its logarithm does not stand still where a network is sure.

    Arguments as of `why.explain`; the unit is a square.

    Args:
        side_px: Side of the square; None for one of SQUARES_ACROSS parts of the view.
    Raises:
        ConfigError: the square is larger than the view, or has no pixel.
    """
    network, crop_px = classifier.network, classifier.network.spec.input_px
    side = max(1, round(crop_px / SQUARES_ACROSS)) if side_px is None else side_px
    if not 1 <= side <= crop_px:
        raise ConfigError(f"a square of {side} px cannot cover a view of {crop_px} px. Choose 1 to {crop_px}.")
    starts = sorted({*range(0, crop_px - side, max(1, side // 2)), crop_px - side})
    places = [(y, x) for y in starts for x in starts]
    independent = classifier.independent is not None
    heat = np.zeros((len(images), crop_px, crop_px))
    covering = np.zeros((crop_px, crop_px))
    for y, x in places:
        covering[y : y + side, x : x + side] += 1
    for number, (image, kind) in enumerate(zip(images, classes, strict=True)):
        view = center_inputs(classifier, [image], classifier.compute.dtype)
        with torch.inference_mode():
            whole = float(to_log_probabilities(network(view).double(), independent=independent)[0, kind])
        for start in range(0, len(places), _BATCH):
            part = places[start : start + _BATCH]
            with torch.inference_mode():
                logits = _run_covered(network, view, part, side).double()
                covered = to_log_probabilities(logits, independent=independent)[:, kind].cpu()
            for (y, x), value in zip(part, covered.tolist(), strict=True):
                heat[number, y : y + side, x : x + side] += whole - value
            tick(number * len(places) + start + len(part), len(images) * len(places))
    return np.maximum(heat / covering, 0).astype(np.float32)


def _run_covered(network: AlexNet, view: Tensor, places: Sequence[Place], side_px: int) -> Tensor:
    """Return logits (P, K) of a view (1, 3, S, S) with a square of zeros at each place."""
    if can_share(network, network.spec.input_px, [(0, 0)]):
        return network.forward_from(1, share_covered_first_layer(network, view, places, side_px))
    covered = view.repeat(len(places), 1, 1, 1)
    for each, (y, x) in zip(covered, places, strict=True):
        each[:, y : y + side_px, x : x + side_px] = 0
    return network(covered)  # type: ignore[no-any-return]
