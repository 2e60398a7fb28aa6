import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alexnet.data.prepare.statistics import PixelStatistics, find_principal_axes

batches = hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(5), st.just(5), st.just(3)))


def count(images: np.ndarray) -> PixelStatistics:
    statistics = PixelStatistics(images.shape[1])
    statistics.add(images)
    return statistics


def test_mean_and_covariance_equal_a_float64_reference() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)
    images[..., 1] //= 2
    statistics = count(images)
    pixels = images.reshape(-1, 3).astype(np.float64)
    colors = statistics.summarize_colors()
    np.testing.assert_allclose(statistics.mean_image(), images.mean(0, dtype=np.float64), rtol=1e-7)
    np.testing.assert_allclose(colors.mean, pixels.mean(0), rtol=1e-14)
    np.testing.assert_allclose(colors.covariance, np.cov(pixels.T, bias=True), rtol=1e-11)
    assert statistics.mean_image().dtype == np.float32
    assert colors.num_pixels == 7 * 64 * 64


def test_the_largest_values_are_summed_without_overflow() -> None:
    statistics = count(np.full((3, 256, 256, 3), 255, np.uint8))
    assert (statistics.color_products == 3 * 256 * 256 * 255 * 255).all()
    assert (statistics.pixel_sums == 3 * 255).all()
    assert (statistics.summarize_colors().covariance == 0).all()


def test_more_images_at_once_than_sixteen_bits_can_sum() -> None:
    assert (count(np.full((600, 5, 5, 3), 255, np.uint8)).pixel_sums == 600 * 255).all()


def test_covariance_keeps_its_digits_where_float64_sums_would_cancel() -> None:
    images = np.full((1, 100, 100, 3), 254, np.uint8)
    images[0, 0, 0, 0] = 255
    variance = count(images).summarize_colors().covariance[0, 0]
    assert variance == pytest.approx(1e-4 * (1 - 1e-4), rel=1e-15)


@settings(max_examples=25, deadline=None)
@given(batches, batches, batches)
def test_merged_parts_in_any_order_equal_the_whole_bit_for_bit(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    whole = count(np.concatenate([a, b, c]))
    merged = count(c)
    merged.merge(count(a))
    merged.merge(count(b))
    assert merged.num_images == whole.num_images
    assert (merged.pixel_sums == whole.pixel_sums).all()
    assert (merged.color_products == whole.color_products).all()
    assert (merged.summarize_colors().eigenvectors == whole.summarize_colors().eigenvectors).all()


def test_principal_axes_are_ordered_unit_vectors_with_a_fixed_sign() -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    eigenvalues, axes = find_principal_axes(rotation @ np.diag([1.0, 9.0, 4.0]) @ rotation.T)
    np.testing.assert_allclose(eigenvalues, [9, 4, 1], rtol=1e-12)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.abs(axes), np.abs(rotation[:, [1, 2, 0]]), atol=1e-12)
    assert (axes[np.abs(axes).argmax(axis=0), range(3)] > 0).all()


def test_an_eigenvalue_below_zero_by_rounding_becomes_zero() -> None:
    eigenvalues, _ = find_principal_axes(np.diag([1.0, 1e-17, -1e-17]))
    assert (eigenvalues >= 0).all()


def test_images_of_another_shape_are_refused() -> None:
    message = "statistics of 8 px images were given uint8 of shape (1, 8, 9, 3); give uint8 of shape (N, 8, 8, 3)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PixelStatistics(8).add(np.zeros((1, 8, 9, 3), np.uint8))
    with pytest.raises(ValueError, match=r"^statistics of 9 px images cannot be merged into those of 8 px images$"):
        PixelStatistics(8).merge(PixelStatistics(9))
