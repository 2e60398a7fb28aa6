"""Every layer computed in bfloat16 against float32, with NaN in the memory that the libraries are given.

Processors with matrix units (AMX) run other code than those without, and that code has left outputs unwritten; whoever
reads such memory finds what was there before.
"""

import copy

import pytest
import torch

from alexnet.network.alexnet import AlexNet, build
from alexnet.network.dialects import DIALECTS
from alexnet.network.layers import DenseLayer


def leave_nan_in_freed_memory() -> None:
    stale = [torch.full((count,), torch.nan) for count in (10**3, 10**4, 10**5, 10**6, 10**7)]
    del stale


def largest_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Of the largest value expected; NaN counts as infinite."""
    error = (found.float() - expected).abs().max() / expected.abs().max()
    return float(error.nan_to_num(torch.inf))


def check_layers(net: AlexNet, batch: int) -> None:
    generator = torch.Generator().manual_seed(batch)
    for position, (row, layer) in enumerate(net.named_layers()):
        inputs = net.shapes[position - 1].final if position else (3, net.spec.input_px, net.spec.input_px)
        x = torch.randn(batch, *inputs, generator=generator).bfloat16()
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        layer = copy.deepcopy(layer)
        with torch.no_grad():
            scale = layer.weight[0].numel() ** -0.5
            layer.weight.copy_((torch.randn(layer.weight.shape, generator=generator) * scale).bfloat16())
        exact, rounded = layer, copy.deepcopy(layer).bfloat16()
        with torch.inference_mode():
            leave_nan_in_freed_memory()
            assert largest_error(rounded(x), exact(x.float())) < 0.02, (net.spec.dialect, row.name, batch)
        wide, narrow = x.float().requires_grad_(), x.clone(memory_format=torch.preserve_format).requires_grad_()
        expected = exact(wide)
        leave_nan_in_freed_memory()
        found = rounded(narrow)
        gradient = torch.randn(expected.shape, generator=generator).bfloat16()
        expected_gradients = torch.autograd.grad(expected, [wide, exact.weight, exact.bias], gradient.float())
        leave_nan_in_freed_memory()
        found_gradients = torch.autograd.grad(found, [narrow, rounded.weight, rounded.bias], gradient)
        for a, b in zip((found, *found_gradients), (expected, *expected_gradients), strict=True):
            assert largest_error(a.detach(), b.detach()) < 0.03, (net.spec.dialect, row.name, batch)
        assert not isinstance(layer, DenseLayer) or found.shape == (batch, row.units)


def test_every_layer_of_the_paper_writes_all_of_its_outputs() -> None:
    check_layers(build("paper", num_classes=3), 10)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("batch", [1, 3, 32, 100])
def test_every_layer_writes_all_of_its_outputs(dialect: str, batch: int) -> None:
    check_layers(build(dialect, num_classes=10), batch)
