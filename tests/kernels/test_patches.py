"""Windows of locally connected layers, as patches: every version against the definition."""

import numba
import pytest
import torch

from alexnet import kernels
from alexnet.errors import ConfigError

# N, C, side, window, stride, zeros before, zeros after: padding wider than the step, an overhang, skipped pixels
GEOMETRIES = (
    (2, 64, 6, 3, 1, 1, 1),
    (1, 5, 7, 3, 2, 0, 1),
    (3, 1, 4, 4, 1, 3, 3),
    (2, 7, 8, 2, 3, 0, 0),
    (1, 3, 3, 1, 1, 2, 0),
)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_patches_and_gradients_are_those_of_the_definition(
    geometry: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    """Patches are copies, equal to the bit; gradients are sums of up to 16 numbers, rounded once by Numba."""
    images, channels, side, window, stride, before, after = geometry
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, channels, side, side, generator=generator).to(dtype).contiguous(memory_format=layout)
    x.requires_grad_()
    found = {}
    for version in ("reference", "numba", "plain"):
        if version == "numba" and dtype == torch.float64:
            continue
        with kernels.using(version):  # type: ignore[arg-type]
            y = kernels.gather_patches(x, window=window, stride=stride, before=before, after=after)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        found[version] = (y.detach(), *torch.autograd.grad(y, x, dy))
    y_exact, dx_exact = found["reference"]
    assert y_exact.shape[1:] == (images, window**2 * channels)
    for version, (y, dx) in found.items():
        assert torch.equal(y, y_exact), version
        tolerance = {torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float64: 1e-14}[dtype]
        if version == "plain" and dtype == torch.bfloat16:
            tolerance *= 8  # it rounds every sum
        assert (dx - dx_exact).abs().max() <= tolerance * dx_exact.abs().max(), version


def test_a_gradient_laid_out_otherwise_and_a_second_one() -> None:
    """As convolutions and products hand gradients over: with strides of their own."""
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = kernels.gather_patches(x, window=3, before=1, after=1)
    dy = torch.randn(y.shape[1], y.shape[0], y.shape[2]).transpose(0, 1)
    assert torch.equal(*(torch.autograd.grad(y, x, each, retain_graph=True)[0] for each in (dy, dy.contiguous())))
    squares = kernels.gather_patches(x, window=3, before=1, after=1).square().sum()
    (first,) = torch.autograd.grad(squares, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.equal(second[0, 0, 2], torch.tensor([12.0, 18, 18, 18, 12]))


def test_windows_that_lie_nowhere_are_refused() -> None:
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ConfigError, match="no window of 5 with stride 1 lies on maps of 2x2"):
        kernels.gather_patches(x, window=5, before=1, after=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_depend_neither_on_threads_nor_on_the_batch(dtype: torch.dtype) -> None:
    """Maps that are not square, and an empty batch."""
    x = torch.randn(9, 6, 5, 8, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()

    def run(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with kernels.using("numba"):
            y = kernels.gather_patches(x, window=3, stride=2, before=1, after=1)
        return y.detach(), torch.autograd.grad(y.square().sum(), x)[0]

    expected = run(x)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert all(map(torch.equal, run(x), expected))
    finally:
        numba.set_num_threads(threads)
    y, dx = run(x[4:5].detach().requires_grad_())
    assert torch.equal(y, expected[0][:, 4:5])
    assert torch.equal(dx, expected[1][4:5])
    for version in ("numba", "plain", "reference"):
        with kernels.using(version):  # type: ignore[arg-type]
            empty = kernels.gather_patches(x[:0].detach(), window=3, stride=2, before=1, after=1)
        assert empty.shape == (12, 0, 54), version
