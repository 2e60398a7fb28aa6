"""The Numba kernels as PyTorch operators of the namespace `alexnet`, with shapes for tracing and with gradients.

Gradients are kernels too; where they are to be differentiated again, plain PyTorch computes them.

Tensors become NHWC arrays of bits here and nowhere else. Numba is imported when an operator first runs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet.kernels import plain
from alexnet.kernels.plain import dropout_threshold, layer_word, matching_gradient
from alexnet.kernels.rules import Normalization, Rectify, is_autocast, pooled_length

_LIBRARY = torch.library.Library("alexnet", "DEF")  # type: ignore[no-untyped-call]
_BITS = {torch.float32: torch.uint32, torch.bfloat16: torch.uint16, torch.uint8: torch.uint8}


def normalize_responses(x: Tensor, constants: Normalization, *, rectify: bool) -> Tensor:
    y: Tensor = _normalize(x, constants, rectify)
    return y


def normalize_and_pool(x: Tensor, constants: Normalization, *, rectify: Rectify, window: int, stride: int) -> Tensor:
    before, floor = rectify == "before", rectify != "none"
    y: Tensor = _pool(x, constants, before, floor, window, stride)[0]
    return y


def pool_maximum(x: Tensor, *, window: int, stride: int, rectify: bool) -> Tensor:
    y: Tensor = _pool(x, None, False, rectify, window, stride)[0]
    return y


def gather_patches(x: Tensor, *, window: int, stride: int, before: int, after: int) -> Tensor:
    patches: Tensor = _gather(x, window, stride, before, after)
    return patches


def convolve(x: Tensor, weight: Tensor, bias: Tensor, *, stride: int, padding: int, groups: int) -> Tensor:
    """Convolve in the faster of both layouts, and sum gradients of weights here where that is faster.

    Few kernels, or few inputs, gain nothing by either: measured on two cores of an AMD EPYC with AVX2.
    """
    of_group, seen = len(weight) // groups, weight.shape[1:].numel()
    small = of_group < 48 or of_group * seen < 2**14
    if small or x.dtype != torch.float32 or is_autocast(x):
        return plain.convolve(x, weight, bias, stride=stride, padding=padding, groups=groups)
    if torch.is_grad_enabled() and weight.requires_grad:
        y: Tensor = _convolve(x, weight, bias, stride, padding, groups)
        return y
    return _convolve_in_faster_layout(x, weight, bias, stride, padding, groups)


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
        _update(weight, velocity, matching_gradient(weight, gradient), rate, momentum, decay, working, average, share)


def dropout(x: Tensor, keys: Tensor, *, p: float, layer: int, first: int = 0) -> Tensor:
    y: Tensor = _drop(x, keys, p, layer, first)
    return y


def _operator(
    schema: str, shapes: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function the operator of the namespace that a schema describes, on the CPU, and return the operator.

    `shapes` returns empty tensors for what the operator returns, for tracing, where it returns anything.

    By `torch.library.custom_op` the first call of any operator would import torch._dynamo, which takes as long as
    importing PyTorch does. The schema is written out: older versions of PyTorch infer none from a sequence.
    """

    def define(function: Callable[..., Any]) -> Callable[..., Any]:
        name = schema.partition("(")[0]
        _LIBRARY.define(schema)  # type: ignore[no-untyped-call]
        _LIBRARY.impl(name, function, "CPU")  # type: ignore[no-untyped-call]
        if shapes is not None:
            torch.library.register_fake(f"alexnet::{name}", shapes, lib=_LIBRARY)
        operator: Callable[..., Any] = getattr(torch.ops.alexnet, name).default
        return operator

    return define


def _empty_maps(x: Tensor, *_: Any) -> Tensor:
    """Return an empty tensor for maps of x's shape; whatever else an operator takes does not matter."""
    return torch.empty_like(x, memory_format=torch.channels_last)


