"""Minutes until a validation error is reached: alexnet's recipe, and torchvision's AlexNet in a plain PyTorch loop.

Both train on one store, in turns of a seed each, in processes of their own. The clock counts training and validation,
from the first batch to the end of the first epoch whose validation error, in one view, is low enough. A plain loop is
what a careful user writes: channels-last, bfloat16 where the processor multiplies it, a loader with workers, crops and
reflections, the fused update with momentum and decay, a rate that rises for an epoch and falls along a cosine. It is
trained at each of a few rates with the first seed, and with the best of them, the first to get there, with the others.
A rate that is slower than the best before it, or behind it after half of its epochs, is not trained to its end. What is
finished is not trained again; a training of alexnet that was interrupted continues, one of the plain loop starts again.

    .venv/bin/python benchmarks/time_to_error.py STORE OUT --target 0.35 --epochs 10 --stock-epochs 20
"""

import argparse
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from alexnet import system
from alexnet.benchmark.stock import build_stock_2014
from alexnet.data.store.reader import Split, open_store
from alexnet.runs.folder import MODEL, read_metrics


class Crops(Dataset[tuple[Tensor, int]]):
    """Random crops, mirrored or not, of a split; or the central ones. (3, side, side) uint8 and a label."""

    def __init__(self, split: Split, crop_px: int, *, random: bool) -> None:
        self._split, self._crop_px, self._random = split, crop_px, random

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = np.asarray(self._split.images[index])
        margin = image.shape[0] - self._crop_px
        y, x = (int(torch.randint(margin + 1, ())) if self._random else margin // 2 for _ in range(2))
        crop = image[y : y + self._crop_px, x : x + self._crop_px]
        if self._random and torch.rand(()) < 0.5:
            crop = crop[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1), int(self._split.labels[index])


def train_stock(
    store_path: Path,
    out: Path,
    *,
    rate: float,
    seed: int,
    epochs: int,
    target: float,
    input_px: int,
    workers: int,
    threads: int,
    limit: float = math.inf,
    to_beat: float = math.inf,
) -> None:
    """Train torchvision's AlexNet until the target or the last epoch; append a line an epoch to a file.

    Args:
        limit: Seconds after which it ends, too.
        to_beat: Error after half of its epochs above which it ends, too.
        input_px: Side to which crops, of seven eighths of the stored side, are brought where theirs is another.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    store, compute = open_store(store_path), system.choose_compute("cpu", "auto")
    in_bfloat16 = compute.dtype == torch.bfloat16
    axes = store.color_eigenvectors
    covariance = axes * store.color_eigenvalues @ axes.T
    center = torch.tensor(store.color_mean, dtype=torch.float32).view(3, 1, 1)
    scale = torch.tensor(np.sqrt(np.diag(covariance)), dtype=torch.float32).view(3, 1, 1)
    train, val = (
        DataLoader(
            Crops(store[name], store.size * 7 // 8, random=name == "train"),
            batch_size=128,
            shuffle=name == "train",
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for name in ("train", "val")
    )
    layers = list(build_stock_2014(len(store.class_names)))
    flatten = next(place for place, layer in enumerate(layers) if isinstance(layer, nn.Flatten))
    layers.insert(flatten, nn.AdaptiveAvgPool2d(6))  # torchvision's own; nothing at 224 px
    network: nn.Module = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4, fused=True)
    updates, warmup = epochs * len(train), len(train)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda update: min(
            (update + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * max(0, update - warmup) / max(1, updates - warmup))
        ),
    )

    def forward(crops: Tensor) -> Tensor:
        inputs = (crops.float() - center) / scale
        if inputs.shape[2] != input_px:
            inputs = F.interpolate(inputs, size=(input_px, input_px), mode="bilinear", antialias=False)
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
            logits: Tensor = network(inputs.contiguous(memory_format=torch.channels_last))
        return logits.float()

    out.unlink(missing_ok=True)
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        network.train()
        for crops, labels in train:
            loss = F.cross_entropy(forward(crops), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        network.eval()
        with torch.inference_mode():
            wrong = sum(int((forward(crops).argmax(1) != labels).sum()) for crops, labels in val)
        error = wrong / len(store["val"])
        row = {"epoch": epoch, "seconds": time.perf_counter() - start, "val_top1_error": error}
        late = row["seconds"] >= limit or (epoch == epochs // 2 and error > to_beat)
        row["ended"] = error <= target or epoch == epochs or late or not math.isfinite(loss.item())
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        parent = multiprocessing.parent_process()
        if row["ended"] or (parent and not parent.is_alive()):
            return


def run_stock(store: Path, out: Path, **options: Any) -> list[dict[str, Any]]:
    """Train in a process of its own, unless it is done; return the lines."""
    if not (out.exists() and json.loads(out.read_text().splitlines()[-1])["ended"]):
        process = multiprocessing.get_context("spawn").Process(target=train_stock, args=(store, out), kwargs=options)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{out}: the plain loop ended with {process.exitcode}.")
    return [json.loads(line) for line in out.read_text().splitlines()]


def run_ours(store: Path, out: Path, words: Sequence[object]) -> list[dict[str, Any]]:
    """Train by alexnet, unless it is done; return lines like those of the plain loop."""
    if not (out / MODEL).exists():
        command = [sys.executable, "-m", "alexnet", "train", str(store), "--out", str(out), "--no-report"]
        subprocess.run([*command, *map(str, words)], check=True)
    seconds, rows = 0.0, []
    for row in read_metrics(out):
        seconds += row["seconds_with_validation"]
        rows.append({"epoch": row["epoch"], "seconds": seconds, "val_top1_error": row["val_top1_error"]})
    return rows


def find_seconds(rows: Sequence[dict[str, Any]], target: float) -> float | None:
    """Return the seconds until the first epoch whose error is no more than the target; None if there is none."""
    return next((row["seconds"] for row in rows if row["val_top1_error"] <= target), None)


def rank(rows: Sequence[dict[str, Any]], target: float) -> tuple[float, float]:
    """Return what is less for the better of two trainings: the time, or else the last error."""
    seconds = find_seconds(rows, target)
    return (math.inf if seconds is None else seconds, rows[-1]["val_top1_error"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print a table and write OUT/time_to_error.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="made by alexnet prepare, with val images")
    parser.add_argument("out", type=Path)
    parser.add_argument("--target", type=float, required=True, help="validation error in one view, such as 0.35")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="modern")
    parser.add_argument("--set", action="append", default=[], help="field of the recipe; repeatable")
    parser.add_argument("--epochs", type=int, help="of alexnet's recipe.  [default: the recipe's]")
    parser.add_argument("--stock-epochs", type=int, default=20)
    parser.add_argument("--stock-px", type=int, default=224, help="what the plain network reads")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.03, 0.1])
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the plain loader")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="that either side computes with")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    words = ["--recipe", options.recipe, *(word for each in options.set for word in ("--set", each))]
    words += ["--epochs", options.epochs] if options.epochs else []
    words += ["--threads", options.threads]
    stock = {
        "epochs": options.stock_epochs, "target": options.target, "input_px": options.stock_px,
        "workers": options.workers, "threads": options.threads,
    }  # fmt: skip

    def plain(rate: float, seed: int, **limits: float) -> list[dict[str, Any]]:
        out = options.out / f"plain-{rate:g}-{seed}.jsonl"
        return run_stock(options.store, out, rate=rate, seed=seed, **limits, **stock)

    ours, theirs, tried = {}, {}, {}
    best = options.rates[0]
    for seed in range(options.seeds):
        ours[seed] = run_ours(options.store, options.out / f"ours-{seed}", [*words, "--seed", seed])
        if seed == 0:
            for rate in options.rates:
                limits = {}
                if tried:
                    rows, half = tried[best], options.stock_epochs // 2
                    limits["limit"] = rank(rows, options.target)[0]
                    limits["to_beat"] = rows[min(half, len(rows)) - 1]["val_top1_error"]
                tried[rate] = plain(rate, 0, **limits)
                best = min(tried, key=lambda rate: rank(tried[rate], options.target))
        theirs[seed] = plain(best, seed)
    contenders = {f"alexnet, {options.recipe}": ours, f"plain loop, rate {best:g}": theirs}
    print(
        f"| until {options.target:.0%} | minutes of each seed | median | lowest error of each seed |\n|---|---|---|---|"
    )
    medians = []
    for name, found in contenders.items():
        seconds = [find_seconds(rows, options.target) for rows in found.values()]
        reached = [math.inf if each is None else each / 60 for each in seconds]
        medians.append(statistics.median(reached))
        times = ", ".join("never" if math.isinf(each) else f"{each:.1f}" for each in reached)
        lowest = ", ".join(f"{min(row['val_top1_error'] for row in rows):.1%}" for rows in found.values())
        median = "never" if math.isinf(medians[-1]) else f"{medians[-1]:.1f}"
        print(f"| {name} | {times} | {median} | {lowest} |")
    if not math.isinf(medians[0]):
        print(f"The median of alexnet is {medians[1] / medians[0]:.2f} times sooner.")
    chosen = {name: value for name, value in vars(options).items() if name not in ("store", "out")}
    document = {**chosen, "system": system.describe_system(), "rate": best, "trainings": contenders}
    if options.rates[1:]:
        document["rates tried with seed 0"] = {f"{rate:g}": rows for rate, rows in tried.items()}
    (options.out / "time_to_error.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
