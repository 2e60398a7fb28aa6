"""Convolution and dense layers as modules, and the operations between them.

What the paper adds around the convolutions is computed by alexnet.kernels. This module knows which neighbouring
operations may be merged into one kernel; it does not know any network.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet import kernels
from alexnet.network.rows import (
    Convolution,
    Dense,
    Dropout,
    Layer,
    Local,
    Nonlinearity,
    Normalize,
    NormalizeMap,
    Operation,
    Pool,
    Rectify,
    Spec,
)
from alexnet.network.shapes import Shape, count_groups, count_pooled


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
    """A fully connected layer; (N, C, H, W) inputs are flattened in the order C, H, W.

    With groups, the units fall into as many equal parts, each connected to its part of the inputs: one per tower.
    """

    fused = True
    """Whether the gradient is computed by a function of our own, which tools that transform functions cannot read."""

    def __init__(self, row: Dense, shape: Shape, groups: int) -> None:
        super().__init__(shape.kernel[1], shape.kernel[0])
        self.row = row
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, units)."""
        x = x.flatten(1)
        if self.groups > 1:
            x_GNI = x.reshape(x.shape[0], self.groups, x.shape[1] // self.groups).transpose(0, 1)
            weight_GIU = self.weight.reshape(self.groups, -1, x_GNI.shape[2]).transpose(1, 2)
            return (x_GNI @ weight_GIU).transpose(0, 1).flatten(1) + self.bias
        own = self.fused and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if own and not kernels.is_autocast(x):  # which casts also what PyTorch's product keeps for its gradient
            product: Tensor = _MultiplyWeights.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
            return product
        return F.linear(x, self.weight, self.bias)


class ConvolutionLayer(nn.Conv2d):
    """A convolution whose last windows may hang over the bottom and right edge, where they read zeros."""

    fused = True
    """As of `DenseLayer`."""

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
        if not self.fused or torch.compiler.is_compiling():
            return super().forward(x)
        assert self.bias is not None
        assert not isinstance(self.padding, str)
        options = {"stride": self.stride[0], "padding": self.padding[0], "groups": self.groups}
        return kernels.convolve(x, self.weight, self.bias, **options)


class LocalLayer(nn.Module):
    """A locally connected layer: weights (places, kernels, C * h * w) and biases (places, kernels), nothing shared.

    Places are counted row by row; the inputs of one follow each other in the order C, h, w.
    """

    fused = True
    """As of `DenseLayer`."""

    def __init__(self, row: Local, shape: Shape) -> None:
        super().__init__()
        self.row = row
        self.overhang_px = shape.overhang_px
        self.side = shape.output[1]
        inputs = shape.kernel[1] * shape.kernel[2] * shape.kernel[3]
        self.weight = nn.Parameter(torch.zeros(self.side**2, row.kernels, inputs))
        self.bias = nn.Parameter(torch.zeros(self.side**2, row.kernels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, kernels, H, W)."""
        row = self.row
        before, after = row.padding_px, row.padding_px + self.overhang_px
        if self.fused:
            patches_LNI = kernels.gather_patches(
                x, window=row.window_px, stride=row.stride_px, before=before, after=after
            )
            weight_LKCw = self.weight.reshape(*self.weight.shape[:2], x.shape[1], row.window_px**2)
            weight_LKI = weight_LKCw.transpose(2, 3).flatten(2)  # I in the order of the patches
        else:
            x = F.pad(x, (before, after, before, after))
            patches_LNI = F.unfold(x, row.window_px, stride=row.stride_px).permute(2, 0, 1)
            weight_LKI = self.weight
        out_LNK = torch.baddbmm(self.bias[:, None], patches_LNI, weight_LKI.transpose(1, 2))
        return out_LNK.reshape(self.side, self.side, x.shape[0], row.kernels).permute(2, 3, 0, 1)


AnyLayer = ConvolutionLayer | LocalLayer | DenseLayer


def make_layer(spec: Spec, row: Layer, shape: Shape) -> AnyLayer:
    """Return the module of a row, with weights that are yet to be set."""
    match row:
        case Convolution():
            return ConvolutionLayer(row, shape, count_groups(spec, row))
        case Local():
            return LocalLayer(row, shape)
        case Dense():
            return DenseLayer(row, shape, count_groups(spec, row))


def apply_one(
    x: Tensor,
    operation: Operation,
    *,
    towers: int,
    training: bool,
    keys: Tensor | None,
    layer: int,
    first: int = 0,
) -> Tensor:
    """Return the output of one operation, computed by itself.

    Args:
        keys: (N,) int64, one per image; dropout masks are a function of (key, layer, unit). Needed in training only.
        layer: Position of the layer in its network.
        first: Where x begins among the layer's units, if it is a part of them.
    """
    match operation:
        case Rectify():
            return torch.relu(x)
        case Nonlinearity():
            return operation.scale * NONLINEAR_FUNCTIONS[operation.kind](operation.slope * x)
        case Normalize():
            return kernels.normalize_responses(x, _constants(operation, towers))
        case NormalizeMap():
            return kernels.spatially_normalize_responses(
                x, size=operation.size, scale=operation.alpha, beta=operation.beta, k=operation.k
            )
        case Pool():
            x = _cut_to_whole_windows(x, operation)
            if operation.method == "mean":  # over the part of a window inside the maps, as cuda-convnet
                return F.avg_pool2d(x, operation.window_px, operation.stride_px, ceil_mode=True)
            return kernels.pool_maximum(x, window=operation.window_px, stride=operation.stride_px)
        case Dropout():
            keep = 1 - operation.probability
            if not training:
                return x if operation.scaling == "in training" else x * keep
            assert keys is not None
            kept = kernels.dropout(x, keys, p=operation.probability, layer=layer, first=first)
            return kept / keep if operation.scaling == "in training" else kept


def apply_all(
    x: Tensor,
    operations: Sequence[Operation],
    *,
    towers: int,
    training: bool,
    keys: Tensor | None,
    layer: int,
    first: int = 0,
) -> Tensor:
    """Return the output of the operations in order, with neighbours merged into one kernel where there is one.

    Arguments as in `apply_one`.
    """
    rectify: kernels.Rectify
    for group in merge(operations):
        if len(group) > 1 and isinstance(
            pooled := next((step for step in group if isinstance(step, Pool)), None), Pool
        ):
            x = _cut_to_whole_windows(x, pooled)  # first, as what is done pixel by pixel commutes with it
        match group:
            case (Rectify(), Normalize() as norm, Pool() as pool):
                rectify = "before"
            case (Normalize() as norm, Pool() as pool, Rectify()) | (Normalize() as norm, Rectify(), Pool() as pool):
                rectify = "after"  # a maximum and the rectifier commute
            case (Rectify(), Pool() as pool) | (Pool() as pool, Rectify()):
                x = kernels.pool_maximum(x, window=pool.window_px, stride=pool.stride_px, rectify=True)
                continue
            case (Rectify(), Normalize() as norm):
                x = kernels.normalize_responses(x, _constants(norm, towers), rectify=True)
                continue
            case (operation,):
                x = apply_one(x, operation, towers=towers, training=training, keys=keys, layer=layer, first=first)
                continue
            case _:
                raise AssertionError(f"no kernel computes {group}")
        constants = _constants(norm, towers)
        x = kernels.normalize_and_pool(x, constants, rectify=rectify, window=pool.window_px, stride=pool.stride_px)
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
            if tuple(map(type, group)) == pattern and not any(
                isinstance(step, Pool) and step.method == "mean" for step in group
            ):
                break
        else:
            group = (operations[position],)
        yield group
        position += len(group)


NONLINEAR_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "abs": torch.abs,
}


def _cut_to_whole_windows(x: Tensor, pool: Pool) -> Tensor:
    """Leave out what no whole window covers, where the pool rounds down; the kernels round up."""
    if pool.rounding == "ceil":
        return x
    height, width = (
        (count_pooled(extent, pool.window_px, pool.stride_px, "floor") - 1) * pool.stride_px + pool.window_px
        for extent in x.shape[2:]
    )
    return x[:, :, :height, :width]


def _constants(norm: Normalize, towers: int) -> kernels.Normalization:
    towers = towers if norm.within == "tower" else 1
    return kernels.Normalization(norm.size, norm.k, norm.alpha, norm.beta, towers)
