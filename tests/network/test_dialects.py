"""Every dialect has the numbers of its source: totals, geometry, constants, first weights."""

import math

import pytest
import torch
from torch.nn import functional as F

from alexnet.network.alexnet import AlexNet, build
from alexnet.network.dialects import DIALECTS, find_dialect
from alexnet.network.layers import apply_all, apply_one
from alexnet.network.rows import Dropout, Normalize, NormalizeMap, Pool, Rectify
from alexnet.network.shapes import count_pooled, measure

# Computed from the definitions in computerhistory/AlexNet-Source-Code (layers/*.cfg), BVLC/caffe (models/),
# akrizhevsky/cuda-convnet2 (layers/) and pytorch/vision (torchvision/models/alexnet.py).
PARAMETERS = {
    "paper": 60_965_224,
    "source-2012": 60_965_224,  # config 145
    "caffe": 60_965_224,
    "caffenet": 60_965_224,
    "one-tower-2014": 61_100_840,
    "cuda-convnet2": 61_100_840,
    "one-tower": 59_798_312,
    "source-2012+half": 59_798_312,  # config 145-half
    "source-2012+conv6": 61_555_304,  # configs 146
    "source-2012+no-norm": 60_965_224,  # config 148
    "source-2012+pool-2": 60_965_224,  # config 147
    "source-2012+separate-columns": 60_714_408,  # config 150
    "paper+all-cross-links": 62_378_344,
    "cifar-80sec": 145_578,
    "cifar-19pct": 89_578,
    "cifar-18pct": 89_578,
    "cifar-13pct": 1_116_490,
    "cifar-13pct+input=32": 1_901_386,
    "cifar-11pct": 2_112_970,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_dialect_has_the_parameters_of_its_source(name: str) -> None:
    spec = find_dialect(name, 10 if name.startswith("cifar") else 1000)
    assert sum(shape.parameters for shape in measure(spec)) == PARAMETERS[name]
    with torch.device("meta"):
        weights = list(AlexNet(spec).parameters())
    assert sum(weight.numel() for weight in weights) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("source-2012+conv6", 10_184, 99_182_152),  # config 146-2009
        ("source-2012+conv6+bottleneck=2048", 21_843, 110_605_267),  # config 146-2011
    ],
)
def test_the_nets_of_the_fall_releases_have_their_parameters(name: str, classes: int, expected: int) -> None:
    assert sum(shape.parameters for shape in measure(find_dialect(name, classes))) == expected


@pytest.mark.parametrize("name", [name for name in DIALECTS if not name.startswith("cifar")])
def test_maps_are_55_27_13_13_13_13_6_in_every_imagenet_dialect(name: str) -> None:
    shapes = measure(find_dialect(name, 1000))
    sides = [side for shape in shapes[:5] for side in dict.fromkeys((shape.output[-1], shape.final[-1]))]
    assert sides == [55, 27, 27, 13, 13, 13, 13, 6]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar-18pct", [(32, 16, 16), (32, 8, 8), (64, 4, 4), (10,)]),
        ("cifar-13pct", [(64, 12, 12), (64, 6, 6), (32, 6, 6), (32, 6, 6), (10,)]),
        ("cifar-11pct", [(64, 12, 12), (64, 6, 6), (64, 6, 6), (32, 6, 6), (10,)]),
    ],
)
def test_cifar_maps_are_pooled_with_the_ceiling(name: str, expected: list[tuple[int, ...]]) -> None:
    assert [shape.final for shape in measure(find_dialect(name, 10))] == expected


def test_cifar_layers_have_the_parameters_of_their_source() -> None:
    assert [s.parameters for s in measure(find_dialect("cifar-18pct", 10))] == [2_432, 25_632, 51_264, 10_250]
    assert [s.parameters for s in measure(find_dialect("cifar-13pct", 10))] == [
        4_864,
        102_464,
        664_704,
        332_928,
        11_530,
    ]
    assert [s.parameters for s in measure(find_dialect("cifar-11pct", 10))][2:4] == [1_329_408, 664_704]


# One pixel of seven channels, five in the window, from the formulas of the sources.
PIXEL = (10.0, -20, 30, -40, 50, -60, 70)
SIGNED = {
    "paper": (5.651838, -10.708635, 14.866753, -17.999544, 20.192328, -24.730793, 29.962412),
    "source-2012": (5.884357, -11.631335, 17.135998, -22.295521, 27.036509, -32.638107, 38.488706),
    "cuda-convnet2": (5.884357, -11.631335, 17.135998, -22.295521, 27.036509, -32.638107, 38.488706),
    "caffe": (9.795016, -19.14479, 27.741441, -35.330394, 41.794315, -50.693001, 60.301507),
    "caffenet": (9.795016, -19.14479, 27.741441, -35.330394, 41.794315, -50.693001, 60.301507),
}


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", SIGNED)
def test_the_normalisation_of_a_dialect_gives_the_known_values(name: str, layer: int) -> None:
    (norm,) = [step for step in find_dialect(name, 10).layers[layer].then if isinstance(step, Normalize)]
    x = torch.tensor(PIXEL).reshape(1, 7, 1, 1)
    y = apply_one(x, norm, towers=1, training=False, keys=None, layer=0)
    torch.testing.assert_close(y.flatten(), torch.tensor(SIGNED[name]), rtol=1e-6, atol=1e-6)


