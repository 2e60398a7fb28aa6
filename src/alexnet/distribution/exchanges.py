"""Layers that see more than their own process holds, and the exchanges that this takes (paper, section 3.2).

Forward and backward mirror each other: what was gathered is summed back to where it came from. Work that does not need
the exchange is done while it is under way: the product with a process's own maps or units while the others' arrive,
and the gradient of the weights while that of the inputs travels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.distribution.axis import Axis


def gather_and_multiply(x: Tensor, weight: Tensor, bias: Tensor, axis: Axis, name: str) -> Tensor:
    """Return x_all @ weight.T + bias, where x_all are the inputs of all processes along the axis.

    Args:
        x: (n, f): this process's part; rows of x_all are images, columns are units. With axis.rows > 1 also the images
            are divided, and the result is of all of them.
        weight: (u, columns * f): rows of the units that this process computes.
    Returns:
        (rows * n, u).
    """
    y: Tensor = _GatherAndMultiply.apply(x, weight, bias, axis, name)  # type: ignore[no-untyped-call]
    return y


def gather_and_convolve(x: Tensor, weight: Tensor, bias: Tensor, axis: Axis, name: str, **options: int) -> Tensor:
    """Return the convolution of the maps of all processes along the axis, (n, own kernels, H, W).

    Args:
        x: (n, c, H, W), channels_last: this process's maps.
        weight: (own kernels, count * c, h, w).
        options: stride and padding.
    """
    y: Tensor = _GatherAndConvolve.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, axis, name, options["stride"], options["padding"]
    )
    return y


def multiply_and_sum(x: Tensor, weight: Tensor, bias: Tensor, axis: Axis, name: str) -> Tensor:
    """Return the logits of this process's images, where inputs and columns of the weights are divided along the axis.

    Args:
        x: (rows * n, f): units of this process.
        weight: (classes, f): their columns.
    Returns:
        (n, classes), float32; the same for all processes that have the same images, whose losses count once.
    """
    y: Tensor = _MultiplyAndSum.apply(x, weight, axis, name)  # type: ignore[no-untyped-call]
    return y + bias.float()


def add_borders(x: Tensor, before: int, after: int, axis: Axis, name: str) -> tuple[Tensor, int]:
    """Return x with the neighbours' channels at its ends, for a normalisation that reaches over the towers' border.

    Args:
        x: (n, c, H, W), channels_last.
        before, after: Channels wanted of the process before and of the one behind.
    Returns:
        The tensor, and how many channels come before x's own.
    """
    y: Tensor = _AddBorders.apply(x, before, after, axis, name)  # type: ignore[no-untyped-call]
    return y, before if axis.index > 0 else 0


class _GatherAndMultiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, axis: Axis, name: str) -> Tensor:
        f = x.shape[1]
        pending = axis.gather(x, f"{name} forward")
        if axis.rows == 1:
            own = axis.index * f
            y = torch.addmm(bias, x, weight[:, own : own + f].t())
            blocks = pending.wait()
            whole = blocks.transpose(0, 1).reshape(len(x), -1)
            for part in (slice(0, own), slice(own + f, None)):
                if whole[:, part].shape[1]:
                    y.addmm_(whole[:, part], weight[:, part].t())
        else:
            blocks = pending.wait().view(axis.rows, axis.columns, *x.shape)
            whole = blocks.transpose(1, 2).reshape(axis.rows * len(x), -1)
            y = torch.addmm(bias, whole, weight.t())
        ctx.save_for_backward(whole, weight)
        ctx.axis, ctx.name, ctx.images = axis, name, len(x)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (dy,) = gradients
        whole, weight = ctx.saved_tensors
        axis: Axis = ctx.axis
        pending = None
        if ctx.needs_input_grad[0]:
            dwhole = (dy @ weight).view(axis.rows, ctx.images, axis.columns, -1)
            pending = axis.scatter_sum(dwhole.transpose(1, 2).flatten(0, 1), f"{ctx.name} backward")
        dweight = dy.t() @ whole if ctx.needs_input_grad[1] else None
        dbias = dy.sum(0, dtype=torch.float32).to(dy.dtype) if ctx.needs_input_grad[2] else None
        return pending.wait() if pending else None, dweight, dbias, None, None


class _GatherAndConvolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, axis: Axis, name: str, stride: int, padding: int
    ) -> Tensor:
        c = x.shape[1]
        pending = axis.gather(x.permute(0, 2, 3, 1), f"{name} forward")
        own = axis.index * c
        y = F.conv2d(x, weight[:, own : own + c], bias, stride, padding)
        whole = pending.wait().permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)
        for part in (slice(0, own), slice(own + c, None)):
            if whole[:, part].shape[1]:
                y += F.conv2d(whole[:, part], weight[:, part], None, stride, padding)
        ctx.save_for_backward(whole, weight)
        ctx.axis, ctx.name, ctx.options = axis, name, ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (dy,) = gradients
        whole, weight = ctx.saved_tensors
        axis: Axis = ctx.axis
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]

        def differentiate(*wanted: bool) -> Any:
            return torch.ops.aten.convolution_backward(dy, whole, weight, [len(weight)], *ctx.options, wanted)

        pending = dweight = dbias = None
        if wants_x:
            dwhole_NHWC = differentiate(True, False, False)[0].permute(0, 2, 3, 1)
            blocks = dwhole_NHWC.reshape(*dwhole_NHWC.shape[:3], axis.count, -1).permute(3, 0, 1, 2, 4)
            pending = axis.scatter_sum(blocks, f"{ctx.name} backward")
        if wants_weight or wants_bias:
            _, dweight, dbias = differentiate(False, wants_weight, wants_bias)
        dx = pending.wait().permute(0, 3, 1, 2) if pending else None
        return dx, dweight, dbias, None, None, None, None


class _MultiplyAndSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, axis: Axis, name: str) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.axis, ctx.name = axis, name
        partial = F.linear(x, weight).float()
        if axis.rows == 1:
            return axis.sum(partial, f"{name} forward").wait()
        shares = partial.view(axis.rows, 1, -1, partial.shape[1]).expand(-1, axis.columns, -1, -1)
        return axis.scatter_sum(shares.flatten(0, 1), f"{name} forward").wait()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (dy,) = gradients
        x, weight = ctx.saved_tensors
        axis: Axis = ctx.axis
        dy = dy.to(x.dtype)
        if axis.rows > 1:
            shares = axis.gather(dy, f"{ctx.name} backward").wait().view(axis.rows, axis.columns, *dy.shape)
            dy = shares[:, 0].flatten(0, 1)
        return (
            dy @ weight if ctx.needs_input_grad[0] else None,
            dy.t() @ x if ctx.needs_input_grad[1] else None,
            None,
            None,
        )


class _AddBorders(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, before: int, after: int, axis: Axis, name: str) -> Tensor:
        ctx.axis, ctx.name, ctx.reach, ctx.own = axis, name, (before, after), x.shape[1]
        x_NHWC = x.permute(0, 2, 3, 1)
        # The process behind wants the last `before` channels, the one before the first `after`.
        first, last = x_NHWC[..., :after], x_NHWC[..., x.shape[1] - before :]
        arrived = axis.shift(first.contiguous(), last.contiguous(), f"{name} forward")
        parts = [part for part in (arrived[0], x_NHWC, arrived[1]) if part is not None]
        return torch.cat(parts, 3).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        dy_NHWC = gradients[0].permute(0, 2, 3, 1)
        axis: Axis = ctx.axis
        (before, after), own = ctx.reach, ctx.own
        start = before if axis.index > 0 else 0
        shape = dy_NHWC.shape[:3]
        of_previous = dy_NHWC[..., :start] if start else dy_NHWC.new_zeros(*shape, before)
        of_next = dy_NHWC[..., start + own :] if axis.index + 1 < axis.count else dy_NHWC.new_zeros(*shape, after)
        arrived = axis.shift(of_previous.contiguous(), of_next.contiguous(), f"{ctx.name} backward")
        dx = dy_NHWC[..., start : start + own].clone()
        if arrived[0] is not None:
            dx[..., :after] += arrived[0]
        if arrived[1] is not None:
            dx[..., own - before :] += arrived[1]
        return dx.permute(0, 3, 1, 2), None, None, None, None
