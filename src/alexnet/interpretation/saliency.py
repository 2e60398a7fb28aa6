"""Where in an image a class score is decided: the gradient of the score by the pixels (Simonyan et al., 2013)."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call

from alexnet.batches.views import evaluation_views
from alexnet.evaluation.classifier import Classifier
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

    Args:
        images: (S, S, 3) uint8 RGB of the stored size.
        classes: Class index of the score for each image.
        tick: Called with images done and in all.
    Source: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks" (2013), sections 3 and 3.1.
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
