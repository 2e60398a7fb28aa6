import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.network.alexnet import AlexNet
from alexnet.network.rows import Dense, Spec
from alexnet.recipes.fields import Optimization
from alexnet.training.optimizer import MomentumDescent


@pytest.fixture
def tiny() -> AlexNet:
    """One dense layer on a 2 x 2 image: enough for the rule."""
    net = AlexNet(Spec(dialect="tiny", input_px=2, towers=1, layers=(Dense(name="fc", units=3),)))
    with torch.no_grad():
        net.layers["fc"].weight.fill_(1.0)
        net.layers["fc"].bias.fill_(1.0)
    return net


def test_the_rule_is_that_of_the_2012_source_with_the_rate_inside_the_velocity(tiny: AlexNet) -> None:
    optimizer = MomentumDescent(tiny, Optimization(momentum=0.9, weight_decay=0.0005), dtype=torch.float32)
    weight, bias = tiny.layers["fc"].weight, tiny.layers["fc"].bias
    weights, biases = [], []
    for rate in (0.1, 0.1, 0.01, 0.0, 0.01):
        weight.grad, bias.grad = torch.full_like(weight, -0.5), torch.full_like(bias, -0.5)
        optimizer.step(rate)
        weights.append(weight[0, 0].item())
        biases.append(bias[0].item())
    assert weights == pytest.approx([1.04995, 1.144852503, 1.23525903, 1.23525903, 1.321618729], abs=2e-7)
    assert biases == pytest.approx([1.05, 1.145, 1.2355, 1.2355, 1.32195], abs=2e-7)  # no decay


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_caffe_a_velocity_coasts_on_at_a_rate_of_0(tiny: AlexNet, dtype: torch.dtype) -> None:
    optimizer = MomentumDescent(
        tiny, Optimization(momentum=0.9, weight_decay=0.0005, at_rate_zero="coast"), dtype=dtype
    )
    weights = []
    for rate in (0.1, 0.1, 0.01, 0.0, 0.01):
        for parameter in optimizer.working.parameters():
            parameter.grad = torch.full_like(parameter, -0.5)
        optimizer.step(rate)
        weights.append(tiny.layers["fc"].weight[0, 0].item())
        assert torch.equal(optimizer.working.layers["fc"].weight, tiny.layers["fc"].weight.to(dtype))
    assert weights == pytest.approx([1.04995, 1.144852503, 1.23525903, 1.316624906, 1.39484761], abs=3e-7)


def test_in_bfloat16_the_weights_stay_in_float32_and_the_working_copy_follows(tiny: AlexNet) -> None:
    optimizer = MomentumDescent(tiny, Optimization(momentum=0.9, weight_decay=0.0), dtype=torch.bfloat16)
    copy = optimizer.working.layers["fc"].weight
    assert copy.dtype == torch.bfloat16
    for _ in range(10):  # each step alone is below bfloat16's resolution at 1
        optimizer.working.layers["fc"].weight.grad = torch.full_like(copy, 2**-10)
        optimizer.working.layers["fc"].bias.grad = torch.zeros_like(optimizer.working.layers["fc"].bias)
        optimizer.step(0.1)
    assert tiny.layers["fc"].weight[0, 0].item() == pytest.approx(
        1 - 0.1 * 2**-10 * sum((1 - 0.9**n) / 0.1 for n in range(1, 11))
    )
    assert torch.equal(copy, tiny.layers["fc"].weight.to(torch.bfloat16))


def test_a_step_lowers_the_loss(tiny: AlexNet) -> None:
    optimizer = MomentumDescent(tiny, Optimization(momentum=0.0, weight_decay=0.0), dtype=torch.float32)
    inputs, labels = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    losses = []
    for _ in range(5):
        loss = F.cross_entropy(tiny(inputs), labels)
        losses.append(loss.item())
        loss.backward()
        optimizer.step(0.1)
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[-1] > 0.1