def _empty_pooled(x: Tensor, window: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return empty tensors for the maxima of windows and for their positions."""
    shape = (*x.shape[:2], *(pooled_length(side, window, stride) for side in x.shape[2:]))
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    return y, torch.empty_like(y, dtype=torch.uint8)


def _empty_features(x: Tensor, *_: Any) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@_operator("normalize_responses(Tensor x, float[] constants, bool rectify) -> Tensor", _empty_maps)
def _normalize(x: Tensor, constants: Sequence[float], rectify: bool) -> Tensor:
    from alexnet.kernels import cpu_normalization_and_pooling as cpu
    from alexnet.kernels.cpu_bits import num_threads

    y = _empty_maps(x)
    options = cpu.Options(*_normalization(constants), rectify)
    cpu.forward(_view_bits(x), _view_bits(y), _no_positions(x), options, num_threads())
    return y


@_operator("normalize_responses_gradient(Tensor x, Tensor dy, float[] constants, bool rectify) -> Tensor", _empty_maps)
def _normalize_gradient(x: Tensor, dy: Tensor, constants: Sequence[float], rectify: bool) -> Tensor:
    from alexnet.kernels import cpu_normalization_and_pooling as cpu
    from alexnet.kernels.cpu_bits import num_threads

    dx = _empty_maps(x)
    options = cpu.Options(*_normalization(constants), rectify)
    bits = (_view_bits(x), _view_bits(dy.to(x.dtype)), _no_positions(x), _view_bits(dx))
    cpu.gradient(*bits, options, num_threads())
    return dx


def _normalize_plain(x: Tensor, constants: Sequence[float], rectify: bool) -> Tensor:
    return plain.normalize_responses(x, _name_constants(constants), rectify=rectify)


def _differentiate_plain(function: Callable[..., Tensor], x: Tensor, dy: Tensor, *options: Any) -> Tensor:
    """Return what the gradient kernels do, in operations that can be differentiated again: for second derivatives.

    Called where the gradient itself is to have a gradient, as with create_graph=True.
    """
    (dx,) = torch.autograd.grad(function(x, *options), x, dy, create_graph=True)
    return dx


def _keep_input(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.options = inputs[1:]


def _differentiate_normalize(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    (x,) = ctx.saved_tensors
    if torch.is_grad_enabled():
        return (_differentiate_plain(_normalize_plain, x, dy, *ctx.options),) + (None,) * len(ctx.options)
    return (_normalize_gradient(x, dy, *ctx.options),) + (None,) * len(ctx.options)


torch.library.register_autograd(
    "alexnet::normalize_responses", _differentiate_normalize, setup_context=_keep_input, lib=_LIBRARY
)


@_operator(
    "pool(Tensor x, float[]? constants, bool rectify, bool floor, SymInt window, SymInt stride) -> (Tensor, Tensor)",
    lambda x, *options: _empty_pooled(x, *options[-2:]),
)
def _pool(
    x: Tensor, constants: Sequence[float] | None, rectify: bool, floor: bool, window: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Return the pooled maps and the position of each maximum in its window, uint8."""
    from alexnet.kernels import cpu_normalization_and_pooling as cpu
    from alexnet.kernels.cpu_bits import num_threads

    y, position = _empty_pooled(x, window, stride)
    options = cpu.Options(*_normalization(constants), rectify, True, floor, window, stride)
    cpu.forward(_view_bits(x), _view_bits(y), _view_bits(position), options, num_threads())
    return y, position


@_operator(
    "pool_gradient(Tensor x, Tensor dy, Tensor position, float[]? constants, bool rectify, SymInt window, "
    "SymInt stride) -> Tensor",
    _empty_maps,
)
def _pool_gradient(
    x: Tensor, dy: Tensor, position: Tensor, constants: Sequence[float] | None, rectify: bool, window: int, stride: int
) -> Tensor:
    from alexnet.kernels import cpu_normalization_and_pooling as cpu
    from alexnet.kernels.cpu_bits import num_threads

    dx = _empty_maps(x)
    options = cpu.Options(*_normalization(constants), rectify, True, False, window, stride)
    bits = (_view_bits(x), _view_bits(dy.to(x.dtype)), _view_bits(position), _view_bits(dx))
    cpu.gradient(*bits, options, num_threads())
    return dx


def _keep_input_and_position(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], output[1])
    ctx.options = inputs[1:]


def _differentiate_pool(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Any, ...]:
    x, position = ctx.saved_tensors
    if torch.is_grad_enabled():
        return (_differentiate_plain(_pool_plain, x, dy, *ctx.options),) + (None,) * len(ctx.options)
    constants, rectify, _floor, window, stride = ctx.options  # the positions say where the floor was
    return (_pool_gradient(x, dy, position, constants, rectify, window, stride),) + (None,) * len(ctx.options)


def _pool_plain(
    x: Tensor, constants: Sequence[float] | None, rectify: bool, floor: bool, window: int, stride: int
) -> Tensor:
    if constants is None:
        return plain.pool_maximum(x, window=window, stride=stride, rectify=floor)
    place: Rectify = "before" if rectify else "after" if floor else "none"
    return plain.normalize_and_pool(x, _name_constants(constants), rectify=place, window=window, stride=stride)


torch.library.register_autograd(
    "alexnet::pool", _differentiate_pool, setup_context=_keep_input_and_position, lib=_LIBRARY
)


