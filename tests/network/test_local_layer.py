"""Locally connected layers against their definition: every place has a kernel of its own."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.network.layers import LocalLayer
from alexnet.network.rows import Local
from alexnet.network.shapes import Shape


def by_definition(x: Tensor, layer: LocalLayer) -> Tensor:
    """Return the output by PyTorch's unfold, whose patches have the order C, h, w of the weights."""
    row = layer.row
    before, after = row.padding_px, row.padding_px + layer.overhang_px
    patches_NIL = F.unfold(F.pad(x, (before, after, before, after)), row.window_px, stride=row.stride_px)
    out_NKL = torch.einsum("nil,lki->nkl", patches_NIL, layer.weight) + layer.bias.T
    return out_NKL.unflatten(2, (layer.side, layer.side))


@pytest.mark.parametrize(
    ("window_px", "stride_px", "padding_px", "overhang_px", "output"),
    [(3, 1, 1, 0, 5), (3, 2, 0, 0, 2), (2, 2, 0, 1, 3), (1, 1, 0, 0, 5)],
)
def test_values_and_gradients_are_those_of_the_definition(
    window_px: int, stride_px: int, padding_px: int, overhang_px: int, output: int
) -> None:
    row = Local(name="local", kernels=4, window_px=window_px, stride_px=stride_px, padding_px=padding_px)
    maps = (4, output, output)
    layer = LocalLayer(row, Shape("local", (4, 3, window_px, window_px), overhang_px, maps, maps, 0, 0)).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    expected = by_definition(x, layer)
    assert torch.allclose(layer(x), expected)
    weights = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
    inputs = [x, *layer.parameters()]
    of_layer = torch.autograd.grad((layer(x).square() * weights).sum(), inputs)
    of_definition = torch.autograd.grad((expected.square() * weights).sum(), inputs)
    assert all(map(torch.allclose, of_layer, of_definition))
    assert torch.autograd.gradgradcheck(layer, (x,))
