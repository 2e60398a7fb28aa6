import numpy as np
import pytest
import torch

from alexnet.batches.preprocessing import Preprocessing
from alexnet.batches.views import evaluation_views
from alexnet.evaluation.evaluate import predict_probabilities
from alexnet.evaluation.shared_views import can_share, share_covered_first_layer, share_first_layer
from alexnet.network.alexnet import AlexNet, build
from alexnet.network.dialects import find_dialect
from alexnet.network.layers import apply_all
from alexnet.network.rows import NormalizeMap, Pool, Rectify, Rounding
from alexnet.system import Compute

FIVE = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]


@pytest.fixture(scope="module")
def net() -> AlexNet:
    return build("paper", num_classes=10, seed=1).eval()


def first_layer(net: AlexNet, x: torch.Tensor) -> torch.Tensor:
    row = net.spec.layers[0]
    return apply_all(net.layers[row.name](x), row.then, towers=2, training=False, keys=None, layer=0)


@pytest.mark.parametrize("dialect", ["paper", "source-2012"])
def test_the_shared_first_layer_equals_that_of_every_crop(dialect: str) -> None:
    net = build(dialect, num_classes=10, seed=1).eval()
    images = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 60
    assert can_share(net, 256, FIVE)
    with torch.inference_mode():
        shared = share_first_layer(net, images, FIVE).unflatten(0, (2, 5))
        for view, (y, x) in enumerate(FIVE):
            crop = images[:, :, y : y + 224, x : x + 224].contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(shared[:, view], first_layer(net, crop), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dialect", ["paper", "caffe"])
def test_the_first_layer_of_a_covered_image_equals_that_of_the_image_covered_by_hand(
    dialect: str, net: AlexNet
) -> None:
    network = net if dialect == "paper" else build(dialect, num_classes=10, seed=1).eval()
    side_px = network.spec.input_px
    image = torch.randn(1, 3, side_px, side_px, generator=torch.Generator().manual_seed(0)) * 60
    for side in (1, 32):
        end = side_px - side
        places = [(0, 0), (7, 16), (80, end), (end, end)]
        with torch.inference_mode():
            found = share_covered_first_layer(network, image, places, side)
            for out, (y, x) in zip(found, places, strict=True):
                covered = image.clone()
                covered[:, :, y : y + side, x : x + side] = 0
                torch.testing.assert_close(out[None], first_layer(network, covered), rtol=1e-5, atol=1e-5)


def test_the_shared_first_layer_of_bfloat16_reads_no_memory_but_its_own() -> None:
    # Where the processor has AMX, a library can leave outputs that are one pixel wide unwritten.
    net = build("paper", num_classes=10, seed=1).eval()
    images = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 60
    with torch.inference_mode():
        expected = share_first_layer(net, images, FIVE)
        net.bfloat16()
        for _ in range(3):
            stale = [torch.full((count,), torch.nan) for count in (10**3, 10**4, 10**5, 10**6)]
            del stale
            found = share_first_layer(net, images.bfloat16(), FIVE).float()
            torch.testing.assert_close(found, expected, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(
    ("image_px", "places", "rounding"),
    [
        (256, [(0, 0), (0, 30)], "ceil"),  # not a multiple of the strides
        (254, [(0, 0), (8, 8)], "ceil"),  # the image ends between two windows
        (256, FIVE, "floor"),  # 54 positions: the last pooled window is cut off
    ],
)
def test_crops_that_share_nothing_exactly_are_recognised(
    net: AlexNet, image_px: int, places: list[tuple[int, int]], rounding: Rounding
) -> None:
    spec = find_dialect("paper", 10).model_copy(update={"rounding": rounding})
    with torch.device("meta"):
        other = AlexNet(spec)
    assert not can_share(other, image_px, places)


def test_a_normalisation_within_maps_sees_the_edge_of_a_crop_and_is_not_shared() -> None:
    spec = find_dialect("paper", 10)
    first = spec.layers[0].model_copy(update={"then": (Rectify(), NormalizeMap(), Pool())})
    with torch.device("meta"):
        other = AlexNet(spec.model_copy(update={"layers": (first, *spec.layers[1:])}))
    assert not can_share(other, 256, FIVE)


def test_ten_views_with_the_central_mean_are_the_mean_of_ten_separate_passes() -> None:
    net = build("paper+half", num_classes=10, seed=1).eval()
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    mean = generator.uniform(90, 140, (256, 256, 3)).astype(np.float32)
    compute = Compute(torch.device("cpu"), torch.float32, "")
    (found,) = predict_probabilities(net, [image], Preprocessing(mean, 2.0, "central"), compute, num_views=10)
    total = torch.zeros(10)
    for y, x, mirrored in evaluation_views(256, 224, 10):
        crop = image[y : y + 224, x : x + 224]
        inputs = ((crop[:, ::-1] if mirrored else crop) - mean[16:240, 16:240]) / 2
        with torch.inference_mode():
            total += net(torch.from_numpy(inputs.transpose(2, 0, 1).copy())[None])[0].softmax(0)
    torch.testing.assert_close(found[0], total / 10, rtol=1e-4, atol=1e-6)


def test_ten_views_are_the_mean_of_ten_separate_passes_and_do_not_depend_on_the_batch(net: AlexNet) -> None:
    generator = np.random.default_rng(0)
    images = list(generator.integers(0, 256, (3, 256, 256, 3), dtype=np.uint8))
    mean = generator.uniform(90, 140, (256, 256, 3)).astype(np.float32)
    preprocessing = Preprocessing(mean, 2.0)
    compute = Compute(torch.device("cpu"), torch.float32, "")
    rows = [
        torch.cat(list(predict_probabilities(net, images, preprocessing, compute, num_views=10, batch_size=size)))
        for size in (128, 10)
    ]
    torch.testing.assert_close(rows[0], rows[1], rtol=1e-4, atol=1e-6)
    for index, image in enumerate(images):
        inputs = torch.from_numpy((image - mean) / 2).permute(2, 0, 1)
        total = torch.zeros(10)
        for y, x, mirrored in evaluation_views(256, 224, 10):
            crop = inputs[:, y : y + 224, x : x + 224]
            with torch.inference_mode():
                total += net((crop.flip(2) if mirrored else crop)[None])[0].softmax(0)
        torch.testing.assert_close(rows[0][index], total / 10, rtol=1e-4, atol=1e-6)
