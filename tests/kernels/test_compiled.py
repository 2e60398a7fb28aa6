"""The plain kernels as torch.compile fuses them: by a C++ compiler for a CPU, through Triton for a GPU."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from alexnet import kernels

DEVICES = [pytest.param("cpu", marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
           pytest.param("cuda", marks=pytest.mark.gpu)]  # fmt: skip
pytestmark = [
    pytest.mark.parametrize("device", DEVICES),
    # What PyTorch's own compiler warns of is not ours.
    pytest.mark.filterwarnings("default"),
]
KEYS = torch.tensor([0, 1, 7919, -1, 2**40, 2**63 - 1])

# As for the other fast versions: the largest error, as a fraction of the largest magnitude in float64.
TOLERANCES = {
    torch.float32: (1e-6, 4e-6),
    torch.bfloat16: (2**-8, 2**-7),
}


@pytest.fixture(autouse=True)
def compiler(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if device == "cpu" and shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("needs a C++ compiler")


def run(version: Any, operation: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value, and the gradient for fixed random numbers as the value's gradient."""
    with kernels.using(version):
        y = operation(x)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.device, y.dtype)
        (dx,) = torch.autograd.grad(y, x, dy)
    return y.detach(), dx


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    "operation",
    [
        lambda x: kernels.normalize_responses(x, kernels.Normalization(4, towers=2), rectify=True),
        lambda x: kernels.normalize_and_pool(x, kernels.Normalization(), rectify="before"),
        lambda x: kernels.normalize_and_pool(x, kernels.Normalization(alpha=1e-2), rectify="after"),
        lambda x: kernels.pool_maximum(x, rectify=True),
        lambda x: kernels.spatially_normalize_responses(x, size=3, scale=1e-2),
    ],
    ids=["normalize", "rectify, normalize, pool", "normalize, pool, rectify", "pool", "normalize maps"],
)
def test_fused_kernels_agree_with_their_definition(
    device: str, dtype: torch.dtype, operation: Callable[[Tensor], Tensor]
) -> None:
    """Maps of even sides, whose last windows are clipped."""
    x = (torch.randn(2, 8, 8, 10, generator=torch.Generator().manual_seed(0)) * 10).to(device, dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    actual = run("compiled", operation, x)
    expected = run("plain", operation, x.detach().cpu().double().requires_grad_())
    for found, exact, tolerance in zip(actual, expected, TOLERANCES[dtype], strict=True):
        assert found.device.type == device
        assert found.dtype == dtype
        error = float((found.cpu().double() - exact).abs().max() / exact.abs().max())
        assert error <= tolerance, f"off by {error:.1e}"
    assert actual[0].is_contiguous(memory_format=torch.channels_last)


def test_fused_dropout_drops_the_same_features(device: str) -> None:
    x = torch.randn(len(KEYS), 301, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    keys = KEYS.to(device)
    y, dx = run("compiled", lambda x: kernels.dropout(x, keys, p=0.5, layer=12), x)
    expected, dx_expected = run(
        "plain", lambda x: kernels.dropout(x, KEYS, p=0.5, layer=12), x.detach().cpu().requires_grad_()
    )
    assert torch.equal(y.cpu(), expected)
    assert torch.equal(dx.cpu(), dx_expected)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_fused_update_gives_the_bits_of_the_others_at_any_rate(device: str, dtype: torch.dtype) -> None:
    """A gradient of another layout in memory among them; one compiled kernel serves all shapes."""
    for shape in ((3, 4, 5, 6), (7, 5), (70_001,)):
        generator = torch.Generator().manual_seed(3)
        given = [torch.randn(shape, generator=generator) for _ in range(3)]
        results = []
        for version, place in (("plain", "cpu"), ("compiled", device)):
            weight, velocity, gradient = (each.to(place, copy=True) for each in given)
            if len(shape) == 4:
                weight, velocity = (each.contiguous(memory_format=torch.channels_last) for each in (weight, velocity))
            working, average = torch.zeros_like(weight, dtype=torch.bfloat16), weight.clone()
            rule: dict[str, Any] = {"momentum": 0.9, "decay": 5e-4, "working": working}
            with kernels.using(version):  # type: ignore[arg-type]
                for rate in (0.01, 0.003, 0.0007):
                    kernels.update_weights(weight, velocity, gradient.to(dtype), rate=rate, **rule)
                for share in (0.5, 0.03):
                    kernels.update_weights(
                        weight, velocity, gradient.to(dtype), rate=0.01, **rule, average=average, share=share
                    )
            results.append([each.cpu() for each in (weight, velocity, working, average)])
        assert all(map(torch.equal, *results)), shape