def test_the_order_of_2012_normalises_signed_values_in_layer_1_and_rectified_ones_in_layer_2() -> None:
    layers = find_dialect("source-2012", 10).layers
    maps = torch.tensor(PIXEL).reshape(1, 7, 1, 1).expand(1, 7, 3, 3)
    first = apply_all(maps, layers[0].then, towers=1, training=False, keys=None, layer=0).flatten()
    torch.testing.assert_close(
        first, torch.tensor((5.884357, 0, 17.135998, 0, 27.036509, 0, 38.488706)), rtol=1e-6, atol=1e-6
    )
    second = apply_all(maps[..., :1, :1], layers[1].then[:2], towers=1, training=False, keys=None, layer=0).flatten()
    torch.testing.assert_close(
        second, torch.tensor((5.901827, 0, 17.383751, 0, 28.004393, 0, 39.4523)), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("source-2012", (5.651838, 11.303675, 16.955513, 22.60735, 28.259188, 33.911025, 39.562863, 45.2147, 50.866538)),
        ("cifar-18pct", (9.812521, 19.273728, 29.107067, 37.539505, 44.781108, 55.049501, 65.82017, 72.012733, 82.975273)),
    ],
)  # fmt: skip
def test_the_normalisation_within_maps_gives_the_known_values(name: str, expected: tuple[float, ...]) -> None:
    steps = [step for layer in find_dialect(name, 10).layers for step in layer.then if isinstance(step, NormalizeMap)]
    x = torch.arange(10.0, 91, 10).reshape(1, 1, 3, 3)
    y = apply_one(x, steps[0], towers=1, training=False, keys=None, layer=0)
    torch.testing.assert_close(y.flatten(), torch.tensor(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "reaches"), [("source-2012", False), ("paper", True), ("caffe", True)])
def test_the_windows_of_2012_end_at_the_border_of_the_towers(name: str, reaches: bool) -> None:
    (norm,) = [step for step in find_dialect(name, 10).layers[0].then if isinstance(step, Normalize)]
    x = torch.full((1, 96, 2, 2), 50.0)
    changed = x.clone()
    changed[:, 48] += 30
    before, after = (apply_one(each, norm, towers=2, training=False, keys=None, layer=0) for each in (x, changed))
    assert torch.equal(before[:, 47], after[:, 47]) != reaches


def test_first_weights_follow_the_tables() -> None:
    # 2012 source: 0.01, in conv3 to conv5 0.03, ones in conv2, conv4, conv5, fc6, fc7; Caffe: 0.1 for ones, fc6/fc7 0.005
    rows = {name: [(layer.weight_std, layer.bias) for layer in find_dialect(name, 10).layers] for name in DIALECTS}
    ones = (0, 1, 0, 1, 1, 1, 1, 0)
    assert rows["paper"] == [(0.01, bias) for bias in ones]
    wide = (0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01)
    assert rows["source-2012"] == list(zip(wide, ones, strict=True))
    assert rows["cuda-convnet2"] == [*rows["source-2012"][:7], (0.01, -7)]
    narrow = (0.01, 0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.01)
    assert rows["caffe"] == [(std, bias / 10) for std, bias in zip(narrow, ones, strict=True)]
    assert rows["caffenet"] == list(zip(narrow, ones, strict=True))
    assert [std for std, _ in rows["cifar-80sec"]] == [0.0001, 0.01, 0.01, 0.1, 0.1]
    assert [std for std, _ in rows["cifar-11pct"]] == [0.0001, 0.01, 0.04, 0.04, 0.01]


def test_drawn_weights_have_the_deviations_of_the_2012_source() -> None:
    net = build("source-2012", num_classes=10, seed=1)
    for name, layer in list(net.layers.items())[:5]:
        std = 0.03 if name in ("conv3", "conv4", "conv5") else 0.01
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
        assert layer.weight.abs().mean().item() == pytest.approx(std * math.sqrt(2 / math.pi), rel=0.02)


def test_torchvisions_dialect_draws_as_pytorchs_layers_do() -> None:
    net = build("one-tower-2014", num_classes=10, seed=1)
    for layer in (net.layers["conv2"], net.layers["fc8"]):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert 0 < layer.bias.abs().max() <= bound


def test_dropout_stands_where_each_source_has_it_and_is_scaled_when_it_says() -> None:
    found = {
        name: [
            (layer.name, step.scaling)
            for layer in find_dialect(name, 10).layers
            for step in layer.then
            if isinstance(step, Dropout)
        ]
        for name in ("paper", "caffe", "one-tower-2014")
    }
    assert found == {
        "paper": [("fc6", "in testing"), ("fc7", "in testing")],
        "caffe": [("fc6", "in training"), ("fc7", "in training")],
        "one-tower-2014": [("conv5", "in training"), ("fc6", "in training")],
    }
    x, keys = torch.ones(2, 400), torch.tensor([1, 2])
    step = Dropout(scaling="in training")
    dropped = apply_one(x, step, towers=1, training=True, keys=keys, layer=0)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(apply_one(x, step, towers=1, training=False, keys=None, layer=0), x)


