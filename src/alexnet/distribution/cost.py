"""How long a training step takes on a mesh, from bytes and operations alone: the model of docs/scaling.md.

A step takes as long as the slower of reading its images and of

    operations / rate  +  weights updated / memory rate  +  overhead  +  activations sent  +  gradients sent, what of
    them is not hidden behind the backward pass of the convolutions.

What is sent takes messages x latency + bytes / link rate, on the slowest link of the processes that exchange: n - 1
messages, one after the other, to gather from n processes, and 2 log2 n to sum. The gradients of the dense layers, which
are 96 % of the paper's network, are ready before the convolutions begin theirs.
"""

import math
from dataclasses import dataclass

from alexnet.distribution.gradients import BUCKET_BYTES
from alexnet.distribution.mesh import Mesh, count_parameters, largest_shard
from alexnet.distribution.volume import GRADIENTS, count_step
from alexnet.network.rows import Dense, Spec
from alexnet.network.shapes import count_training_operations, measure

UPDATE_BYTES = 32
"""Memory traffic of updating one weight in float32: weight and velocity read and written, the gradient written by the
backward pass, summed, and read."""


@dataclass(frozen=True, slots=True)
class Link:
    """What connects two processes."""

    bytes_per_second: float
    """That one process sends while it receives as many."""
    latency_seconds: float = 0.0
    """Of one message."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Equal machines with equal processes; a number that is not known here is measured or assumed by who makes one."""

    flops_per_second: float
    """Of one process in training, all of its processes at work."""
    memory_bytes_per_second: float
    """That one process updates weights at."""
    inside: Link
    """Between processes of one machine."""
    between: Link
    """Between processes of two machines."""
    processes_per_machine: int
    images_per_second: float = math.inf
    """That one process can be fed with."""
    overhead_seconds: float = 0.0
    """Of a step of any size: starting kernels."""
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
    """All of their sending, hidden or not."""
    exposed_gradients: float
    """What of it is not hidden."""
    overhead: float
    reading: float
    """Of the images, beside everything else."""

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
    # Towers divide the convolutions; dense layers are divided among towers or all, which see as many more images.
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
