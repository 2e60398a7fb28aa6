"""Stochastic gradient descent with momentum, as written in section 5."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from alexnet import kernels
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.network.alexnet import AlexNet
from alexnet.recipes.fields import Optimization


class MomentumDescent:
    """The paper's update rule, over float32 weights and the copy of them that computes.

        v <- momentum * v - weight_decay * rate * w - rate * dL/dw
        w <- w + v

    The rate is inside the velocity, unlike in torch.optim.SGD: after a drop the old velocity dies out at its old scale.
    Biases are not decayed, and a rate of 0 freezes: no coasting and no decay (2012 source, weights.cu 146-198). In
    Caffe a velocity coasts on at a rate of 0, v <- momentum * v; `at_rate_zero` chooses.

    In bfloat16, forward and backward run on `working`, a bfloat16 copy of the network, so that no weight is cast twice
    and gradients stay in bfloat16; the update reads them, moves the float32 weights of `master`, and refreshes the copy
    in the same pass. In float32 the two are one network.

    With `average_epochs` it also keeps averaged weights, in `averages`: a <- a + share * (w - a), in the same pass.
    These are validated and kept: `averaged` puts them into the networks.
    """

    def __init__(
        self,
        master: AlexNet,
        recipe: Optimization,
        *,
        dtype: torch.dtype,
        world: World = SINGLE_PROCESS,
    ) -> None:
        """Hold a network for training.

        Args:
            recipe: Momentum, weight decays, what a rate of 0 does, the trust of LARS, and whether weights are averaged.
            dtype: What forward and backward compute in.
            world: Processes that hold the other parts of the network.
        """
        self.master = master
        self.working = master if dtype == torch.float32 else copy.deepcopy(master).to(dtype)
        self._recipe, self._world = recipe, world
        self.velocities: dict[str, Tensor] = {
            name: torch.zeros_like(weight, requires_grad=False) for name, weight in master.named_parameters()
        }
        self.averages: dict[str, Tensor] = (
            {name: weight.detach().clone() for name, weight in master.named_parameters()}
            if recipe.average_epochs
            else {}
        )

    def freeze(self, rates: Mapping[str, float]) -> None:
        """Compute no gradients of weights with a rate of 0, nor what only these would need (2012 source).

        If every rate is 0, as at the first update of a warm-up, gradients are computed all the same.
        """
        everything = not any(rates.values())
        for name, weight in self.working.named_parameters():
            weight.requires_grad_(everything or rates[name] != 0)

    def step(
        self,
        rate: float | Mapping[str, float],
        gradients: Mapping[str, Tensor] | None = None,
        *,
        average_share: float = 1.0,
    ) -> None:
        """Update every weight from the gradients of `working`, and drop the gradients.

        Args:
            rate: One for all, or one for each parameter by name. Without a gradient there must be a rate of 0.
            gradients: By name, in place of those of `working`; float32 or its dtype.
            average_share: Of the new weights in their averages, where there are any; at 0 these are not touched.
        """
        shared = self.working is self.master
        copies = dict(self.working.named_parameters())
        averages = self.averages if average_share else {}
        with torch.no_grad():
            trusts = self._find_trusts(gradients) if self._recipe.layer_trust else {}
            for name, weight in self.master.named_parameters():
                own_rate = rate if isinstance(rate, float | int) else rate[name]
                gradient = copies[name].grad if gradients is None else gradients.get(name)
                if own_rate == 0:
                    if self._recipe.at_rate_zero == "coast":
                        weight.add_(self.velocities[name].mul_(self._recipe.momentum))
                        copies[name].copy_(weight)
                    if (average := averages.get(name)) is not None:
                        average.add_((weight - average).mul_(average_share))
                    copies[name].grad = None
                    continue
                assert gradient is not None
                kernels.update_weights(
                    weight.data,
                    self.velocities[name],
                    gradient,
                    rate=own_rate * trusts.get(name, 1.0),
                    momentum=self._recipe.momentum,
                    decay=0.0 if name.endswith(".bias") else self._decay(name),
                    working=None if shared else copies[name].data,
                    average=averages.get(name),
                    share=average_share,
                )
                copies[name].grad = None

    def _find_trusts(self, gradients: Mapping[str, Tensor] | None) -> dict[str, float]:
        """Return the factors of the rates of weights (LARS); 1 where weights or gradients are all zero.

        Their norms are read together, since reading waits for a GPU.
        """
        copies = dict(self.working.named_parameters())
        squares: dict[str, Tensor] = {}
        for name, weight in self.master.named_parameters():
            gradient = copies[name].grad if gradients is None else gradients.get(name)
            if gradient is not None and not name.endswith(".bias"):
                own = torch.stack([weight.double().square().sum(), gradient.double().square().sum()])
                squares[name] = self._world.all_reduce_shards(name, own)
        if not squares:
            return {}
        trusts = {}
        for name, (of_weight, of_gradient) in zip(
            squares, torch.stack(list(squares.values())).sqrt().tolist(), strict=True
        ):
            scale = of_gradient + self._decay(name) * of_weight
            trusts[name] = self._recipe.layer_trust * of_weight / scale if of_weight and of_gradient else 1.0
        return trusts

    def _decay(self, name: str) -> float:
        return self._recipe.weight_decays.get(name.split(".")[-2], self._recipe.weight_decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Have `master` and `working` hold the averaged weights inside the block, and `averages` those in training.

        Without averages nothing changes. Tensors of `state_dict` that are taken inside hold averages afterwards too.
        """
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        if self.averages:
            for name, weight in self.master.named_parameters():
                weight.data, self.averages[name] = self.averages[name], weight.data
            self.refresh()

    def refresh(self) -> None:
        """Copy the weights of `master` into `working`, after they were loaded."""
        if self.working is not self.master:
            copies = dict(self.working.named_parameters())
            with torch.no_grad():
                for name, weight in self.master.named_parameters():
                    copies[name].copy_(weight)
