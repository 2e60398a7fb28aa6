import numpy as np
import pytest
import torch
from PIL import Image

from alexnet.batches.assemble import assemble_views
from alexnet.batches.augmentation import draw_boxes, draw_views, scale_axes
from alexnet.batches.loader import TrainingBatches
from alexnet.batches.views import Views, evaluation_views
from alexnet.errors import ConfigError
from alexnet.recipes.fields import Batches

BOX = np.array([[3.0, 1.5, 30.0, 22.0]])
OPTIONS = {"seed": 0, "epoch": 0, "image_px": 256, "crop_px": 224, "color_axes": np.diag([10.0, 20.0, 30.0])}


def test_crops_reach_every_offset_from_0_to_32_and_half_are_mirrored() -> None:
    views = draw_views(np.arange(20_000), Batches(), **OPTIONS)
    assert set(views.y) == set(views.x) == set(range(33))
    assert abs(views.mirrored.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(views.y, views.x)[0, 1]) < 0.03


def test_views_of_a_sample_do_not_depend_on_its_batch() -> None:
    together = draw_views(np.arange(100), Batches(), **OPTIONS)
    alone = draw_views(np.array([41]), Batches(), **OPTIONS)
    assert (alone.y[0], alone.x[0], alone.mirrored[0]) == (together.y[41], together.x[41], together.mirrored[41])
    assert np.array_equal(alone.color_offset[0], together.color_offset[41])


def test_without_augmentation_the_view_is_the_centre() -> None:
    views = draw_views(np.arange(5), Batches(random_crops=False, reflections=False, color_noise=0), **OPTIONS)
    assert set(views.y) == set(views.x) == {16}
    assert not views.mirrored.any()
    assert not views.color_offset.any()


def test_colour_noise_has_the_covariance_of_the_2012_source() -> None:
    # Eigenvectors and standard deviations of the 2014 data maker; the result is what its noise had, times 0.1 squared.
    vectors = np.array([[0.41796, -0.81698, 0.39731], [-0.71258, -0.02354, 0.70120], [-0.56351, -0.57618, -0.59200]]).T
    axes = scale_axes(vectors, np.array([19.7208, 37.0939, 121.7801]) ** 2, unit="standard_deviation")
    exact = 0.01 * np.array([[5475.9, 4705.5, 4324.5], [4705.5, 5183.9, 4909.7], [4324.5, 4909.7, 5935.5]])
    assert np.allclose(0.01 * axes @ axes.T, exact, atol=0.06)
    offsets = draw_views(np.arange(200_000), Batches(), **(OPTIONS | {"color_axes": axes})).color_offset
    assert np.allclose(np.cov(offsets.T), exact, rtol=0.02)


def test_the_literal_eigenvalue_reading_is_selectable_and_documented_by_its_numbers() -> None:
    axes = scale_axes(np.eye(3), np.array([14830.4, 1376.0, 388.9]), unit="eigenvalue")
    assert np.allclose(0.1 * np.diag(axes), [5.816, 0.5396, 0.15251], rtol=1e-3)
    with pytest.raises(ConfigError) as problem:
        scale_axes(np.eye(3), np.ones(3), unit="variance")
    assert str(problem.value) == "unknown color noise unit 'variance'. Known: standard_deviation, eigenvalue."


def test_ten_views_are_corners_and_centre_then_mirrored_in_the_order_of_2012() -> None:
    places = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]
    assert evaluation_views(256, 224, 10) == [(y, x, False) for y, x in places] + [(y, x, True) for y, x in places]
    assert evaluation_views(256, 224, 1) == [(16, 16, False)]
    with pytest.raises(ConfigError) as problem:
        evaluation_views(256, 224, 5)
    assert (
        str(problem.value)
        == "views is 5; accepted are 1 (centre), 9 (three by three places) and 10 (corners, centre, and mirrored)."
    )


def test_nine_views_are_the_grid_of_the_cifar_tests() -> None:
    # 2012 source, convdata_cifar.py: offsets 0, 4 and 8 in both directions for 24 of 32 pixels, without reflections
    assert evaluation_views(32, 24, 9) == [(y, x, False) for y in (0, 4, 8) for x in (0, 4, 8)]


def test_images_with_the_same_crop_index_share_offset_and_reflection_but_not_colour() -> None:
    indices = np.array([5, 900, 17, 3])
    views = draw_views(indices, Batches(), **OPTIONS, crop_indices=np.array([7, 7, 7, 8]))
    assert len(set(views.y[:3])) == len(set(views.x[:3])) == len(set(views.mirrored[:3])) == 1
    assert (views.y[3], views.x[3]) != (views.y[0], views.x[0])
    assert np.array_equal(views.color_offset, draw_views(indices, Batches(), **OPTIONS).color_offset)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_central_mean_is_subtracted_unmirrored_from_every_crop(mirrored: bool) -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    mean = generator.uniform(0, 255, (20, 20, 3)).astype(np.float32)
    views = Views(np.array([1]), np.array([6]), np.array([mirrored]), np.zeros((1, 3), np.float32))
    out = torch.empty(1, 3, 12, 12, memory_format=torch.channels_last)
    assemble_views([image], mean, views, out, divisor=2.0, mean_place="central")
    crop = image[1:13, 6:18].astype(np.float32)
    expected = ((crop[:, ::-1] if mirrored else crop) - mean[4:16, 4:16]) / 2
    torch.testing.assert_close(out[0], torch.from_numpy(expected.transpose(2, 0, 1).copy()), rtol=1e-6, atol=1e-5)


