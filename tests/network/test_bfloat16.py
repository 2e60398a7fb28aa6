"""Every layer computed in bfloat16 against float32, with NaN in the memory that the libraries are given.

Processors with matrix units (AMX) run other code than those without, and that code has left outputs unwritten; whoever
reads such memory finds what was there before.
"""

import copy
import math

import pytest
import torch

from alexnet.network.alexnet import allocate
from alexnet.network.dialects import DIALECTS, find_dialect
from alexnet.network.layers import ConvolutionLayer, LocalLayer
from alexnet.network.shapes import count_groups, measure

ROUNDING = torch.finfo(torch.bfloat16).eps / 2
"""The largest relative error of one rounding to bfloat16, 2**-8."""
BATCHES = (1, 3, 32, 100)


def bound(num_sums: int) -> float:
    """The largest error to expect where a result is rounded, and the sums of `num_sums` parts that it is made of too.

    Processors without bfloat16 round after each part. These errors are independent of each other, so that they add up
    as the root of their number.
    """
    return ROUNDING * (1 + math.sqrt(num_sums))


def list_distinct_layers() -> dict[str, int]:
    """Return one layer of each kind, shape and place, as "dialect.name" -> its position: dialects share most of them."""
    found: dict[tuple[object, ...], tuple[str, int]] = {}
    for dialect in DIALECTS:
        spec = find_dialect(dialect, 10)
        shapes = measure(spec)
        for position, (row, shape) in enumerate(zip(spec.layers, shapes, strict=True)):
            before = shapes[position - 1].final if position else spec.input_px
            options = tuple(getattr(row, name, 0) for name in ("window_px", "stride_px", "padding_px"))
            key = (type(row), before, shape.kernel, shape.output, shape.overhang_px, options, count_groups(spec, row))
            found.setdefault(key, (f"{dialect}.{row.name}", position))
    return dict(found.values())


LAYERS = list_distinct_layers()


def leave_nan_in_freed_memory() -> None:
    stale = [torch.full((count,), torch.nan) for count in (10**3, 10**4, 10**5, 10**6, 10**7)]
    del stale


def largest_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Of the largest value expected; NaN counts as infinite."""
    error = (found.float() - expected).abs().max() / expected.abs().max()
    return float(error.nan_to_num(torch.inf))


def check_layer(which: str, batch: int) -> None:
    net = allocate(find_dialect(which.partition(".")[0], 10))
    position = LAYERS[which]
    exact = net.named_layers()[position][1]
    generator = torch.Generator().manual_seed(batch)
    inputs = net.shapes[position - 1].final if position else (3, net.spec.input_px, net.spec.input_px)
    x = torch.randn(batch, *inputs, generator=generator).bfloat16()
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        scale = exact.weight[0].numel() ** -0.5
        for values in (exact.weight, exact.bias):
            values.copy_((torch.randn(values.shape, generator=generator) * scale).bfloat16())
    rounded = copy.deepcopy(exact).bfloat16()
    # An input's gradient is added up from the windows that it lies in, a weight's from the images.
    windows = 1
    if isinstance(exact, ConvolutionLayer | LocalLayer):
        windows = math.ceil(exact.row.window_px / exact.row.stride_px) ** 2
    with torch.inference_mode():
        leave_nan_in_freed_memory()
        assert largest_error(rounded(x), exact(x.float())) < bound(1), (which, batch)
    wide, narrow = x.float().requires_grad_(), x.clone(memory_format=torch.preserve_format).requires_grad_()
    expected = exact(wide)
    leave_nan_in_freed_memory()
    found = rounded(narrow)
    assert found.shape == (batch, *net.shapes[position].output)
    assert largest_error(found.detach(), expected.detach()) < bound(1), (which, batch)
    gradient = torch.randn(expected.shape, generator=generator).bfloat16()
    expected_gradients = torch.autograd.grad(expected, [wide, exact.weight, exact.bias], gradient.float())
    leave_nan_in_freed_memory()
    found_gradients = torch.autograd.grad(found, [narrow, rounded.weight, rounded.bias], gradient)
    for what, a, b, num_sums in zip(
        ("input", "weight", "bias"), found_gradients, expected_gradients, (windows, batch, batch), strict=True
    ):
        assert largest_error(a, b) < bound(num_sums), (which, batch, what)


@pytest.mark.parametrize("which", [name for name in LAYERS if name.startswith("paper.")])
def test_every_layer_of_the_paper_writes_all_of_its_outputs(which: str) -> None:
    check_layer(which, 10)


@pytest.mark.slow
@pytest.mark.parametrize("which", LAYERS)
def test_every_layer_writes_all_of_its_outputs(which: str) -> None:
    for batch in BATCHES:
        check_layer(which, batch)
