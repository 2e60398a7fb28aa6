"""Everything that needs a GPU, once, with a report: the tests marked gpu, a profile of training, and benchmarks.

    python benchmarks/check_gpu.py --out check-gpu.md    # or: make check-gpu

Ends within ten minutes. A part that fails or takes too long is told in the report, and the next one begins; the exit
code is 1 if there was any. Without a CUDA device there is nothing to check, and that is an error.
"""

import argparse
import datetime
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from alexnet.batches.loader import TrainingBatches
from alexnet.benchmark.measure import wait_for
from alexnet.files.writing import write_text
from alexnet.network.alexnet import build
from alexnet.recipes.fields import Batches, Optimization
from alexnet.system import choose_compute, describe_system
from alexnet.training.batch_loss import UnreadLosses
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.update import Update

SECONDS = 570.0
"""For all parts together."""
PARTS: dict[str, tuple[tuple[str, ...], float]] = {
    "this machine": (("-m", "alexnet", "info", "--system"), 60),
    "tests": (("-m", "pytest", "-q", "-m", "gpu", "-rs"), 240),
    "profile": ((__file__, "--profile"), 90),
    "bench step": (("-m", "alexnet", "bench", "step", "--device", "cuda"), 180),
    "bench loader": (("-m", "alexnet", "bench", "loader", "--device", "cuda", "--rounds", "3"), 120),
    "bench evaluate": (("-m", "alexnet", "bench", "evaluate", "--device", "cuda"), 120),
}
"""What is done, in this order: arguments of Python, and the most seconds."""
MOST_LINES = 120
"""Of the output of a part, the last ones."""

WAITS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")
"""Calls by which the host waits for the device. Of cudaEventSynchronize two a step are meant: the background thread's,
before it refills a buffer, and that of the loss, one step late."""
OPERATIONS = 10


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one part."""

    name: str
    command: str
    result: str
    """ "passed", or what went wrong."""
    seconds: float
    output: str


def run_part(name: str, arguments: Sequence[str], seconds: float) -> Part:
    """Run Python with these arguments in a process of its own, for at most so many seconds."""
    command = f"python {' '.join(arguments)}"
    if seconds <= 0:
        return Part(name, command, "not begun: no time was left", 0.0, "")
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
        result = "passed" if process.returncode == 0 else f"failed with exit code {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its children with it
        output, _ = process.communicate()
        result = f"stopped after {seconds:.0f} s"
    return Part(name, command, result, time.perf_counter() - start, output)


def describe_gpus() -> dict[str, str]:
    """Return versions and devices: of the program, of CUDA's libraries, of the driver."""
    facts = {name: str(value) for name, value in describe_system().items()}
    facts |= {"CUDA": str(torch.version.cuda), "cuDNN": str(torch.backends.cudnn.version())}
    try:
        import triton  # type: ignore[import-not-found,unused-ignore]

        facts["Triton"] = triton.__version__
    except ImportError as problem:
        facts["Triton"] = str(problem)
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()
    except (OSError, subprocess.SubprocessError) as problem:
        told = [f"nvidia-smi: {problem}"]
    return facts | {f"device {number}": line for number, line in enumerate(told)}


