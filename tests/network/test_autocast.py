"""Networks in a training loop of PyTorch's own, which computes in bfloat16 by autocast."""

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
