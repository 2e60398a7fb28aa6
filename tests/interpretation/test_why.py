"""Where a class is decided: each method against a direct computation, and on a network that looks at one corner."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.batches.preprocessing import Preprocessing
from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.shared_views import can_share
from alexnet.interpretation.grad_cam import join_towers, measure_cam, measure_cam_towers
from alexnet.interpretation.saliency import measure_occlusion
from alexnet.interpretation.why import METHODS, explain
from alexnet.network.alexnet import AlexNet
from alexnet.network.model_file import Model
from alexnet.network.rows import Convolution, Dense, Layer, Local, Nonlinearity, Operation, Pool, Rectify, Spec
from alexnet.verbs.draw import WHY_METHODS

MEAN, DIVISOR = 100.0, 50.0
RELU, POOL = Rectify(), Pool()


def make_classifier(layers: Sequence[Layer], crop_px: int, image_px: int, *, towers: int = 1) -> Classifier:
    torch.manual_seed(3)
    network = AlexNet(Spec(dialect="tiny", input_px=crop_px, towers=towers, layers=tuple(layers))).eval()
    names = tuple(f"class {index}" for index in range(network.shapes[-1].output[0]))
    mean = np.full((image_px, image_px, 3), MEAN, np.float32)
    model = Model(network, names, names, Preprocessing(mean, DIVISOR), {})
    return Classifier(model, Path("run"), device="cpu", precision="float32")


def draw_images(count: int, image_px: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, image_px, image_px, 3), dtype=np.uint8))


def crop(image: np.ndarray, crop_px: int) -> np.ndarray:
    """The centre view as the network's inputs, (3, crop, crop), in float64."""
    start = (len(image) - crop_px) // 2
    part = image[start : start + crop_px, start : start + crop_px]
    return ((part.astype(np.float64) - MEAN) / DIVISOR).transpose(2, 0, 1)


def test_grad_cam_is_each_map_times_the_mean_of_its_derivative_tower_by_tower(classifier: Classifier) -> None:
    """Maps and derivatives in plain float64; classifier: 40 kernels of 5 x 5 in two towers, and a dense layer."""
    images, kinds = draw_images(3, 16), [4, 0, 4]
    found = measure_cam_towers(classifier, images, kinds)
    layers: Any = classifier.network.layers
    kernels, biases, dense = (
        tensor.detach().double().numpy()
        for tensor in (layers["conv1"].weight, layers["conv1"].bias, layers["fc2"].weight)
    )
    for image, kind, maps in zip(images, kinds, found, strict=True):
        inputs = (image.astype(np.float64)[2:14, 2:14] - 128).transpose(2, 0, 1) / 60
        windows = np.lib.stride_tricks.sliding_window_view(inputs, (5, 5), axis=(1, 2))
        out = np.maximum(np.einsum("cyxij,kcij->kyx", windows, kernels) + biases[:, None, None], 0)
        weight = dense[kind].reshape(out.shape).mean((1, 2))
        cells = np.stack([np.einsum("k,kyx->yx", weight[half], out[half]) for half in (slice(20), slice(20, 40))])
        # A place sees five pixels, so that the first lies on pixel 2 and the last of the eight on pixel 9.
        at = np.clip(np.arange(12) - 2, 0, 7)
        np.testing.assert_allclose(maps, cells[:, at][:, :, at], rtol=1e-4, atol=1e-6)
    assert (found < 0).any()
    np.testing.assert_array_equal(measure_cam(classifier, images, kinds), np.maximum(found[:, 0] + found[:, 1], 0))
    assert join_towers(np.array([[[[1.0]], [[-3.0]]]], np.float32)).tolist() == [[[0.0]]]