def format_report(facts: dict[str, str], parts: Sequence[Part], date: str) -> str:
    """Return the report, Markdown."""
    lines = [f"# Check on a GPU, {date}", "", "| part | result | seconds |", "|---|---|---|"]
    lines += [f"| {part.name} | {part.result} | {part.seconds:.0f} |" for part in parts]
    lines += ["", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    for part in parts:
        shown = part.output.rstrip().splitlines()
        cut = [f"({len(shown) - MOST_LINES} lines before)"] if len(shown) > MOST_LINES else []
        lines += ["", f"## {part.name}: {part.result}", "", f"    {part.command}", "", "```"]
        lines += [*cut, *shown[-MOST_LINES:], "```"]
    return "\n".join(lines) + "\n"


def check(out: Path, parts: dict[str, tuple[tuple[str, ...], float]] = PARTS, seconds: float = SECONDS) -> int:
    """Carry out the parts, write the report after each, and return how many did not pass."""
    end = time.perf_counter() + seconds
    facts, date = describe_gpus(), datetime.datetime.now().isoformat(" ", "minutes")
    done: list[Part] = []
    for name, (arguments, most) in parts.items():
        part = run_part(name, arguments, min(most, end - time.perf_counter()))
        done.append(part)
        print(f"{name}: {part.result} ({part.seconds:.0f} s)", flush=True)
        write_text(out, format_report(facts, done, date))
    print(f"Report: {out}")
    return sum(part.result != "passed" for part in done)


def profile_steps(device: str, *, dialect: str = "paper", batch: int = 128, steps: int = 20) -> Any:
    """Return the profile of training steps as `alexnet train` makes them, batches and late losses included, and the
    images per second of as many steps before it that were not profiled."""
    compute = choose_compute(device)
    network = build(dialect).to(compute.device)
    optimizer = MomentumDescent(network, Optimization(), dtype=compute.dtype)
    optimizer.working.train()
    update, rates = Update(optimizer), dict.fromkeys(optimizer.velocities, 1e-6)
    crop = network.spec.input_px
    images = list(np.random.default_rng(0).integers(0, 256, (64, crop + 8, crop + 8, 3), dtype=np.uint8))
    count = batch * steps
    batches = TrainingBatches(
        [images[i % len(images)] for i in range(count)], np.arange(count) % network.spec.num_classes,
        np.full(images[0].shape, 120, np.float32), Batches(size=batch), seed=0, crop_px=crop, color_axes=np.eye(3),
        dtype=compute.dtype, device=compute.device,
    )  # fmt: skip

    def train(epoch: int) -> float:
        unread = UnreadLosses(lambda *told: None)
        wait_for(compute.device)
        start = time.perf_counter()
        for each in batches.epoch(epoch):
            launched = update(each, rates)
            assert launched is not None
            unread.add(launched, rates)
        unread.read_all()
        wait_for(compute.device)
        return count / (time.perf_counter() - start)

    train(0)  # compiles
    rate = train(1)
    on_gpu = compute.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as found:
        train(2)
    return found, rate


def measure_busy(intervals: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Return how long at least one of the intervals lasted, and how long it is from the first's start to the last's
    end."""
    busy, reached, first = 0.0, -float("inf"), None
    for start, end in sorted(intervals):
        first = start if first is None else first
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return busy, 0.0 if first is None else reached - first


def count_waits(names: Iterable[str], steps: int) -> dict[str, float]:
    """Return how often a step calls each of WAITS, of those that it calls."""
    counted = Counter(name for name in names if name in WAITS)
    return {name: counted[name] / steps for name in WAITS if counted[name]}


def is_kernel(event: Any) -> bool:
    """Whether an event of a profile is computing on a device: no copy, and no name that a program gave to a stretch."""
    on_device = event.device_type != torch.autograd.DeviceType.CPU
    return on_device and not event.is_user_annotation and not event.key.startswith(("Memcpy", "Memset"))


def format_profile(found: Any, rate: float, steps: int) -> str:
    """Return what a profile says: dearest operations, the share of time in which the device was idle, waits.

    On a device operations are its kernels; operators of PyTorch, whose time is that of their kernels, are not counted
    beside them.
    """
    events, averages = found.events(), found.key_averages()
    kernels = [each for each in events if is_kernel(each)]
    if kernels:
        averages = [each for each in averages if is_kernel(each)]
    cost = "self_device_time_total" if kernels else "self_cpu_time_total"
    dearest = sorted(averages, key=lambda each: -getattr(each, cost))[:OPERATIONS]
    total = sum(getattr(each, cost) for each in averages) or 1.0
    lines = [f"{rate:,.0f} images/s without the profiler.", ""]
    lines += [f"{'operation':60} {'ms a step':>10} {'share':>6} {'calls a step':>13}"]
    for each in dearest:
        taken = getattr(each, cost)
        lines.append(f"{each.key[:60]:60} {taken / steps / 1000:10.3f} {taken / total:6.1%} {each.count / steps:13.1f}")
    busy, whole = measure_busy((each.time_range.start, each.time_range.end) for each in kernels)
    idle = f"{1 - busy / whole:.1%} of the time" if whole else "not known: nothing ran on a device"
    lines += ["", f"The device was idle {idle}."]
    waits = count_waits((each.name for each in events), steps)
    told = ", ".join(f"{name} {count:.2f}" for name, count in waits.items()) or "none"
    return "\n".join([*lines, f"Waits of the host for the device, a step: {told}."])


def main() -> int:
    """Check, or profile alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("check-gpu.md"), help="the report, Markdown")
    parser.add_argument("--profile", action="store_true", help="only the profile, to standard output")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no CUDA device here that PyTorch sees; nothing was checked.", file=sys.stderr)
        return 1
    if options.profile:
        steps = 20
        found, rate = profile_steps("cuda", steps=steps)
        print(format_profile(found, rate, steps))
        return 0
    return 1 if check(options.out) else 0


if __name__ == "__main__":
    sys.exit(main())
