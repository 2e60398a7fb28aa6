"""The same network as plain modules, one for each operation, for tools that name or transform what is inside.

`AlexNet` computes several operations in one kernel, so that they are no modules, and differentiates some of them by
functions of its own. Here every operation is a module under the name that `AlexNet.activations` gives it, made of
PyTorch's own operations: torch.fx, torch.jit.trace, torch.func.vmap and derivatives of any order go through them.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.kernels.rules import window_reach
from alexnet.network.layers import NONLINEAR_FUNCTIONS, make_layer
from alexnet.network.rows import Dropout, Nonlinearity, Normalize, NormalizeMap, Operation, Pool, Rectify
from alexnet.network.shapes import name_steps, shape_after

if TYPE_CHECKING:
    from alexnet.network.alexnet import AlexNet


class UnfusedAlexNet(nn.Module):
    """What `AlexNet.unfused` returns: inputs (N, 3, S, S) to logits (N, num_classes), equal to float32 rounding.

    The parameters are those of the network it was made from: what trains or moves one trains or moves the other.
    Submodules bear the names of activations. "conv1" is the layer alone; "conv1.relu", "conv1.norm" and "conv1.pool"
    are modules within it that are called after it, so that a forward hook on any name sees that activation.

    It computes in the dtype of its inputs, where kernels would sum in float32. In training mode, dropout draws from
    PyTorch's generator, not from keys. The size of inputs is not checked, as a check would not pass a tracer.
    """

    def __init__(self, network: "AlexNet") -> None:
        super().__init__()
        for (row, layer), shape in zip(network.named_layers(), network.shapes, strict=True):
            with torch.device("meta"):
                own = make_layer(network.spec, row, shape)
            own.fused = False
            own.weight, own.bias = layer.weight, layer.bias
            current = shape.output
            for name, step in zip(name_steps(row), row.then, strict=True):
                own.add_module(name.removeprefix(f"{row.name}."), _make_operation(step, current, network.spec.towers))
                current = shape_after(step, current)
            self.add_module(row.name, own)
        self.train(network.training)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (N, num_classes)."""
        x = inputs
        for layer in self.children():
            x = layer(x)
            for operation in layer.children():
                x = operation(x)
        return x


def _make_operation(step: Operation, shape: tuple[int, ...], towers: int) -> nn.Module:
    match step:
        case Rectify():
            return nn.ReLU()
        case Nonlinearity():
            return ScaledNonlinearity(step)
        case Normalize():
            return ResponseNorm(step, towers if step.within == "tower" else 1, shape[0])
        case NormalizeMap():
            return MapNorm(step)
        case Pool():
            # On maps smaller than the window, one window is cut off whatever the rounding.
            ceil = step.rounding == "ceil" or shape[1] < step.window_px
            kind = nn.AvgPool2d if step.method == "mean" else nn.MaxPool2d
            return kind(step.window_px, step.stride_px, ceil_mode=ceil)
        case Dropout():
            return nn.Dropout(step.probability) if step.scaling == "in training" else PaperDropout(step.probability)


class ScaledNonlinearity(nn.Module):
    """scale * f(slope * x)."""

    def __init__(self, row: Nonlinearity) -> None:
        super().__init__()
        self.row = row

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of x's shape."""
        return self.row.scale * NONLINEAR_FUNCTIONS[self.row.kind](self.row.slope * x)

    def extra_repr(self) -> str:
        """Say which."""
        return f"{self.row.scale:g} * {self.row.kind}({self.row.slope:g} * x)"


class ResponseNorm(nn.Module):
    """x / (k + alpha * S) ** beta, S the sum of squares over neighbouring channels of a tower (paper, section 3.3).

    Convention: alpha multiplies the sum, as printed; nn.LocalResponseNorm first divides its own by the window.
    """

    def __init__(self, row: Normalize, towers: int, channels: int) -> None:
        super().__init__()
        self.row, self.towers, self.width = row, towers, channels // towers

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of x's shape, (N, C, H, W)."""
        x_NTCHW = x.reshape(x.shape[0], self.towers, self.width, x.shape[2], x.shape[3])
        squares = F.pad(x_NTCHW.square(), (0, 0, 0, 0, *window_reach(self.row.size)))
        energy = squares.narrow(2, 0, self.width)
        for offset in range(1, self.row.size):
            energy = energy + squares.narrow(2, offset, self.width)
        return (x_NTCHW * (self.row.k + self.row.alpha * energy).pow(-self.row.beta)).flatten(1, 2)

    def extra_repr(self) -> str:
        """Say the constants."""
        row = self.row
        towers = f", towers={self.towers}" if self.towers > 1 else ""
        return f"size={row.size}, k={row.k:g}, alpha={row.alpha:g}, beta={row.beta:g}{towers}"


class MapNorm(nn.Module):
    """x / (k + alpha * S) ** beta, S the sum of squares over the surroundings in the same map (2012 source, rnorm)."""

    def __init__(self, row: NormalizeMap) -> None:
        super().__init__()
        self.row = row

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of x's shape, (N, C, H, W)."""
        squares = F.pad(x.square(), 2 * window_reach(self.row.size))
        energy = F.avg_pool2d(squares, self.row.size, stride=1, divisor_override=1)
        return x * (self.row.k + self.row.alpha * energy).pow(-self.row.beta)

    def extra_repr(self) -> str:
        """Say the constants."""
        return f"size={self.row.size}, k={self.row.k:g}, alpha={self.row.alpha:g}, beta={self.row.beta:g}"


class PaperDropout(nn.Dropout):
    """Zeros in training, unscaled; in testing, everything multiplied by the share that was kept (paper, 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of x's shape."""
        return super().forward(x) * (1 - self.p)