@pytest.mark.parametrize(
    ("then", "bend"),
    [
        ((RELU, POOL), torch.relu),
        ((POOL, RELU), torch.relu),  # a maximum and the rectifier commute: the maps of the convolution all the same
        ((Nonlinearity(kind="tanh"), POOL), torch.tanh),
    ],
)
def test_grad_cam_takes_the_maps_behind_the_non_linearity_and_before_the_pool(
    then: tuple[Operation, ...], bend: Any
) -> None:
    rows = (
        Convolution(name="conv1", kernels=6, window_px=3, stride_px=2, then=(RELU,)),
        Convolution(name="conv2", kernels=4, window_px=3, padding_px=1, then=then),
        Dense(name="fc3", units=5, then=(RELU,)),
        Dense(name="fc4", units=3),
    )
    classifier = make_classifier(rows, 19, 23)
    (image,) = draw_images(1, 23)
    layers: Any = classifier.network.layers
    weights = {name: tensor.double() for name, tensor in classifier.network.state_dict().items()}
    x = torch.from_numpy(crop(image, 19))[None]
    x = torch.relu(F.conv2d(x, weights["layers.conv1.weight"], weights["layers.conv1.bias"], 2))
    maps = bend(F.conv2d(x, weights["layers.conv2.weight"], weights["layers.conv2.bias"], padding=1)).requires_grad_()
    pooled = F.max_pool2d(maps, 3, 2, ceil_mode=True).flatten(1)
    hidden = torch.relu(F.linear(pooled, weights["layers.fc3.weight"], weights["layers.fc3.bias"]))
    F.linear(hidden, weights["layers.fc4.weight"], weights["layers.fc4.bias"])[0, 1].backward()
    assert maps.grad is not None
    cells = (maps * maps.grad.mean((2, 3), keepdim=True)).sum(1)[0].detach().numpy()
    ((found,),) = measure_cam_towers(classifier, [image], [1])
    # The windows of conv1 are centred on pixels 1, 3, ... 17; those of conv2 on the same.
    np.testing.assert_allclose(found[1:18:2, 1:18:2], cells, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[2, 1:18:2], (cells[0] + cells[1]) / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[0], found[1])
    assert layers["fc3"].weight.grad is None


SHARING = (
    Convolution(name="conv1", kernels=6, window_px=5, stride_px=2, then=(RELU, POOL)),
    Convolution(name="conv2", kernels=4, window_px=3, then=(RELU,)),
    Dense(name="fc3", units=3),
)
SEPARATE = (Convolution(name="conv1", kernels=4, window_px=4, padding_px=1, then=(RELU,)), Dense(name="fc2", units=3))


