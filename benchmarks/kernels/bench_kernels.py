"""Time each kernel against what stock PyTorch offers, beside the time that memory alone would take.

Ours and stock alternate in one process. A row's ceiling is the bytes that the operation must move, divided by the
speed of the fastest large copy measured in the same run; `fraction` is ceiling / median. Stock response normalisation
has no bfloat16 path on the CPU, so stock runs in float32 whatever --dtype says (dropout apart). Allocation is part of
the time, as it is in training.

    python benchmarks/kernels/bench_kernels.py --batch 32
    python benchmarks/kernels/bench_kernels.py --batch 128 --repeats 9 --json > rows.jsonl
"""

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import torch
from torch import Tensor, nn

from alexnet import kernels

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
STAGES = {"stage 1": (96, 55), "stage 2": (256, 27)}
WEIGHTS = 60_954_656


def alternate(subjects: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Return milliseconds per call of each subject, taken in turns after one call each to warm up."""
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    for repeat in range(repeats + 1):
        for name, subject in subjects.items():
            started = time.perf_counter()
            subject()
            if repeat:
                samples[name].append((time.perf_counter() - started) * 1e3)
    return samples


def copy_speed() -> float:
    """Return the bytes per millisecond, read plus written, of the fastest of 20 copies of 256 MiB."""
    source = torch.ones(64 << 20)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(alternate({"copy": lambda: target.copy_(source)}, 20)["copy"])


def maps(batch: int, channels: int, side: int, dtype: torch.dtype) -> Tensor:
    x = torch.randn(batch, channels, side, side) * 10
    return x.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


def forward_and_backward(operation: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, Callable[[], Any]]:
    y = operation(x)
    dy = torch.randn_like(y)
    return {
        "forward": lambda: operation(x),
        "backward": lambda: torch.autograd.grad(y, x, dy, retain_graph=True),
    }


def compare_maps(
    what: str,
    ours: Callable[[Tensor], Tensor],
    stock: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    repeats: int,
) -> list[dict[str, Any]]:
    x = maps(*shape, dtype)
    x_stock = x.detach().float().requires_grad_()
    y = ours(x)
    # Forward: x in, y and a byte per pooled value out. Backward: x, dy and the bytes in, dx out.
    positions = y.numel() if y.shape != x.shape else 0
    moved = {
        "forward": (x.numel() + y.numel()) * x.itemsize + positions,
        "backward": (2 * x.numel() + y.numel()) * x.itemsize + positions,
    }
    mine, theirs = forward_and_backward(ours, x), forward_and_backward(stock, x_stock)
    rows = []
    for direction in mine:
        samples = alternate({"alexnet": mine[direction], "stock": theirs[direction]}, repeats)
        size = "x".join(map(str, x.shape))
        for version, dtype_run in (("alexnet", dtype), ("stock", torch.float32)):
            rows.append(
                row(f"{what} {direction}", version, size, dtype_run, samples[version], moved[direction])
            )  # fmt: skip
    return rows


def row(what: str, version: str, shape: str, dtype: torch.dtype, samples: list[float], moved: int) -> dict[str, Any]:
    quantiles = statistics.quantiles(samples, n=5, method="inclusive")
    return {
        "what": what,
        "version": version,
        "shape": shape,
        "dtype": str(dtype).removeprefix("torch."),
        "median": statistics.median(samples),
        "p20": quantiles[0],
        "p80": quantiles[3],
        "n": len(samples),
        "unit": "ms",
        "bytes": moved,
        "samples": samples,
    }


def compare_updates(dtype: torch.dtype, repeats: int) -> list[dict[str, Any]]:
    weight, velocity = torch.randn(WEIGHTS), torch.zeros(WEIGHTS)
    gradient = torch.randn(WEIGHTS).to(dtype)
    working = weight.bfloat16()
    parameter = nn.Parameter(weight.clone())
    parameter.grad = gradient.float()
    sgd = torch.optim.SGD([parameter], lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)

    def ours() -> None:
        kernels.update_weights(weight, velocity, gradient, rate=0.01, momentum=0.9, decay=5e-4, working=working)

    def stock() -> None:
        sgd.step()
        working.copy_(parameter.detach())

    samples = alternate({"alexnet": ours, "stock": stock}, repeats)
    moved = WEIGHTS * (8 + 8 + gradient.itemsize + working.itemsize)
    return [
        row("update with working copy", "alexnet", str(WEIGHTS), dtype, samples["alexnet"], moved),
        row("update with working copy", "stock", str(WEIGHTS), torch.float32, samples["stock"], moved),
    ]


def compare_dropout(batch: int, dtype: torch.dtype, repeats: int) -> list[dict[str, Any]]:
    x = torch.randn(batch, 4096).to(dtype)
    keys = torch.arange(batch)
    subjects: dict[str, Callable[[], Any]] = {
        "alexnet": lambda: kernels.dropout(x, keys, p=0.5, layer=0),
        "stock": lambda: nn.functional.dropout(x, 0.5, training=True),
    }
    samples = alternate(subjects, repeats)
    moved = 2 * x.numel() * x.itemsize
    return [row("dropout forward", name, f"{batch}x4096", dtype, samples[name], moved) for name in subjects]


def measure(batch: int, dtype: torch.dtype, repeats: int) -> list[dict[str, Any]]:
    speed = copy_speed()
    rows = []
    for stage, (channels, side) in STAGES.items():
        shape = (batch, channels, side)
        stock = nn.Sequential(nn.ReLU(), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), nn.MaxPool2d(3, 2))
        rows += compare_maps(f"normalize and pool, {stage}", kernels.normalize_and_pool, stock, shape, dtype, repeats)
    normalize = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)
    shape = (batch, 256, 27)
    rows += compare_maps("normalize, stage 2", kernels.normalize_responses, normalize, shape, dtype, repeats)
    pool = nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2))
    shape = (batch, 256, 13)
    rows += compare_maps(
        "pool, stage 5", lambda x: kernels.pool_maximum(x, rectify=True), pool, shape, dtype, repeats
    )  # fmt: skip
    rows += compare_updates(dtype, repeats)
    rows += compare_dropout(batch, dtype, repeats)
    speed = max(speed, copy_speed())  # at both ends of the run, because another program's traffic is no ceiling
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    ).stdout.strip()
    for each in rows:
        each["ceiling"] = each["bytes"] / speed
        each["fraction"] = each["ceiling"] / each["median"]
        each |= {
            "copy_bytes_per_second": speed * 1e3,
            "device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
            "driver": f"numba {numba.__version__}",
            "torch": torch.__version__,
            "commit": commit or "unknown",
            "date": datetime.date.today().isoformat(),
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch", type=int, default=32, help="images per batch (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="timed calls of each subject (default: %(default)s)")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bfloat16", help="of ours (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch and of Numba")
    parser.add_argument("--json", action="store_true", help="print one JSON object per row, with raw samples")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    numba.set_num_threads(arguments.threads)
    kernels.warm_up(DTYPES[arguments.dtype])
    rows = measure(arguments.batch, DTYPES[arguments.dtype], arguments.repeats)
    if arguments.json:
        for each in rows:
            print(json.dumps(each))
        return
    print(f"copy: {rows[0]['copy_bytes_per_second'] / 1e9:.1f} GB/s read plus written; times in ms, n = {rows[0]['n']}")
    print(f"{'what':<38}{'version':<9}{'dtype':<10}{'median':>9}{'p20':>9}{'p80':>9}{'ceiling':>9}{'fraction':>10}")
    for each in rows:
        print(
            f"{each['what']:<38}{each['version']:<9}{each['dtype']:<10}{each['median']:9.2f}{each['p20']:9.2f}"
            f"{each['p80']:9.2f}{each['ceiling']:9.2f}{each['fraction']:10.2f}"
        )


if __name__ == "__main__":
    main()