@pytest.mark.parametrize("extent", [4, 5, 6, 7])
@pytest.mark.parametrize("before", [(), (Rectify(),), (Rectify(), Normalize(size=3))])
def test_pools_round_as_their_dialect_says(extent: int, before: tuple[Rectify | Normalize, ...]) -> None:
    x = torch.randn(2, 4, extent, extent, generator=torch.Generator().manual_seed(extent)) * 10
    flat = apply_all(x, before, towers=1, training=False, keys=None, layer=0)
    for rounding in ("ceil", "floor"):
        step = Pool(rounding=rounding)  # type: ignore[arg-type]
        y = apply_all(x, (*before, step), towers=1, training=False, keys=None, layer=0)
        torch.testing.assert_close(y, F.max_pool2d(flat, 3, 2, ceil_mode=rounding == "ceil"))
        assert y.shape[2] == count_pooled(extent, 3, 2, step.rounding)


def test_a_mean_pool_divides_by_what_of_the_window_lies_inside() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    y = apply_all(x, (Rectify(), Pool(method="mean")), towers=1, training=False, keys=None, layer=0)
    expected = [[5.0, 6.5], [11.0, 12.5]]  # 3 x 3, 3 x 2, 2 x 3 and 2 x 2 values
    assert y[0, 0].tolist() == expected


def test_the_2012_network_equals_an_independent_construction_from_stock_operations() -> None:
    net = build("source-2012", num_classes=10, seed=3).eval()
    weights = {name.removeprefix("layers."): value for name, value in net.state_dict().items()}
    inputs = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 60

    def convolve(x: torch.Tensor, name: str, **options: int) -> torch.Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    def normalize(x: torch.Tensor) -> torch.Tensor:  # PyTorch too divides alpha by the window
        return torch.cat([F.local_response_norm(half, 5, alpha=1e-4, beta=0.75, k=2.0) for half in x.chunk(2, 1)], 1)

    def normalize_map(x: torch.Tensor) -> torch.Tensor:
        energy = F.avg_pool2d(x * x, 5, stride=1, padding=2)  # zeros outside count: a sum over the window / 25
        return x * (1 + 0.001 * energy) ** -0.75

    x = F.relu(F.max_pool2d(normalize(convolve(F.pad(inputs, (0, 3, 0, 3)), "conv1", stride=4)), 3, 2))
    x = F.max_pool2d(normalize_map(normalize(F.relu(convolve(x, "conv2", padding=2, groups=2)))), 3, 2)
    x = F.relu(convolve(x, "conv3", padding=1))
    x = F.relu(convolve(x, "conv4", padding=1, groups=2))
    x = F.relu(F.max_pool2d(convolve(x, "conv5", padding=1, groups=2), 3, 2)).flatten(1)
    for name in ("fc6", "fc7"):
        x = F.relu(F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])) * 0.5
    x = F.linear(x, weights["fc8.weight"], weights["fc8.bias"])
    with torch.inference_mode():
        torch.testing.assert_close(net(inputs), x, rtol=1e-5, atol=1e-5 * x.abs().max().item())


@pytest.mark.parametrize("name", ["cifar-80sec", "cifar-18pct", "cifar-11pct"])
def test_a_cifar_network_computes_and_differentiates(name: str) -> None:
    net = build(name, num_classes=10, seed=1, initialization="he").train()
    side = net.spec.input_px
    inputs = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1)) * 60
    logits = net(inputs)
    assert logits.shape == (4, 10)
    F.cross_entropy(logits, torch.arange(4)).backward()
    for parameter, weight in net.named_parameters():
        assert weight.grad is not None
        assert weight.grad.abs().max() > 0, parameter


def test_a_locally_connected_layer_with_equal_weights_everywhere_is_a_convolution() -> None:
    net = build("cifar-13pct", num_classes=10, seed=1, initialization="he").eval()
    layer = net.layers["local3"]
    kernel = torch.randn(32, 64, 3, 3, generator=torch.Generator().manual_seed(2))
    bias = torch.randn(32, generator=torch.Generator().manual_seed(3))
    x = torch.randn(2, 64, 6, 6, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        layer.weight.copy_(kernel.reshape(1, 32, -1).expand_as(layer.weight))
        layer.bias.copy_(bias.expand_as(layer.bias))
        torch.testing.assert_close(layer(x), F.conv2d(x, kernel, bias, padding=1), rtol=1e-4, atol=1e-4)
        layer.weight[7] += 1  # row 1, column 1
        changed = (layer(x) - F.conv2d(x, kernel, bias, padding=1)).abs().amax((0, 1)) > 0.1
    assert changed.nonzero().tolist() == [[1, 1]]
