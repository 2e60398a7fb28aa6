"""The reference definitions behind the signatures that every version has, so that a network can be run on them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet.kernels import reference
from alexnet.kernels.rules import Normalization, Rectify

Array = npt.NDArray[np.float64]
Forward = Callable[[Array], Array]
Backward = Callable[[Array, Array], Array]


def normalize_responses(x: Tensor, constants: Normalization, *, rectify: bool) -> Tensor:
    y = _rectified(x) if rectify else x
    return _apply(
        y,
        lambda r: reference.normalize_responses(r, **constants._asdict()),
        lambda r, dy: reference.normalize_responses_gradient(r, dy, **constants._asdict()),
    )


def normalize_and_pool(x: Tensor, constants: Normalization, *, rectify: Rectify, window: int, stride: int) -> Tensor:
    floor = rectify != "none"

    def forward(x: Array) -> Array:
        r = reference.rectify(x) if rectify == "before" else x
        normalized = reference.normalize_responses(r, **constants._asdict())
        return reference.pool_maximum(normalized, window=window, stride=stride, floor=floor)[0]

    def backward(x: Array, dy: Array) -> Array:
        r = reference.rectify(x) if rectify == "before" else x
        normalized = reference.normalize_responses(r, **constants._asdict())
        _, position = reference.pool_maximum(normalized, window=window, stride=stride, floor=floor)
        dy = reference.pool_maximum_gradient(x.shape, dy, position, window=window, stride=stride)
        dx = reference.normalize_responses_gradient(r, dy, **constants._asdict())
        return reference.rectify_gradient(x, dx) if rectify == "before" else dx

    return _apply(x, forward, backward)


def pool_maximum(x: Tensor, *, window: int, stride: int, rectify: bool) -> Tensor:

    def backward(x: Array, dy: Array) -> Array:
        _, position = reference.pool_maximum(x, window=window, stride=stride, floor=rectify)
        return reference.pool_maximum_gradient(x.shape, dy, position, window=window, stride=stride)

    return _apply(x, lambda x: reference.pool_maximum(x, window=window, stride=stride, floor=rectify)[0], backward)


def spatially_normalize_responses(x: Tensor, *, size: int, scale: float, beta: float, k: float) -> Tensor:
    constants: dict[str, Any] = {"size": size, "scale": scale, "beta": beta, "k": k}
    return _apply(
        x,
        lambda x: reference.spatially_normalize_responses(x, **constants),
        lambda x, dy: reference.spatially_normalize_responses_gradient(x, dy, **constants),
    )


def gather_patches(x: Tensor, *, window: int, stride: int, before: int, after: int) -> Tensor:
    where: dict[str, Any] = {"window": window, "stride": stride, "before": before, "after": after}
    return _apply(
        x,
        lambda x: reference.gather_patches(x, **where),
        lambda x, dy: reference.gather_patches_gradient(x.shape, dy, **where),
    )


def update_weights(
    weight: Tensor,
    velocity: Tensor,
    gradient: Tensor,
    *,
    rate: float,
    momentum: float,
    decay: float,
    working: Tensor | None,
    average: Tensor | None,
    share: float,
) -> None:
    arrays = (_numbers(weight), _numbers(velocity), _numbers(gradient))
    weights, velocities = reference.update_weights(*arrays, rate=rate, momentum=momentum, decay=decay)
    with torch.no_grad():
        weight.copy_(torch.as_tensor(weights))
        velocity.copy_(torch.as_tensor(velocities))
        if working is not None:
            working.copy_(weight)
        if average is not None:
            average.copy_(torch.as_tensor(reference.follow_weights(_numbers(average), weights, share=share)))


def dropout(x: Tensor, keys: Tensor, *, p: float, layer: int, first: int = 0) -> Tensor:
    mask = reference.dropout_mask(keys.tolist(), first + x[:1].numel(), p=p, layer=layer)[:, first:].reshape(x.shape)
    return _apply(x, lambda x: x * mask, lambda x, dy: dy * mask)


class _Defined(torch.autograd.Function):
    """A function given by two NumPy functions: its values and its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: Forward, backward: Backward) -> Tensor:
        ctx.save_for_backward(x)
        ctx.derivative = backward
        return _like(forward(_numbers(x)), x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        return _like(ctx.derivative(_numbers(x), _numbers(gradients[0])), x), None, None


def _apply(x: Tensor, forward: Forward, backward: Backward) -> Tensor:
    y: Tensor = _Defined.apply(x, forward, backward)  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
    return y


def _rectified(x: Tensor) -> Tensor:
    return _apply(x, reference.rectify, reference.rectify_gradient)


def _numbers(x: Tensor) -> Array:
    numbers: Array = x.detach().to("cpu", torch.float64).numpy()
    return numbers


def _like(values: Array, x: Tensor) -> Tensor:
    y = torch.from_numpy(values).to(x.device, x.dtype)
    return y.contiguous(memory_format=torch.channels_last) if y.dim() == 4 else y