def test_each_colour_may_have_a_divisor_of_its_own() -> None:
    image, mean = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4, 3), np.float32)
    views = Views(np.zeros(1, int), np.zeros(1, int), np.zeros(1, bool), np.zeros((1, 3), np.float32))
    out = torch.empty(1, 3, 4, 4, memory_format=torch.channels_last)
    assemble_views([image], mean, views, out, divisor=(1.0, 2.0, 4.0))
    assert out[0, :, 0, 0].tolist() == [100, 50, 25]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mirrored", [False, True])
def test_assembled_pixels_equal_the_formula(dtype: torch.dtype, mirrored: bool) -> None:
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (20, 20, 3), dtype=np.uint8) for _ in range(2)]
    mean = generator.uniform(0, 255, (20, 20, 3)).astype(np.float32)
    offset = np.array([[1.5, -2.25, 3.0], [0, 0, 0]], np.float32)
    views = Views(np.array([3, 0]), np.array([2, 7]), np.array([mirrored, mirrored]), offset)
    out = torch.empty(2, 3, 13, 13, dtype=dtype, memory_format=torch.channels_last)
    assemble_views(images, mean, views, out, divisor=4.0)
    for i, image in enumerate(images):
        y, x = int(views.y[i]), int(views.x[i])
        crop = (image.astype(np.float32) - mean)[y : y + 13, x : x + 13]
        if mirrored:
            crop = crop[:, ::-1]
        expected = torch.from_numpy(((crop + offset[i]) / 4).transpose(2, 0, 1).copy()).to(dtype)
        torch.testing.assert_close(out[i], expected, rtol=1e-6 if dtype == torch.float32 else 1e-2, atol=1e-5)


def test_bfloat16_pixels_are_the_float32_ones_rounded_to_nearest_even() -> None:
    image = np.arange(20 * 20 * 3, dtype=np.int64).reshape(20, 20, 3).astype(np.uint8)
    mean = np.full((20, 20, 3), 0.37, np.float32)
    views = Views(np.zeros(1, int), np.zeros(1, int), np.zeros(1, bool), np.zeros((1, 3), np.float32))
    exact = torch.empty(1, 3, 20, 20, memory_format=torch.channels_last)
    rounded = torch.empty(1, 3, 20, 20, dtype=torch.bfloat16, memory_format=torch.channels_last)
    assemble_views([image], mean, views, exact, divisor=60.0)
    assemble_views([image], mean, views, rounded, divisor=60.0)
    assert torch.equal(rounded, exact.to(torch.bfloat16))


def test_scaled_crops_cover_the_shares_asked_for_and_stay_inside() -> None:
    boxes = draw_boxes(np.arange(20_000), (0.25, 1.0), seed=0, epoch=3, image_px=256)
    left, top, width, height = boxes.T
    share = width * height / 256**2
    assert share.min() >= 0.25 - 1e-9
    assert abs(share.mean() - 0.625) < 0.005
    assert ((left >= 0) & (top >= 0) & (left + width <= 256) & (top + height <= 256)).all()
    ratio = width / height
    assert ratio.min() >= 0.75 - 1e-9
    assert ratio.max() <= 4 / 3 + 1e-9
    assert abs(np.log(ratio).mean()) < 0.005
    assert np.array_equal(boxes[41:42], draw_boxes(np.array([41]), (0.25, 1.0), seed=0, epoch=3, image_px=256))


def test_a_scaled_crop_is_the_resized_box_less_the_central_mean() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    mean = np.random.default_rng(1).uniform(0, 255, (40, 40, 3)).astype(np.float32)
    views = Views(np.zeros(1, int), np.zeros(1, int), np.array([True]), np.zeros((1, 3), np.float32), BOX)
    out = torch.empty((1, 3, 32, 32), memory_format=torch.channels_last)
    assemble_views([image], mean, views, out, divisor=2.0)
    resized = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC, box=(3.0, 1.5, 33.0, 23.5)))
    expected = (resized[:, ::-1].astype(np.float32) - mean[4:36, 4:36]) / 2
    assert np.abs(out[0].permute(1, 2, 0).numpy() - expected).mean() < 1


def test_training_batches_are_cut_as_scaled_crops_when_asked() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
    options = OPTIONS | {"crop_px": 32}
    del options["epoch"], options["image_px"]
    batches = [
        next(
            iter(
                TrainingBatches(
                    list(images), np.arange(6), np.zeros((40, 40, 3), np.float32),
                    Batches(size=6, scaled_crops=scaled_crops), dtype=torch.float32, device=torch.device("cpu"), **options,
                ).epoch(0)
            )
        )
        for scaled_crops in (None, (0.3, 0.5))
    ]  # fmt: skip
    assert torch.equal(batches[0].labels, batches[1].labels)
    assert not torch.equal(batches[0].inputs, batches[1].inputs)
