"""Where in an image a class score is decided: the maps of the last convolution, weighed by the gradient of the score.

Selvaraju et al., "Grad-CAM" (2017). The maps belong to towers, so each tower has a map of its own, and what both say
is their sum.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier
from alexnet.interpretation.saliency import center_inputs
from alexnet.network.alexnet import AlexNet
from alexnet.network.layers import apply_all
from alexnet.network.rows import Dense, Nonlinearity, Operation, Pool, Rectify
from alexnet.text.progress import Tick, untold

_BATCH = 16
"""Images computed together."""


def measure_cam(
    classifier: Classifier, images: Sequence[NDArray[np.uint8]], classes: Sequence[int], *, tick: Tick = untold
) -> NDArray[np.float32]:
    """Return the Grad-CAM (N, crop, crop), at least 0, of a class for each image; see `measure_cam_towers`."""
    return join_towers(measure_cam_towers(classifier, images, classes, tick=tick))


def join_towers(towers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Grad-CAM (N, H, W) of what each tower says, (N, T, H, W): the sum, and 0 where it is negative."""
    return np.asarray(np.maximum(towers.sum(1), 0), np.float32)


def measure_cam_towers(
    classifier: Classifier, images: Sequence[NDArray[np.uint8]], classes: Sequence[int], *, tick: Tick = untold
) -> NDArray[np.float32]:
    """Return what each tower contributes to the Grad-CAM of a class: (N, T, crop, crop), of either sign.

    A map of the last convolution, behind its non-linearity, counts with the mean over its places of the derivative of
    the class's logit (formulas 1 and 2 there); the maps of a tower are added up. Their sum over the towers, cut off at
    0, is Grad-CAM. Between the places values are linear; a place lies at the middle of the pixels that it sees.

    The maps come in the precision of the classifier, derivatives in float32.

    Arguments as of `why.explain`; the unit is an image.

    Raises:
        ConfigError: the network has no convolution.
    """
    network = classifier.network
    index, before, behind = _split(network)
    row = network.spec.layers[index]
    tail = _Tail(network, index, behind)
    weights = {name: tensor.detach().float() for name, tensor in tail.state_dict().items()}
    crop_px = network.spec.input_px
    found = [np.zeros((0, network.spec.towers, crop_px, crop_px), np.float32)]
    for start in range(0, len(images), _BATCH):
        kinds = list(classes[start : start + _BATCH])
        inputs = center_inputs(classifier, images[start : start + _BATCH], classifier.compute.dtype)
        with torch.inference_mode():
            out = network.activations(inputs, [row.name])[row.name]
            out = apply_all(out, before, towers=network.spec.towers, training=False, keys=None, layer=index)
        with torch.inference_mode(False), torch.enable_grad():
            maps = out.float().clone().requires_grad_()
            scores: Tensor = functional_call(tail, weights, (maps,))
            (gradient,) = torch.autograd.grad(scores[range(len(kinds)), kinds].sum(), maps)
        weighed = maps.detach() * gradient.mean((2, 3), keepdim=True)
        cells = weighed.unflatten(1, (network.spec.towers, -1)).sum(2).cpu().numpy()  # type: ignore[no-untyped-call]
        spread = _spread_places(network, index, before, cells.shape[2])
        found.append(np.einsum("yi,ntij,xj->ntyx", spread, cells, spread, optimize=True).astype(np.float32))
        tick(start + len(kinds), len(images))
    return np.concatenate(found)


class _Tail(nn.Module):
    """What follows the maps of the last convolution, as a module whose weights can be given in another precision."""

    def __init__(self, network: AlexNet, index: int, behind: Sequence[Operation]) -> None:
        super().__init__()
        self.network, self._index, self._behind = network, index, behind

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (N, K)."""
        towers = self.network.spec.towers
        x = apply_all(maps, self._behind, towers=towers, training=False, keys=None, layer=self._index)
        return self.network.forward_from(self._index + 1, x)


def _split(network: AlexNet) -> tuple[int, tuple[Operation, ...], tuple[Operation, ...]]:
    """Return the last layer that makes maps, its operations up to the non-linearity, and those behind it."""
    rows = network.spec.layers
    index = max((place for place, row in enumerate(rows) if not isinstance(row, Dense)), default=None)
    if index is None:
        raise ConfigError(
            f"dialect {network.spec.dialect} has no convolution, and Grad-CAM weighs the maps of one. Choose another "
            "method: gradient or occlusion."
        )
    then = rows[index].then
    nonlinearity = next((place for place, step in enumerate(then) if isinstance(step, Rectify | Nonlinearity)), -1)
    before = then[: nonlinearity + 1]
    if before and isinstance(before[-1], Rectify) and all(_is_maximum(step) for step in before[:-1]):
        return index, before[-1:], before[:-1] + then[nonlinearity + 1 :]  # a maximum and the rectifier commute
    return index, before, then[nonlinearity + 1 :]


def _is_maximum(step: Operation) -> bool:
    return isinstance(step, Pool) and step.method == "maximum"


def _spread_places(network: AlexNet, index: int, before: Sequence[Operation], count: int) -> NDArray[np.float64]:
    """Return the weights (crop, count) with which the places of a map along an axis make up the pixels along it."""
    center, step = 0.0, 1  # pixel under the first place, and distance of places in pixels
    for number, row in enumerate(network.spec.layers[: index + 1]):
        if not isinstance(row, Dense):
            center += step * ((row.window_px - 1) / 2 - row.padding_px)
            step *= row.stride_px
        for pool in before if number == index else row.then:
            if isinstance(pool, Pool):
                center += step * (pool.window_px - 1) / 2
                step *= pool.stride_px
    place = (np.arange(network.spec.input_px) - center) / step
    return np.stack([np.interp(place, np.arange(count), row) for row in np.eye(count)], axis=1)
