"""Every kernel in plain PyTorch: runs on any device, in any floating type, and is differentiated by autograd.

Formulated as slices, sums and powers so that `torch.compile` can fuse them, as `compiled` does. PyTorch's own response
normalisation is avoided because it goes through three-dimensional average pooling and divides alpha by the window's
size. Arguments are taken as checked. Sums are accumulated in float32, or in float64 for a float64 input.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.kernels.rules import Normalization, Rectify, is_dense, same_layout, window_reach

_UINT32 = 0xFFFFFFFF


def normalize_responses(x: Tensor, constants: Normalization, *, rectify: bool) -> Tensor:
    r = torch.relu(_widen(x)) if rectify else _widen(x)
    y = _normalize_channels(r, constants)
    return y.to(x.dtype).contiguous(memory_format=torch.channels_last)


def normalize_and_pool(x: Tensor, constants: Normalization, *, rectify: Rectify, window: int, stride: int) -> Tensor:
    r = torch.relu(_widen(x)) if rectify == "before" else _widen(x)
    y = _normalize_channels(r, constants)
    y = torch.relu(y) if rectify == "after" else y
    return _pool(y, window, stride).to(x.dtype).contiguous(memory_format=torch.channels_last)


def pool_maximum(x: Tensor, *, window: int, stride: int, rectify: bool) -> Tensor:
    return _pool(torch.relu(x) if rectify else x, window, stride).contiguous(memory_format=torch.channels_last)


def spatially_normalize_responses(x: Tensor, *, size: int, scale: float, beta: float, k: float) -> Tensor:
    r = _widen(x)
    before, after = window_reach(size)
    padded = F.pad(r * r, (before, after, before, after))
    energy = F.avg_pool2d(padded, size, stride=1, divisor_override=1)
    return (r * (k + scale * energy).pow(-beta)).to(x.dtype).contiguous(memory_format=torch.channels_last)


def gather_patches(x: Tensor, *, window: int, stride: int, before: int, after: int) -> Tensor:
    x_NHWC = F.pad(x.permute(0, 2, 3, 1), (0, 0, before, after, before, after))
    patches: Tensor = _GatherPatches.apply(x_NHWC, window, stride)  # type: ignore[no-untyped-call]
    return patches


class _GatherPatches(torch.autograd.Function):
    """From maps (N, H, W, C) to patches (places, N, h * w * C); PyTorch's own derivative would copy windows first."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x_NHWC: Tensor, window: int, stride: int) -> Tensor:
        context.geometry = x_NHWC.shape, window, stride  # type: ignore[attr-defined]
        windows_NYXChw = x_NHWC.unfold(1, window, stride).unfold(2, window, stride)
        patches_YXNhwC = windows_NYXChw.permute(1, 2, 0, 4, 5, 3)
        return patches_YXNhwC.flatten(3, 5).flatten(0, 1)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        shape, window, stride = context.geometry  # type: ignore[attr-defined]
        rows, columns = ((side - window) // stride + 1 for side in shape[1:3])
        gradient_NYXhwC = gradients[0].reshape(rows, columns, shape[0], window, window, shape[3]).movedim(2, 0)
        total = gradients[0].new_zeros(shape)
        for y, x in itertools.product(range(window), repeat=2):
            seen = total[:, y : y + stride * rows : stride, x : x + stride * columns : stride]
            seen += gradient_NYXhwC[:, :, :, y, x]
        return total, None, None


def convolve(x: Tensor, weight: Tensor, bias: Tensor, *, stride: int, padding: int, groups: int) -> Tensor:
    return F.conv2d(x, weight, bias, stride, padding, groups=groups)


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
    with torch.no_grad():
        # Products apart from differences: a fused multiply-add would round otherwise than the CPU kernel does.
        velocity.mul_(momentum).sub_(weight * (decay * rate)).sub_(gradient.float() * rate)
        weight.add_(velocity)
        if working is not None:
            working.copy_(weight)
        if average is not None:
            average.add_((weight - average).mul_(share))


def dropout(x: Tensor, keys: Tensor, *, p: float, layer: int, first: int = 0) -> Tensor:
    mask = dropout_mask(keys.to(x.device), x[:1].numel(), p=p, layer=layer, first_feature=first)
    return x * mask.reshape(x.shape).to(x.dtype)


def dropout_mask(keys: Tensor, features: int, *, p: float, layer: int, first_feature: int = 0) -> Tensor:
    """Return the mask of kept features, bool (N, features): hash32(key, layer, feature) >= p * 2**32.

    Two rounds of 64-bit mixing turn (key, layer) into two 32-bit words. A 32-bit hash of the feature's index takes in
    one word before and one between its multiplications, so that two samples' masks are not shifted copies of each
    other. All operations are on int64 and wrap around, which is the same on every device.
    """
    seed = _mix64(_mix64(keys) ^ layer_word(layer))
    first, second = (seed & _UINT32)[:, None], (seed >> 32 & _UINT32)[:, None]
    j = torch.arange(first_feature, first_feature + features, dtype=torch.int64, device=keys.device)
    h = (j * 0x9E3779B1 + first) & _UINT32
    h = (h ^ h >> 16) * 0x21F0AAAD & _UINT32
    h = ((h ^ h >> 15) + second) & _UINT32
    h = (h ^ h >> 16) * 0x735A2D97 & _UINT32
    h = h ^ h >> 15
    return h >= dropout_threshold(p)


def layer_word(layer: int) -> int:
    """Return the bits that a layer's number adds to the keys; 63 of them, so that they fit into int64."""
    return layer * 0x9E3779B97F4A7C15 & 0x7FFFFFFFFFFFFFFF


def dropout_threshold(p: float) -> int:
    """Return the smallest hash that keeps its feature."""
    return math.ceil(p * 2**32)


def matching_gradient(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient laid out in memory as the weight is: itself if it is so already, else a copy."""
    if is_dense(gradient) and same_layout(weight, gradient):
        return gradient
    return torch.empty_like(weight, dtype=gradient.dtype).copy_(gradient)


def _widen(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _normalize_channels(r: Tensor, constants: Normalization) -> Tensor:
    """Normalise NCHW; works on channels as the last axis, so that a channels_last input is not moved in memory."""
    size, k, alpha, beta, towers = constants
    channels = r.shape[1] // towers
    r_NHWC = r.permute(0, 2, 3, 1)
    r_towers = r_NHWC.reshape(*r_NHWC.shape[:3], towers, channels)
    squares = F.pad(r_towers * r_towers, window_reach(size))
    energy = squares[..., :channels]
    for offset in range(1, size):
        energy = energy + squares[..., offset : offset + channels]
    return (r_towers * (k + alpha * energy).pow(-beta)).flatten(-2).permute(0, 3, 1, 2)


def _pool(x: Tensor, window: int, stride: int) -> Tensor:
    return F.max_pool2d(x, window, stride, ceil_mode=True)


def _mix64(z: Tensor) -> Tensor:
    """Mix 64 bits (splitmix64's finaliser); constants are written as the signed numbers that int64 holds."""
    z = z + (0x9E3779B97F4A7C15 - 2**64)
    z = (z ^ (z >> 30 & (1 << 34) - 1)) * (0xBF58476D1CE4E5B9 - 2**64)
    z = (z ^ (z >> 27 & (1 << 37) - 1)) * (0x94D049BB133111EB - 2**64)
    return z ^ (z >> 31 & (1 << 33) - 1)
