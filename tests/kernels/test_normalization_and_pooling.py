"""Every version against the definitions in kernels/reference.py: values and gradients, over dtypes and odd shapes."""

from collections.abc import Callable
from typing import Any

import numba
import pytest
import torch
from torch import Tensor

from alexnet import kernels

FAST = ("numba", "plain")
DTYPES = (torch.float32, torch.bfloat16)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

# Largest error, as a fraction of the largest magnitude of the reference. The reference is float64 on the same inputs.
# float32 values: a sum of up to nine squares, a power and a product, each good to 6e-8; the power is good to 6e-7.
# float32 gradients: two such powers and a difference of terms that partly cancel.
# bfloat16: rounding to 8 bits costs half of 2**-8, and sums of gradients of overlapping windows are rounded once more.
TOLERANCES = {
    (torch.float32, "value"): 1e-6,
    (torch.float32, "gradient"): 4e-6,
    (torch.bfloat16, "value"): 2**-8,
    (torch.bfloat16, "gradient"): 2**-7,
}

# N, C, H, W, towers, window, stride: odd and even sizes, maps of one and two rows, clipped windows, skipped places
SHAPES = (
    (2, 7, 7, 7, 1, 3, 2),
    (2, 96, 5, 6, 2, 3, 2),
    (1, 5, 6, 9, 1, 2, 1),
    (2, 4, 2, 5, 4, 3, 2),
    (1, 6, 1, 7, 2, 2, 2),
    (1, 3, 8, 7, 1, 2, 3),
    (1, 16, 9, 3, 1, 3, 1),
    (1, 5, 6, 6, 1, 5, 2),
)
CONSTANTS = (
    {"size": 5, "k": 2.0, "alpha": 1e-2, "beta": 0.75},
    {"size": 4, "k": 1.0, "alpha": 3e-2, "beta": 0.75},
    {"size": 3, "k": 2.0, "alpha": 1e-2, "beta": 0.5},
    {"size": 1, "k": 0.5, "alpha": 1e-2, "beta": 0.75},
    {"size": 9, "k": 1.0, "alpha": 1e-2, "beta": 0.75},
)


def make_inputs(shape: tuple[int, ...], dtype: torch.dtype, layout: str, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=generator) * 10).to(dtype)
    return x.contiguous(memory_format=LAYOUTS[layout]).requires_grad_()


