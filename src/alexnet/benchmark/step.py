"""The training step and inference: ours against stock modules, as images per second."""

import torch

from alexnet.benchmark.measure import CPU, Contender, Row, alternate, compare_rates, measure_ceiling, show_amounts
from alexnet.benchmark.stock import NUM_CLASSES
from alexnet.network.dialects import find_dialect
from alexnet.network.shapes import count_training_operations, measure
from alexnet.system import has_bfloat16
from alexnet.text.progress import Tick

STEPS: tuple[tuple[str, str, dict[str, str | bool]], ...] = (
    ("stock-float32", "best", {"network": "paper", "dtype": "float32"}),
    ("stock-bfloat16", "bfloat16", {"network": "paper", "dtype": "bfloat16"}),
    ("torchvision-float32", "best", {"network": "2014", "dtype": "float32"}),
    ("torchvision-channels-last", "best", {"network": "2014", "dtype": "float32", "channels_last": True}),
    ("torchvision-bfloat16", "bfloat16", {"network": "2014", "dtype": "bfloat16"}),
    ("float32 : stock-float32", "also float32", {"network": "paper", "dtype": "float32"}),
)
"""Comparisons with the paper's network: name, our precision, stock contender. "best" is bfloat16 where products in it
are faster, else float32; then the other two are left out."""


def bench_step(batch: int, rounds: int, tick: Tick, device: torch.device = CPU, *, dialect: str = "paper") -> list[Row]:
    """Return a row for each of `STEPS` that the device can run, and one for peak memory.

    A dialect other than the paper's is compared with itself, computed by PyTorch's own operations.

    The ceiling is the faster of two rates that are measured in our precision, of a matrix product and of a convolution,
    divided by the operations of a step.
    """
    halves = has_bfloat16(device)
    rows = []
    steps = STEPS if dialect == "paper" else ((f"{dialect} : plain PyTorch", "best", {"dialect": dialect}),)
    for what, precision, stock in steps:
        if precision != "best" and not halves:
            continue
        dtype = "bfloat16" if halves and precision != "also float32" else "float32"
        on_device = {"batch": batch, "device": str(device)}
        with (
            Contender("ours-step", dtype=dtype, dialect=dialect, **on_device) as ours,
            Contender("stock-step" if dialect == "paper" else "plain-step", **on_device, **stock) as theirs,
        ):
            mine, other = alternate([ours, theirs], rounds, tick, amount=batch)
            rate, of = measure_ceiling(getattr(torch, dtype), device)
            ceiling = rate / count_training_operations(find_dialect(dialect, NUM_CLASSES))
            rows.append(compare_rates(what, mine, other, ceiling=ceiling, ceiling_of=of, unit="images/s"))
            if not rows[1:]:
                sizes = (ours.peak_bytes / 2**30, theirs.peak_bytes / 2**30)
                rows.append(show_amounts(f"peak memory : {what}", *sizes, unit="GiB"))
    return rows


def bench_evaluation(batch: int, rounds: int, tick: Tick, device: torch.device = CPU) -> list[Row]:
    """Return rows of testing with one and with ten views, each against the faster setting of stock modules.

    Ten views are of whole stored images, cropping included; one view is a forward pass.
    """
    precision = "bfloat16" if has_bfloat16(device) else "float32"
    forward = 2 * sum(shape.multiply_adds for shape in measure(find_dialect("paper", NUM_CLASSES)))
    images = max(1, batch // 4)
    rows = []
    for what, name, options, done, flops in (
        ("inference", "inference", {"batch": batch, "device": str(device)}, batch, forward),
        ("ten views", "ten-views", {"images": images, "device": str(device)}, images, 10 * forward),
    ):
        candidates = []
        with Contender(f"ours-{name}", dtype=precision, **options) as ours:
            for dtype in dict.fromkeys(("float32", precision)):
                with Contender(f"stock-{name}", dtype=dtype, **options) as theirs:
                    mine, other = alternate([ours, theirs], rounds, tick, amount=done)
                rate, of = measure_ceiling(getattr(torch, precision), device)
                what_to = f"{what} : stock-{dtype}"
                candidates.append(
                    compare_rates(what_to, mine, other, ceiling=rate / flops, ceiling_of=of, unit="images/s")
                )
        rows.append(min(candidates, key=lambda row: row.ratio or 0))
    return rows
