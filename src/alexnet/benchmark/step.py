"""The training step and inference: ours against stock modules, as images per second."""

from collections.abc import Callable

import torch

from alexnet.benchmark.measure import Contender, Row, Spread, alternate, compare_rates, measure_matrix_rate
from alexnet.network.spec import find_dialect, measure
from alexnet.system import has_bfloat16

Tick = Callable[[int, int], None]

STEPS = (
    ("stock-float32", "bfloat16", {"network": "paper", "dtype": "float32"}),
    ("stock-bfloat16", "bfloat16", {"network": "paper", "dtype": "bfloat16"}),
    ("torchvision-float32", "bfloat16", {"network": "2014", "dtype": "float32"}),
    ("torchvision-bfloat16", "bfloat16", {"network": "2014", "dtype": "bfloat16"}),
    ("float32 : stock-float32", "float32", {"network": "paper", "dtype": "float32"}),
)
"""What is compared: its name, our precision, and the stock contender."""


def training_flops(num_classes: int = 1000) -> int:
    """Return the floating-point operations of one training step per image.

    Forward, gradients of weights and gradients of inputs each cost two per multiply-add; the first layer needs no
    gradient of its inputs. 4.13 GFLOP for the paper's network.
    """
    shapes = measure(find_dialect("paper", num_classes))
    return 2 * (3 * sum(shape.multiply_adds for shape in shapes) - shapes[0].multiply_adds)


def bench_step(batch: int, rounds: int, tick: Tick) -> list[Row]:
    """Return a row for each of `STEPS` that this processor can run, and one for peak memory.

    The ceiling is the measured matrix-product rate in our precision, divided by the operations of a step.
    """
    rows = []
    for what, precision, stock in STEPS:
        if precision == "bfloat16" and not has_bfloat16(torch.device("cpu")):
            continue
        with (
            Contender("ours-step", batch=batch, dtype=precision) as ours,
            Contender("stock-step", batch=batch, **stock) as theirs,
        ):
            seconds = alternate([ours, theirs], rounds, tick)
            ceiling = measure_matrix_rate(getattr(torch, precision)) / training_flops()
            mine, other = ([batch / value for value in series] for series in seconds)
            rows.append(compare_rates(what, mine, other, ceiling=ceiling, unit="images/s"))
            if what == "stock-float32":
                rows.append(_compare_memory(ours.peak_bytes, theirs.peak_bytes))
    return rows


def bench_inference(batch: int, rounds: int, tick: Tick) -> list[Row]:
    """Return a row of testing, the best setting of each side."""
    precision = "bfloat16" if has_bfloat16(torch.device("cpu")) else "float32"
    names = ("float32", "bfloat16") if precision == "bfloat16" else ("float32",)
    with Contender("ours-inference", batch=batch, dtype=precision) as ours:
        best: Row | None = None
        for dtype in names:
            with Contender("stock-inference", batch=batch, dtype=dtype) as theirs:
                seconds = alternate([ours, theirs], rounds, tick)
            mine, other = ([batch / value for value in series] for series in seconds)
            flops = 2 * sum(shape.multiply_adds for shape in measure(find_dialect("paper", 1000)))
            ceiling = measure_matrix_rate(getattr(torch, precision)) / flops
            row = compare_rates(f"inference : stock-{dtype}", mine, other, ceiling=ceiling, unit="images/s")
            if best is None or (row.theirs and best.theirs and row.theirs.median > best.theirs.median):
                best = row
    assert best is not None
    return [best]


def _compare_memory(ours: int, theirs: int) -> Row:
    gibibytes = [value / 2**30 for value in (ours, theirs)]
    mine, other = (Spread.of([value]) for value in gibibytes)
    return Row(
        "peak memory : stock-float32",
        mine,
        other,
        None,
        "GiB",
        gibibytes[0] / gibibytes[1],
        None,
        {"ours": gibibytes[:1], "theirs": gibibytes[1:]},
    )
