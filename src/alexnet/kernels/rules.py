"""The rules that every version of a kernel shares: what is accepted, where windows lie, how many there are.

Knows arithmetic on sizes and the wording of refusals; deliberately knows nothing of how a kernel computes.
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from alexnet.errors import ConfigError

Rectify = Literal["before", "after", "none"]
"""Where the rectifier stands: before the normalisation as in the paper, or after it as in the 2012 source's layer 1."""

RECTIFY_CHOICES: tuple[Rectify, ...] = get_args(Rectify)
DTYPES = (torch.float32, torch.bfloat16)
MAX_WINDOW = 15  # positions in the window and NOWHERE fit into a byte
NOWHERE = 255  # position of the maximum where it is rectified to 0, so that no input gets the gradient


class Normalization(NamedTuple):
    """Constants of a response normalisation, y = x / (k + alpha * S) ** beta; the defaults are the paper's (3.3)."""

    size: int = 5
    """Width of the window in channels, at least 1."""
    k: float = 2.0
    alpha: float = 1e-4
    """Multiplies the sum S, as printed in the paper. Caffe, PyTorch and the 2012 source first divide theirs by size."""
    beta: float = 0.75
    towers: int = 1
    """Equal groups of channels between which nothing mixes."""


PAPER = Normalization()


def window_reach(size: int) -> tuple[int, int]:
    """Return how far a window of `size` reaches before and after its centre; an even one reaches further before."""
    before = size // 2
    return before, size - 1 - before


