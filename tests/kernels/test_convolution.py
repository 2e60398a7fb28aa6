"""Convolutions whose gradients are summed here: against PyTorch's own in float64, and when they are not."""

import numba
import pytest
import torch
from torch import Tensor

from alexnet import kernels
from alexnet.kernels import choose, operators
from alexnet.network.alexnet import build
from alexnet.network.layers import ConvolutionLayer

# N, C, height, width, kernels, window, stride, padding, groups
GEOMETRIES = {
    "conv1: an input row is 33 numbers, so that columns cross rows": (2, 3, 47, 43, 96, 11, 4, 0, 1),
    "conv2: groups of 128 kernels, which 6 does not divide; more places than a block": (3, 96, 13, 13, 256, 5, 1, 2, 2),
    "conv4: groups, outputs fewer than a block": (1, 128, 9, 7, 192, 3, 1, 1, 2),
    "few kernels, an odd number of inputs, skipped pixels": (2, 37, 9, 11, 49, 4, 3, 1, 1),
    "several short runs in a column": (2, 5, 6, 6, 850, 2, 2, 0, 1),
    "one place": (1, 64, 3, 3, 64, 3, 1, 0, 1),
}
Tensors = tuple[Tensor, Tensor, Tensor]


def _make(geometry: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensors:
    images, channels, height, width, count, window, _, _, groups = geometry
    generator = torch.Generator().manual_seed(0)
    shapes = ((images, channels, height, width), (count, channels // groups, window, window), (count,))
    x, weight, bias = (torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes)
    return x, weight, bias


def _convolve(tensors: Tensors, geometry: tuple[int, ...], version: choose.Version = "numba") -> Tensor:
    stride, padding, groups = geometry[-3:]
    with kernels.using(version):
        return kernels.convolve(*tensors, stride=stride, padding=padding, groups=groups)


def _differentiate(y: Tensor, tensors: Tensors) -> tuple[Tensor, ...]:
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return torch.autograd.grad(y, tensors, dy)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_outputs_and_gradients_are_those_of_float64(name: str, layout: torch.memory_format) -> None:
    geometry = GEOMETRIES[name]
    exact = _make(geometry, torch.float64)
    y_exact = _convolve(exact, geometry, "plain")
    tensors = tuple(
        each.detach().float().contiguous(memory_format=layout if each.dim() == 4 else torch.contiguous_format)
        for each in exact
    )
    x, weight, bias = (each.requires_grad_() for each in tensors)
    y = _convolve((x, weight, bias), geometry)
    assert y.grad_fn is not None
    assert "convolve" in y.grad_fn.name()  # and not PyTorch's own
    found, expected = _differentiate(y, (x, weight, bias)), _differentiate(y_exact, exact)
    for value, right in zip((y.detach(), *found), (y_exact.detach(), *expected), strict=True):
        assert value.shape == right.shape
        assert (value - right).abs().max() <= 3e-6 * right.abs().max()


def test_sums_depend_neither_on_threads_nor_on_what_else_was_computed() -> None:
    geometry = GEOMETRIES["conv1: an input row is 33 numbers, so that columns cross rows"]
    tensors = _make(geometry)
    expected = _differentiate(_convolve(tensors, geometry), tensors)
    threads = numba.get_num_threads()
    try:
        for fewer in range(1, threads):
            numba.set_num_threads(fewer)
            assert all(map(torch.equal, _differentiate(_convolve(tensors, geometry), tensors), expected))
    finally:
        numba.set_num_threads(threads)
    for count in (1, 3, 16, 64):  # more threads than there are, shared out in other ways
        found = _sum_with(count, geometry, tensors)
        assert all(map(torch.equal, found, expected[1:])), count


def _sum_with(threads: int, geometry: tuple[int, ...], tensors: Tensors) -> tuple[Tensor, Tensor]:
    from alexnet.kernels import cpu_convolution as cpu

    stride, _, groups = geometry[-3:]
    y = _convolve(tensors, geometry)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).permute(0, 2, 3, 1).contiguous()
    x = tensors[0].detach().permute(0, 2, 3, 1).contiguous()
    count, inputs, window, _ = tensors[1].shape
    dweight, dbias = torch.empty(count, window, window, inputs), torch.empty(count)
    shape = cpu.Geometry(stride, y.shape[2], y.shape[3], groups)
    cpu.sum_weight_gradient(x.numpy(), dy.numpy(), dweight.numpy(), dbias.numpy(), shape, threads)
    return dweight.permute(0, 3, 1, 2), dbias


def test_an_empty_batch_changes_nothing_and_a_diverged_one_shows() -> None:
    geometry = GEOMETRIES["one place"]
    x, weight, bias = _make(geometry)
    nothing = x[:0].detach().requires_grad_()
    found = _differentiate(_convolve((nothing, weight, bias), geometry), (nothing, weight, bias))
    assert [each.abs().sum().item() for each in found] == [0, 0, 0]
    y = _convolve((x, weight, bias), geometry)
    _, dweight, dbias = torch.autograd.grad(y, (x, weight, bias), torch.full_like(y, torch.nan))
    assert dweight.isnan().all()
    assert dbias.isnan().all()


def test_what_needs_no_gradient_gets_none() -> None:
    geometry = GEOMETRIES["one place"]
    x, weight, bias = _make(geometry)
    y = _convolve((x.detach(), weight, bias), geometry)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is None
    assert weight.grad is not None
    frozen = _convolve((x, weight.detach(), bias.detach()), geometry)
    assert frozen.grad_fn is not None
    assert "Convolution" in frozen.grad_fn.name()  # PyTorch's, which computes the one gradient that is wanted
    with torch.no_grad():
        assert torch.equal(_convolve((x, weight, bias), geometry), y)


def test_second_derivatives() -> None:
    geometry = GEOMETRIES["few kernels, an odd number of inputs, skipped pixels"]
    found = []
    for version in ("numba", "plain"):
        tensors = _make(geometry)
        first = torch.autograd.grad(_convolve(tensors, geometry, version).square().sum(), tensors[1], create_graph=True)  # type: ignore[arg-type]
        found.append(torch.autograd.grad(first[0].square().sum(), tensors))
    for value, right in zip(*found, strict=True):
        assert (value - right).abs().max() <= 1e-5 * right.abs().max()


@pytest.mark.parametrize(
    ("dtype", "shape"), [(torch.bfloat16, (64, 64, 3, 3)), (torch.float32, (32, 32, 5, 5)), (torch.float32, (64, 3, 5, 5))]
)  # fmt: skip
def test_other_dtypes_and_few_kernels_or_inputs_are_left_to_pytorch(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    geometry = (1, shape[1], 8, 8, *shape[:1], shape[2], 1, 0, 1)
    y = _convolve(_make(geometry, dtype), geometry)
    assert y.grad_fn is not None
    assert "Convolution" in y.grad_fn.name()


@pytest.mark.parametrize(("short", "version"), [(True, "numba"), (False, "plain")])
def test_only_processors_with_short_vectors_sum_gradients_here(
    monkeypatch: pytest.MonkeyPatch, short: bool, version: str
) -> None:
    monkeypatch.setattr(choose, "has_short_vectors", lambda: short)
    found = choose.choice.__wrapped__("convolve", "cpu")
    assert found.version == version
    assert "AVX2" in found.reason


def test_every_convolution_of_the_network_but_none_of_a_plain_one_goes_this_way() -> None:
    network = build("paper", num_classes=10)
    layers = [layer for _, layer in network.named_layers() if isinstance(layer, ConvolutionLayer)]
    maps = ((3, 227), (96, 27), (256, 13), (384, 13), (384, 13))
    for layer, (channels, side) in zip(layers, maps, strict=True):
        x = torch.zeros(1, channels, side, side).contiguous(memory_format=torch.channels_last)
        with kernels.using("numba"):
            own = layer(x)
            layer.fused = False
            plain = layer(x)
        assert "alexnet" in own.grad_fn.name()
        assert "alexnet" not in plain.grad_fn.name()


def test_the_operators_are_registered_as_pytorch_asks() -> None:
    x, weight, bias = _make(GEOMETRIES["one place"])
    torch.library.opcheck(operators._convolve, (x, weight, bias, 1, 0, 1))
    torch.library.opcheck(operators._convolve, (*_make((2, 32, 9, 7, 192, 5, 1, 2, 2)), 1, 2, 2))  # in another layout
    dy = torch.randn(1, 64, 1, 1)
    torch.library.opcheck(operators._weight_gradient, (x.detach(), dy, 3, 1, 0, 1))
