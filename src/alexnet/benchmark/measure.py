"""Medians with their spread, this machine's ceilings, and contenders in processes of their own.

Each contender runs in its own process, so that a tuned allocator or a warm cache of one does not help the other, and
its peak memory is its own. They take turns: one round each, again and again.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from alexnet.text.progress import Tick, untold

WORKER = "alexnet.benchmark.worker"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quantiles of a number of samples."""

    median: float
    p20: float
    p80: float
    n: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Summarise samples."""
        p20, median, p80 = np.percentile(samples, [20, 50, 80])
        return cls(float(median), float(p20), float(p80), len(samples))


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; `ours`, `theirs` and `ceiling` are in `unit`. More is better, unless it is a time or a size."""

    what: str
    ours: Spread
    theirs: Spread | None
    ceiling: float | None
    unit: str
    ratio: float | None
    """How many times better ours is, from the medians; smaller is better for sizes."""
    fraction: float | None
    """Ours as a share of the ceiling."""
    samples: dict[str, list[float]]
    ceiling_of: str = ""
    """What the ceiling is, in words, if it is not said elsewhere."""

    def to_json(self) -> dict[str, object]:
        """Return the row for programs: medians, and the samples behind them."""
        return {
            "what": self.what,
            "ours": self.ours.median,
            "theirs": self.theirs.median if self.theirs else None,
            "ratio": self.ratio,
            "ceiling": self.ceiling,
            "ceiling_of": self.ceiling_of,
            "fraction": self.fraction,
            "unit": self.unit,
            "n": self.ours.n,
            "ours_p20_p80": [self.ours.p20, self.ours.p80],
            "theirs_p20_p80": [self.theirs.p20, self.theirs.p80] if self.theirs else None,
            "samples": self.samples,
        }


def compare_rates(
    what: str,
    ours: Sequence[float],
    theirs: Sequence[float] | None,
    *,
    ceiling: float | None = None,
    ceiling_of: str = "",
    unit: str,
) -> Row:
    """Return the row of two series of rates, of which more is better."""
    mine, other = Spread.of(ours), Spread.of(theirs) if theirs else None
    return Row(
        what,
        mine,
        other,
        ceiling,
        unit,
        mine.median / other.median if other else None,
        mine.median / ceiling if ceiling else None,
        {"ours": list(ours), "theirs": list(theirs or [])},
        ceiling_of,
    )


def show_amounts(what: str, ours: float, theirs: float | None = None, *, unit: str) -> Row:
    """Return the row of an amount that is measured once, beside another if there is one; ratio is ours to theirs."""
    samples = {"ours": [ours], **({} if theirs is None else {"theirs": [theirs]})}
    other = None if theirs is None else Spread.of([theirs])
    return Row(what, Spread.of([ours]), other, None, unit, None if theirs is None else ours / theirs, None, samples)


class Contender:
    """A benchmark in a process of its own, warmed up; use as a context manager.

    Args:
        options: What the benchmark takes, and `threads`, to compute with; those of this process where not given.
    """

    def __init__(self, name: str, **options: object) -> None:
        self.name = name
        given = {"threads": torch.get_num_threads(), **options}
        self._command = [sys.executable, "-m", WORKER, name, json.dumps(given)]
        self._environment: Mapping[str, str] | None = None
        self.peak_bytes = 0
        self.value: Any = None
        """What the last run returned, where it is a dictionary; before the first, the threads it computes with."""

    def within(self, environment: Mapping[str, str], prefix: Sequence[str] = ()) -> "Contender":
        """Give the process an environment, and a command that starts it, such as one that enters a network
        namespace."""
        self._environment = environment
        self._command = [*prefix, *self._command]
        return self

    def __enter__(self) -> "Contender":
        self.start()
        try:
            self.answer()
        except BaseException as problem:
            self.__exit__(type(problem), problem, None)
            raise
        return self

    def start(self) -> None:
        """Start the process, which then warms up; `answer` waits for it."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=self._environment
        )

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        if kind:
            self._process.kill()
        self._process.wait()

    def seconds(self) -> float:
        """Run once and return the time it took."""
        self.ask()
        return self.answer()

    def ask(self) -> None:
        """Begin a run."""
        assert self._process.stdin
        self._process.stdin.write("run\n")

    def answer(self) -> float:
        """Wait for the end of a run and return the time it took."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"benchmark {self.name} ended with exit code {self._process.wait()}")
        answer = json.loads(line)
        self.peak_bytes, self.value = answer["peak_bytes"], answer["value"]
        return float(answer["seconds"])


