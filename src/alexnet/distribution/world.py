"""The processes of a training as the rest of the program sees them. Here: a single one; `processes` has several."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.shard import BatchShard
from alexnet.distribution.process_group import ProcessGroup
from alexnet.network.alexnet import AlexNet
from alexnet.network.rows import Spec

T = TypeVar("T")


class World:
    """One process, which is all there is."""

    is_main = True
    """Whether this process writes files and speaks to the user."""
    rank = 0
    """Number of this process."""
    world_size = 1
    """Processes in all."""
    data_group: ProcessGroup | None = None
    """Processes with the other shards of every batch."""
    sharded: frozenset[str] = frozenset()
    """Parameters that are divided among these processes, so that none holds a copy of another's part."""

    def describe(self) -> dict[str, Any]:
        """Return what a run folder records of the processes."""
        return {}

    def check_spec(self, spec: Spec) -> None:
        """Refuse a network that cannot be divided as it should be."""

    def batch_shard(self, local_batch: int | None) -> BatchShard:
        """Return this process's shard of every batch, to be computed in parts of at most so many images."""
        return BatchShard(local_batch=local_batch)

    def choose_threads(self, threads: int | None) -> int | None:
        """Return the threads of this process, where the user gives none."""
        return threads

    def all_reduce_any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set in any process."""
        return flags

    def run_on_all_ranks(self, work: Callable[[], T]) -> T:
        """Do something in every process; if it fails in one with an AlexNetError or OSError, it fails in all."""
        return work()

    def broadcast_result(self, work: Callable[[], T]) -> T:
        """Do something on rank 0 and return what it returns, a JSON value; if it fails, it fails in all."""
        return work()

    def all_gather_objects(self, value: Any) -> list[Any]:
        """Return the JSON values of all processes, by rank."""
        return [value]

    def all_gather_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows of all processes, each of which may have another number, one below the other."""
        return np.asarray(rows)

    def check_same(self, facts: dict[str, Any]) -> None:
        """Refuse processes that disagree about what they are to do."""

    def shard_network(self, network: AlexNet) -> AlexNet:
        """Return the part of a network that this process computes."""
        return network

    def all_reduce_shards(self, name: str, values: Tensor) -> Tensor:
        """Return values summed over the processes that hold the shards of a parameter."""
        return values

    def gather_shards(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return parameters, or velocities, by name in one piece on rank 0; on others, anything."""
        return tensors

    def take_shards(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return this process's shards of what `gather_shards` returned."""
        return tensors


SINGLE_PROCESS = World()
