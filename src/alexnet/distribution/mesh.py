"""How the processes of a training divide the work: data x tower, and the dense layers (docs/scaling.md)."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from alexnet.distribution.process_group import ProcessGroup
from alexnet.errors import ConfigError
from alexnet.network.rows import Convolution, Dense, Local, Spec

_FORM = "--mesh data=2,tower=2 or --mesh data=4,dense=4"


@dataclass(frozen=True, slots=True)
class Mesh:
    """A grid of processes. Process number r has shard r // tower of every batch and tower r % tower of the network."""

    data: int = 1
    """Shards that every batch is divided into."""
    tower: int = 1
    """Processes that one network's towers are divided among: 1, or as many as there are towers (paper, section 3.2)."""
    dense: int = 1
    """Processes that the units of the dense layers are divided among: as many as `tower`, or all of them, so that dense
    weights are nowhere twice (Krizhevsky 2014, "One weird trick")."""

    @property
    def processes(self) -> int:
        """Processes in all."""
        return self.data * self.tower

    @property
    def splits_network(self) -> bool:
        """Whether a process holds a part of the network only."""
        return self.tower > 1 or self.dense > 1

    def __str__(self) -> str:
        dense = f",dense={self.dense}" if self.dense != self.tower else ""
        return f"data={self.data},tower={self.tower}{dense}"


def parse_mesh(text: str | None, processes: int) -> Mesh:
    """Read "data=2,tower=2,dense=4"; what is missing follows from the rest, and nothing at all means shards of batches.

    Raises:
        ConfigError: the text is not of this form, or its product is not the number of processes.
    """
    sizes: dict[str, int] = {}
    for part in (text or "").split(",") if text else ():
        name, _, value = part.strip().partition("=")
        if name not in ("data", "tower", "dense") or not re.fullmatch("[1-9][0-9]{0,5}", value):
            raise ConfigError(
                f"mesh {(text or '')[:40]!r}: {part[:20]!r} is not a size of data, tower or dense. Write it as {_FORM}."
            )
        if name in sizes:
            raise ConfigError(f"mesh {text!r} gives {name} twice. Write it as {_FORM}.")
        sizes[name] = int(value)
    tower = sizes.get("tower", 1)
    data = sizes.get("data", max(1, processes // tower))
    mesh = Mesh(data, tower, sizes.get("dense", tower))
    if mesh.processes != processes and sizes.get("dense", 1) > 1:
        raise ConfigError(
            f"mesh {text}: data x tower is {mesh.processes}, and there are {processes} processes. dense divides these "
            f"same processes once more and does not count: write data={processes},dense={processes}."
        )
    if mesh.processes != processes:
        raise ConfigError(
            f"mesh {text or mesh} needs {data} x {tower} = {mesh.processes} processes, and there are {processes}. "
            f"Start {mesh.processes} (torchrun --nproc-per-node, or as many --devices), or choose sizes whose product "
            f"is {processes}."
        )
    return mesh


def check_mesh(mesh: Mesh, spec: Spec) -> None:
    """Refuse a mesh that does not fit a network.

    Raises:
        ConfigError: its towers or dense layers cannot be divided so.
    """
    if mesh.tower not in (1, spec.towers):
        towers = "one tower" if spec.towers == 1 else f"{spec.towers} towers"
        accepted = "1" if spec.towers == 1 else f"1 or {spec.towers}"
        raise ConfigError(f"mesh {mesh}: dialect {spec.dialect} has {towers}; accepted for tower is {accepted}.")
    if mesh.dense not in (mesh.tower, mesh.processes):
        raise ConfigError(
            f"mesh {mesh}: dense layers are divided among {mesh.tower} (as the towers) or among all "
            f"{mesh.processes} processes. Give dense={mesh.processes}, or leave it out."
        )
    if not mesh.splits_network:
        return
    last = spec.layers[-1]
    if not isinstance(last, Dense) or last.sees != "all":
        raise ConfigError(
            f"mesh {mesh}: the last layer of dialect {spec.dialect} is not a dense one that sees all units, so that "
            "the network cannot be divided. Use a mesh of data alone."
        )
    hidden = [row for row in spec.layers[:-1] if isinstance(row, Dense)]
    if mesh.dense > mesh.tower and (not hidden or any(row.sees != "all" for row in hidden)):
        raise ConfigError(
            f"mesh {mesh}: dialect {spec.dialect} has no dense layers that see everything before the last one, so that "
            f"they cannot be divided among {mesh.dense} processes. Leave dense out."
        )
    for row in spec.layers[:-1]:
        if isinstance(row, Local) and mesh.tower > 1:
            raise ConfigError(
                f"mesh {mesh}: layer {row.name} of dialect {spec.dialect} is locally connected; give tower=1."
            )
        units = row.units if isinstance(row, Dense) else row.kernels
        parts = mesh.dense if isinstance(row, Dense) and row.sees == "all" else mesh.tower
        if units % parts:
            kind = "units" if isinstance(row, Dense) else "kernels"
            raise ConfigError(
                f"mesh {mesh}: the {units} {kind} of layer {row.name} do not divide among {parts} processes. Choose a "
                f"divisor of {units}."
            )


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of a parameter a process holds."""

    group: str
    """Processes that the parameter is divided among: "tower" or "dense"."""
    dim: int
    """Dimension of the parameter that is divided."""

    def take(self, whole: Tensor, group: ProcessGroup) -> Tensor:
        """Return the shard of a parameter that belongs to this process, as a view."""
        part = group.shard(whole.shape[self.dim])
        return whole.narrow(self.dim, part.start, part.stop - part.start)


def shard_parameters(mesh: Mesh, spec: Spec) -> dict[str, Shard]:
    """Return the parameters that are divided, by name; every process holds the others whole.

    A tower holds its kernels and its units; the last layer, which belongs to no tower, is divided by its inputs.
    """
    shards = {}
    for row in spec.layers[:-1]:
        group = "dense" if isinstance(row, Dense) and row.sees == "all" else "tower"
        if isinstance(row, Convolution | Dense) and (mesh.dense if group == "dense" else mesh.tower) > 1:
            shards[f"layers.{row.name}.weight"] = shards[f"layers.{row.name}.bias"] = Shard(group, 0)
    if mesh.dense > 1:
        shards[f"layers.{spec.layers[-1].name}.weight"] = Shard("dense", 1)
    return shards


def count_parameters(mesh: Mesh, spec: Spec) -> int:
    """Return how many weights and biases one process holds."""
    return sum(
        count // (1 if shard is None else mesh.dense if shard.group == "dense" else mesh.tower)
        for count, shard in list_parameters(mesh, spec)
    )


def list_parameters(mesh: Mesh, spec: Spec) -> Iterator[tuple[int, Shard | None]]:
    """Yield how many numbers each weight and bias of the network has, and how it is divided, if it is."""
    from alexnet.network.shapes import measure

    shards = shard_parameters(mesh, spec)
    for shape in measure(spec):
        biases = shape.kernel[0]
        yield shape.parameters - biases, shards.get(f"layers.{shape.name}.weight")
        yield biases, shards.get(f"layers.{shape.name}.bias")


def largest_shard(mesh: Mesh, batch: int) -> int:
    """Images of a batch that one process computes."""
    return math.ceil(batch / mesh.data)
