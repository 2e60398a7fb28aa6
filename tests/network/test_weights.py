import math

import pytest

from alexnet.errors import ConfigError
from alexnet.network.alexnet import build


def test_the_papers_initialisation_has_its_deviations_and_biases() -> None:
    net = build("paper", num_classes=1000, seed=1)
    for name, layer in net.layers.items():
        weight = layer.weight
        assert abs(weight.std().item() / 0.01 - 1) < 0.02, name
        assert abs(weight.mean().item()) < 4 * 0.01 / math.sqrt(weight.numel()), name
        assert abs(weight.abs().mean().item() / 0.00798 - 1) < 0.02, name
    biases = {name: set(layer.bias.tolist()) for name, layer in net.layers.items()}
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert biases == {name: {1.0 if name in ones else 0.0} for name in net.layers}


def test_he_initialisation_follows_the_fan_in() -> None:
    net = build("paper", num_classes=10, seed=1, initialization="he")
    for name, layer in net.layers.items():
        expected = 0.01 if name == "fc8" else math.sqrt(2 / layer.weight[0].numel())
        assert abs(layer.weight.std().item() / expected - 1) < 0.03, name
        assert not layer.bias.any(), name


def test_weights_of_other_layers_do_not_depend_on_the_number_of_classes() -> None:
    ten, hundred = build("paper", num_classes=10, seed=2), build("paper", num_classes=100, seed=2)
    assert ten.layers["fc7"].weight.equal(hundred.layers["fc7"].weight)


def test_an_unknown_initialisation_names_the_known() -> None:
    with pytest.raises(ConfigError) as problem:
        build("paper", num_classes=10, initialization="xavier")
    assert str(problem.value) == "unknown initialization 'xavier'. Known: dialect, he, pytorch."
