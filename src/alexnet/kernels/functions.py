"""The public kernels: arguments are checked here, then handed to the version that `choose` picks.

All take NCHW tensors of float32 or bfloat16 in any memory format and return channels_last ones (`dropout` and
`update_weights` take any shape). Sums are accumulated in float32. Results do not depend on the batch that an image is
in, nor on the number of threads. NaN in gives NaN out, so that a diverged run shows in its loss. Derivatives
of any order; those beyond the first are plain PyTorch's, and slower.
"""

import time

import torch
from torch import Tensor

from alexnet.kernels import rules
from alexnet.kernels.choose import choice, implementation, using
from alexnet.kernels.rules import PAPER, Normalization, Rectify


def normalize_responses(x: Tensor, constants: Normalization = PAPER, *, rectify: bool = False) -> Tensor:
    """Divide each activation by the pooled energy of neighbouring channels (paper, section 3.3).

    y_i = r_i / (k + alpha * S_i) ** beta, where S_i sums r_j**2 over the `size` channels centred on i, cut off at the
    ends of i's tower. Convention: alpha multiplies the sum, as printed in the paper. Caffe, PyTorch and the 2012
    source first divide alpha by size; to use their numbers here, give alpha / size. An even window holds
    i - size // 2 to i - size // 2 + size - 1, as in the 2012 source.

    Args:
        x: Activations, NCHW.
        constants: Of the formula; the defaults are the paper's.
        rectify: Whether r is max(x, 0) instead of x.
    Returns:
        A new channels_last tensor of x's shape and dtype.
    Raises:
        ConfigError: a constant is outside what is accepted, or towers does not divide the channels.
    """
    rules.check_images(x)
    rules.check_normalization(x, constants)
    y: Tensor = implementation("normalize_responses", x)(x, constants, rectify=rectify)
    return y


def normalize_and_pool(
    x: Tensor,
    constants: Normalization = PAPER,
    *,
    rectify: Rectify = "before",
    window: int = 3,
    stride: int = 2,
) -> Tensor:
    """Rectify, normalise across channels and take the maximum of overlapping windows, in one pass over memory.

    rectify="before" is the paper's order (rectifier, normalisation, pooling); "after" is the first layer of the 2012
    source, which normalises signed values and rectifies the pooled ones (rectifier and maximum commute); "none" has no
    rectifier. Constants as in `normalize_responses`, windows and ties as in `pool_maximum`; normalised values are
    compared in float32, before they are rounded to x's dtype.

    Returns:
        A new channels_last tensor, N x C x pooled height x pooled width, of x's dtype.
    Raises:
        ConfigError: an option is outside what is accepted, or no window lies on the maps.
    """
    rules.check_images(x)
    rules.check_normalization(x, constants)
    rules.check_rectify(rectify)
    rules.check_pooling(x, window, stride)
    run = implementation("normalize_and_pool", x)
    y: Tensor = run(x, constants, rectify=rectify, window=window, stride=stride)
    return y


def pool_maximum(x: Tensor, *, window: int = 3, stride: int = 2, rectify: bool = False) -> Tensor:
    """Take the maximum of overlapping windows (paper, section 3.4), after max(x, 0) if `rectify`.

    Windows: ceil((length - window) / stride) + 1 along each axis, clipped at the bottom and right edge, without a last
    one that would start outside the maps (the rule of the 2012 source and of Caffe; PyTorch's default rounds down).
    Ties: the first maximum in row-major order of the window gets the whole gradient, as in Caffe and PyTorch; the 2012
    kernel gives it to every tied maximum. On real images that differs in bfloat16 only: after conv5 about 1 % of the
    windows tie at a positive value; in float32 they tie at zero. A rectified window without a positive value passes no
    gradient on.

    Returns:
        A new channels_last tensor, N x C x pooled height x pooled width, of x's dtype.
    Raises:
        ConfigError: window or stride is outside what is accepted, or no window lies on the maps.
    """
    rules.check_images(x)
    rules.check_pooling(x, window, stride)
    y: Tensor = implementation("pool_maximum", x)(x, window=window, stride=stride, rectify=rectify)
    return y


