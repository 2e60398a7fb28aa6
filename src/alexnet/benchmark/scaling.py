"""Training steps on meshes of several processes of this machine, beside the estimates of the cost model.

Processes of one machine share its cores, so that more of them are not faster. What is tested is the model: whether it
accounts for their time, and for the bytes that they send.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from functools import partial

import torch

from alexnet.benchmark.measure import Contender, Crew, Row, alternate, compare_rates
from alexnet.distribution.cost import UPDATE_BYTES, Cluster, Link, count_messages_of_sum, count_step, estimate_step
from alexnet.distribution.launch import launch_variables
from alexnet.distribution.mesh import parse_mesh
from alexnet.network.dialects import find_dialect
from alexnet.network.shapes import count_training_operations, measure
from alexnet.system import available_cores, has_bfloat16
from alexnet.text.progress import Tick

MESHES = ("data=2", "tower=2", "data=2,dense=2", "data=4", "data=2,tower=2", "data=4,dense=4")
"""Every kind of mesh of two and of four processes."""
LARGE_BYTES, SMALL_BYTES, SMALL_TIMES = 64 * 2**20, 4096, 100
"""Exchanges that the speed and the latency of a link are measured with."""


def bench_scaling(batch: int, rounds: int, tick: Tick, *, meshes: Sequence[str] = MESHES) -> list[Row]:
    """Return a row for each mesh: images/s of a step of the paper's network at a global batch.

    Theirs is one process with all cores. The ceiling is the cost model's estimate, from separate measurements of as
    many processes at once: their operations and updates at two batch sizes, and the speed and latency of sums between
    them.

    Raises:
        RuntimeError: a process sent another number of bytes than the model counts.
    """
    precision = "bfloat16" if has_bfloat16(torch.device("cpu")) else "float32"
    spec = find_dialect("paper", 1000)
    clusters: dict[int, Cluster] = {}
    rows = []
    for number, text in enumerate(meshes):
        count = _count_processes(text)
        mesh = parse_mesh(text, count)
        if count not in clusters:
            clusters[count] = calibrate(count, batch, precision, rounds)
        shared = meet(text, count, "shared-step", batch=batch, dtype=precision)
        with shared as together, Contender("ours-step", batch=batch, dtype=precision) as alone:
            mine, theirs = alternate([together, alone], rounds, amount=batch)
            sent = together.members[0].value
        value_bytes = 2 if precision == "bfloat16" else 4
        counted = count_step(mesh, spec, batch, value_bytes=value_bytes) | {"losses": sent.get("losses", 0)}
        if sent != {name: size for name, size in counted.items() if size}:
            raise RuntimeError(f"mesh {text} sent {sent} bytes, and the model counts {counted}")
        cost = estimate_step(clusters[count], mesh, spec, batch, value_bytes=value_bytes)
        row = compare_rates(text, mine, theirs, ceiling=batch / cost.step, unit="images/s")
        parts = {f"model {name} s": [value] for name, value in asdict(cost).items()}
        rows.append(replace(row, samples={**row.samples, **parts, "bytes": [sum(sent.values())]}))
        tick(number + 1, len(meshes))
    return rows


@contextmanager
def meet(mesh: str, count: int, name: str, **options: object) -> Iterator[Crew]:
    """Start `count` processes of this machine that meet, with an equal part of its cores each."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    members = [
        Contender(name, mesh=mesh, threads=threads_of(count), **options).within(
            launch_variables(rank, count, store.port)
        )
        for rank in range(count)
    ]
    with Crew(members) as crew:
        yield crew


def calibrate(count: int, batch: int, precision: str, rounds: int) -> Cluster:
    """Measure what the cost model needs to know about `count` processes at once."""
    spec = find_dialect("paper", 1000)
    half, quarter = max(2, batch // 2), max(1, batch // 4)
    threads = threads_of(count)
    seconds = []
    for images in (half, quarter):
        members = [Contender("ours-step", batch=images, dtype=precision, threads=threads) for _ in range(count)]
        with Crew(members) as crew:
            seconds.append(min(crew.seconds() for _ in range(rounds)))
    of_images = max(seconds[0] - seconds[1], 1e-6) / (half - quarter)
    of_update = max(seconds[1] - quarter * of_images, 1e-6)
    link = measure_link(partial(meet, f"data={count}", count), count, rounds)
    weights = sum(shape.parameters for shape in measure(spec))
    return Cluster(
        flops_per_second=count_training_operations(spec) / of_images,
        memory_bytes_per_second=UPDATE_BYTES * weights / of_update,
        inside=link,
        between=link,
        processes_per_machine=count,
        hides=0.0,  # the cores that compute also send
    )


def measure_link(meet: Callable[..., AbstractContextManager[Crew]], count: int, rounds: int) -> Link:
    """Measure the speed and the latency of sums over `count` processes.

    Args:
        meet: Starts them with a contender's name and options.
    """
    with meet("exchange", num_bytes=SMALL_BYTES, times=SMALL_TIMES) as crew:
        small = min(crew.seconds() for _ in range(rounds)) / SMALL_TIMES
    with meet("exchange", num_bytes=LARGE_BYTES, times=1) as crew:
        large = min(crew.seconds() for _ in range(rounds))
    ring = 2 * (count - 1) / count * LARGE_BYTES
    return Link(ring / max(large - small, 1e-6), small / count_messages_of_sum(count))


def _count_processes(text: str) -> int:
    sizes = dict(part.split("=") for part in text.split(","))
    return int(sizes.get("data", 1)) * int(sizes.get("tower", 1))


def threads_of(count: int) -> int:
    """Return the threads of each of `count` processes that share this machine's cores."""
    return max(1, available_cores() // count)
