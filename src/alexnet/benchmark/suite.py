"""What `alexnet bench` runs, and the record it leaves."""

import datetime
import json
import platform
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
from alexnet.system import describe_system, has_bfloat16, set_threads
from alexnet.text.progress import Tick

WHAT = ("kernels", "step", "loader", "evaluate", "prepare", "search", "scaling", "serve")
"""What can be measured, in this order."""


ON_NOISE = {"step": bench_step, "evaluate": bench_evaluation, "search": bench_search, "scaling": bench_scaling}
"""Those that measure with inputs made up for them."""


def run_benchmark(
    what: str, *, batch: int, rounds: int, images: Path | None, threads: int | None, requests: int, tick: Tick
) -> list[Row]:
    """Return the rows of one benchmark.

    Args:
        what: One of `WHAT`.
        batch: Images per training step or forward pass.
        rounds: Turns of each side.
        images: Folder of photographs for loader, prepare and serve; drawn scenes without one.
        requests: Of the long run of serve.
    Raises:
        ConfigError: the folder holds no images, or the extra that serve needs is not installed.
    """
    set_threads(threads)
    if what == "kernels":
        return bench_kernels(
            batch, rounds, tick, dtype=torch.bfloat16 if has_bfloat16(torch.device("cpu")) else torch.float32
        )
    if what in ON_NOISE:
        return ON_NOISE[what](batch, rounds, tick)
    found = collect_images(images)
    if what == "prepare":
        return bench_prepare(found, rounds, tick)
    if what == "serve":
        return bench_serve(found, rounds, tick, requests=requests)
    return [*bench_loader(found, rounds, tick), *bench_epoch(found, batch, rounds, tick)]


def write_record(folder: Path, what: str, rows: Sequence[Mapping[str, object]], command: str) -> Path:
    """Write folder/<date>_<what>_<processor>.jsonl: a line about the run, then a line per row with its samples."""
    system = describe_system()
    name = str(system["processor"]).lower().replace("(r)", "").replace("(tm)", "")
    processor = "-".join(name.split())
    date = datetime.date.today().isoformat()
    head: dict[str, Any] = {"command": command, "date": date, "machine": platform.machine(), **system}
    path = folder / f"{date}_{what}_{processor}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(line) + "\n" for line in [head, *rows]))
    return path
