"""What each process sends in one training step, from the table alone; the counts of a real step are the same.

In bytes of one process, by exchange. Activations are of the dtype that computes, gradients and logits are float32.
"""

import math

from alexnet.distribution.mesh import Mesh, list_parameters
from alexnet.kernels.rules import window_reach
from alexnet.network.rows import Convolution, Dense, Normalize, Spec
from alexnet.network.shapes import measure, shape_after

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