class Crew:
    """Contenders that run at the same time; use as a context manager."""

    def __init__(self, members: Sequence[Contender]) -> None:
        self.members = members

    def __enter__(self) -> "Crew":
        for member in self.members:
            member.start()
        try:
            for member in self.members:
                member.answer()
        except BaseException as problem:
            self.__exit__(type(problem), problem, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            member.__exit__(kind, value, trace)

    def seconds(self) -> float:
        """Run once, all together, and return the time that the slowest took."""
        for member in self.members:
            member.ask()
        return max([member.answer() for member in self.members])


def alternate(
    contenders: Sequence[Contender | Crew], rounds: int, tick: Tick = untold, *, amount: float
) -> list[list[float]]:
    """Return the rates of each contender, which does `amount` in a run, over rounds in which everyone runs once."""
    rates: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds):
        for own, contender in zip(rates, contenders, strict=True):
            own.append(amount / contender.seconds())
        tick(number + 1, rounds)
    return rates


CPU = torch.device("cpu")


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all its work; a processor has done it already."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_once(function: Callable[[], object], device: torch.device = CPU) -> float:
    """Return the seconds that one call takes, the work of its device included."""
    wait_for(device)
    start = time.perf_counter()
    function()
    wait_for(device)
    return time.perf_counter() - start


def take_turns(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, device: torch.device = CPU
) -> tuple[list[float], list[float]]:
    """Return the seconds of two functions over rounds in which both run once, after one that does not count."""
    ours()
    theirs()
    pairs = [(time_once(ours, device), time_once(theirs, device)) for _ in range(rounds)]
    return [mine for mine, _ in pairs], [other for _, other in pairs]


def measure_matrix_rate(dtype: torch.dtype, device: torch.device = CPU, *, size: int = 4096, rounds: int = 5) -> float:
    """Return the FLOP/s of a square matrix product on a device at this moment: the best of a few rounds."""
    a = torch.ones(size, size, dtype=dtype, device=device)
    a @ a
    return 2 * size**3 / min(time_once(lambda: a @ a, device) for _ in range(rounds))


def measure_convolution_rate(dtype: torch.dtype, device: torch.device = CPU, *, images: int = 32) -> float:
    """Return the FLOP/s of PyTorch's own convolution at this moment, conv3's forward pass with channels innermost.

    It can pass the rate of a matrix product: its kernels are written for the shape.
    """
    x = torch.ones(images, 256, 13, 13, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(384, 256, 3, 3, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    F.conv2d(x, weight, padding=1)
    seconds = min(time_once(lambda: F.conv2d(x, weight, padding=1), device) for _ in range(5))
    return 2 * images * 13 * 13 * weight.numel() / seconds


def measure_ceiling(dtype: torch.dtype, device: torch.device = CPU) -> tuple[float, str]:
    """Return the FLOP/s of the faster of a matrix product and a convolution on a device, and which it is."""
    rates = {
        "a product of 4096 x 4096": measure_matrix_rate(dtype, device),
        "the forward pass of conv3": measure_convolution_rate(dtype, device),
    }
    faster = max(rates, key=lambda name: rates[name])
    return rates[faster], f"{faster}, {rates[faster] / 1e9:,.0f} GFLOP/s"


def measure_copy_rate(device: torch.device = CPU, *, num_bytes: int = 2**28, rounds: int = 5) -> float:
    """Return the bytes/s, read plus written, of a large copy in a device's own memory at this moment."""
    source = torch.ones(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * num_bytes / min(time_once(lambda: target.copy_(source), device) for _ in range(rounds))
