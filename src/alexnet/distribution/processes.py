"""The processes of a training: how they find each other, agree, fail together, and name the one that is lost."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from alexnet.batches.shard import BatchShard
from alexnet.distribution.launch import CONTINUES, name_start
from alexnet.distribution.mesh import Mesh, Shard, check_mesh
from alexnet.distribution.process_group import LostContactError, ProcessGroup, Traffic, watched
from alexnet.distribution.towers import NetworkPart
from alexnet.distribution.world import World
from alexnet.errors import AlexNetError, ConfigError, DistributionError, error_called
from alexnet.network.alexnet import AlexNet
from alexnet.network.rows import Spec
from alexnet.system import available_cores, check_device, describe_system
from alexnet.text.wording import counted

T = TypeVar("T")

TIMEOUT_SECONDS = 120.0
"""A process that does not answer for this long is given up; the default."""
GRACE_SECONDS = 5.0
"""After an exchange failed: how long the others have to say that they are there."""


@dataclass(frozen=True, slots=True)
class LaunchEnvironment:
    """What the launcher (torchrun, or --devices) says about this process."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int

    @classmethod
    def read(cls) -> "LaunchEnvironment | None":
        """Return what is said to a process that a launcher started, else None."""
        try:
            rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
            return cls(rank, world_size, int(os.environ.get("LOCAL_RANK", rank)), local_world_size)
        except (KeyError, ValueError):  # not set by a launcher
            return None


def choose_device(environment: LaunchEnvironment, devices: tuple[str, ...], device: str = "auto") -> str:
    """Return the device of a process: of those given, else a GPU of its own, else the CPU.

    Args:
        device: One for all processes; "auto" or "cuda" where each is to have its own.
    Raises:
        ConfigError: there are fewer devices than processes here, or several processes were to share a GPU.
    """
    if device not in ("auto", "cuda"):
        if device != "cpu" and environment.local_world_size > 1:
            raise ConfigError(
                f"--device {device} is one GPU for {environment.local_world_size} processes of this machine; each "
                "needs its own. Give --device cuda, or a device for each with --devices."
            )
        return device
    if devices:
        if len(devices) < environment.local_world_size:
            raise ConfigError(
                f"{counted(len(devices), 'device')} for "
                f"{counted(environment.local_world_size, 'process', 'processes')} of this machine; give one each."
            )
        return devices[environment.local_rank]
    if device == "auto" and not torch.cuda.is_available():
        return "cpu"
    check_device("cuda")
    if torch.cuda.device_count() < environment.local_world_size:
        raise ConfigError(
            f"there are {torch.cuda.device_count()} CUDA devices for {environment.local_world_size} processes on this "
            "machine. Start one process for each, or give --devices."
        )
    return f"cuda:{environment.local_rank}"


