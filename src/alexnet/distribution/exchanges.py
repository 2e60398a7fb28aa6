"""Layers that see more than their own process holds, and the exchanges that this takes (paper, section 3.2).

Backward mirrors forward: what was gathered is summed back to where it came from. An exchange overlaps with work that
does not need it: the product with a process's own maps or units, and the gradient of the weights.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.distribution.process_group import ProcessGroup


def gather_and_multiply(x: Tensor, weight: Tensor, bias: Tensor, group: ProcessGroup, name: str) -> Tensor:
    """Return x_all @ weight.T + bias, where x_all are the inputs of all processes of the group.

    Args:
        x: (n, f): this process's part; rows of x_all are images, columns are units. With group.batch_shards > 1 also
            the images are divided, and the result is of all of them.
        weight: (u, unit_shards * f): rows of the units that this process computes.
    Returns:
        (batch_shards * n, u).
    """
    y: Tensor = _GatherAndMultiply.apply(x, weight, bias, group, name)  # type: ignore[no-untyped-call]
    return y


def gather_and_convolve(
    x: Tensor, weight: Tensor, bias: Tensor, group: ProcessGroup, name: str, **options: int
) -> Tensor:
    """Return the convolution of the maps of all processes of the group, (n, own kernels, H, W).

    Args:
        x: (n, c, H, W), channels_last: this process's maps.
        weight: (own kernels, size * c, h, w).
        options: stride and padding.
    """
    y: Tensor = _GatherAndConvolve.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, group, name, options["stride"], options["padding"]
    )
    return y


def multiply_and_sum(x: Tensor, weight: Tensor, bias: Tensor, group: ProcessGroup, name: str) -> Tensor:
    """Return the logits of this process's images, where the group divides inputs and columns of the weights.

    Args:
        x: (batch_shards * n, f): units of this process.
        weight: (classes, f): their columns.
    Returns:
        (n, classes), float32; the same for all processes that have the same images, whose losses count once.
    """
    y: Tensor = _MultiplyAndSum.apply(x, weight, group, name)  # type: ignore[no-untyped-call]
    return y + bias.float()


def add_halos(x: Tensor, before: int, after: int, group: ProcessGroup, name: str) -> tuple[Tensor, int]:
    """Return x with the neighbors' channels at its ends, for a normalisation that reaches over the towers' border.

    Args:
        x: (n, c, H, W), channels_last.
        before, after: Channels wanted of the process before and of the one behind.
    Returns:
        The tensor, and how many channels come before x's own.
    """
    y: Tensor = _AddHalos.apply(x, before, after, group, name)  # type: ignore[no-untyped-call]
    return y, before if group.rank > 0 else 0


class _GatherAndMultiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, group: ProcessGroup, name: str) -> Tensor:
        f = x.shape[1]
        pending = group.all_gather(x, f"{name} forward")
        if group.batch_shards == 1:
            own = group.rank * f
            y = torch.addmm(bias, x, weight[:, own : own + f].t())
            blocks = pending.wait()
            whole = blocks.transpose(0, 1).reshape(len(x), -1)
            for part in (slice(0, own), slice(own + f, None)):
                if whole[:, part].shape[1]:
                    y.addmm_(whole[:, part], weight[:, part].t())
        else:
            blocks = pending.wait().view(group.batch_shards, group.unit_shards, *x.shape)
            whole = blocks.transpose(1, 2).reshape(group.batch_shards * len(x), -1)
            y = torch.addmm(bias, whole, weight.t())
        ctx.save_for_backward(whole, weight)
        ctx.group, ctx.name, ctx.images = group, name, len(x)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (dy,) = gradients
        whole, weight = ctx.saved_tensors
        group: ProcessGroup = ctx.group
        pending = None
        if ctx.needs_input_grad[0]:
            dwhole = (dy @ weight).view(group.batch_shards, ctx.images, group.unit_shards, -1)
            pending = group.reduce_scatter(dwhole.transpose(1, 2).flatten(0, 1), f"{ctx.name} backward")
        dweight = dy.t() @ whole if ctx.needs_input_grad[1] else None
        dbias = dy.sum(0, dtype=torch.float32).to(dy.dtype) if ctx.needs_input_grad[2] else None
        return pending.wait() if pending else None, dweight, dbias, None, None


class _GatherAndConvolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, group: ProcessGroup, name: str, stride: int, padding: int
    ) -> Tensor:
        c = x.shape[1]
        pending = group.all_gather(x.permute(0, 2, 3, 1), f"{name} forward")
        own = group.rank * c
        y = F.conv2d(x, weight[:, own : own + c], bias, stride, padding)
        whole = pending.wait().permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)
        for part in (slice(0, own), slice(own + c, None)):
            if whole[:, part].shape[1]:
                y += F.conv2d(whole[:, part], weight[:, part], None, stride, padding)
        ctx.save_for_backward(whole, weight)
        ctx.group, ctx.name, ctx.options = group, name, ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (dy,) = gradients
        whole, weight = ctx.saved_tensors
        group: ProcessGroup = ctx.group
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]

        def differentiate(*wanted: bool) -> Any:
            return torch.ops.aten.convolution_backward(dy, whole, weight, [len(weight)], *ctx.options, wanted)

        pending = dweight = dbias = None
        if wants_x:
            dwhole_NHWC = differentiate(True, False, False)[0].permute(0, 2, 3, 1)
            blocks = dwhole_NHWC.reshape(*dwhole_NHWC.shape[:3], group.size, -1).permute(3, 0, 1, 2, 4)
            pending = group.reduce_scatter(blocks, f"{ctx.name} backward")
        if wants_weight or wants_bias:
            _, dweight, dbias = differentiate(False, wants_weight, wants_bias)
        dx = pending.wait().permute(0, 3, 1, 2) if pending else None
        return dx, dweight, dbias, None, None, None, None


class _MultiplyAndSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, group: ProcessGroup, name: str) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.group, ctx.name = group, name
        partial = F.linear(x, weight).float()
        if group.batch_shards == 1:
            return group.all_reduce(partial, f"{name} forward").wait()
        shards = partial.view(group.batch_shards, 1, -1, partial.shape[1]).expand(-1, group.unit_shards, -1, -1)
        return group.reduce_scatter(shards.flatten(0, 1), f"{name} forward").wait()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (dy,) = gradients
        x, weight = ctx.saved_tensors
        group: ProcessGroup = ctx.group
        dy = dy.to(x.dtype)
        if group.batch_shards > 1:
            shards = (
                group.all_gather(dy, f"{ctx.name} backward")
                .wait()
                .view(group.batch_shards, group.unit_shards, *dy.shape)
            )
            dy = shards[:, 0].flatten(0, 1)
        return (
            dy @ weight if ctx.needs_input_grad[0] else None,
            dy.t() @ x if ctx.needs_input_grad[1] else None,
            None,
            None,
        )


class _AddHalos(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, before: int, after: int, group: ProcessGroup, name: str) -> Tensor:
        ctx.group, ctx.name, ctx.reach, ctx.own = group, name, (before, after), x.shape[1]
        x_NHWC = x.permute(0, 2, 3, 1)
        # The process behind wants the last `before` channels, the one before the first `after`.
        first, last = x_NHWC[..., :after], x_NHWC[..., x.shape[1] - before :]
        arrived = group.exchange_halos(first.contiguous(), last.contiguous(), f"{name} forward")
        parts = [part for part in (arrived[0], x_NHWC, arrived[1]) if part is not None]
        return torch.cat(parts, 3).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        dy_NHWC = gradients[0].permute(0, 2, 3, 1)
        group: ProcessGroup = ctx.group
        (before, after), own = ctx.reach, ctx.own
        start = before if group.rank > 0 else 0
        shape = dy_NHWC.shape[:3]
        of_previous = dy_NHWC[..., :start] if start else dy_NHWC.new_zeros(*shape, before)
        of_next = dy_NHWC[..., start + own :] if group.rank + 1 < group.size else dy_NHWC.new_zeros(*shape, after)
        arrived = group.exchange_halos(of_previous.contiguous(), of_next.contiguous(), f"{ctx.name} backward")
        dx = dy_NHWC[..., start : start + own].clone()
        if arrived[0] is not None:
            dx[..., :after] += arrived[0]
        if arrived[1] is not None:
            dx[..., own - before :] += arrived[1]
        return dx.permute(0, 3, 1, 2), None, None, None, None
