"""How long a training step takes on a mesh, from bytes and operations alone: the model of docs/scaling.md.

A step takes as long as the slower of two things. One is reading its images. The other is

    operations / rate  +  weights updated / memory rate  +  overhead  +  activations sent  +  exposed gradients.

Exposed are gradients whose sending is not hidden behind the backward pass of the convolutions. Those of the dense
layers, 96 % of the paper's network, are ready before it begins.

Sending takes messages x latency + bytes / link rate, on the slowest link of the processes that exchange. To gather from
n processes takes n - 1 messages, one after the other; to sum takes 2 log2 n. The bytes follow from the table alone, and
a real step sends as many. Activations have the dtype that computes; gradients and logits are float32.
"""

import math
from dataclasses import dataclass

from alexnet.distribution.gradients import BUCKET_BYTES
from alexnet.distribution.mesh import Mesh, count_parameters, largest_shard, list_parameters
from alexnet.kernels.rules import window_reach
from alexnet.network.rows import Convolution, Dense, Normalize, Spec
from alexnet.network.shapes import count_training_operations, measure, shape_after

GRADIENTS = "gradients"


def count_step(mesh: Mesh, spec: Spec, batch: int, *, value_bytes: int = 4, tower: int = 0) -> dict[str, int]:
    """Return the bytes that a process sends in one step, by exchange, as `ProcessGroup` counts them.

    Args:
        batch: Images of the global batch, computed at once.
        value_bytes: 4 for float32 activations, 2 for bfloat16.
        tower: Position of the process among the towers; the ones at the ends send less to their neighbors.
    """
    shard = math.ceil(batch / mesh.data)
    sent: dict[str, int] = {}
    before: tuple[int, ...] = (3, spec.input_px, spec.input_px)
    entered = False
    for position, (row, shape) in enumerate(zip(spec.layers, measure(spec), strict=True)):
        if row is spec.layers[-1]:
            sent |= _count_last(mesh, shape.output[0], shard, row.name, value_bytes)
        elif isinstance(row, Dense) and row.sees == "all":
            if mesh.dense > mesh.tower and not entered:
                sent["keys forward"] = (mesh.data - 1) * shard * 8
            # On entering, each process has its maps of its images; later, its units of all images it sees.
            images = shard if not entered or mesh.dense == mesh.tower else shard * mesh.data
            width = math.prod(before) // (mesh.tower if not entered else mesh.dense)
            both = (mesh.dense - 1) * images * width * value_bytes
            sent |= {f"{row.name} forward": both, f"{row.name} backward": both}
            entered = True
        elif isinstance(row, Convolution) and row.sees == "all" and position:
            side = before[1] + shape.overhang_px
            both = (mesh.tower - 1) * shard * before[0] // mesh.tower * side * side * value_bytes
            sent |= {f"{row.name} forward": both, f"{row.name} backward": both}
        current = shape.output
        for step in row.then:
            if isinstance(step, Normalize) and step.within == "layer" and len(current) == 3:
                left, right = window_reach(step.size)
                maps = shard * current[1] * current[2] * value_bytes
                neighbors = (tower > 0, tower + 1 < mesh.tower)
                sent[f"{row.name}.norm forward"] = maps * (right * neighbors[0] + left * neighbors[1])
                sent[f"{row.name}.norm backward"] = maps * (left * neighbors[0] + right * neighbors[1])
            current = shape_after(step, current)
        before = current
    sent[GRADIENTS] = _count_gradients(mesh, spec)
    return {name: count for name, count in sent.items() if count}


def _count_last(mesh: Mesh, classes: int, shard: int, name: str, value_bytes: int) -> dict[str, int]:
    """Logits are summed over the processes that have parts of the last hidden layer."""
    if mesh.dense == mesh.tower:
        return {f"{name} forward": round(2 * (mesh.dense - 1) / mesh.dense * shard * classes * 4)}
    each = (mesh.dense - 1) * shard * classes
    return {f"{name} forward": each * 4, f"{name} backward": each * value_bytes}


def _count_gradients(mesh: Mesh, spec: Spec) -> int:
    """A ring sends every gradient that is not divided among the shards of a batch 2 (n - 1) / n times, in float32."""
    parameters = 0
    for count, shard in list_parameters(mesh, spec):
        if shard is None:
            parameters += count
        elif shard.group == "tower" or mesh.dense == mesh.tower:
            parameters += count // (mesh.tower if shard.group == "tower" else mesh.dense)
    return round(2 * (mesh.data - 1) / mesh.data * parameters * 4)


