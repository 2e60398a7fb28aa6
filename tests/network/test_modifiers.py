"""Modifiers change what they say, compose with any dialect, and refuse what does not fit."""

import pytest
import torch

from alexnet.errors import ConfigError
from alexnet.network.alexnet import AlexNet, build
from alexnet.network.dialects import DIALECTS, find_dialect
from alexnet.network.modifiers import MODIFIERS, describe_modifier
from alexnet.network.rows import Convolution, Dense, Nonlinearity, Normalize, NormalizeMap, Pool, Rectify, Spec
from alexnet.network.shapes import measure

IMAGENET = [name for name in DIALECTS if not name.startswith("cifar")]


def kinds(spec: Spec) -> list[list[str]]:
    return [[step.kind for step in layer.then] for layer in spec.layers]


@pytest.mark.parametrize("modifier", MODIFIERS)
def test_a_modified_dialect_can_be_built_or_is_refused(modifier: str) -> None:
    refused: list[str] = []
    for dialect in DIALECTS:
        name = f"{dialect}+{describe_modifier(modifier)}"
        if name.startswith("cifar") and name.endswith("input=227"):
            continue  # the locally connected layers would have a billion weights
        try:
            spec = find_dialect(name, 10)
        except ConfigError:
            refused.append(dialect)
            continue
        assert spec.dialect == name
        with torch.device("meta"):
            AlexNet(spec)
    assert "paper" not in refused
    assert len(refused) < 0.7 * len(DIALECTS)


def test_without_normalisation_neither_kind_is_left() -> None:
    spec = find_dialect("source-2012+no-norm", 10)
    assert not any(isinstance(step, Normalize | NormalizeMap) for layer in spec.layers for step in layer.then)
    assert kinds(find_dialect("source-2012+no-map-norm", 10))[1] == ["relu", "norm", "pool"]
    assert kinds(find_dialect("one-tower-2014+norm", 10))[:2] == [["relu", "norm", "pool"]] * 2


def test_pools_of_two_change_the_paddings_as_config_147_did() -> None:
    # computerhistory/AlexNet-Source-Code, layers/layers-147.cfg: pool1 28, conv2 26, pool2 13, conv5 11, pool3 6
    shapes = {shape.name: shape for shape in measure(find_dialect("source-2012+pool-2", 1000))}
    sides = (
        [shapes[n].output[1] for n in ("conv1", "conv2", "conv5")],
        [shapes[n].final[1] for n in ("conv1", "conv2", "conv5")],
    )
    assert sides == ([55, 26, 11], [28, 13, 6])
    unpadded = measure(find_dialect("source-2012+pool-2-same-padding", 1000))
    assert [shape.final[-1] for shape in unpadded[:5]] == [28, 14, 14, 14, 7]


@pytest.mark.parametrize("kind", ["tanh", "sigmoid", "softplus", "abs"])
def test_every_rectifier_is_replaced(kind: str) -> None:
    spec = find_dialect(f"cifar-18pct+activation={kind}", 10)
    steps = [step for layer in spec.layers for step in layer.then]
    assert not any(isinstance(step, Rectify) for step in steps)
    assert sum(isinstance(step, Nonlinearity) for step in steps) == 3
    net = build(f"cifar-18pct+activation={kind}", 10, initialization="he").eval()
    found = net.activations(torch.randn(1, 3, 32, 32), ["conv1", f"conv1.{kind}"])
    function = {
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softplus": torch.nn.functional.softplus,
        "abs": torch.abs,
    }
    torch.testing.assert_close(found[f"conv1.{kind}"], function[kind](found["conv1"]))
    assert net.features_name() == f"conv3.{kind}"


def test_without_cross_links_the_towers_meet_only_in_the_last_layer() -> None:
    spec = find_dialect("paper+no-cross-links", 10)
    assert [layer.sees for layer in spec.layers if isinstance(layer, Convolution | Dense)] == [
        "all", *["own tower"] * 6, "all"
    ]  # fmt: skip
    narrow = find_dialect("paper+no-cross-links+input=96", 10)
    net = AlexNet(narrow).eval()
    with torch.no_grad():
        for layer in net.layers.values():
            layer.weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
            layer.bias.fill_(0.1)
        x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(2))
        before = net.activations(x, ["fc7:a", "fc7:b"])
        net.layers["conv1"].weight[60:] += 0.5  # tower b, beyond the reach of a window over the border
        after = net.activations(x, ["fc7:a", "fc7:b"])
    assert torch.equal(before["fc7:a"], after["fc7:a"])
    assert not torch.equal(before["fc7:b"], after["fc7:b"])


