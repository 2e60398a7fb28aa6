"""What `alexnet bench` runs, and the record it leaves."""

import datetime
import json
import platform
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from alexnet.benchmark.loading import bench_epoch, bench_loader, collect_images
from alexnet.benchmark.measure import Row
from alexnet.benchmark.operations import bench_kernels
from alexnet.benchmark.preparing import bench_prepare
from alexnet.benchmark.scaling import bench_scaling
from alexnet.benchmark.searching import bench_search
from alexnet.benchmark.serving import bench_serve
from alexnet.benchmark.step import bench_evaluation, bench_step
from alexnet.files.writing import write_text
from alexnet.system import check_device, choose_compute, describe_storage, describe_system, memory_gib, set_threads
from alexnet.text.progress import Tick

WHAT = ("kernels", "step", "loader", "evaluate", "prepare", "search", "scaling", "serve")
"""What can be measured, in this order."""


ON_NOISE = {"search": bench_search, "scaling": bench_scaling}
"""Benchmarks of the processor on inputs that are made up."""

ON_DEVICES = ("kernels", "step", "loader", "evaluate")
"""Benchmarks that a GPU can run; the others are about the processor."""


def run_benchmark(
    what: str,
    *,
    batch: int,
    rounds: int,
    images: Path | None,
    threads: int | None,
    requests: int,
    tick: Tick,
    device: str = "cpu",
    dialect: str = "paper",
) -> list[Row]:
    """Return the rows of one benchmark.

    Args:
        what: One of `WHAT`.
        device: Where those of `ON_DEVICES` compute; see `choose_compute`.
        batch: Images per training step or forward pass.
        rounds: Turns of each side.
        images: Folder of photographs for loader, prepare and serve; drawn scenes without one.
        requests: Requests in the long run of serve.
        dialect: Network of step and of the epochs with data.
    Raises:
        ConfigError: the folder holds no images, the extra that serve needs is not installed, or the device is not
            there.
    """
    set_threads(threads)
    compute = choose_compute(device)
    if what == "kernels":
        return bench_kernels(batch, rounds, tick, compute.device, dtype=compute.dtype)
    if what == "step":
        return bench_step(batch, rounds, tick, compute.device, dialect=dialect)
    if what == "evaluate":
        return bench_evaluation(batch, rounds, tick, compute.device)
    if what in ON_NOISE:
        return ON_NOISE[what](batch, rounds, tick)
    found = collect_images(images)
    if what == "prepare":
        return bench_prepare(found, rounds, tick)
    if what == "serve":
        return bench_serve(found, rounds, tick, requests=requests)
    return [
        *bench_loader(found, rounds, tick, compute.device),
        *bench_epoch(found, batch, rounds, tick, compute.device, dialect=dialect),
    ]


def write_record(
    folder: Path, what: str, rows: Sequence[Mapping[str, object]], command: str, *, device: str = "cpu"
) -> Path:
    """Write folder/<date>_<what>_<processor or GPU>.jsonl: a line about the run, then a line per row with its samples.

    Args:
        device: What was measured; its name is the file's.

    The first line names processor, memory and the file system of the temporary folder, where benchmarks write.
    """
    system = describe_system()
    on_gpu = what.partition("-")[0] in ON_DEVICES and check_device(device).type == "cuda"
    name = str(torch.cuda.get_device_name(device) if on_gpu else system["processor"]).lower()
    processor = "-".join(re.sub(r"\((r|tm)\)|[()]", "", name).split())
    date = datetime.date.today().isoformat()
    head: dict[str, Any] = {
        "command": command,
        "date": date,
        "machine": platform.machine(),
        **system,
        "memory_gib": memory_gib(),
        "storage": describe_storage(Path(tempfile.gettempdir())),  # where benchmarks put their stores
    }
    path = folder / f"{date}_{what}_{processor}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(line) + "\n" for line in [head, *rows]))
    return path
