import pytest
import torch
from torch.nn import functional as F

from alexnet.errors import ConfigError
from alexnet.network.alexnet import AlexNet, build


@pytest.fixture(scope="module")
def net() -> AlexNet:
    return build("paper", num_classes=10, seed=3).eval()


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 60


def test_logits_have_one_column_per_class_and_depend_on_the_seed_only(net: AlexNet, inputs: torch.Tensor) -> None:
    logits = net(inputs)
    assert logits.shape == (2, 10)
    assert torch.equal(build("paper", num_classes=10, seed=3).eval()(inputs), logits)
    assert not torch.equal(build("paper", num_classes=10, seed=4).eval()(inputs), logits)


def test_the_network_equals_an_independent_construction_from_stock_operations(
    net: AlexNet, inputs: torch.Tensor
) -> None:
    weights = net.state_dict()

    def convolve(x: torch.Tensor, name: str, **options: int) -> torch.Tensor:
        return F.conv2d(x, weights[f"layers.{name}.weight"], weights[f"layers.{name}.bias"], **options)

    def connect(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, weights[f"layers.{name}.weight"], weights[f"layers.{name}.bias"])

    def normalize(x: torch.Tensor) -> torch.Tensor:  # PyTorch divides alpha by the size, the paper does not
        return F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)

    x = F.pad(inputs, (0, 3, 0, 3))
    x = F.max_pool2d(normalize(F.relu(convolve(x, "conv1", stride=4))), 3, 2)
    x = F.max_pool2d(normalize(F.relu(convolve(x, "conv2", padding=2, groups=2))), 3, 2)
    x = F.relu(convolve(x, "conv3", padding=1))
    x = F.relu(convolve(x, "conv4", padding=1, groups=2))
    x = F.max_pool2d(F.relu(convolve(x, "conv5", padding=1, groups=2)), 3, 2)
    x = F.relu(connect(x.flatten(1), "fc6")) * 0.5
    x = F.relu(connect(x, "fc7")) * 0.5
    torch.testing.assert_close(net(inputs), connect(x, "fc8"), rtol=1e-4, atol=1e-4)


def test_the_last_column_of_the_image_excites_only_the_last_column_of_conv1(net: AlexNet) -> None:
    image = torch.zeros(1, 3, 224, 224)
    image[..., 223] = 100.0
    response = (
        (net.activations(image, ["conv1"])["conv1"] - net.layers["conv1"].bias[:, None, None]).abs().sum((0, 1, 2))
    )
    assert response.nonzero().flatten().tolist() == [54]


def test_a_tower_of_conv2_sees_only_its_own_maps_and_conv3_sees_all(net: AlexNet, inputs: torch.Tensor) -> None:
    changed = build("paper", num_classes=10, seed=3).eval()
    with torch.no_grad():
        changed.layers["conv1"].weight[60:] += 0.5  # tower b, two maps away from the border
    before, after = net.activations(inputs), changed.activations(inputs)
    assert torch.equal(before["conv2"][:, :128], after["conv2"][:, :128])
    assert not torch.equal(before["conv2"][:, 128:], after["conv2"][:, 128:])
    assert not torch.equal(before["conv3"][:, :192], after["conv3"][:, :192])


def test_activations_are_named_in_order_and_never_overwritten(net: AlexNet, inputs: torch.Tensor) -> None:
    found = net.activations(inputs)
    assert tuple(found) == net.activation_names() == (
        "conv1", "conv1.relu", "conv1.norm", "conv1.pool", "conv2", "conv2.relu", "conv2.norm", "conv2.pool",
        "conv3", "conv3.relu", "conv4", "conv4.relu", "conv5", "conv5.relu", "conv5.pool",
        "fc6", "fc6.relu", "fc6.dropout", "fc7", "fc7.relu", "fc7.dropout", "fc8",
    )  # fmt: skip
    assert found["conv1"].min() < 0 <= found["conv1.relu"].min()
    assert torch.equal(found["conv1.relu"], found["conv1"].clamp(min=0))
    assert found["conv1.pool"].shape == (2, 96, 27, 27)


