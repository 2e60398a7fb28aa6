"""Stochastic gradient descent with momentum, as written in section 5."""

import copy

import torch
from torch import Tensor

from alexnet import kernels
from alexnet.network.alexnet import AlexNet


class MomentumDescent:
    """The paper's update rule, over float32 weights and the copy of them that computes.

        v <- momentum * v - weight_decay * rate * w - rate * dL/dw
        w <- w + v

    The rate is inside the velocity, unlike in torch.optim.SGD: after a drop the old velocity dies out at its old scale.
    Biases are not decayed, and a rate of 0 freezes: no coasting and no decay (2012 source, weights.cu 146-198).

    In bfloat16, forward and backward run on `working`, a bfloat16 copy of the network, so that no weight is cast twice
    and gradients stay in bfloat16; the update reads them, moves the float32 weights of `master`, and refreshes the copy
    in the same pass. In float32 the two are one network.
    """

    def __init__(self, master: AlexNet, *, dtype: torch.dtype, momentum: float, weight_decay: float) -> None:
        self.master = master
        self.working = master if dtype == torch.float32 else copy.deepcopy(master).to(dtype)
        self._momentum = momentum
        self._weight_decay = weight_decay
        self.velocities: dict[str, Tensor] = {
            name: torch.zeros_like(weight, requires_grad=False) for name, weight in master.named_parameters()
        }

    def step(self, rate: float) -> None:
        """Update every weight from the gradients of `working`, and drop the gradients."""
        shared = self.working is self.master
        copies = dict(self.working.named_parameters())
        with torch.no_grad():
            for name, weight in self.master.named_parameters():
                gradient = copies[name].grad
                assert gradient is not None
                kernels.update_weights(
                    weight.data,
                    self.velocities[name],
                    gradient,
                    rate=rate,
                    momentum=self._momentum,
                    decay=0.0 if name.endswith(".bias") else self._weight_decay,
                    working=None if shared else copies[name].data,
                )
                copies[name].grad = None

    def refresh(self) -> None:
        """Copy the weights of `master` into `working`, after they were loaded."""
        if self.working is not self.master:
            copies = dict(self.working.named_parameters())
            with torch.no_grad():
                for name, weight in self.master.named_parameters():
                    copies[name].copy_(weight)