def run(version: str, operation: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value, and the gradient for fixed random numbers as the value's gradient."""
    with kernels.using(version):
        y = operation(x)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
        (dx,) = torch.autograd.grad(y, x, dy)
    return y.detach(), dx


def normalize_responses(x: Tensor, *, rectify: bool = False, **constants: Any) -> Tensor:
    return kernels.normalize_responses(x, kernels.Normalization(**constants), rectify=rectify)


def normalize_and_pool(
    x: Tensor, *, rectify: Any = "before", window: int = 3, stride: int = 2, **constants: Any
) -> Tensor:
    chosen = kernels.Normalization(**constants)
    return kernels.normalize_and_pool(x, chosen, rectify=rectify, window=window, stride=stride)


def check_agreement(version: str, operation: Callable[[Tensor], Tensor], x: Tensor) -> None:
    x_exact = x.detach().double().requires_grad_()
    expected = run("reference", operation, x_exact)
    actual = run(version, operation, x)
    for kind, a, e in zip(("value", "gradient"), actual, expected, strict=True):
        assert a.dtype == x.dtype
        assert a.shape == e.shape
        error = ((a.double() - e).abs().max() / e.abs().max()).item()
        assert error <= TOLERANCES[x.dtype, kind], f"{kind} is off by {error:.1e}"
    assert actual[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", FAST)
def test_normalization_agrees_with_its_definition(version: str, dtype: torch.dtype, layout: str) -> None:
    for shape in SHAPES:
        for constants in CONSTANTS:
            for rectify in (False, True):
                options: dict[str, Any] = {"towers": shape[4], "rectify": rectify, **constants}
                x = make_inputs(shape[:4], dtype, layout)
                check_agreement(version, lambda x, options=options: normalize_responses(x, **options), x)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", FAST)
def test_pooling_agrees_with_its_definition(version: str, dtype: torch.dtype, layout: str) -> None:
    for shape in (*SHAPES, (1, 5, 17, 20, 1, 15, 4)):  # the largest window, whose places nearly fill a byte
        for rectify in (False, True):
            options: dict[str, Any] = {"window": shape[5], "stride": shape[6], "rectify": rectify}
            x = make_inputs(shape[:4], dtype, layout)
            check_agreement(version, lambda x, options=options: kernels.pool_maximum(x, **options), x)


@pytest.mark.parametrize("rectify", ["before", "after", "none"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", FAST)
def test_fused_normalization_and_pooling_agrees_with_its_definition(
    version: str, dtype: torch.dtype, rectify: str
) -> None:
    for index, (*shape, towers, window, stride) in enumerate(SHAPES):
        constants = CONSTANTS[index % len(CONSTANTS)]
        options: dict[str, Any] = {
            "towers": towers, "window": window, "stride": stride, "rectify": rectify, **constants
        }  # fmt: skip
        x = make_inputs(tuple(shape), dtype, ("contiguous", "channels_last")[index % 2])
        check_agreement(version, lambda x, options=options: normalize_and_pool(x, **options), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_spatial_normalization_agrees_with_its_definition(dtype: torch.dtype) -> None:
    for size in (1, 3, 4, 5):
        for shape in ((2, 3, 7, 6), (1, 2, 1, 4)):
            x = make_inputs(shape, dtype, "channels_last")
            check_agreement(
                "plain", lambda x, size=size: kernels.spatially_normalize_responses(x, size=size, scale=1e-2), x
            )


@pytest.mark.parametrize("rectify", ["before", "after", "none"])
@pytest.mark.parametrize("version", FAST)
def test_fused_equals_the_three_steps_one_after_the_other(version: str, rectify: str) -> None:
    x = make_inputs((2, 8, 7, 7), torch.float32, "channels_last")
    with kernels.using(version):
        fused = normalize_and_pool(x, rectify=rectify)
        normalized = normalize_responses(x, rectify=rectify == "before")
        steps = kernels.pool_maximum(normalized, rectify=rectify == "after")
    torch.testing.assert_close(fused, steps, rtol=1e-6, atol=0)


def test_gradients_of_the_plain_version_agree_with_finite_differences() -> None:
    x = make_inputs((1, 6, 5, 4), torch.float64, "contiguous")
    constants: dict[str, Any] = {"size": 4, "alpha": 1e-2, "towers": 2}
    with kernels.using("plain"):
        for rectify in (False, True):
            assert torch.autograd.gradcheck(lambda x, r=rectify: normalize_responses(x, rectify=r, **constants), x)
        for order in ("before", "after", "none"):
            assert torch.autograd.gradcheck(lambda x, o=order: normalize_and_pool(x, rectify=o, **constants), x)
        assert torch.autograd.gradcheck(lambda x: kernels.spatially_normalize_responses(x, scale=1e-2), x)


def test_gradients_of_the_definitions_agree_with_finite_differences() -> None:
    x = make_inputs((1, 6, 3, 3), torch.float64, "contiguous")
    with kernels.using("reference"):
        for order in ("before", "after", "none"):
            assert torch.autograd.gradcheck(
                lambda x, o=order: normalize_and_pool(x, rectify=o, size=4, alpha=1e-2, towers=2, stride=1), x
            )
        assert torch.autograd.gradcheck(lambda x: kernels.spatially_normalize_responses(x, size=2, scale=1e-2), x)


@pytest.mark.parametrize("version", FAST)
def test_towers_do_not_mix(version: str) -> None:
    x = make_inputs((1, 96, 5, 5), torch.float32, "channels_last").detach()
    changed = x.clone()
    changed[:, 48] += 100
    with kernels.using(version):
        for operation in (normalize_responses, normalize_and_pool):
            difference = (operation(changed, towers=2) - operation(x, towers=2)).abs().amax(dim=(0, 2, 3))
            assert difference[:48].max() == 0
            assert difference[48:51].min() > 0
            mixed = (operation(changed, towers=1) - operation(x, towers=1)).abs().amax(dim=(0, 2, 3))
            assert mixed[46:51].min() > 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [*FAST, "reference"])
def test_the_first_of_tied_maxima_gets_the_gradient(version: str, dtype: torch.dtype) -> None:
    x = torch.tensor([[1.0, 5, 5], [5, 2, 0], [0, 5, 1]], dtype=dtype).reshape(1, 1, 3, 3).requires_grad_()
    expected = torch.zeros(3, 3, dtype=dtype)
    expected[0, 1] = 1
    with kernels.using(version):
        for pooled in (kernels.pool_maximum(x), kernels.pool_maximum(x, rectify=True)):
            (dx,) = torch.autograd.grad(pooled.sum(), x)
            assert torch.equal(dx[0, 0], expected)


@pytest.mark.parametrize("version", [*FAST, "reference"])
def test_a_window_without_positive_values_passes_no_gradient_through_a_rectifier(version: str) -> None:
    x = -torch.rand(1, 5, 3, 3).requires_grad_()
    with kernels.using(version):
        for pooled in (
            kernels.pool_maximum(x, rectify=True),
            normalize_and_pool(x, rectify="before"),
            normalize_and_pool(x, rectify="after"),
        ):
            assert pooled.abs().max() == 0
            (dx,) = torch.autograd.grad(pooled.sum(), x)
            assert dx.abs().max() == 0


@pytest.mark.parametrize("version", [*FAST, "reference"])
def test_a_window_of_minus_infinity_gives_its_gradient_to_the_first_place(version: str) -> None:
    x = torch.full((1, 1, 3, 3), -torch.inf, requires_grad=True)
    with kernels.using(version):
        y = kernels.pool_maximum(x)
        (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert y.item() == -torch.inf
    assert dx.flatten().tolist() == [1.0] + [0.0] * 8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", FAST)
def test_nan_spreads_exactly_as_far_as_windows_reach(version: str, dtype: torch.dtype) -> None:
    x = make_inputs((2, 12, 7, 7), dtype, "channels_last").detach()
    x[0, 5, 3, 2] = torch.nan
    operations: list[Callable[[Tensor], Tensor]] = [
        lambda x: normalize_responses(x, towers=2),
        lambda x: normalize_responses(x, rectify=True, beta=0.6),
        lambda x: normalize_and_pool(x, rectify="before", towers=2),
        lambda x: normalize_and_pool(x, rectify="after"),
        lambda x: normalize_and_pool(x, rectify="none"),
        lambda x: kernels.pool_maximum(x, rectify=True),
        lambda x: kernels.pool_maximum(x),
    ]
    for operation in operations:
        with kernels.using("reference"):
            expected = operation(x).isnan()
        with kernels.using(version):
            actual = operation(x).isnan()
        assert expected.any()
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("version", FAST)
def test_nan_in_a_gradient_reaches_the_input(version: str) -> None:
    x = make_inputs((1, 8, 5, 5), torch.float32, "channels_last")
    with kernels.using(version):
        for y in (normalize_and_pool(x), kernels.pool_maximum(x), normalize_responses(x)):
            (dx,) = torch.autograd.grad(y, x, torch.full_like(y, torch.nan))
            assert dx.isnan().any()


@pytest.mark.parametrize("scale", [1e-6, 1e6, 1e12])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", FAST)
def test_very_small_and_very_large_activations_are_normalized_as_defined(
    version: str, dtype: torch.dtype, scale: float
) -> None:
    x = (make_inputs((1, 9, 5, 5), dtype, "channels_last").detach() * scale).requires_grad_()
    check_agreement(version, kernels.normalize_responses, x)
    check_agreement(version, kernels.normalize_and_pool, x)


@pytest.mark.parametrize("version", FAST)
def test_activations_too_large_to_square_are_normalized_to_finite_numbers(version: str) -> None:
    x = torch.full((1, 5, 3, 3), 1e25, requires_grad=True)
    with kernels.using(version):
        y = normalize_responses(x)
        (dx,) = torch.autograd.grad(y.sum(), x)
    assert y.isfinite().all()
    assert dx.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [*FAST, "reference"])
def test_an_empty_batch_gives_an_empty_result_and_gradient(version: str, dtype: torch.dtype) -> None:
    x = torch.zeros(0, 6, 7, 7, dtype=dtype, requires_grad=True)
    with kernels.using(version):
        results = {
            normalize_responses(x): (0, 6, 7, 7),
            normalize_and_pool(x): (0, 6, 3, 3),
            kernels.pool_maximum(x): (0, 6, 3, 3),
            kernels.spatially_normalize_responses(x, scale=1.0): (0, 6, 7, 7),
        }
        for y, shape in results.items():
            assert y.shape == shape
            assert torch.autograd.grad(y.sum(), x)[0].shape == x.shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_depend_neither_on_threads_nor_on_the_batch(dtype: torch.dtype) -> None:
    x = make_inputs((9, 8, 7, 7), dtype, "channels_last")
    threads = numba.get_num_threads()
    assert threads > 1 or numba.config.NUMBA_NUM_THREADS == 1
    operations: list[Callable[[Tensor], Tensor]] = [kernels.normalize_responses, kernels.normalize_and_pool]
    for operation in operations:
        expected = run("numba", operation, x)
        try:
            numba.set_num_threads(1)
            single = run("numba", operation, x)
        finally:
            numba.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(single, expected, strict=True))
        with kernels.using("numba"):
            assert torch.equal(operation(x[4:5]), expected[0][4:5])


@pytest.mark.parametrize("version", FAST)
def test_kernels_run_where_gradients_are_off(version: str) -> None:
    x = make_inputs((1, 8, 5, 5), torch.float32, "contiguous")
    with kernels.using(version):
        expected = normalize_and_pool(x).detach()
        with torch.no_grad():
            assert torch.equal(normalize_and_pool(x), expected)
        with torch.inference_mode():
            assert torch.equal(normalize_and_pool(x), expected)
            assert torch.equal(normalize_and_pool(x * 1), expected)


def test_inputs_that_are_slices_of_others_are_read_correctly() -> None:
    whole = make_inputs((4, 8, 10, 9), torch.float32, "channels_last").detach()
    part = whole[::2, 1:6, ::2, 1:]
    with kernels.using("numba"):
        assert torch.equal(normalize_and_pool(part), normalize_and_pool(part.contiguous()))


@pytest.mark.parametrize("window", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3, 6])
def test_the_number_of_windows_is_that_of_pytorch_rounding_up(window: int, stride: int) -> None:
    for length in range(1, 30):
        count = kernels.pooled_length(length, window, stride)
        if count >= 1:
            row = torch.zeros(1, 1, length)
            assert count == torch.nn.functional.max_pool1d(row, window, stride, ceil_mode=True).shape[-1]
            assert (count - 1) * stride < length
        else:
            assert length < window


def test_the_networks_maps_shrink_as_in_the_paper() -> None:
    assert [kernels.pooled_length(n, 3, 2) for n in (55, 27, 13)] == [27, 13, 6]