def pooled_length(length: int, window: int, stride: int) -> int:
    """Return the number of pooling windows along one axis: ceil((length - window) / stride) + 1.

    Convention: as in the 2012 source and in Caffe, windows are clipped at the far edge, and a last window that would
    start outside the input is dropped. PyTorch's default rounds down instead.
    """
    count = -((window - length) // stride) + 1
    if (count - 1) * stride >= length:
        count -= 1
    return count


def is_autocast(x: Tensor) -> bool:
    """Whether PyTorch's products cast tensors like x by autocast; a device such as "meta" has none."""
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def check_images(x: Tensor) -> None:
    """Refuse a tensor that is not a batch of feature maps in a floating type."""
    if x.dim() != 4:
        raise ConfigError(
            f"the input has shape {tuple(x.shape)}; kernels need 4 axes: images, channels, height and width. "
            "Add an axis for a single image: x[None]."
        )
    check_dtype(x)


def check_dtype(x: Tensor) -> None:
    """Refuse a tensor whose elements are not floating-point numbers."""
    if not x.dtype.is_floating_point:
        raise ConfigError(f"the input has dtype {x.dtype}; kernels need float32 or bfloat16. Convert it: x.float().")


def check_normalization(x: Tensor, constants: Normalization) -> None:
    """Refuse constants for which the divisor could be zero, negative or not a number, or that do not fit the maps."""
    check_divisor(constants.size, constants.k, constants.alpha, constants.beta)
    channels, towers = x.shape[1], constants.towers
    if towers < 1 or channels % towers:
        raise ConfigError(f"towers is {towers}; it needs to divide the {channels} channels into equal groups.")


def check_divisor(size: int, k: float, alpha: float, beta: float) -> None:
    """Refuse constants for which the divisor could be zero, negative or not a number."""
    if size < 1:
        raise ConfigError(f"size is {size}; the window needs at least 1. The paper uses 5.")
    if not (math.isfinite(k) and k > 0):
        raise ConfigError(f"k is {k}; the divisor's constant needs to be finite and above 0. The paper uses 2.")
    if not (math.isfinite(alpha) and alpha >= 0):
        raise ConfigError(f"alpha is {alpha}; the multiplier of the sum needs to be finite and at least 0.")
    if not math.isfinite(beta):
        raise ConfigError(f"beta is {beta}; the exponent needs to be finite. The paper uses 0.75.")


def check_rectify(rectify: str) -> None:
    """Refuse an unknown place for the rectifier."""
    if rectify not in RECTIFY_CHOICES:
        raise ConfigError(f"rectify is {rectify!r}; choose one of {', '.join(RECTIFY_CHOICES)}.")


def check_pooling(x: Tensor, window: int, stride: int) -> None:
    """Refuse pooling for which no window lies on the input."""
    if not 1 <= window <= MAX_WINDOW:
        raise ConfigError(f"window is {window}; it needs to be 1 to {MAX_WINDOW}. The paper uses 3.")
    if stride < 1:
        raise ConfigError(f"stride is {stride}; it needs to be at least 1. The paper uses 2.")
    height, width = x.shape[2:]
    if min(pooled_length(height, window, stride), pooled_length(width, window, stride)) < 1:
        raise ConfigError(
            f"no window of {window} with stride {stride} lies on maps of {height}x{width}. "
            "Use a smaller window or larger maps."
        )


def check_patches(x: Tensor, window: int, stride: int, before: int, after: int) -> None:
    """Refuse windows of which none lies on the maps with their borders."""
    if window < 1 or stride < 1 or before < 0 or after < 0 or min(x.shape[2:]) + before + after < window:
        raise ConfigError(
            f"no window of {window} with stride {stride} lies on maps of {x.shape[2]}x{x.shape[3]} with {before} and "
            f"{after} zeros around them. Use a smaller window or larger maps."
        )


def check_dropout(x: Tensor, keys: Tensor, p: float) -> None:
    """Refuse a probability outside [0, 1) and keys that do not name each sample."""
    check_dtype(x)
    if not 0 <= p < 1:
        raise ConfigError(f"p is {p}; the probability of dropping needs to be at least 0 and below 1.")
    if keys.dtype != torch.int64 or keys.dim() != 1 or x.dim() < 1 or keys.shape[0] != x.shape[0]:
        raise ConfigError(
            f"keys have shape {tuple(keys.shape)} and dtype {keys.dtype} for an input of shape {tuple(x.shape)}; "
            "give one torch.int64 key for each sample."
        )


def is_dense(x: Tensor) -> bool:
    """Tell whether the elements fill one stretch of memory without gaps or overlaps, in whatever order of axes."""
    expected = 1
    for stride, length in sorted((s, n) for s, n in zip(x.stride(), x.shape, strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= length
    return True


def same_layout(a: Tensor, b: Tensor) -> bool:
    """Tell whether equal positions in two dense tensors lie equally far into their memory."""
    strides = zip(a.stride(), b.stride(), a.shape, strict=True)
    return a.shape == b.shape and all(s == t for s, t, n in strides if n != 1)


def check_update(
    weight: Tensor, velocity: Tensor, gradient: Tensor, working: Tensor | None, average: Tensor | None
) -> None:
    """Refuse an update whose tensors cannot be walked through side by side."""
    if weight.dtype != torch.float32 or velocity.dtype != torch.float32:
        raise ConfigError(f"weight is {weight.dtype} and velocity {velocity.dtype}; both need to be torch.float32.")
    if gradient.dtype not in DTYPES or gradient.shape != weight.shape:
        raise ConfigError(
            f"gradient has shape {tuple(gradient.shape)} and dtype {gradient.dtype}; it needs the weight's shape "
            f"{tuple(weight.shape)} in torch.float32 or torch.bfloat16."
        )
    if not is_dense(weight):
        raise ConfigError(f"weight has strides {weight.stride()} for shape {tuple(weight.shape)}; it may have no gaps.")
    if not same_layout(weight, velocity):
        raise ConfigError(
            f"velocity has shape {tuple(velocity.shape)} and strides {velocity.stride()}; it needs the weight's: "
            f"{tuple(weight.shape)} and {weight.stride()}. Make it with torch.zeros_like(weight)."
        )
    if working is not None and (working.dtype != torch.bfloat16 or not same_layout(weight, working)):
        raise ConfigError(
            f"working has shape {tuple(working.shape)}, strides {working.stride()} and dtype {working.dtype}; it needs "
            f"the weight's shape {tuple(weight.shape)} and strides {weight.stride()} in torch.bfloat16."
        )
    if average is not None and (average.dtype != torch.float32 or not same_layout(weight, average)):
        raise ConfigError(
            f"average has shape {tuple(average.shape)}, strides {average.stride()} and dtype {average.dtype}; it needs "
            f"the weight's: {tuple(weight.shape)}, {weight.stride()} and torch.float32. Make it with weight.clone()."
        )
