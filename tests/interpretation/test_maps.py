import numpy as np
import pytest

from alexnet.interpretation.maps import draw_activations, find_scale, shade
from alexnet.pages.themes import THEMES

IMAGE = np.zeros((12, 12, 3), np.uint8)


def rgb(color: str) -> list[float]:
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def texts(axes: object) -> list[str]:
    return [text.get_text() for text in axes.texts]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", THEMES)
def test_zero_is_the_background_and_the_ends_are_told_apart(name: str) -> None:
    theme = THEMES[name]
    signed = shade(np.array([-2.0, -1.0, 0.0, 1.0]), theme, signed=True)
    expected = [theme.validation, theme.validation, theme.background, theme.training]
    np.testing.assert_allclose(signed, [rgb(color) for color in expected])
    plain = shade(np.array([0.0, 0.5, 1.0]), theme, signed=False)
    np.testing.assert_allclose(plain, [rgb(color) for color in (theme.background, theme.training, theme.ink)])


def test_a_scale_ends_before_outliers_and_is_never_empty() -> None:
    values = np.linspace(0, 1, 1001)
    values[-1] = 1000
    assert find_scale(values) == (pytest.approx(0.995), False)
    assert find_scale(np.zeros(5)) == (1.0, False)
    assert find_scale(np.array([0.0] * 999 + [-3.0])) == (3.0, True)
    assert find_scale(np.zeros(0)) == (1.0, False)


def test_the_numbers_of_activations_are_the_values_by_tower() -> None:
    values = np.arange(4 * 2 * 3, dtype=np.float32).reshape(4, 2, 3)
    values[1] = 0
    drawing = draw_activations(values, layer="conv2", towers=["a", "b"], image=IMAGE, source="x.png")
    assert drawing.numbers["map"] == [number for number in (1, 2, 3, 4) for _ in range(6)]
    assert drawing.numbers["tower"] == ["a"] * 12 + ["b"] * 12
    assert drawing.numbers["y"][:7] == [0, 0, 0, 1, 1, 1, 0]
    assert drawing.numbers["x"][:7] == [0, 1, 2, 0, 1, 2, 0]
    assert drawing.numbers["value"] == values.ravel().tolist()
    words = [text for axes in drawing.figure.axes for text in texts(axes)]
    assert words[:4] == ["conv2", "4 × 2 × 3: maps, rows, columns", "x.png", "1 of 4 maps is zero everywhere"]
    assert [axes.get_title("left") for axes in drawing.figure.axes[-2:]] == ["Tower a", "Tower b"]
    scale = drawing.figure.axes[2]
    assert [tick.get_text() for tick in scale.get_xticklabels()] == ["0", f"{find_scale(values)[0]:.3g}"]


@pytest.mark.parametrize(
    ("shape", "towers"),
    [
        ((96, 55, 55), "ab"),
        ((1, 1, 1), ""),
        ((3, 300, 300), ""),
        ((34, 2, 2), "ab"),
        ((4096,), "ab"),
        ((2,), ""),
        ((65,), ""),
    ],
)
def test_layers_of_any_shape_can_be_drawn(shape: tuple[int, ...], towers: str) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    drawing = draw_activations(values, layer="l", towers=list(towers), image=IMAGE, source="x", theme="dark")
    assert len(drawing.numbers["value"]) == values.size
    assert ("unit" if len(shape) == 1 else "map") in drawing.numbers
    assert drawing.figure.get_size_inches()[1] < 30
    if len(shape) == 1:
        assert drawing.render("png")