def spatially_normalize_responses(
    x: Tensor, *, size: int = 5, scale: float, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide each activation by the pooled energy of its surroundings in the same map (2012 source, type rnorm).

    y = x / (k + scale * S) ** beta, where S sums x**2 over the size x size patch centred on the place, cut off at the
    map's edges. The paper does not mention it; the 2012 net has one after its second normalisation. Convention: scale
    multiplies the sum; the 2012 source divides its own by size**2 first, so pass scale / size**2 for its numbers.

    Returns:
        A new channels_last tensor of x's shape and dtype.
    Raises:
        ConfigError: a constant is outside what is accepted.
    """
    rules.check_images(x)
    rules.check_divisor(size, k, scale, beta)
    run = implementation("spatially_normalize_responses", x)
    y: Tensor = run(x, size=size, scale=scale, beta=beta, k=k)
    return y


def gather_patches(x: Tensor, *, window: int, stride: int = 1, before: int = 0, after: int = 0) -> Tensor:
    """Copy the windows of maps into one matrix for each place: what a locally connected layer multiplies.

    Around the maps lie zeros, `before` of them above and to the left, `after` below and to the right. Places are
    counted row by row. Channels stay innermost, so that a patch has the order h, w, C and both ways are copies of whole
    runs. PyTorch's unfold orders C, h, w and puts the images first: the products then begin with copies that take five
    times as long as they do.

    Args:
        x: Maps, NCHW.
    Returns:
        A new tensor (places, N, window * window * C) of x's dtype.
    Raises:
        ConfigError: no window lies on the maps.
    """
    rules.check_images(x)
    rules.check_patches(x, window, stride, before, after)
    patches: Tensor = implementation("gather_patches", x)(x, window=window, stride=stride, before=before, after=after)
    return patches


def convolve(x: Tensor, weight: Tensor, bias: Tensor, *, stride: int, padding: int, groups: int) -> Tensor:
    """Convolve maps with kernels (paper, section 3.5), as PyTorch does; only gradients may be computed otherwise.

    Where they are, a gradient by x alone computes those of weights that require one as well.

    Args:
        x: Maps, NCHW, of the weights' dtype; any number of images.
        weight: (kernels, C / groups, window, window).
        bias: (kernels,).
        padding: Zeros around the maps.
    Returns:
        A new tensor, N x kernels x rows x columns. Kernels fall into `groups` that see a part of the channels each.
    """
    run = implementation("convolve", x)
    y: Tensor = run(x, weight, bias, stride=stride, padding=padding, groups=groups)
    return y


def update_weights(
    weight: Tensor,
    velocity: Tensor,
    gradient: Tensor,
    *,
    rate: float,
    momentum: float,
    decay: float,
    working: Tensor | None = None,
    average: Tensor | None = None,
    share: float = 0.0,
) -> None:
    """Apply the paper's update rule (section 5) to one parameter in place, in one pass over memory.

    velocity = momentum * velocity - decay * rate * weight - rate * gradient; weight += velocity; working = weight
    rounded to the nearest bfloat16; average += share * (weight - average). Convention: the rate is inside the velocity,
    as in the paper (PyTorch's SGD keeps it outside). rate == 0 touches nothing, not even the velocity (the 2012
    source's frozen layer). Each number is rounded to float32 in the order written, so every version on every device
    gives the same bits.

    Args:
        weight, velocity: float32, without gaps, with equal strides; changed.
        gradient: Of the loss (descent is subtracted here); float32 or bfloat16. Copied first if its layout in memory
            is not the weight's.
        rate, momentum, decay: Constants of the rule; decay 0 for biases.
        working: bfloat16 copy of the weight for the matrix products, with the weight's strides; overwritten.
        average: What the weight was after earlier updates, averaged; float32, with its strides; changed.
        share: Of the new weight in the average.
    Raises:
        ConfigError: dtypes, shapes or strides do not fit together.
    """
    if rate == 0:
        return
    rules.check_update(weight, velocity, gradient, working, average)
    run = implementation("update_weights", weight)
    options = {"rate": rate, "momentum": momentum, "decay": decay, "working": working}
    run(weight, velocity, gradient, **options, average=average, share=share)


def dropout(x: Tensor, keys: Tensor, *, p: float, layer: int, first: int = 0) -> Tensor:
    """Set each feature to zero with probability p, as in training in the paper (section 4.2): kept ones are not scaled.

    Feature j of sample n is kept if and only if a 32-bit hash of (keys[n], layer, j) is at least p * 2**32: a pure
    function of these numbers, the same for every version, device, dtype and batch. At test time the network
    multiplies by 1 - p instead. The backward pass multiplies by the same mask, which is computed anew, not stored.

    Args:
        x: Any shape N x ...; j counts the features of a sample in row-major order of its axes.
        keys: int64, one per sample; a fresh key gives a fresh mask.
        p: Probability of dropping, at least 0 and below 1.
        layer: Number that tells apart the dropout layers of one network.
        first: j of x's first feature, where x is a part of the layer's features.
    Returns:
        A new tensor of x's shape and dtype: x * mask.
    Raises:
        ConfigError: p or the keys are outside what is accepted.
    """
    rules.check_dropout(x, keys, p)
    y: Tensor = implementation("dropout", x)(x, keys, p=p, layer=layer, first=first)
    return y


def warm_up(dtype: torch.dtype) -> float:
    """Compile or load every Numba kernel that runs here for one dtype, on tiny inputs; return the seconds taken.

    Raises:
        ConfigError: Numba cannot be imported, or has no kernels for the dtype.
    """
    started = time.perf_counter()
    with using("numba"), torch.inference_mode(False), torch.enable_grad():
        x = torch.ones(1, 8, 5, 5, dtype=dtype, requires_grad=True)
        keys = torch.zeros(1, dtype=torch.int64)
        outputs = [normalize_responses(x), normalize_and_pool(x), pool_maximum(x), dropout(x, keys, p=0.5, layer=0)]
        outputs.append(gather_patches(x, window=3))
        if choice("convolve", "cpu").version == "numba":
            weight = torch.zeros(256, 8, 3, 3, dtype=dtype, requires_grad=True)  # as few as have a kernel of their own
            outputs.append(convolve(x, weight, torch.zeros(256, dtype=dtype), stride=1, padding=0, groups=1))
        torch.autograd.grad([y.float().sum() for y in outputs], x)
        weight = torch.zeros(8)
        working = torch.zeros(8, dtype=torch.bfloat16)
        update_weights(
            weight, weight.clone(), torch.zeros(8, dtype=dtype), rate=1.0, momentum=0.0, decay=0.0, working=working
        )
    return time.perf_counter() - started