def _empty_patches(x: Tensor, window: int, stride: int, before: int, after: int) -> Tensor:
    rows, columns = ((side + before + after - window) // stride + 1 for side in x.shape[2:])
    return torch.empty(rows * columns, x.shape[0], window**2 * x.shape[1], dtype=x.dtype, device=x.device)


@_operator(
    "gather_patches(Tensor x, SymInt window, SymInt stride, SymInt before, SymInt after) -> Tensor", _empty_patches
)
def _gather(x: Tensor, window: int, stride: int, before: int, after: int) -> Tensor:
    from alexnet.kernels import cpu_patches as cpu

    patches = _empty_patches(x, window, stride, before, after)
    windows = cpu.Windows((x.shape[3] + before + after - window) // stride + 1, window, stride, before)
    cpu.gather(_view_bits(x), _view_patches(patches), windows)
    return patches


@_operator(
    "scatter_patches(Tensor x, Tensor dy, SymInt window, SymInt stride, SymInt before, SymInt after) -> Tensor",
    _empty_maps,
)
def _scatter(x: Tensor, dy: Tensor, window: int, stride: int, before: int, after: int) -> Tensor:
    from alexnet.kernels import cpu_patches as cpu

    dx = _empty_maps(x)
    windows = cpu.Windows((x.shape[3] + before + after - window) // stride + 1, window, stride, before)
    cpu.scatter(_view_patches(dy.to(x.dtype).contiguous()), _view_bits(dx), windows)
    return dx


def _gather_plain(x: Tensor, window: int, stride: int, before: int, after: int) -> Tensor:
    return plain.gather_patches(x, window=window, stride=stride, before=before, after=after)


def _differentiate_gather(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    (x,) = ctx.saved_tensors
    if torch.is_grad_enabled():
        return (_differentiate_plain(_gather_plain, x, dy, *ctx.options),) + (None,) * len(ctx.options)
    return (_scatter(x, dy, *ctx.options),) + (None,) * len(ctx.options)


torch.library.register_autograd(
    "alexnet::gather_patches", _differentiate_gather, setup_context=_keep_input, lib=_LIBRARY
)


@_operator(
    "convolve(Tensor x, Tensor weight, Tensor bias, SymInt stride, SymInt padding, SymInt groups) -> Tensor",
    lambda x, weight, bias, *options: _convolve_in_faster_layout(x, weight, bias, *options),
)
def _convolve(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int) -> Tensor:
    return _convolve_in_faster_layout(x, weight, bias, stride, padding, groups)


def _convolve_in_faster_layout(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int
) -> Tensor:
    if weight.shape[2] == 5 and len(weight) // groups >= 96:  # by a tenth to a sixth, both copies counted
        y = _convolve_plain(x.contiguous(), weight.contiguous(), bias, stride, padding, groups)
        return y.contiguous(memory_format=torch.channels_last)
    return _convolve_plain(x, weight, bias, stride, padding, groups)


def _convolve_plain(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int) -> Tensor:
    return plain.convolve(x, weight, bias, stride=stride, padding=padding, groups=groups)


@_operator(
    "convolve_weight_gradient(Tensor x, Tensor dy, SymInt window, SymInt stride, SymInt padding, SymInt groups) "
    "-> (Tensor, Tensor)",
    lambda x, dy, window, stride, padding, groups: _empty_weights(x, dy, window, groups),
)
def _weight_gradient(
    x: Tensor, dy: Tensor, window: int, stride: int, padding: int, groups: int
) -> tuple[Tensor, Tensor]:
    """Return the gradients of weights (kernels, C / groups, h, w), channels innermost, and of biases."""
    from alexnet.kernels import cpu_convolution as cpu
    from alexnet.kernels.cpu_bits import num_threads

    x_NHWC = x.detach().permute(0, 2, 3, 1)
    if padding:  # by nothing it would be a copy
        x_NHWC = torch.nn.functional.pad(x_NHWC, (0, 0, *[padding] * 4))
    dy_NHWK = dy.detach().permute(0, 2, 3, 1).contiguous()
    dweight, dbias = _empty_weights(x, dy, window, groups)
    geometry = cpu.Geometry(stride, dy.shape[2], dy.shape[3], groups)
    given, out = (x_NHWC.contiguous().numpy(), dy_NHWK.numpy()), (dweight.permute(0, 2, 3, 1).numpy(), dbias.numpy())
    cpu.sum_weight_gradient(*given, *out, geometry, num_threads())
    return dweight, dbias


def _empty_weights(x: Tensor, dy: Tensor, window: int, groups: int) -> tuple[Tensor, Tensor]:
    shape = (dy.shape[1], x.shape[1] // groups, window, window)
    weights = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    return weights, x.new_empty(dy.shape[1])


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.options = inputs[3:]


def _differentiate_convolve(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, weight, bias = ctx.saved_tensors
    stride, padding, groups = ctx.options
    if torch.is_grad_enabled():
        y = _convolve_plain(x, weight, bias, *ctx.options)
        wanted = [each for each, needed in zip((x, weight, bias), ctx.needs_input_grad, strict=False) if needed]
        found = iter(torch.autograd.grad(y, wanted, dy, create_graph=True))
        return (*(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None, None)
    dx = None
    if ctx.needs_input_grad[0]:
        both = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, (True, False, False))
        dx = torch.ops.aten.convolution_backward(dy, x, weight, None, *both)[0]
    return dx, *_weight_gradient(x, dy, weight.shape[2], stride, padding, groups), None, None, None


torch.library.register_autograd("alexnet::convolve", _differentiate_convolve, setup_context=_keep_inputs, lib=_LIBRARY)


@_operator(
    "update_weights(Tensor(a!) weight, Tensor(b!) velocity, Tensor gradient, float rate, float momentum, float decay, "
    "Tensor(c!)? working, Tensor(d!)? average, float share) -> ()"
)
def _update(
    weight: Tensor,
    velocity: Tensor,
    gradient: Tensor,
    rate: float,
    momentum: float,
    decay: float,
    working: Tensor | None,
    average: Tensor | None,
    share: float,
) -> None:
    from alexnet.kernels import cpu_update_and_dropout as cpu

    copy = np.empty(0, np.uint16) if working is None else _bits_flat(working)
    mean = np.empty(0, np.float32) if average is None else _flat(average).numpy()
    flat = (_flat(weight).numpy(), _flat(velocity).numpy(), _bits_flat(gradient), copy, mean)
    cpu.update(*flat, rate, momentum, decay * rate, share)
    for changed in (weight, velocity, working, average):
        if changed is not None:
            torch.autograd.graph.increment_version(changed)  # the kernel wrote behind PyTorch's back


@_operator("dropout(Tensor x, Tensor keys, float p, SymInt layer, SymInt first=0) -> Tensor", _empty_features)
def _drop(x: Tensor, keys: Tensor, p: float, layer: int, first: int = 0) -> Tensor:
    from alexnet.kernels import cpu_update_and_dropout as cpu

    y = _empty_features(x)
    samples = (x.shape[0], x[:1].numel())
    source = _bits_flat(x.contiguous()).reshape(samples)
    word, threshold = np.uint64(layer_word(layer)), np.uint32(dropout_threshold(p))
    cpu.drop(source, _bits_flat(y).reshape(samples), keys.contiguous().numpy(), word, threshold, first)
    return y


def _keep_keys(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.options = inputs[2:]


def _differentiate_drop(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    (keys,) = ctx.saved_tensors
    return _drop(dy, keys, *ctx.options), None, None, None, None


torch.library.register_autograd("alexnet::dropout", _differentiate_drop, setup_context=_keep_keys, lib=_LIBRARY)


def _normalization(constants: Sequence[float] | None) -> tuple[bool, int, float, float, float, int]:
    """Return whether a kernel normalises, and a `Normalization` from what an operator can take of it."""
    if constants is None:
        return False, 1, 1.0, 0.0, 1.0, 1
    return True, *_name_constants(constants)


def _name_constants(constants: Sequence[float]) -> Normalization:
    size, k, alpha, beta, towers = constants
    return Normalization(int(size), k, alpha, beta, int(towers))


def _no_positions(x: Tensor) -> npt.NDArray[np.uint8]:
    return np.empty((x.shape[0], 0, 0, 0), np.uint8)


def _view_bits(x: Tensor) -> npt.NDArray[Any]:
    x_NHWC = x.detach().permute(0, 2, 3, 1).contiguous()
    bits: npt.NDArray[Any] = x_NHWC.view(_BITS[x.dtype]).numpy()
    return bits


def _view_patches(patches: Tensor) -> npt.NDArray[Any]:
    bits: npt.NDArray[Any] = patches.detach().view(_BITS[patches.dtype]).numpy()
    return bits


def _flat(x: Tensor) -> Tensor:
    return x.detach().as_strided((x.numel(),), (1,))


def _bits_flat(x: Tensor) -> npt.NDArray[Any]:
    bits: npt.NDArray[Any] = _flat(x).view(_BITS[x.dtype]).numpy()
    return bits
