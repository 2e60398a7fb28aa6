"""Intervals over images and seeds: right values by hand and by scipy, and their coverage in simulated experiments."""

import math

import numpy as np
import pytest
from scipy import stats

from alexnet.evaluation.metrics import Z_95, resample_mean
from alexnet.reproduction.uncertainty import (
    SeedSpread,
    block_spread,
    estimate,
    holm,
    image_variance,
    interval_variance,
    own_spread,
    seeds_to_resolve,
    t_quantile,
    t_tails,
)


@pytest.mark.parametrize("freedom", [1, 2, 3.3, 20, 400, 1e8])
def test_students_t_is_that_of_scipy(freedom: float) -> None:
    for t in (0.0, 0.1, 1.0, 2.2, 7.0):
        assert t_tails(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-5)
    assert t_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)


def test_holm_multiplies_by_the_contrasts_that_are_left_and_never_falls() -> None:
    assert holm([0.04, 0.01, 0.03, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_the_spread_of_a_baseline_and_one_variant_is_that_of_their_differences() -> None:
    errors = {("a", 0): 10.0, ("a", 1): 13.0, ("a", 2): 12.0, ("b", 0): 11.0, ("b", 1): 12.0, ("b", 2): 15.0}
    spread = block_spread(errors)
    assert (spread.variance, spread.freedom) == (pytest.approx(np.var([1, -1, 3], ddof=1)), 2)
    assert own_spread([1, -1, 3]) == SeedSpread(4.0, 2)


def test_one_seed_tells_no_spread() -> None:
    assert block_spread({("a", 0): 0.1, ("b", 0): 0.2}).freedom == own_spread([0.1]).freedom == 0
    assert block_spread({}).freedom == 0
    assert estimate(0.1, 1, SeedSpread(0.0, 0), 1e-4) is None


def test_a_baseline_counts_once_however_many_are_compared_with_it() -> None:
    errors = {("base", 0): 0.0, ("base", 1): 6.0}
    errors |= {(f"v{number}", seed): 1.0 * seed for number in range(9) for seed in (0, 1)}
    assert block_spread(errors).freedom == 9
    # residuals by hand: differences between the seeds are 6 and nine times 1, their mean 1.5; each residual is half
    # of a deviation, in both seeds
    squares = 2 * (4.5**2 + 9 * 0.5**2) / 4
    assert block_spread(errors).variance == pytest.approx(2 * squares / 9)


def test_an_estimate_adds_images_to_seeds_and_takes_satterthwaites_freedom() -> None:
    found = estimate(0.03, 2, SeedSpread(2e-4, 4), 1e-4)
    assert found is not None
    assert found.freedom == pytest.approx(16)
    assert found.interval[1] - 0.03 == pytest.approx(stats.t.ppf(0.975, 16) * math.sqrt(2e-4))
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.03 / math.sqrt(2e-4), 16))


def test_the_images_part_leaves_out_what_the_seeds_part_has() -> None:
    generator = np.random.default_rng(0)
    by_image, left = generator.normal(0, 0.2, 5000), generator.normal(0, 0.5, (3, 5000))
    assert image_variance(by_image + left) == pytest.approx(0.2**2 / 5000, rel=0.15)
    assert image_variance((by_image + left)[:1]) == pytest.approx((0.2**2 + 0.5**2) / 5000, rel=0.1)
    low, high = resample_mean((by_image + left).mean(axis=0))
    assert interval_variance((low, high)) == pytest.approx((0.2**2 + 0.5**2 / 3) / 5000, rel=0.1)


def test_seeds_that_resolve_a_difference() -> None:
    assert seeds_to_resolve(0.01, SeedSpread(0.0175**2, 20), 0.0) == math.ceil((Z_95 * 1.75) ** 2) == 12
    assert seeds_to_resolve(0.01, SeedSpread(0.0175**2, 20), 0.0052**2) is None


@pytest.mark.parametrize("kept", [True, False], ids=["errors by image", "intervals over images"])
def test_intervals_cover_the_truth(kept: bool) -> None:
    """Experiments of a baseline with three seeds and eight variants with two, on 150 images.

    Each training has an effect of its own on all images, each variant one on each image. The truth is the difference
    over all images and seeds; 95 % of the intervals should hold it, and as many of those too wide where no errors by
    image are kept, because the noise of each training is then counted twice.
    """
    generator = np.random.default_rng(1)
    covered = []
    for _ in range(150):
        image = generator.normal(0, 0.3, 150)
        seed_effect = generator.normal(0, 0.02, 3)
        errors = {
            (variant, seed): image
            + seed_effect[seed]
            + of_variant
            + generator.normal(0, 0.012)
            + generator.normal(0, 0.3, 150)
            for variant in range(9)
            for of_variant in [generator.normal(0, 0.2, 150)]
            for seed in range(2 + (variant == 0))
        }
        spread = block_spread({(str(variant), seed): float(each.mean()) for (variant, seed), each in errors.items()})
        for variant in range(1, 9):
            differences = np.array([errors[variant, seed] - errors[0, seed] for seed in (0, 1)])
            by_image = differences.mean(axis=0)
            half = Z_95 * float(by_image.std(ddof=1)) / math.sqrt(150)
            over_images = image_variance(differences) if kept else interval_variance((-half, half))
            found = estimate(float(differences.mean()), 2, spread, over_images)
            assert found is not None
            covered.append(found.interval[0] <= 0 <= found.interval[1])
    assert (0.93 if kept else 0.96) < np.mean(covered) < (0.97 if kept else 0.995), np.mean(covered)
