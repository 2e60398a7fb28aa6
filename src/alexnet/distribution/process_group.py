"""Processes that exchange tensors, along one dimension of the mesh, with what they send counted by name.

Everything goes through PyTorch's process groups (Gloo on CPUs, NCCL on GPUs). An exchange raises LostContactError where
a process is gone or the time limit is over.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet.errors import AlexNetError, DistributionError


@dataclass(slots=True)
class Traffic:
    """Bytes that this process sent, by what they were."""

    bytes: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, sent: float) -> None:
        """Count one exchange."""
        self.bytes[name] += round(sent)
        self.messages[name] += 1

    def clear(self) -> None:
        """Begin again."""
        self.bytes.clear()
        self.messages.clear()


class LostContactError(DistributionError):
    """An exchange did not come to its end; which process is to blame is not known yet."""


@contextmanager
def watched() -> Iterator[None]:
    """Turn what the process group raises into LostContactError."""
    try:
        yield
    except AlexNetError:
        raise
    except RuntimeError as problem:
        raise LostContactError(f"an exchange between the processes failed: {problem}") from problem


class Pending:
    """An exchange under way; `wait` returns what it brings."""

    def __init__(self, work: Any, result: Tensor) -> None:
        self._work, self._result = work, result

    def wait(self) -> Tensor:
        """Return the result when it is there."""
        if self._work is not None:
            with watched():
                self._work.wait()
            self._work = None
        return self._result


@dataclass(eq=False, slots=True)
class ProcessGroup:
    """Processes along one dimension of the mesh. Copies are the group itself, since a connection cannot be copied."""

    handle: Any
    """The group of torch.distributed."""
    rank: int
    """Number of this process within the group."""
    size: int
    world_ranks: tuple[int, ...]
    """Ranks of the processes in the world, in the order of the group."""
    traffic: Traffic
    batch_shards: int = 1
    """Shards of a batch in the group, each held by size / batch_shards processes. Above 1 in "dense" only."""

    def __deepcopy__(self, memo: object) -> "ProcessGroup":
        return self

    @property
    def unit_shards(self) -> int:
        """Processes that have the same images."""
        return self.size // self.batch_shards

    def shard(self, length: int) -> slice:
        """Return the part of `length` units that belongs to this process."""
        width = length // self.size
        return slice(self.rank * width, (self.rank + 1) * width)

    def all_gather(self, x: Tensor, name: str) -> Pending:
        """Begin to collect (size, *x.shape), every process's x in their order."""
        if self.size == 1:
            return Pending(None, x[None])
        out = torch.empty((self.size, *x.shape), dtype=x.dtype, device=x.device)
        self.traffic.add(name, (self.size - 1) * x.nbytes)
        with watched():
            work = _all_gather(out.view(-1), x.contiguous().view(-1), group=self.handle, async_op=True)
        return Pending(work, out)

    def reduce_scatter(self, x: Tensor, name: str) -> Pending:
        """Begin to sum (size, *shape) over the processes and to hand out x[i] to process i."""
        if self.size == 1:
            return Pending(None, x[0])
        out = torch.empty(x.shape[1:], dtype=x.dtype, device=x.device)
        self.traffic.add(name, (self.size - 1) * out.nbytes)
        with watched():
            work = _reduce_scatter(out.view(-1), x.contiguous().view(-1), group=self.handle, async_op=True)
        return Pending(work, out)

    def all_reduce(self, x: Tensor, name: str) -> Pending:
        """Begin to replace x by its sum over the processes; counted as a ring sends it, 2 (size - 1) / size times."""
        if self.size == 1:
            return Pending(None, x)
        self.traffic.add(name, 2 * (self.size - 1) / self.size * x.nbytes)
        with watched():
            work = dist.all_reduce(x, group=self.handle, async_op=True)
        return Pending(work, x)

    def exchange_halos(self, to_previous: Tensor, to_next: Tensor, name: str) -> tuple[Tensor | None, Tensor | None]:
        """Exchange with both neighbors; return what came from the one before and from the one behind, if there is one.

        All processes send tensors of the same two shapes; an empty one is not sent.
        """
        steps, arrived = [], [torch.empty_like(to_next), torch.empty_like(to_previous)]
        neighbors = [self.rank - 1, self.rank + 1]
        for side, neighbor, sent in zip((0, 1), neighbors, (to_previous, to_next), strict=True):
            if not 0 <= neighbor < self.size:
                continue
            peer = self.world_ranks[neighbor]
            if sent.numel():
                self.traffic.add(name, sent.nbytes)
                steps.append(dist.P2POp(dist.isend, sent.contiguous(), peer, self.handle))
            if arrived[side].numel():
                steps.append(dist.P2POp(dist.irecv, arrived[side], peer, self.handle))
        if steps:
            with watched():
                for work in dist.batch_isend_irecv(steps):
                    work.wait()
        return (
            arrived[0] if self.rank > 0 else None,
            arrived[1] if self.rank + 1 < self.size else None,
        )


def _all_gather(out: Tensor, x: Tensor, **options: Any) -> Any:
    """All-gather flat tensors under the name that this PyTorch has for it."""
    function = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    return function(out, x, **options)


def _reduce_scatter(out: Tensor, x: Tensor, **options: Any) -> Any:
    """Reduce-scatter flat tensors under the name that this PyTorch has for it."""
    function = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
    return function(out, x, **options)
