"""Files of tensors: what is checked when they are read."""

import pytest
import torch

from alexnet.files.tensors import is_finite


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(dtype: torch.dtype, bad: float) -> None:
    for position in (0, 500, 999):
        values = torch.linspace(-2, 2, 1000).to(dtype)
        assert is_finite(values)
        values[position] = bad
        assert not is_finite(values)


def test_no_values_and_the_largest_are_finite() -> None:
    largest = torch.finfo(torch.float32).max
    assert is_finite(torch.empty(0))
    assert is_finite(torch.tensor([largest, -largest], requires_grad=True))
