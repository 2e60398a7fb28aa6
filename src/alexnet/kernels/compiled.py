"""The plain kernels, each fused into as few passes over memory as torch.compile finds: on a GPU through Triton.

Compiling takes seconds for every new shape, so that it pays in training and not for a test of a few images. Shapes are
compiled as they are, not as variables: a network has few, and divisions by known numbers are cheap.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from alexnet.kernels import plain
from alexnet.kernels.rules import Normalization, Rectify

MOST_VARIANTS = 64
"""Shapes, dtypes and constants that one kernel is compiled for, at most; PyTorch's own limit is 8."""


def normalize_responses(x: Tensor, constants: Normalization, *, rectify: bool) -> Tensor:
    y: Tensor = _fuse(plain.normalize_responses)(x, constants, rectify=rectify)
    return y


def normalize_and_pool(x: Tensor, constants: Normalization, *, rectify: Rectify, window: int, stride: int) -> Tensor:
    y: Tensor = _fuse(plain.normalize_and_pool)(x, constants, rectify=rectify, window=window, stride=stride)
    return y


def pool_maximum(x: Tensor, *, window: int, stride: int, rectify: bool) -> Tensor:
    y: Tensor = _fuse(plain.pool_maximum)(x, window=window, stride=stride, rectify=rectify)
    return y


def spatially_normalize_responses(x: Tensor, *, size: int, scale: float, beta: float, k: float) -> Tensor:
    y: Tensor = _fuse(plain.spatially_normalize_responses)(x, size=size, scale=scale, beta=beta, k=k)
    return y


def dropout(x: Tensor, keys: Tensor, *, p: float, layer: int, first: int = 0) -> Tensor:
    y: Tensor = _fuse(plain.dropout)(x, keys, p=p, layer=layer, first=first)
    return y


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
    given = (weight, velocity, plain.matching_gradient(weight, gradient), working, average)
    flat = [  # one kernel for weights of any shape
        None if each is None else each.detach().as_strided((each.numel(),), (1,)) for each in given
    ]
    update = _fuse(plain.update_weights, any_shape=True)
    update(*flat[:3], rate=rate, momentum=momentum, decay=decay, working=flat[3], average=flat[4], share=share)


@functools.cache
def find_failure(device: str) -> str | None:
    """Return why nothing can be compiled for a type of device, in the words of what failed; None where it can."""
    try:
        _fuse(_probe)(torch.zeros(8, device=device))
    except Exception as problem:  # an incomplete compiler raises nearly any type
        return next((line for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
    return None


def _probe(x: Tensor) -> Tensor:
    return torch.relu(x) + 1


@functools.cache
def _fuse(function: Callable[..., Any], *, any_shape: bool = False) -> Callable[..., Any]:
    """Return a function compiled when it is called; without fused multiply-adds, which would round otherwise."""
    import torch._dynamo

    dynamo: Any = torch._dynamo.config
    dynamo.cache_size_limit = max(dynamo.cache_size_limit, MOST_VARIANTS)
    return torch.compile(function, dynamic=any_shape, options={"emulate_precision_casts": True})