def test_merged_kernels_agree_with_the_operations_one_by_one(net: AlexNet, inputs: torch.Tensor) -> None:
    torch.testing.assert_close(net.activations(inputs, ["fc8"])["fc8"], net(inputs), rtol=1e-5, atol=1e-5)


def test_testing_halves_what_dropout_would_drop(net: AlexNet, inputs: torch.Tensor) -> None:
    found = net.activations(inputs, ["fc6.relu", "fc6.dropout"])
    assert torch.equal(found["fc6.dropout"], found["fc6.relu"] * 0.5)


def test_training_drops_about_half_and_rescales_nothing(inputs: torch.Tensor) -> None:
    net = build("paper", num_classes=10, seed=3).train()
    found = net.activations(inputs, ["fc6.relu", "fc6.dropout"], keys=torch.tensor([1, 2]))
    relu, dropped = found["fc6.relu"], found["fc6.dropout"]
    kept = dropped != 0
    assert torch.equal(dropped[kept], relu[kept])
    assert 0.45 < (kept & (relu > 0)).sum() / (relu > 0).sum() < 0.55


def test_dropout_depends_on_the_key_of_an_image_and_not_on_its_neighbours(inputs: torch.Tensor) -> None:
    net = build("paper", num_classes=10, seed=3).train()
    both = net(inputs, keys=torch.tensor([7, 8]))
    swapped = net(inputs.flip(0), keys=torch.tensor([8, 7]))
    torch.testing.assert_close(both, swapped.flip(0), rtol=1e-5, atol=1e-4)
    assert not torch.allclose(net(inputs, keys=torch.tensor([7, 9]))[1], both[1])


def test_training_without_keys_draws_them_from_pytorchs_generator(inputs: torch.Tensor) -> None:
    net = build("paper", num_classes=10, seed=3).train()
    torch.manual_seed(5)
    first = net(inputs)
    torch.manual_seed(5)
    assert torch.equal(net(inputs), first)
    assert not torch.equal(net(inputs), first)


def test_every_weight_gets_a_gradient_in_its_own_layout(inputs: torch.Tensor) -> None:
    net = build("paper", num_classes=10, seed=3).train()
    F.cross_entropy(net(inputs, torch.tensor([1, 2])), torch.tensor([0, 1])).backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.stride() == weight.stride(), name


def test_the_gradient_of_a_dense_layer_equals_pytorchs() -> None:
    net = build("paper", num_classes=10)
    layer = net.layers["fc8"]
    x = torch.randn(5, 4096, requires_grad=True)
    layer(x).square().sum().backward()
    ours = [x.grad.clone(), layer.weight.grad.clone(), layer.bias.grad.clone()]
    x.grad = layer.weight.grad = layer.bias.grad = None
    F.linear(x, layer.weight, layer.bias).square().sum().backward()
    for mine, theirs in zip(ours, [x.grad, layer.weight.grad, layer.bias.grad], strict=True):
        torch.testing.assert_close(mine, theirs)


def test_features_are_the_rectified_last_hidden_layer(net: AlexNet, inputs: torch.Tensor) -> None:
    features = net.features(inputs)
    assert features.shape == (2, 4096)
    assert torch.equal(features, net.activations(inputs, ["fc7.relu"])["fc7.relu"])


def test_inputs_of_another_size_are_refused(net: AlexNet) -> None:
    with pytest.raises(ConfigError) as problem:
        net(torch.zeros(1, 3, 227, 227))
    assert str(problem.value) == (
        "inputs have shape (1, 3, 227, 227); dialect paper reads (N, 3, 224, 224), RGB with the mean subtracted."
    )


def test_an_unknown_activation_names_the_known(net: AlexNet, inputs: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"unknown activation 'conv9'\. Known: conv1, conv1\.relu"):
        net.activations(inputs, ["conv9"])