def test_a_dense_layer_of_two_towers_is_two_dense_layers() -> None:
    net = build("paper+no-cross-links+input=96", 10, initialization="he")
    layer = net.layers["fc7"]
    x = torch.randn(3, 4096, generator=torch.Generator().manual_seed(2))
    halves = [x[:, half] @ layer.weight[half].T for half in (slice(0, 2048), slice(2048, 4096))]
    torch.testing.assert_close(layer(x), torch.cat(halves, 1) + layer.bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"])
@pytest.mark.parametrize("dialect", IMAGENET)
def test_a_layer_less_keeps_the_maps_at_13_and_6_px(dialect: str, name: str) -> None:
    whole, spec = find_dialect(dialect, 1000), find_dialect(f"{dialect}+without={name}", 1000)
    assert [layer.name for layer in spec.layers] == [layer.name for layer in whole.layers if layer.name != name]
    shapes = measure(spec)
    maps = [shape.final for shape in shapes if len(shape.final) == 3]
    assert maps[-1][1:] == (6, 6)
    assert maps[-2][1:] == (13, 13)
    assert shapes[-1].final == (1000,)
    assert sum(isinstance(step, Pool) for layer in spec.layers for step in layer.then) == 3


def test_what_follows_a_removed_layer_takes_over_its_place_in_the_towers() -> None:
    first = find_dialect("paper+without=conv1", 10).layers[0]
    assert isinstance(first, Convolution)
    assert (first.name, first.window_px, first.stride_px, first.sees, first.kernels) == ("conv2", 11, 4, "all", 256)
    conv4 = find_dialect("paper+without=conv3", 10).layers[2]
    assert isinstance(conv4, Convolution)
    assert (conv4.name, conv4.sees) == ("conv4", "all")
    conv4 = find_dialect("paper+without=conv5", 10).layers[3]
    assert [step.kind for step in conv4.then] == ["relu", "pool"]


def test_two_pools_in_a_row_have_names_of_their_own() -> None:
    with torch.device("meta"):
        names = AlexNet(find_dialect("paper+without=conv2", 10)).activation_names()
    assert names[:5] == ("conv1", "conv1.relu", "conv1.norm", "conv1.pool", "conv1.pool2")


def test_a_sixth_convolution_lies_over_the_last_pool() -> None:
    spec = find_dialect("one-tower-2014+conv6", 10)
    assert kinds(spec)[4:6] == [["relu", "pool"], ["relu", "dropout"]]
    assert measure(spec)[5].output == (256, 6, 6)
    assert measure(spec)[5].parameters == 590_080


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("paper+nonorm", "unknown modifier 'nonorm'. Known: no-norm, no-map-norm, norm, pool-2, pool-2-same-padding, activation=tanh, no-cross-links, separate-columns, all-cross-links, half, without=conv3, conv6, bottleneck=2048, no-dropout, input=227."),
        ("paper+no-norm=1", "modifier no-norm takes no value; given was 'no-norm=1'. Write +no-norm."),
        ("paper+without", "modifier without needs a value. Write, for example, +without=conv3."),
        ("paper+without=fc8", "dialect paper has no layer 'fc8' that could be removed. Accepted: conv1, conv2, conv3, conv4, conv5, fc6, fc7."),
        ("paper+activation=relu6", "activation is 'relu6'; accepted are tanh, sigmoid, softplus, abs."),
        ("paper+bottleneck=many", "modifier bottleneck is 'many'; accepted is a whole number from 1 to 999999."),
        ("paper+input=0", "modifier input is '0'; accepted is a whole number from 1 to 999999."),
        ("one-tower+half", "dialect one-tower has one tower; half needs a dialect with two, such as paper."),
        ("cifar-13pct+conv6", "dialect cifar-13pct has no convolution before its dense layers to add a sixth to."),
        ("cifar-13pct+without=conv2+without=conv1", "dialect cifar-13pct: conv1 cannot be removed, since local3 follows it."),
        ("cifar-19pct+separate-columns", "dialect cifar-19pct has one tower; no-cross-links needs a dialect with two, such as paper."),
        ("cifar-19pct+pool-2", "dialect cifar-19pct has no layer conv5, which this modifier changes."),
        ("paper+input=8", "layer conv1 of dialect paper+input=8: its 11 px window does not fit into 8 px. Use a larger input or a smaller window."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as problem:
        find_dialect(name, 10)
    assert str(problem.value) == message


def test_per_tower_views_are_halves_of_the_channels() -> None:
    with torch.device("meta"):
        net = AlexNet(find_dialect("paper", 10))
    assert net.locate_activation("conv2.pool:b") == slice(128, 256)
    assert net.measure_activation("conv2.pool:b") == (128, 13, 13)
    assert net.measure_activation("conv2.norm") == (256, 27, 27)
    assert net.measure_activation("fc6:a") == (2048,)
    with pytest.raises(ConfigError) as problem:
        net.locate_activation("conv1:c")
    assert str(problem.value) == "unknown tower in 'conv1:c'. Accepted: conv1:a, conv1:b."
    with pytest.raises(ConfigError) as problem:
        net.locate_activation("fc8:a")
    assert str(problem.value) == "unknown tower in 'fc8:a'. Accepted: fc8 alone, as it belongs to no tower."
    with torch.device("meta"):
        one = AlexNet(find_dialect("one-tower", 10))
    with pytest.raises(ConfigError) as problem:
        one.locate_activation("conv1:a")
    assert str(problem.value) == "unknown tower in 'conv1:a'. Accepted: conv1 alone."
