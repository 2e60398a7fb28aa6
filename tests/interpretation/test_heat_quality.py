"""Measures of heat on maps whose values can be told by heart."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier
from heat_quality import (
    area_under,
    correlate_ranks,
    deletion_curves,
    points_inside,
    share_inside,
)

MASKS = np.zeros((3, 4, 4), np.bool_)
MASKS[:, 1:3, 1:3] = True


def test_the_share_inside_is_that_of_the_heat_and_of_even_heat_that_of_the_area() -> None:
    heat = np.zeros((3, 4, 4), np.float32)
    heat[0, 1, 1], heat[0, 0, 0] = 3, 1
    heat[1] = 5
    np.testing.assert_allclose(share_inside(heat, MASKS), [0.75, 0.25, 0])


def test_the_hottest_pixel_counts_and_equally_hot_ones_share() -> None:
    heat = np.zeros((3, 4, 4), np.float32)
    heat[0, 1, 1], heat[0, 0, 0] = 2, 1
    heat[1, 3, 3] = heat[1, 2, 2] = 1
    np.testing.assert_allclose(points_inside(heat, MASKS), [1, 0.5, 0.25])


def test_pixels_are_taken_away_from_the_hottest_on(classifier: Classifier) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    heat = np.random.default_rng(1).random((12, 12)).astype(np.float32)
    (curve,) = deletion_curves(classifier, [image], [2], heat[None], steps=4)
    view = torch.from_numpy(((image[2:14, 2:14] - 128.0) / 60).transpose(2, 0, 1)).float()
    for step, probability in enumerate(curve):
        # 36 of 144 pixels a step.
        gone = heat >= (np.sort(heat.ravel())[::-1][36 * step - 1] if step else math.inf)
        assert gone.sum() == 36 * step
        with torch.inference_mode():
            expected = classifier.network((view * torch.from_numpy(~gone))[None]).softmax(1)[0, 2]
        assert probability == pytest.approx(float(expected), rel=1e-4)
    assert deletion_curves(classifier, [], [], np.zeros((0, 12, 12))).shape == (0, 21)


def test_the_area_is_that_of_trapezoids() -> None:
    np.testing.assert_allclose(area_under(np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])), [0.25, 1])


def test_rank_correlation_is_spearmans_with_shared_ranks() -> None:
    rising = np.arange(4.0).reshape(1, 2, 2)
    assert correlate_ranks(rising, np.exp(rising)) == pytest.approx(1)
    assert correlate_ranks(rising, -rising) == pytest.approx(-1)
    # Ranks 1, 2, 3, 4 against 1.5, 1.5, 3.5, 3.5: covariance 4, variances 5 and 4.
    assert correlate_ranks(rising, rising // 2) == pytest.approx(4 / math.sqrt(20))
    assert np.isnan(correlate_ranks(rising, np.ones_like(rising))).all()


HEAT = np.zeros((3, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *(
            (
                lambda classifier, measure=measure: measure(HEAT, MASKS[:, :3]),
                "masks of shape (3, 3, 4) for heat of shape (3, 4, 4). Cut the masks as the network cuts the images: "
                "crop_center does both.",
            )
            for measure in (share_inside, points_inside)
        ),
        (
            lambda classifier: deletion_curves(classifier, [np.zeros((16, 16, 3), np.uint8)], [0], HEAT[:1]),
            "heat of shape (1, 4, 4) for 1 view of 12 px. Give maps of the centre views, as explain returns them.",
        ),
        (
            lambda classifier: correlate_ranks(HEAT, HEAT[:, :2]),
            "maps of shapes (3, 4, 4) and (3, 2, 4) cannot be compared. Give pairs of a size.",
        ),
    ],
)
def test_maps_of_other_sizes_are_refused(
    call: Callable[[Classifier], object], message: str, classifier: Classifier
) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        call(classifier)
