"""The network as plain modules: equal to the fused one by name, and open to what transforms functions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from alexnet.network.alexnet import AlexNet, build, build_spec
from alexnet.network.dialects import DIALECTS
from alexnet.system import has_short_vectors
from exchange.miniature import everything

SMALL = [name if name.startswith("cifar") else f"{name}+input=67+without=fc7" for name in DIALECTS]
"""Every dialect, on the smallest inputs that it can read, and without the layer that holds most of the weights."""

NETWORKS = [*SMALL, "paper+input=67+without=fc7+activation=abs", "paper+input=99+without=fc7+pool-2", "everything"]


def make(name: str) -> AlexNet:
    if name == "everything":
        return build_spec(everything(), initialization="he").eval()
    return build(name, 4, initialization="he").eval()


def draw_inputs(network: nn.Module, count: int = 2) -> Tensor:
    side = network.spec.input_px
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def assert_near(found: Tensor, expected: Tensor) -> None:
    """Equal to the rounding of float32, beside the largest value; twice that where kernels of ours sum otherwise."""
    largest = float(expected.detach().abs().max())
    assert largest > 0
    rounding = 4e-6 if has_short_vectors() else 2e-6
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=rounding * largest)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_activation_and_every_gradient_is_that_of_the_fused_network(name: str) -> None:
    network = make(name)
    unfused = network.unfused()
    seen: dict[str, Tensor] = {}

    def remember(tap: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        return lambda module, inputs, output: seen.update({tap: output})

    for tap in network.activation_names():
        unfused.get_submodule(tap).register_forward_hook(remember(tap))
    first, second = draw_inputs(network).requires_grad_(), draw_inputs(network).requires_grad_()
    logits = unfused(first)
    expected = network.activations(second)
    assert tuple(seen) == tuple(expected)
    for tap, values in expected.items():
        assert_near(seen[tap], values)
    parameters = list(network.parameters())
    found = torch.autograd.grad(logits.square().sum(), [first, *parameters])
    for ours, theirs in zip(
        found, torch.autograd.grad(network(second).square().sum(), [second, *parameters]), strict=True
    ):
        assert_near(ours, theirs)


@pytest.mark.parametrize("name", NETWORKS)
def test_second_derivatives_of_both_agree(name: str) -> None:
    network = make(name)
    parameters = list(network.parameters())
    found = []
    for computed in (network, network.unfused()):
        inputs = draw_inputs(network).requires_grad_()
        (gradient,) = torch.autograd.grad(computed(inputs).square().sum(), inputs, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), [inputs, *parameters[:-1]]))
    for ours, theirs in zip(*found, strict=True):
        assert_near(ours, theirs)


def test_a_second_derivative_is_the_slope_of_the_first() -> None:
    network = make("cifar-11pct").double()
    inputs, direction = draw_inputs(network).double(), draw_inputs(network).flip(0).double()

    def slope(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(network.unfused()(x).square().sum(), x, create_graph=True)
        return gradient

    start = inputs.clone().requires_grad_()
    (first,) = torch.autograd.grad(network.unfused()(start).square().sum(), start, create_graph=True)
    (product,) = torch.autograd.grad((first * direction).sum(), start)
    step = 1e-7
    by_difference = (slope(inputs + step * direction) - slope(inputs - step * direction)).detach() / (2 * step)
    torch.testing.assert_close(product, by_difference, rtol=1e-4, atol=1e-4 * float(product.abs().max()))


def test_the_parameters_are_shared_and_not_copied() -> None:
    network = make("cifar-18pct").train()
    unfused = network.unfused()
    assert unfused.training
    assert [id(each) for each in unfused.parameters()] == [id(each) for each in network.parameters()]
    before = network.eval()(draw_inputs(network))
    F.cross_entropy(unfused.eval()(draw_inputs(network)), torch.tensor([0, 1])).backward()
    torch.optim.SGD(unfused.parameters(), 0.1).step()
    assert not torch.allclose(network(draw_inputs(network)), before)
    assert_near(unfused(draw_inputs(network)), network(draw_inputs(network)))
    assert not list(network.layers["conv1"].children())  # the fused network is as it was


@pytest.mark.parametrize("name", ["everything", "cifar-11pct", "paper+input=67+without=fc7"])
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_what_traces_graphs_goes_through(name: str) -> None:
    network = make(name)
    unfused, inputs = network.unfused(), draw_inputs(network)
    expected = network(inputs)
    graph = torch.fx.symbolic_trace(unfused)
    assert_near(graph(inputs), expected)
    called = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    assert {"conv1.relu", "conv1.pool"} <= set(called)
    traced = torch.jit.trace(unfused, inputs[:1])
    assert_near(traced(inputs), expected)
    assert_near(torch.export.export(unfused, (inputs,)).module()(inputs), expected)


@pytest.mark.parametrize("name", ["everything", "cifar-11pct", "source-2012+input=67+without=fc7"])
def test_gradients_of_each_image_come_in_one_call(name: str) -> None:
    network = make(name)
    unfused, inputs, labels = network.unfused(), draw_inputs(network, 3), torch.tensor([0, 1, 3])
    weights = {key: value.detach() for key, value in unfused.named_parameters()}

    def lose(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(unfused, weights, (image[None],)), label[None])

    found = vmap(grad(lose), (None, 0, 0))(weights, inputs, labels)
    for number in range(3):
        alone = torch.autograd.grad(
            F.cross_entropy(network(inputs[number : number + 1]), labels[number : number + 1]),
            list(network.parameters()),
        )
        for ours, theirs in zip(found.values(), alone, strict=True):
            assert_near(ours[number], theirs)


def test_dropout_in_training_is_as_the_paper_scales_it() -> None:
    unfused = make("paper+input=67+without=fc7").unfused().train()
    ones = torch.ones(4, 4096)
    dropped = unfused.fc6.dropout(ones)
    assert set(dropped.unique().tolist()) == {0.0, 1.0}
    assert 0.45 < dropped.mean() < 0.55
    assert torch.equal(unfused.eval().fc6.dropout(ones), ones / 2)
    scaled = make("caffe+input=67+without=fc7").unfused().train().fc6.dropout(ones)
    assert set(scaled.unique().tolist()) == {0.0, 2.0}


def test_a_printed_network_shows_its_constants() -> None:
    text = str(make("everything").unfused())
    assert "(norm): ResponseNorm(size=5, k=2, alpha=0.001, beta=0.75, towers=2)" in text
    assert "(tanh): ScaledNonlinearity(1.7159 * tanh(0.666667 * x))" in text
    assert "(map_norm): MapNorm(size=5, k=1, alpha=0.01, beta=0.75)" in text
