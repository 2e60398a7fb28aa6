"""The paper's update rule: golden sequence, frozen layers, working copies, layouts in memory."""

from typing import Any

import pytest
import torch

from alexnet import kernels
from alexnet.errors import ConfigError

VERSIONS = ("numba", "plain", "reference")
RULE: dict[str, Any] = {"rate": 0.01, "momentum": 0.9, "decay": 0.0005}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_weight_follows_the_sequence_of_the_2012_source(version: str) -> None:
    weight, velocity, gradient = torch.ones(1), torch.zeros(1), torch.full((1,), -0.5)
    rates = (0.1, 0.1, 0.01, 0.0, 0.01)
    expected = (1.04995, 1.144852503, 1.23525903, 1.23525903, 1.321618729)
    with kernels.using(version):
        for rate, value in zip(rates, expected, strict=True):
            kernels.update_weights(weight, velocity, gradient, rate=rate, momentum=0.9, decay=0.0005)
            assert weight.item() == pytest.approx(value, rel=3e-7)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_rate_of_zero_touches_nothing(version: str) -> None:
    weight, velocity = torch.randn(40), torch.randn(40)
    working = torch.zeros(40, dtype=torch.bfloat16)
    before = weight.clone(), velocity.clone(), working.clone()
    with kernels.using(version):
        kernels.update_weights(weight, velocity, torch.randn(40), rate=0.0, momentum=0.9, decay=0.0005, working=working)
    assert all(torch.equal(a, b) for a, b in zip((weight, velocity, working), before, strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_without_decay_a_weight_without_gradient_stays(version: str) -> None:
    bias, velocity = torch.randn(10), torch.zeros(10)
    before = bias.clone()
    with kernels.using(version):
        kernels.update_weights(bias, velocity, torch.zeros(10), rate=0.02, momentum=0.9, decay=0.0)
    assert torch.equal(bias, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7, 5), (70_001,), (3, 4, 5, 6)])
def test_fast_versions_agree_bit_by_bit_and_with_the_definition(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    results = {}
    for version in VERSIONS:
        generator = torch.Generator().manual_seed(3)
        weight, velocity, gradient = (torch.randn(shape, generator=generator) for _ in range(3))
        working = torch.zeros(shape, dtype=torch.bfloat16)
        with kernels.using(version):
            for _ in range(3):
                kernels.update_weights(weight, velocity, gradient.to(dtype), **RULE, working=working)
        results[version] = weight, velocity, working
    assert all(torch.equal(a, b) for a, b in zip(results["numba"], results["plain"], strict=True))
    for actual, expected in zip(results["numba"][:2], results["reference"][:2], strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (70_001,), (3, 4, 5, 6)])
def test_the_average_follows_the_weight_in_the_same_pass(shape: tuple[int, ...]) -> None:
    """Bit by bit the same in the fast versions; beside it weight, velocity and copy are those of an update without."""
    results = {}
    for version in VERSIONS:
        generator = torch.Generator().manual_seed(3)
        weight, velocity, average, gradient = (torch.randn(shape, generator=generator) for _ in range(4))
        without, working, expected = weight.clone(), torch.zeros(shape, dtype=torch.bfloat16), average.double()
        alone = velocity.clone(), working.clone()
        with kernels.using(version):
            for share in (1.0, 0.5, 0.01, 0.01):
                kernels.update_weights(
                    weight, velocity, gradient, **RULE, working=working, average=average, share=share
                )
                kernels.update_weights(without, alone[0], gradient, **RULE, working=alone[1])
                expected += share * (weight.double() - expected)
        assert all(map(torch.equal, (weight, velocity, working), (without, *alone)))
        torch.testing.assert_close(average.double(), expected, rtol=1e-6, atol=1e-6)
        results[version] = average
    assert torch.equal(results["numba"], results["plain"])


@pytest.mark.parametrize("version", ["numba", "plain"])
def test_the_working_copy_is_rounded_to_nearest_even(version: str) -> None:
    ties = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 1 - 2**-9, -1 - 2**-8, 3.4e38, 1e-40])
    payload = torch.tensor([0x7FFFFFFF], dtype=torch.int32).view(torch.float32)
    weight = torch.cat([ties, payload])
    working = torch.zeros(8, dtype=torch.bfloat16)
    with kernels.using(version):
        kernels.update_weights(
            weight, torch.zeros(8), torch.zeros(8), rate=1.0, momentum=0.0, decay=0.0, working=working
        )
    expected = torch.tensor([1, 1 + 2**-6, 1 + 2**-7, 1, -1, torch.inf, 1e-40]).bfloat16()
    assert torch.equal(working[:7], expected)
    assert working[7].isnan()


