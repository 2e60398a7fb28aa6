"""Initial weights (paper, section 5)."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from alexnet.errors import ConfigError
from alexnet.network.layers import AnyLayer, LocalLayer
from alexnet.network.rows import Layer

METHODS = ("dialect", "he", "pytorch")
"""Accepted initialisations: the dialect's own table, He normal, or what PyTorch's layers draw."""


def initialize(layers: Iterable[tuple[Layer, AnyLayer]], *, seed: int, method: str = "dialect") -> None:
    """Fill weights and biases in place.

    "dialect": zero-mean Gaussians with each row's standard deviation and constant biases, as the paper and the 2012
    source do. Made for 1.2 million images; with a few thousand it often stays at chance (docs/deviations.md).
    "he": Gaussians with variance 2 / fan-in (He, Zhang, Ren, Sun 2015), a last layer of 0.01 and biases 0, for small
    data with inputs of about unit variance.
    "pytorch": weights and biases uniform on +-1 / sqrt(fan-in), for the dialect that torchvision ships.

    Each layer draws from a generator of its own, so its weights depend on (seed, position) only.

    Raises:
        ConfigError: unknown method.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown initialization {method!r}. Known: {', '.join(METHODS)}.")
    rows = list(layers)
    for position, (row, layer) in enumerate(rows):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + position)
        std, bias = row.weight_std, row.bias
        fan_in = layer.weight.shape[-1] if isinstance(layer, LocalLayer) else layer.weight[0].numel()
        if method == "he":
            last = position == len(rows) - 1
            std, bias = (0.01 if last else math.sqrt(2 / fan_in)), 0.0
        assert layer.bias is not None
        with torch.no_grad():
            if method == "pytorch":
                for values in (layer.weight, layer.bias):
                    bound = 1 / math.sqrt(fan_in)
                    values.copy_(torch.empty(values.shape).uniform_(-bound, bound, generator=generator))
                continue
            fresh: Tensor = torch.empty(layer.weight.shape).normal_(0, std, generator=generator)
            layer.weight.copy_(fresh)
            layer.bias.fill_(bias)
