"""One axis of the mesh: processes that exchange tensors, with what they send counted by name.

Everything goes through PyTorch's process groups (Gloo on CPUs, NCCL on GPUs). An exchange that does not come to its
end, because a process is gone or the time limit is over, raises LostContactError.
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
class Axis:
    """Processes along one axis. Copies of it are the axis itself, since a process group cannot be copied."""

    group: Any
    index: int
    """Position of this process."""
    count: int
    ranks: tuple[int, ...]
    traffic: Traffic
    rows: int = 1
    """Shares of a batch among the processes; `count` / rows processes hold each. More than 1 for "dense" only."""

    def __deepcopy__(self, memo: object) -> "Axis":
        return self

    @property
    def columns(self) -> int:
        """Processes that have the same images."""
        return self.count // self.rows

    def part(self, length: int) -> slice:
        """Return the part of `length` units that belongs to this process."""
        width = length // self.count
        return slice(self.index * width, (self.index + 1) * width)

    def gather(self, x: Tensor, name: str) -> Pending:
        """Begin to collect (count, *x.shape), every process's x in their order."""
        if self.count == 1:
            return Pending(None, x[None])
        out = torch.empty((self.count, *x.shape), dtype=x.dtype, device=x.device)
        self.traffic.add(name, (self.count - 1) * x.nbytes)
        with watched():
            work = _gather(out.view(-1), x.contiguous().view(-1), group=self.group, async_op=True)
        return Pending(work, out)

    def scatter_sum(self, x: Tensor, name: str) -> Pending:
        """Begin to sum (count, *shape) over the processes and to hand out x[i] to process i."""
        if self.count == 1:
            return Pending(None, x[0])
        out = torch.empty(x.shape[1:], dtype=x.dtype, device=x.device)
        self.traffic.add(name, (self.count - 1) * out.nbytes)
        with watched():
            work = _scatter_sum(out.view(-1), x.contiguous().view(-1), group=self.group, async_op=True)
        return Pending(work, out)

    def sum(self, x: Tensor, name: str) -> Pending:
        """Begin to replace x by its sum over the processes; counted as a ring sends it, 2 (count - 1) / count times."""
        if self.count == 1:
            return Pending(None, x)
        self.traffic.add(name, 2 * (self.count - 1) / self.count * x.nbytes)
        with watched():
            work = dist.all_reduce(x, group=self.group, async_op=True)
        return Pending(work, x)

    def shift(self, to_previous: Tensor, to_next: Tensor, name: str) -> tuple[Tensor | None, Tensor | None]:
        """Exchange with both neighbours; return what came from the one before and from the one behind, if there is one.

        All processes send tensors of the same two shapes; an empty one is not sent.
        """
        steps, arrived = [], [torch.empty_like(to_next), torch.empty_like(to_previous)]
        neighbours = [self.index - 1, self.index + 1]
        for side, neighbour, sent in zip((0, 1), neighbours, (to_previous, to_next), strict=True):
            if not 0 <= neighbour < self.count:
                continue
            peer = self.ranks[neighbour]
            if sent.numel():
                self.traffic.add(name, sent.nbytes)
                steps.append(dist.P2POp(dist.isend, sent.contiguous(), peer, self.group))
            if arrived[side].numel():
                steps.append(dist.P2POp(dist.irecv, arrived[side], peer, self.group))
        if steps:
            with watched():
                for work in dist.batch_isend_irecv(steps):
                    work.wait()
        return (
            arrived[0] if self.index > 0 else None,
            arrived[1] if self.index + 1 < self.count else None,
        )


def _gather(out: Tensor, x: Tensor, **options: Any) -> Any:
    """All-gather flat tensors under the name that this PyTorch has for it."""
    function = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    return function(out, x, **options)


def _scatter_sum(out: Tensor, x: Tensor, **options: Any) -> Any:
    """Reduce-scatter flat tensors under the name that this PyTorch has for it."""
    function = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
    return function(out, x, **options)
