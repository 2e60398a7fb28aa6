"""Sums of gradients over parts of a batch and over processes, reduced while the backward pass still runs."""

from functools import partial

import torch
from torch import Tensor, nn

from alexnet.distribution.process_group import Pending, ProcessGroup

BUCKET_BYTES = 25 * 2**20
"""Gradients are reduced in buckets of at least this size, in the order in which the backward pass makes them."""


class _Bucket:
    def __init__(self, names: list[str], sums: Tensor, *, reduced: bool) -> None:
        self.names, self.sums, self.reduced = names, sums, reduced
        self.missing = 0
        self.pending: Pending | None = None


class GradientSums:
    """Float32 sums of the gradients of a network, whatever its dtype; each backward pass adds to them.

    Call `expect_last` before the last pass of a batch: each bucket is then summed over the process group as soon as
    its last gradient has arrived. A parameter without `requires_grad` has no sum.

    PyTorch's DistributedDataParallel averages per process and in the network's dtype. Here every image counts the same,
    sums are float32, layers may be frozen along the way, and sharded parameters are not reduced.
    """

    def __init__(self, network: nn.Module, group: ProcessGroup | None, *, sharded: frozenset[str]) -> None:
        """Hold the sums.

        Args:
            group: Processes with shards of the same batches; None for this process alone.
            sharded: Parameters of which no other process of the group holds a copy.
        """
        self._group = group
        self._last = False
        self._parameters = dict(network.named_parameters())
        self._views: dict[str, Tensor] = {}
        self._fresh: set[str] = set()
        self._buckets: list[_Bucket] = []
        names: list[str] = []
        order = list(reversed(self._parameters))
        for position, name in enumerate(order):
            names.append(name)
            follows = order[position + 1] if position + 1 < len(order) else None
            full = 4 * sum(self._parameters[each].numel() for each in names) >= BUCKET_BYTES
            if follows is None or full or (follows in sharded) != (name in sharded):
                self._add_bucket(names, reduced=group is not None and group.size > 1 and name not in sharded)
                names = []
        self._bucket_of = {name: bucket for bucket in self._buckets for name in bucket.names}
        for name, parameter in self._parameters.items():
            parameter.register_post_accumulate_grad_hook(partial(self._arrived, name))  # type: ignore[no-untyped-call]

    def _add_bucket(self, names: list[str], *, reduced: bool) -> None:
        parameters = [self._parameters[name] for name in names]
        sums = torch.zeros(sum(each.numel() for each in parameters), dtype=torch.float32, device=parameters[0].device)
        start = 0
        for name, parameter in zip(names, parameters, strict=True):
            self._views[name] = sums.as_strided(parameter.shape, parameter.stride(), start)
            start += parameter.numel()
        self._buckets.append(_Bucket(names, sums, reduced=reduced))

    def begin(self) -> None:
        """Forget the sums; a new batch begins."""
        self._last = False
        self._fresh = {name for name, parameter in self._parameters.items() if parameter.requires_grad}
        for bucket in self._buckets:
            bucket.missing = sum(name in self._fresh for name in bucket.names)
            bucket.pending = None

    def expect_last(self) -> None:
        """Say that the next backward pass is the last of its batch."""
        self._last = True

    def finish(self) -> dict[str, Tensor]:
        """Return the sums by parameter, over all parts and processes."""
        for bucket in self._buckets:
            if bucket.pending:
                bucket.pending.wait()
        return {name: self._views[name] for name, parameter in self._parameters.items() if parameter.requires_grad}

    def _arrived(self, name: str, parameter: Tensor) -> None:
        assert parameter.grad is not None
        if name in self._fresh:
            self._views[name].copy_(parameter.grad)
            self._fresh.discard(name)
        else:
            self._views[name].add_(parameter.grad)
        parameter.grad = None
        if self._last:
            self._bucket_of[name].missing -= 1
            self._reduce_complete()

    def _reduce_complete(self) -> None:
        """Reduce every complete bucket, in one order in all processes."""
        for bucket in self._buckets:
            if bucket.missing:
                return
            if (
                bucket.reduced
                and bucket.pending is None
                and any(self._parameters[n].requires_grad for n in bucket.names)
            ):
                assert self._group is not None
                bucket.pending = self._group.all_reduce(bucket.sums, "gradients")
