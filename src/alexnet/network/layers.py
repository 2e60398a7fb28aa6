"""Convolution and dense layers as modules, and the operations between them.

What the paper adds around the convolutions is computed by alexnet.kernels. This module knows which neighbouring
operations may be merged into one kernel; it does not know any network.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet import kernels
from alexnet.network.spec import Convolution, Dense, Dropout, Normalize, Operation, Pool, Rectify, Shape


class _MultiplyWeights(torch.autograd.Function):
    """x @ weight.T + bias whose weight gradient arrives in the weight's own layout.

    PyTorch's linear makes the gradient of weight.T and returns a transposed view; accumulating that into .grad copies
    it element by element, 64 ms for the 4096 x 9216 weights of fc6 on two cores against 5 ms for a contiguous copy.
    """

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(
        context: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,) = gradients
        x, weight = context.saved_tensors  # type: ignore[attr-defined]
        wants_x, wants_weight, wants_bias = context.needs_input_grad  # type: ignore[attr-defined]
        return (
            gradient @ weight if wants_x else None,
            gradient.t() @ x if wants_weight else None,
            gradient.sum(0, dtype=torch.float32).to(gradient.dtype) if wants_bias else None,
        )


class DenseLayer(nn.Linear):
    """A fully connected layer; (N, C, H, W) inputs are flattened in the order C, H, W."""

    def __init__(self, row: Dense, shape: Shape) -> None:
        super().__init__(shape.kernel[1], shape.kernel[0])
        self.row = row

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, units)."""
        x = x.flatten(1)
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            product: Tensor = _MultiplyWeights.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
            return product
        return F.linear(x, self.weight, self.bias)


class ConvolutionLayer(nn.Conv2d):
    """A convolution whose last windows may hang over the bottom and right edge, where they read zeros."""

    def __init__(self, row: Convolution, shape: Shape, groups: int) -> None:
        super().__init__(
            shape.kernel[1] * groups,
            row.kernels,
            row.window_px,
            stride=row.stride_px,
            padding=row.padding_px,
            groups=groups,
        )
        self.row = row
        self.overhang_px = shape.overhang_px

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, kernels, H, W)."""
        if self.overhang_px:
            x = F.pad(x, (0, self.overhang_px, 0, self.overhang_px))
        return super().forward(x)


def apply_one(
    x: Tensor, operation: Operation, *, towers: int, training: bool, keys: Tensor | None, layer: int
) -> Tensor:
    """Return the output of one operation, computed by itself.

    Args:
        keys: (N,) int64, one per image; dropout masks are a function of (key, layer, unit). Needed in training only.
        layer: Position of the layer in its network.
    """
    match operation:
        case Rectify():
            return torch.relu(x)
        case Normalize():
            return kernels.normalize_responses(x, **_constants(operation, towers))
        case Pool():
            return kernels.pool_maximum(x, window=operation.window_px, stride=operation.stride_px)
        case Dropout():
            if not training:
                return x * (1 - operation.probability)
            assert keys is not None
            return kernels.dropout(x, keys, p=operation.probability, layer=layer)


def apply_all(
    x: Tensor, operations: Sequence[Operation], *, towers: int, training: bool, keys: Tensor | None, layer: int
) -> Tensor:
    """Return the output of the operations in order, with neighbours merged into one kernel where there is one."""
    rectify: kernels.Rectify
    for group in merge(operations):
        match group:
            case (Rectify(), Normalize() as norm, Pool() as pool):
                rectify = "before"
            case (Normalize() as norm, Pool() as pool, Rectify()) | (Normalize() as norm, Rectify(), Pool() as pool):
                rectify = "after"  # a maximum and the rectifier commute
            case (Rectify(), Pool() as pool) | (Pool() as pool, Rectify()):
                x = kernels.pool_maximum(x, window=pool.window_px, stride=pool.stride_px, rectify=True)
                continue
            case (Rectify(), Normalize() as norm):
                x = kernels.normalize_responses(x, **_constants(norm, towers), rectify=True)
                continue
            case (operation,):
                x = apply_one(x, operation, towers=towers, training=training, keys=keys, layer=layer)
                continue
            case _:
                raise AssertionError(f"no kernel computes {group}")
        constants = _constants(norm, towers)
        x = kernels.normalize_and_pool(x, **constants, rectify=rectify, window=pool.window_px, stride=pool.stride_px)
    return x


_MERGED = (
    (Rectify, Normalize, Pool),
    (Normalize, Pool, Rectify),
    (Normalize, Rectify, Pool),
    (Rectify, Normalize),
    (Rectify, Pool),
    (Pool, Rectify),
)
"""Runs of operations that one kernel computes, longest first."""


def merge(operations: Sequence[Operation]) -> Iterator[tuple[Operation, ...]]:
    """Yield the operations in order, grouped into the longest runs that one kernel computes."""
    position = 0
    while position < len(operations):
        for pattern in _MERGED:
            group = tuple(operations[position : position + len(pattern)])
            if tuple(map(type, group)) == pattern:
                break
        else:
            group = (operations[position],)
        yield group
        position += len(group)


def _constants(norm: Normalize, towers: int) -> dict[str, Any]:
    return {
        "size": norm.size,
        "k": norm.k,
        "alpha": norm.alpha,
        "beta": norm.beta,
        "towers": towers if norm.within == "tower" else 1,
    }
