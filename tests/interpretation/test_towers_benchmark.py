"""benchmarks/towers.py: its two measures of kernels, and the comparison with random divisions."""

import numpy as np
import pytest

import towers


def test_color_is_what_red_green_and_blue_do_not_share() -> None:
    pattern = np.random.default_rng(0).normal(size=(11, 11))
    gray, opponent = np.stack([pattern] * 3), np.stack([pattern, -pattern, 0 * pattern])
    red = np.stack([pattern, 0 * pattern, 0 * pattern])
    found = towers.measure_color(np.stack([gray, opponent, red, 0 * gray]))
    np.testing.assert_allclose(found, [0, 1, 2 / 3, 0], atol=1e-12)


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 160])
def test_a_grating_has_one_orientation_whichever_it_is_and_a_round_blob_has_none(degrees: int) -> None:
    y, x = np.mgrid[:11, :11] - 5.0
    angle = np.deg2rad(degrees)
    window = np.exp(-(x**2 + y**2) / 18)
    grating = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / 4) * window
    color = np.ones((3, 1, 1))
    found = towers.measure_orientation(np.stack([grating * color, window * color]))
    assert found[0] > 0.85
    assert found[1] < 1e-9


def test_p_is_the_share_of_random_divisions_that_differ_as_much() -> None:
    apart = np.repeat([0.0, 1.0], 48)
    assert towers.compare_halves(apart, 0) == (0.0, 1.0, 0.0)
    alike = np.tile([0.0, 1.0], 48)
    assert towers.compare_halves(alike, 0) == (0.5, 0.5, 1.0)
    values = np.random.default_rng(1).normal(size=(400, 96))
    p = np.array([towers.compare_halves(each, 0)[2] for each in values])
    assert abs((p < 0.1).mean() - 0.1) < 0.05  # without a difference every p is as likely as another