UPDATE_BYTES = 32
"""Memory traffic of updating one weight in float32: weight and velocity read and written, the gradient written by the
backward pass, summed, and read."""


@dataclass(frozen=True, slots=True)
class Link:
    """What connects two processes."""

    bytes_per_second: float
    """What one process sends while it receives as much."""
    latency_seconds: float = 0.0
    """Time that one message takes besides its bytes."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Equal machines with equal processes. Whoever makes one measures its numbers, or assumes them."""

    flops_per_second: float
    """Rate of one process in training, while all the others are at work."""
    memory_bytes_per_second: float
    """Memory traffic of one process while it updates weights."""
    inside: Link
    """Between processes of one machine."""
    between: Link
    """Between processes of two machines."""
    processes_per_machine: int
    images_per_second: float = math.inf
    """Images that can be read for one process."""
    overhead_seconds: float = 0.0
    """Time that a step of any size takes, to start kernels."""
    hides: float = 1.0
    """Share of the sending of gradients that computation can hide: 1 where the network hardware sends by itself, 0
    where the processors that compute also send."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one step, by what they are spent on."""

    compute: float
    update: float
    activations: float
    gradients: float
    """Sending gradients, hidden or not."""
    exposed_gradients: float
    """The part of `gradients` that is not hidden."""
    overhead: float
    reading: float
    """Reading images, beside everything else."""

    @property
    def step(self) -> float:
        """Seconds of the step."""
        busy = self.compute + self.update + self.activations + self.exposed_gradients + self.overhead
        return max(busy, self.reading)


def estimate_step(
    cluster: Cluster, mesh: Mesh, spec: Spec, batch: int, *, value_bytes: int = 4, local_batch: int | None = None
) -> Cost:
    """Return what one step of a global batch costs.

    Args:
        value_bytes: Of an activation: 4 for float32, 2 for bfloat16. Gradients are always reduced in float32.
        local_batch: Images computed at once, where less than a shard of the batch; activations are exchanged anew for
            each part, gradients once.
    """
    shard = largest_shard(mesh, batch)
    # Towers divide the convolutions. Dense layers are divided among towers or all, and see as many more images.
    operations = shard * count_training_operations(spec) / mesh.tower
    sent = count_step(mesh, spec, batch, value_bytes=value_bytes)
    gradient_bytes = sent.pop(GRADIENTS, 0)
    parts = math.ceil(shard / (local_batch or shard))
    activations = 0.0
    for name, count in sent.items():
        of_dense = name.split()[0].split(".")[0] in _dense_names(spec) or name.startswith("keys")
        group = mesh.dense if of_dense else mesh.tower
        activations += _send(cluster, count, messages=parts * (group - 1), group=group)
    buckets = math.ceil(4 * count_parameters(mesh, spec) / BUCKET_BYTES)
    gradients = 0.0
    if mesh.data > 1:
        messages = count_messages_of_sum(mesh.data) * buckets
        gradients = _send(cluster, gradient_bytes, messages=messages, group=mesh.processes)
    compute = operations / cluster.flops_per_second
    hidden = min(cluster.hides * gradients, _backward_share_of_convolutions(spec) * compute / parts)
    return Cost(
        compute=compute,
        update=UPDATE_BYTES * count_parameters(mesh, spec) / cluster.memory_bytes_per_second,
        activations=activations,
        gradients=gradients,
        exposed_gradients=gradients - hidden,
        overhead=cluster.overhead_seconds * parts,
        reading=shard / cluster.images_per_second,
    )


def count_messages_of_sum(processes: int) -> int:
    """Return the messages, one after the other, of a sum along a tree and back, which libraries use for many."""
    return 2 * math.ceil(math.log2(processes))


def _send(cluster: Cluster, count: int, *, messages: int, group: int) -> float:
    """Seconds of sending `count` bytes within a group of neighbouring ranks."""
    link = cluster.inside if group <= cluster.processes_per_machine else cluster.between
    return count / link.bytes_per_second + messages * link.latency_seconds


def _dense_names(spec: Spec) -> set[str]:
    return {row.name for row in spec.layers if isinstance(row, Dense)}


def _backward_share_of_convolutions(spec: Spec) -> float:
    shapes = measure(spec)
    dense = _dense_names(spec)
    convolutions = [shape.multiply_adds for shape in shapes if shape.name not in dense]
    return (2 * sum(convolutions) - convolutions[0]) * 2 / count_training_operations(spec)
