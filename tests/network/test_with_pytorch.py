"""Networks in what people build around them with PyTorch: autocast, devices without values, batches of no image."""

import pytest
import torch
from network.test_unfused import NETWORKS, draw_inputs, make
from torch import Tensor, nn
from torch.nn import functional as F


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_under_autocast_are_as_near_to_those_in_float32_as_of_plain_modules(name: str) -> None:
    network = make(name)
    images, labels = draw_inputs(network, 4).requires_grad_(), torch.tensor([0, 1, 2, 0])
    parameters = list(network.parameters())

    def differentiate(module: nn.Module, enabled: bool = True) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = F.cross_entropy(module(images).float(), labels)
        gradients = torch.autograd.grad(loss, [images, *parameters])
        assert {gradient.dtype for gradient in gradients} == {torch.float32}
        return torch.cat([gradient.flatten() for gradient in gradients])

    exact = differentiate(network, enabled=False)
    ours, theirs = (float((differentiate(each) - exact).norm() / exact.norm()) for each in (network, network.unfused()))
    assert 0 < ours < 3 * theirs < 0.5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_of_no_image_gives_no_logits_and_gradients_of_zero(name: str) -> None:
    network = make(name)
    logits = network(draw_inputs(network, 0))
    assert logits.shape == (0, network.spec.num_classes)
    for gradient in torch.autograd.grad(logits.sum(), list(network.parameters())):
        assert not gradient.any()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_on_the_device_without_values_shapes_are_known(name: str, training: bool) -> None:
    network = make(name).to("meta").train(training)
    inputs, keys = draw_inputs(network, 4).to("meta"), torch.arange(4, device="meta")
    logits = network(inputs, keys)
    logits.sum().backward()
    assert (logits.shape, logits.device.type) == ((4, network.spec.num_classes), "meta")