def test_a_frozen_layer_gets_no_gradient_does_not_coast_and_does_not_decay() -> None:
    layers = (Dense(name="fc6", units=4, then=()), Dense(name="fc8", units=3))
    net = AlexNet(Spec(dialect="tiny", input_px=2, towers=1, layers=layers))
    with torch.no_grad():
        for weight in net.parameters():
            weight.normal_(generator=torch.Generator().manual_seed(1))
    optimizer = MomentumDescent(net, Optimization(momentum=0.9, weight_decay=0.1), dtype=torch.float32)
    inputs, labels = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    names = [name for name, _ in net.named_parameters()]
    moving = dict.fromkeys(names, 0.1)
    frozen = moving | {"layers.fc6.weight": 0.0, "layers.fc6.bias": 0.0}
    snapshots = []
    for rates in (moving, frozen, frozen, moving):
        optimizer.freeze(rates)
        F.cross_entropy(net(inputs), labels).backward()
        assert (net.layers["fc6"].weight.grad is None) == (rates is frozen)
        optimizer.step(rates)
        snapshots.append({name: weight.detach().clone() for name, weight in net.named_parameters()})
    for name in names:
        stays = name.startswith("layers.fc6")
        assert torch.equal(snapshots[0][name], snapshots[2][name]) == stays, name
        assert not torch.equal(snapshots[2][name], snapshots[3][name]), name


def test_layers_may_have_decays_of_their_own(tiny: AlexNet) -> None:
    optimizer = MomentumDescent(
        tiny, Optimization(momentum=0.9, weight_decay=0.5, weight_decays={"fc": 0.25}), dtype=torch.float32
    )
    weight, bias = tiny.layers["fc"].weight, tiny.layers["fc"].bias
    weight.grad, bias.grad = torch.zeros_like(weight), torch.zeros_like(bias)
    optimizer.step(0.1)
    assert weight[0, 0].item() == pytest.approx(1 - 0.25 * 0.1)
    assert bias[0].item() == 1


def test_layer_trust_scales_each_layers_rate_by_the_norms_of_its_weights_and_gradients(tiny: AlexNet) -> None:
    """LARS (You, Gitman, Ginsburg 2017), equation 6; biases are updated at the plain rate."""
    optimizer = MomentumDescent(
        tiny, Optimization(momentum=0.0, weight_decay=0.1, layer_trust=0.01), dtype=torch.float32
    )
    before = {name: weight.detach().clone() for name, weight in tiny.named_parameters()}
    for number, weight in enumerate(tiny.parameters()):
        weight.grad = torch.full_like(weight, 0.1 * (number + 1))
    gradients = {name: weight.grad.clone() for name, weight in tiny.named_parameters() if weight.grad is not None}
    optimizer.step(0.5)
    for name, weight in tiny.named_parameters():
        w, g = before[name], gradients[name]
        if name.endswith(".bias"):
            expected = w - 0.5 * g
        else:
            rate = 0.5 * 0.01 * w.norm() / (g.norm() + 0.1 * w.norm())
            expected = w - rate * (g + 0.1 * w)
        torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at_rate_zero", ["freeze", "coast"])
def test_averages_follow_the_weights_also_where_these_are_frozen(
    tiny: AlexNet, dtype: torch.dtype, at_rate_zero: str
) -> None:
    recipe = Optimization.model_validate({"average_epochs": 1, "at_rate_zero": at_rate_zero})
    optimizer = MomentumDescent(tiny, recipe, dtype=dtype)
    expected = {name: weight.detach().double().numpy() for name, weight in tiny.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    for rate, share in zip((0.1, 0.1, 0.01, 0.0, 0.0, 0.01), (1, 0.5, 0.5, 0.25, 0.25, 0.01), strict=True):
        for parameter in optimizer.working.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(dtype)
        optimizer.step(rate, average_share=share)
        for name, weight in tiny.named_parameters():
            expected[name] = (1 - share) * expected[name] + share * weight.detach().double().numpy()
    for name, average in optimizer.averages.items():
        np.testing.assert_allclose(average.numpy(), expected[name], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_networks_hold_the_averages_inside_the_block_and_the_weights_in_training_after_it(
    tiny: AlexNet, dtype: torch.dtype
) -> None:
    optimizer = MomentumDescent(tiny, Optimization(average_epochs=1), dtype=dtype)
    for parameter in optimizer.working.parameters():
        parameter.grad = torch.full_like(parameter, -0.5)
    optimizer.step(0.1, average_share=0.5)  # weights 1 + 0.05 - 0.00005, their averages half way there
    for _ in range(2):
        with optimizer.averaged():
            assert tiny.layers["fc"].bias[0].item() == pytest.approx(1.025)
            assert torch.equal(optimizer.working.layers["fc"].bias, tiny.layers["fc"].bias.to(dtype))
        assert tiny.layers["fc"].bias[0].item() == pytest.approx(1.05)
        assert torch.equal(optimizer.working.layers["fc"].bias, tiny.layers["fc"].bias.to(dtype))
    without = MomentumDescent(tiny, Optimization(), dtype=dtype)
    with without.averaged():
        assert not without.averages
        assert tiny.layers["fc"].bias[0].item() == pytest.approx(1.05)
