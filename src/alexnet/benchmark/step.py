"""The training step and inference: ours against stock modules, as images per second."""

import torch

from alexnet.benchmark.measure import CPU, Contender, Row, alternate, compare_rates, measure_matrix_rate, show_amounts
from alexnet.network.dialects import find_dialect
from alexnet.network.shapes import count_training_operations, measure
from alexnet.system import has_bfloat16
from alexnet.text.progress import Tick

STEPS = (
    ("stock-float32", "bfloat16", {"network": "paper", "dtype": "float32"}),
    ("stock-bfloat16", "bfloat16", {"network": "paper", "dtype": "bfloat16"}),
    ("torchvision-float32", "bfloat16", {"network": "2014", "dtype": "float32"}),
    ("torchvision-bfloat16", "bfloat16", {"network": "2014", "dtype": "bfloat16"}),
    ("float32 : stock-float32", "float32", {"network": "paper", "dtype": "float32"}),
)
"""What is compared: its name, our precision, and the stock contender."""


def bench_step(batch: int, rounds: int, tick: Tick, device: torch.device = CPU) -> list[Row]:
    """Return a row for each of `STEPS` that the device can run, and one for peak memory.

    The ceiling is the measured matrix-product rate in our precision, divided by the operations of a step.
    """
    rows = []
    for what, precision, stock in STEPS:
        if precision == "bfloat16" and not has_bfloat16(device):
            continue
        with (
            Contender("ours-step", batch=batch, dtype=precision, device=str(device)) as ours,
            Contender("stock-step", batch=batch, device=str(device), **stock) as theirs,
        ):
            seconds = alternate([ours, theirs], rounds, tick)
            ceiling = measure_matrix_rate(getattr(torch, precision), device) / count_training_operations(
                find_dialect("paper", 1000)
            )
            mine, other = ([batch / value for value in series] for series in seconds)
            rows.append(compare_rates(what, mine, other, ceiling=ceiling, unit="images/s"))
            if what == "stock-float32":
                sizes = (ours.peak_bytes / 2**30, theirs.peak_bytes / 2**30)
                rows.append(show_amounts("peak memory : stock-float32", *sizes, unit="GiB"))
    return rows


def bench_evaluation(batch: int, rounds: int, tick: Tick, device: torch.device = CPU) -> list[Row]:
    """Return rows of testing with one and with ten views, each against the faster setting of stock modules.

    Ten views are of whole stored images, cropping included; one view is a forward pass.
    """
    precision = "bfloat16" if has_bfloat16(device) else "float32"
    forward = 2 * sum(shape.multiply_adds for shape in measure(find_dialect("paper", 1000)))
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
                    seconds = alternate([ours, theirs], rounds, tick)
                mine, other = ([done / value for value in series] for series in seconds)
                ceiling = measure_matrix_rate(getattr(torch, precision), device) / flops
                candidates.append(
                    compare_rates(f"{what} : stock-{dtype}", mine, other, ceiling=ceiling, unit="images/s")
                )
        rows.append(min(candidates, key=lambda row: row.ratio or 0))
    return rows
