import pytest

from alexnet.errors import ConfigError, WeightsError
from alexnet.network.dialects import find_dialect
from alexnet.network.rows import Spec
from alexnet.network.shapes import count_pooled, count_windows, measure


def test_paper_has_the_shapes_of_the_paper_from_224_pixels() -> None:
    shapes = measure(find_dialect("paper", 1000))
    assert [shape.output[1:] for shape in shapes[:5]] == [(55, 55), (27, 27), (13, 13), (13, 13), (13, 13)]
    assert [shape.final for shape in shapes] == [
        (96, 27, 27), (256, 13, 13), (384, 13, 13), (384, 13, 13), (256, 6, 6), (4096,), (4096,), (1000,)
    ]  # fmt: skip
    assert [shape.overhang_px for shape in shapes] == [3, 0, 0, 0, 0, 0, 0, 0]


def test_paper_has_60_965_224_parameters_layer_by_layer() -> None:
    shapes = measure(find_dialect("paper", 1000))
    assert [shape.parameters for shape in shapes] == [
        34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000
    ]  # fmt: skip
    assert sum(shape.parameters for shape in shapes) == 60_965_224


def test_paper_has_the_multiply_adds_and_neurons_of_the_2012_source() -> None:
    shapes = measure(find_dialect("paper", 1000))
    assert [shape.multiply_adds for shape in shapes] == [
        105_415_200, 223_948_800, 149_520_384, 112_140_288, 74_760_192, 37_748_736, 16_777_216, 4_096_000
    ]  # fmt: skip
    assert sum(shape.neurons for shape in shapes) == 659_272


@pytest.mark.parametrize(
    ("extent", "window", "stride", "rounding", "expected"),
    [(224, 11, 4, "ceil", 55), (224, 11, 4, "floor", 54), (227, 11, 4, "floor", 55), (13, 3, 1, "ceil", 11)],
)
def test_windows_are_counted_by_the_dialects_rounding(
    extent: int, window: int, stride: int, rounding: str, expected: int
) -> None:
    assert count_windows(extent, window, stride, rounding) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("extent", "expected"), [(55, 27), (27, 13), (13, 6), (32, 16), (24, 12), (3, 1), (2, 1)])
def test_pooling_counts_windows_with_the_ceiling(extent: int, expected: int) -> None:
    assert count_pooled(extent, 3, 2) == expected


def test_a_spec_survives_json() -> None:
    spec = find_dialect("paper", 7)
    assert Spec.from_json(spec.model_dump_json(), where="x") == spec
    assert spec.num_classes == 7


def test_a_spec_that_is_not_one_is_refused_with_the_field() -> None:
    with pytest.raises(WeightsError) as problem:
        Spec.from_json(
            '{"dialect": "paper", "layers": [{"kind": "dense", "name": "a", "units": 0}]}', where="m.safetensors"
        )
    assert str(problem.value) == (
        "m.safetensors: its network description is not readable (layers.0.dense.units: Input should be greater than or "
        "equal to 1). It was not written by this version of alexnet; obtain the file again or export it anew."
    )


def test_an_unknown_dialect_names_the_known() -> None:
    with pytest.raises(ConfigError) as problem:
        find_dialect("alex", 10)
    assert str(problem.value) == (
        "unknown dialect 'alex'. Known: paper, source-2012, caffe, caffenet, one-tower-2014, cuda-convnet2, one-tower, "
        "cifar-80sec, cifar-19pct, cifar-18pct, cifar-13pct, cifar-11pct."
    )


def test_one_class_is_refused() -> None:
    with pytest.raises(ConfigError) as problem:
        find_dialect("paper", 1)
    assert str(problem.value) == "num_classes is 1; a classifier needs at least 2."


def test_an_input_too_small_for_a_window_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"layer conv1 of dialect paper: its 11 px window does not fit into 8 px\."):
        measure(find_dialect("paper", 10).model_copy(update={"input_px": 8}))
