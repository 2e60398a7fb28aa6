"""Each kernel against stock PyTorch, beside the time that memory, or multiplying, alone would take.

Ours and stock alternate in one process that keeps freed memory, as training does; allocation is included. Stock
response normalisation has no bfloat16 path on the CPU, so stock runs in float32 whatever ours does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet import kernels
from alexnet.benchmark.measure import CPU, Row, compare_rates, measure_ceiling, measure_copy_rate, take_turns
from alexnet.system import tune_allocator
from alexnet.text.progress import Tick

WEIGHTS = 60_954_656
"""Weights of the paper's network without its biases."""
CONVOLUTIONS = (
    ("conv1", 3, 227, 96, 11, 4, 0, 1),
    ("conv2", 96, 27, 256, 5, 1, 2, 2),
    ("conv3", 256, 13, 384, 3, 1, 1, 1),
    ("conv4", 384, 13, 384, 3, 1, 1, 2),
    ("conv5", 384, 13, 256, 3, 1, 1, 2),
)
"""Of the paper's network: channels, side of the maps, kernels, window, stride, padding, groups."""


class Comparison(NamedTuple):
    """What is compared, and what it costs: bytes to be moved, or operations."""

    what: str
    ours: Callable[[], Any]
    stock: Callable[[], Any]
    cost: int
    is_product: bool = False


def bench_kernels(batch: int, rounds: int, tick: Tick, device: torch.device = CPU, *, dtype: torch.dtype) -> list[Row]:
    """Return a row per kernel, as calls per second; the ceiling is its bytes moved at the measured copy rate.

    Where gradients of weights are summed here, their ceiling is the rate of the faster of a product and a convolution.
    """
    if device.type == "cpu":
        tune_allocator()
        kernels.warm_up(dtype)
    normalize = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)
    stage = nn.Sequential(nn.ReLU(), normalize, nn.MaxPool2d(3, 2))
    pool = nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2))
    copy_rate = measure_copy_rate(device)
    comparisons: list[Comparison] = []
    for what, ours, stock, channels, side in (
        ("relu, norm, pool of conv1", kernels.normalize_and_pool, stage, 96, 55),
        ("relu, norm, pool of conv2", kernels.normalize_and_pool, stage, 256, 27),
        ("norm of conv2", kernels.normalize_responses, normalize, 256, 27),
        ("relu, pool of conv5", lambda x: kernels.pool_maximum(x, rectify=True), pool, 256, 13),
        ("patches of local3", _gather, _unfold, 64, 6),  # of the 11 % network for CIFAR-10
    ):
        comparisons += _maps(what, ours, stock, (batch, channels, side, side), dtype, device)
    comparisons.append(_update(dtype, device))
    if dtype == torch.float32 and kernels.choice("convolve", device.type).version == "numba":
        comparisons += [_weight_gradient(batch, *geometry) for geometry in CONVOLUTIONS]
    rows: list[Row] = []
    for what, ours_once, stock_once, cost, is_product in comparisons:
        rate, of = measure_ceiling(dtype, device) if is_product else (copy_rate, "")
        with kernels.training():
            seconds = take_turns(ours_once, stock_once, rounds, device)
        mine, theirs = ([1 / value for value in series] for series in seconds)
        rows.append(compare_rates(what, mine, theirs, ceiling=rate / cost, ceiling_of=of, unit="calls/s"))
        tick(len(rows), len(comparisons))
    return rows


def _weight_gradient(
    batch: int, name: str, channels: int, side: int, count: int, window: int, stride: int, padding: int, groups: int
) -> Comparison:
    """Gradients of a convolution's weights and biases alone, at twice as many operations as there are products."""
    x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(count, channels // groups, window, window).contiguous(memory_format=torch.channels_last)
    weights = (weight.requires_grad_(), torch.randn(count).requires_grad_())
    y = kernels.convolve(x, *weights, stride=stride, padding=padding, groups=groups)
    y_stock = functional.conv2d(x, *weights, stride, padding, groups=groups)
    gradient = torch.randn_like(y)
    return Comparison(
        f"gradients of {name}'s weights and biases",
        lambda: torch.autograd.grad(y, weights, gradient, retain_graph=True),
        lambda: torch.autograd.grad(y_stock, weights, gradient, retain_graph=True),
        2 * gradient.numel() * weight[0].numel(),
        is_product=True,
    )


def _maps(
    what: str,
    ours: Callable[..., Tensor],
    stock: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> list[Comparison]:
    """Forward: x in, y and a byte per pooled value out. Backward: x, the gradient and the bytes in, a gradient out."""
    x_stock = (torch.randn(shape, device=device) * 10).contiguous(memory_format=torch.channels_last).requires_grad_()
    x = x_stock.detach().to(dtype).requires_grad_()
    with kernels.training():
        y, y_stock = ours(x), stock(x_stock)
    gradient, gradient_stock = torch.randn_like(y), torch.randn_like(y_stock)
    winners = y.numel() if y.dim() == x.dim() and y.shape != x.shape else 0
    return [
        Comparison(
            f"{what}, forward",
            lambda: ours(x),
            lambda: stock(x_stock),
            (x.numel() + y.numel()) * x.itemsize + winners,
        ),
        Comparison(
            f"{what}, backward",
            lambda: torch.autograd.grad(y, x, gradient, retain_graph=True),
            lambda: torch.autograd.grad(y_stock, x_stock, gradient_stock, retain_graph=True),
            (2 * x.numel() + y.numel()) * x.itemsize + winners,
        ),
    ]


def _gather(x: Tensor) -> Tensor:
    return kernels.gather_patches(x, window=3, before=1, after=1)


def _unfold(x: Tensor) -> Tensor:
    return functional.unfold(x, 3, padding=1).permute(2, 0, 1).contiguous()


def _update(dtype: torch.dtype, device: torch.device) -> Comparison:
    weight, velocity = torch.randn(WEIGHTS, device=device), torch.zeros(WEIGHTS, device=device)
    gradient = torch.randn(WEIGHTS, device=device).to(dtype)
    working = weight.bfloat16() if dtype == torch.bfloat16 else None
    parameter = nn.Parameter(weight.clone())
    parameter.grad = gradient.float()
    stock = torch.optim.SGD([parameter], lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    copied = None if working is None else working.clone()

    def update_stock() -> None:
        stock.step()
        if copied is not None:  # as autocast does for each layer
            copied.copy_(parameter.detach())

    return Comparison(
        "update" if working is None else "update and bfloat16 copy",
        lambda: kernels.update_weights(
            weight, velocity, gradient, rate=0.01, momentum=0.9, decay=5e-4, working=working
        ),
        update_stock,
        WEIGHTS * (16 + gradient.itemsize + (working.itemsize if working is not None else 0)),
    )