@pytest.mark.parametrize(("layers", "shares"), [(SHARING, True), (SEPARATE, False)])
@pytest.mark.parametrize("side", [None, 6, 20])
def test_occlusion_is_the_mean_fall_over_the_squares_that_cover_a_pixel(
    layers: Sequence[Layer], shares: bool, side: int | None
) -> None:
    """Beside views that are covered one by one; crops of 20 have windows that hang over their edge."""
    classifier = make_classifier(layers, 20, 24)
    assert can_share(classifier.network, 20, [(0, 0)]) == shares
    (image,), kind = draw_images(1, 24), 2
    ticks: list[tuple[int, int]] = []
    (found,) = measure_occlusion(classifier, [image], [kind], side_px=side, tick=lambda *both: ticks.append(both))
    width, step = side or 3, max(1, (side or 3) // 2)
    starts = [*range(0, 20 - width, step), 20 - width]
    squares = [np.s_[y : y + width, x : x + width] for y in starts for x in starts]
    views = np.repeat(crop(image, 20)[None], 1 + len(squares), axis=0)  # the whole one, and one for each square
    for covered, (rows, columns) in zip(views[1:], squares, strict=True):
        covered[:, rows, columns] = 0
    with torch.inference_mode():
        scores = classifier.network(torch.from_numpy(views).float()).double().log_softmax(1)[:, kind].numpy()
    total, covering = np.zeros((20, 20)), np.zeros((20, 20))
    for square, score in zip(squares, scores[1:], strict=True):
        total[square] += scores[0] - score
        covering[square] += 1
    assert covering.min() > 0
    np.testing.assert_allclose(found, np.maximum(total / covering, 0), atol=2e-6)
    assert ticks[-1] == (len(squares), len(squares))
    assert found.max() > 0 or side == 20


@pytest.mark.parametrize("side", [0, 21])
def test_a_square_that_cannot_cover_is_refused(side: int) -> None:
    with pytest.raises(ConfigError, match=rf"^a square of {side} px cannot cover a view of 20 px. Choose 1 to 20.$"):
        measure_occlusion(make_classifier(SEPARATE, 20, 24), draw_images(1, 24), [0], side_px=side)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_looks_at_one_corner_has_its_heat_there(method: str) -> None:
    """Its last maps have weights of their own at each place, which are zero but in the lower right corner."""
    layers = (
        Convolution(name="conv1", kernels=4, window_px=3, then=(RELU,)),
        Local(name="local2", kernels=4, window_px=3, then=(RELU,)),
        Dense(name="fc3", units=2),
    )
    classifier = make_classifier(layers, 14, 16)
    parts: Any = classifier.network.layers
    with torch.no_grad():
        local = parts["local2"].weight.view(10, 10, 4, -1)
        local[:] = 0
        local[6:, 6:] = torch.rand(4, 4, 4, local.shape[-1])
        parts["conv1"].bias[:] = 1
        parts["fc3"].weight[0], parts["fc3"].weight[1] = 0.0001, -0.0001
    heat = explain(classifier, draw_images(1, 16), [0], method)
    assert heat.shape == (1, 14, 14)
    assert (heat.sum((1, 2)) > 0).all()
    # Place 6 sees the pixels from 6 on; heat between places, and below squares of two pixels, reaches one further.
    assert (heat[:, 5:, 5:].sum((1, 2)) / heat.sum((1, 2)) > 0.99).all()


def test_grad_cam_alone_does_not_know_where_dense_layers_look() -> None:
    """The weight of a map is one number for all places: docs/questions.md warns of it."""
    classifier = make_classifier(SEPARATE, 20, 24)
    dense: Any = classifier.network.layers["fc2"]
    with torch.no_grad():
        dense.weight[:] = 0
        dense.weight.view(3, 4, 19, 19)[0, :, 13:, 13:] = 1
    images = draw_images(2, 24)
    inside = {
        method: (heat[:, 11:, 11:].sum((1, 2)) / heat.sum((1, 2))).min()
        for method in METHODS
        for heat in [explain(classifier, images, [0, 0], method)]
    }
    assert min(inside["gradient"], inside["occlusion"]) > 0.99
    assert inside["cam"] < 0.4


def test_methods_are_those_of_the_command_and_need_no_image() -> None:
    assert tuple(METHODS) == WHY_METHODS
    classifier = make_classifier(SEPARATE, 20, 24)
    for method in METHODS:
        assert explain(classifier, [], [], method).shape == (0, 20, 20)
    ticks: dict[str, list[tuple[int, int]]] = {method: [] for method in METHODS}
    for method, seen in ticks.items():
        explain(classifier, draw_images(2, 24), [0, 1], method, tick=lambda *both, seen=seen: seen.append(both))
    assert ticks["gradient"] == [(1, 2), (2, 2)]
    assert ticks["cam"] == [(2, 2)]


@pytest.mark.parametrize(
    ("classes", "method", "message"),
    [
        ([0], "deconvolution", "unknown method 'deconvolution'. Choose one of: occlusion, gradient, cam."),
        (
            [3],
            "cam",
            "class 3: the model knows 3 classes, numbered from 0 to 2. class_names.index finds the number of a name.",
        ),
        (
            [-1],
            "gradient",
            "class -1: the model knows 3 classes, numbered from 0 to 2. class_names.index finds the number of a name.",
        ),
        ([0, 1], "occlusion", "2 classes for 1 image. Give one for each."),
    ],
)
def test_what_cannot_be_explained_is_named(classes: list[int], method: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        explain(make_classifier(SEPARATE, 20, 24), draw_images(1, 24), classes, method)


def test_a_network_without_convolutions_has_no_grad_cam() -> None:
    classifier = make_classifier((Dense(name="fc1", units=2),), 20, 24)
    message = (
        "dialect tiny has no convolution, and Grad-CAM weighs the maps of one. Choose another method: gradient or "
        "occlusion."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        explain(classifier, draw_images(1, 24), [0], "cam")
    assert explain(classifier, draw_images(1, 24), [0], "occlusion").max() > 0