def _flatten(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested dictionaries by their path: "recipe.batches.size"."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


class DistributedWorld(World):
    """All processes of a mesh. Every method is called by all of them, at the same point of the program."""

    def __init__(
        self,
        mesh: Mesh,
        environment: LaunchEnvironment,
        device: torch.device,
        *,
        timeout_seconds: float,
        advice: str = CONTINUES,
    ) -> None:
        """Meet the other processes.

        Args:
            advice: What to do after a fault, a sentence.
        Raises:
            DistributionError: they do not come within the time limit, or have another version or mesh.
        """
        self.mesh, self.environment, self.device = mesh, environment, device
        self.is_main = environment.rank == 0
        self.rank, self.world_size = environment.rank, environment.world_size
        self.traffic = Traffic()
        self.shards: dict[str, Shard] = {}
        limit = timedelta(seconds=timeout_seconds)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        try:
            found, _, _ = next(rendezvous("env://", timeout=limit))
            self._store = PrefixStore(name_start(found, self.rank, self.world_size, timeout_seconds), found)
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(
                backend,
                store=PrefixStore("alexnet", self._store),
                rank=self.rank,
                world_size=self.world_size,
                timeout=limit,
            )
        except (RuntimeError, ValueError) as problem:
            raise DistributionError(
                f"rank {self.rank} of {self.world_size} did not meet the others within {timeout_seconds:g} s "
                f"({problem}). Start as many processes as the mesh needs, with the same --rdzv-endpoint and --rdzv-id."
            ) from None
        self.timeout_seconds, self.advice = timeout_seconds, advice
        grid = torch.arange(mesh.processes).view(mesh.data, mesh.tower)
        everyone = [grid.flatten().tolist()]
        self.all_ranks = self._make_group(everyone, limit)
        system = describe_system()
        self.check_same({"version": system["alexnet"], "PyTorch": system["torch"], "mesh": str(mesh)})
        self.data_group: ProcessGroup = self._make_group(grid.t().tolist(), limit)
        self.tower_group = self._make_group(grid.tolist(), limit)
        self.dense_group = self.tower_group
        if mesh.dense > mesh.tower:
            self.dense_group = self._make_group(everyone, limit)
            self.dense_group.batch_shards = mesh.data

    def _make_group(self, groups: list[list[int]], limit: timedelta) -> ProcessGroup:
        # Not PyTorch's DeviceMesh: in version 2.6, our oldest, its groups cannot be given a time limit.
        with watched():
            group, _ = dist.new_subgroups_by_enumeration(groups, timeout=limit)  # type: ignore[no-untyped-call]
        ranks = next(ranks for ranks in groups if self.rank in ranks)
        return ProcessGroup(group, ranks.index(self.rank), len(ranks), tuple(ranks), self.traffic)

    def group_of(self, shard: Shard) -> ProcessGroup:
        """Return the processes that a parameter is divided among."""
        return self.dense_group if shard.group == "dense" else self.tower_group

    def describe(self) -> dict[str, Any]:
        """Return what a run folder records of the processes."""
        return {"mesh": str(self.mesh), "processes": self.world_size}

    def check_spec(self, spec: Spec) -> None:
        """Refuse a network that cannot be divided as the mesh says; see `mesh.check_mesh`."""
        check_mesh(self.mesh, spec)

    def batch_shard(self, local_batch: int | None) -> BatchShard:
        """Return this process's shard of every batch."""
        return BatchShard(self.data_group.rank, self.data_group.size, local_batch)

    def choose_threads(self, threads: int | None) -> int:
        """Return the threads of this process: an equal part of the machine's cores."""
        return threads or max(1, available_cores() // self.environment.local_world_size)

    def all_reduce_any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set in any process."""
        votes = torch.tensor(flags, dtype=torch.int32)
        return tuple(bool(vote) for vote in self.all_ranks.all_reduce(votes, "agreement").wait())

    def all_gather_objects(self, value: Any) -> list[Any]:
        """Return the JSON values of all processes, by rank."""
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = self.all_ranks.all_gather(torch.tensor([len(data)]), "agreement").wait().flatten().tolist()
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(data)] = data
        rows = self.all_ranks.all_gather(padded, "agreement").wait()
        return [json.loads(bytes(row[:n].tolist())) for row, n in zip(rows, lengths, strict=True)]

    def all_gather_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows of all processes, each of which may have another number, one below the other."""
        rows = np.ascontiguousarray(rows)
        lengths = self.all_gather_objects(len(rows))
        shape, padded = rows.shape[1:], np.zeros((max(lengths), *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        data = torch.from_numpy(padded.view(np.uint8).reshape(-1))  # as bytes, so that any dtype will do
        blocks = (
            self.all_ranks.all_gather(data, "rows").wait().numpy().view(rows.dtype).reshape(self.world_size, -1, *shape)
        )
        return np.concatenate([block[:length] for block, length in zip(blocks, lengths, strict=True)])

    def run_on_all_ranks(self, work: Callable[[], T]) -> T:
        """Do something in every process; the first error in one of them is raised in all, with its rank."""
        result: T | None = None
        problem: AlexNetError | OSError | None = None
        try:
            result = work()
        except (AlexNetError, OSError) as raised:
            if isinstance(raised, LostContactError):
                raise
            problem = raised
        (failed,) = self.all_reduce_any(problem is not None)
        if not failed:
            return cast(T, result)
        reports = self.all_gather_objects(None if problem is None else [type(problem).__name__, str(problem)])
        rank, (kind, message) = next((rank, report) for rank, report in enumerate(reports) if report)
        everywhere = all(report and report[1] == message for report in reports)
        if problem is not None and (everywhere or self.rank == rank):
            raise problem
        raise error_called(kind, f"rank {rank}: {message}")

    def broadcast_result(self, work: Callable[[], T]) -> T:
        """Do something on rank 0 and return what it returns, a JSON value; if it fails, it fails in all."""
        result = self.run_on_all_ranks(work if self.is_main else lambda: None)
        return cast(T, self.all_gather_objects(result)[0])

    def check_same(self, facts: dict[str, Any]) -> None:
        """Refuse processes that disagree about what they are to do.

        Raises:
            DistributionError: they disagree; the message names the first difference and the ranks.
        """
        everyone = [_flatten(each) for each in self.all_gather_objects(facts)]
        for name in dict.fromkeys(name for each in everyone for name in each):
            first, *others = (repr(each[name]) if name in each else "not set" for each in everyone)
            for rank, other in enumerate(others, start=1):
                if other != first:
                    raise DistributionError(
                        f"{name} is {first} on rank 0 and {other} on rank {rank}. All processes need the same version, "
                        "store, recipe and options."
                    )

    def shard_network(self, network: AlexNet) -> AlexNet:
        """Return the part of a network, with its weights, that this process computes."""
        if not self.mesh.splits_network:
            return network
        part = NetworkPart(network.spec, self.mesh, self.tower_group, self.dense_group, self.data_group)
        part.fill(dict(network.named_parameters()))
        self.shards = part.shards
        if self.dense_group.batch_shards > 1:
            self.sharded = frozenset(name for name, shard in self.shards.items() if shard.group == "dense")
        return part

    def all_reduce_shards(self, name: str, values: Tensor) -> Tensor:
        """Return values summed over the processes that hold the shards of a parameter."""
        shard = self.shards.get(name)
        return self.group_of(shard).all_reduce(values, "norms").wait() if shard else values

    def gather_shards(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return parameters and velocities in one piece on rank 0."""
        result = {}
        for name, tensor in tensors.items():
            shard = self.shards.get(name)
            if shard is None or 0 not in self.group_of(shard).world_ranks:
                result[name] = tensor
                continue
            group, part = self.group_of(shard), tensor.detach().contiguous()
            parts = [torch.empty_like(part) for _ in range(group.size)] if self.is_main else None
            with watched():
                dist.gather(part, parts, dst=0, group=group.handle)
            result[name] = torch.cat(parts, shard.dim) if parts else tensor
        return result

    def take_shards(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return this process's shards of what `gather_shards` returned."""
        cut = {}
        for name, tensor in tensors.items():
            shard = self.shards.get(name)
            cut[name] = shard.take(tensor, self.group_of(shard)) if shard else tensor
        return cut

    def _find_lost(self) -> list[int]:
        """Return the ranks that do not answer, after an exchange failed; waits a few seconds for them."""
        present = {self.rank}
        heard = threading.Event()

        def ask() -> None:
            others = [rank for rank in range(self.world_size) if rank != self.rank]
            with suppress(RuntimeError):  # the store's own process is gone
                self._store.set(f"alive/{self.rank}", "1")
                end = time.monotonic() + GRACE_SECONDS
                while len(present) < self.world_size and time.monotonic() < end:
                    present.update(rank for rank in others if self._store.check([f"alive/{rank}"]))
                    time.sleep(0.05)
                heard.set()

        # In a thread, since a store behind a link that is down lets its clients wait for ever.
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(GRACE_SECONDS + 2)
        if not heard.is_set():
            return [0]
        return sorted(set(range(self.world_size)) - present)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Do the work of all processes; when it is done, part from each other.

        Raises:
            DistributionError: a process was lost on the way; the message names it.
        """
        try:
            yield
        except LostContactError as problem:
            raise self._explain_loss(problem) from None
        dist.destroy_process_group()

    def _explain_loss(self, problem: LostContactError) -> DistributionError:
        lost = self._find_lost()
        present = [rank for rank in range(self.world_size) if rank not in lost]
        if not lost:
            problem.told_elsewhere = self.rank != 0
            return problem
        who = f"rank {lost[0]}" if len(lost) == 1 else "ranks " + ", ".join(map(str, lost))
        error = DistributionError(
            f"{who} of {self.world_size} is gone, or has not answered for {self.timeout_seconds:g} s. {self.advice}"
        )
        error.told_elsewhere = self.rank != present[0]
        return error