@pytest.mark.parametrize("version", ["numba", "plain"])
def test_nan_in_the_gradient_reaches_the_weight_and_its_copy(version: str) -> None:
    weight, velocity, gradient = torch.ones(3), torch.zeros(3), torch.tensor([0.0, torch.nan, 0.0])
    working = torch.zeros(3, dtype=torch.bfloat16)
    with kernels.using(version):
        kernels.update_weights(weight, velocity, gradient, **RULE, working=working)
    assert weight.isnan().tolist() == working.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("version", ["numba", "plain"])
def test_the_layout_in_memory_does_not_change_the_result(version: str) -> None:
    generator = torch.Generator().manual_seed(5)
    start = [torch.randn(6, 5, 3, 3, generator=generator) for _ in range(3)]
    layouts = (torch.contiguous_format, torch.channels_last)
    results = []
    for layout in layouts:
        for gradient_layout in layouts:
            weight, velocity = (t.clone().contiguous(memory_format=layout) for t in start[:2])
            working = weight.bfloat16()
            with kernels.using(version):
                gradient = start[2].contiguous(memory_format=gradient_layout)
                kernels.update_weights(weight, velocity, gradient, **RULE, working=working)
            assert working.stride() == weight.stride()
            results.append((weight, velocity, working))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (130, 67), (64, 128)])
def test_a_transposed_gradient_counts_as_what_it_says(shape: tuple[int, int], dtype: torch.dtype) -> None:
    gradient = torch.randn(shape[::-1], generator=torch.Generator().manual_seed(2)).to(dtype).t()
    results = []
    for each in (gradient, gradient.contiguous()):
        weight, velocity = torch.ones(shape), torch.zeros(shape)
        with kernels.using("numba"):
            kernels.update_weights(weight, velocity, each, **RULE)
        results.append(weight)
    assert torch.equal(*results)


def test_parameters_that_require_gradients_are_updated_in_place() -> None:
    weight = torch.nn.Parameter(torch.ones(4))
    version = weight._version
    with kernels.using("numba"):
        kernels.update_weights(weight, torch.zeros(4), torch.ones(4), rate=0.5, momentum=0.0, decay=0.0)
    assert weight.tolist() == [0.5] * 4
    assert weight._version > version  # autograd notices that the weight has changed


def test_updates_that_do_not_fit_together_are_refused() -> None:
    weight = torch.zeros(4, 6)
    velocity = torch.zeros(4, 6)
    cases: list[tuple[tuple[Any, ...], Any, str]] = [
        (
            (weight.double(), velocity, weight),
            None,
            "weight is torch.float64 and velocity torch.float32; both need to be torch.float32.",
        ),
        (
            (weight, velocity, torch.zeros(6, 4)),
            None,
            "gradient has shape (6, 4) and dtype torch.float32; it needs the weight's shape (4, 6) in torch.float32 "
            "or torch.bfloat16.",
        ),
        (
            (weight[:, ::2], velocity[:, ::2], weight[:, ::2]),
            None,
            "weight has strides (6, 2) for shape (4, 3); it may have no gaps.",
        ),
        (
            (weight, torch.zeros(6, 4).t(), weight),
            None,
            "velocity has shape (4, 6) and strides (1, 4); it needs the weight's: (4, 6) and (6, 1). "
            "Make it with torch.zeros_like(weight).",
        ),
        (
            (weight, velocity, weight),
            torch.zeros(4, 6),
            "working has shape (4, 6), strides (6, 1) and dtype torch.float32; it needs the weight's shape (4, 6) "
            "and strides (6, 1) in torch.bfloat16.",
        ),
    ]
    for tensors, working, message in cases:
        with pytest.raises(ConfigError) as caught:
            kernels.update_weights(*tensors, **RULE, working=working)
        assert str(caught.value) == message
    with pytest.raises(ConfigError) as caught:
        kernels.update_weights(weight, velocity, weight, **RULE, average=weight.double(), share=0.1)
    assert str(caught.value) == (
        "average has shape (4, 6), strides (6, 1) and dtype torch.float64; it needs the weight's: (4, 6), (6, 1) and "
        "torch.float32. Make it with weight.clone()."
    )


def test_pytorch_knows_that_the_weight_has_changed() -> None:
    weight, velocity = torch.ones(3, requires_grad=True), torch.zeros(3)
    product = (weight * weight).sum()  # its gradient reads the weight as it was
    kernels.update_weights(weight, velocity, torch.ones(3), **RULE)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()
