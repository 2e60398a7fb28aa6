"""Carries jobs out: in processes of their own, one after another or side by side, and again where they were left.

A job that is done is not done again; one that was interrupted goes on from its checkpoint; one that another process is
at work on, for another experiment perhaps, is waited for. A job that fails (a loss that is not finite, for example) is
recorded with its message, and the others go on.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from alexnet.benchmark.measure import measure_matrix_rate
from alexnet.errors import Interrupted
from alexnet.files.writing import is_locked, write_text
from alexnet.reproduction.plan import LOCK, RESULT, Job
from alexnet.system import choose_compute
from alexnet.text.wording import counted

WORKER = "alexnet.reproduction.worker"
FAILED = "failed.txt"
"""Holds the message of a job that failed; remove it to try again."""
POLL_SECONDS = 0.5
DENSE_SHARE, SMALL_SHARE = 0.9, 0.15
"""Share of the matrix-product rate that training the paper's network, and one for CIFAR, is taken to reach."""
SMALL_OPERATIONS = 1e9
"""Operations per image below which a network counts as small."""

Tell = Callable[["State"], None]


@dataclass(slots=True)
class State:
    """How far the plan is."""

    done: int
    total: int
    epochs_done: float
    epochs_total: float
    seconds_left: float
    running: list[str] = field(default_factory=list)
    message: str = ""
    """What just happened, if anything did."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that a training should take, and where the number comes from."""

    seconds: float
    source: str


def estimate_jobs(jobs: Sequence[Job], num_train: int, num_classes: int, device: str = "auto") -> list[Estimate]:
    """Return how long each training should take.

    From the rate of finished trainings of networks as large, where there are any; else from the operations of the
    network and this machine's matrix-product rate, which is measured here.
    """
    known: dict[str, float] = {}  # operations per second of finished jobs, by precision
    for job in jobs:
        if job.done and job.read_result()["seconds"] > 0:
            work = job.operations(num_classes) * num_train * job.read_result()["epochs"]
            known[job.precision] = work / job.read_result()["seconds"]
    measured: dict[str, float] = {}
    result = []
    for job in jobs:
        operations = job.operations(num_classes)
        if job.precision in known:
            rate, source = known[job.precision], "from finished runs"
        else:
            if job.precision not in measured:
                compute = choose_compute(device, job.precision)
                measured[job.precision] = measure_matrix_rate(compute.dtype, compute.device, size=2048, rounds=2)
            share = DENSE_SHARE if operations > SMALL_OPERATIONS else SMALL_SHARE
            rate, source = measured[job.precision] * share, "from operations"
        result.append(Estimate(operations * job.images(num_train) / rate, source))
    return result


def run_jobs(
    jobs: Sequence[Job],
    estimates: Sequence[Estimate],
    *,
    devices: Sequence[str],
    threads: int | None,
    budget_seconds: float | None,
    tell: Tell,
) -> None:
    """Carry out the jobs that are not done, in order; a job waits for the one that it starts from.

    Args:
        devices: One for each training at a time; the same may be named several times.
        threads: Of each training; its share of the cores where None.
        budget_seconds: No training begins that should not end within this time from now.
    Raises:
        Interrupted: SIGINT or SIGTERM; trainings at work have saved.
    """
    began = time.monotonic()
    threads = threads or max(1, (os.cpu_count() or 1) // len(devices))
    unique: dict[Path, tuple[Job, Estimate]] = {}
    for job, estimate in zip(jobs, estimates, strict=True):
        unique.setdefault(job.folder, (job, estimate))
    waiting = list(unique.values())
    running: list[_Running] = []

    def report(message: str = "") -> None:
        rest = sum(estimate.seconds for _, estimate in waiting) + sum(each.seconds_left() for each in running)
        total = sum(job.recipe.optimization.total_epochs for job in jobs)
        at_work = {each.job.folder for each in running}
        finished = sum(
            job.recipe.optimization.total_epochs for job in jobs if job.folder not in at_work and _settled(job)
        )
        tell(
            State(
                sum(_settled(job) for job in jobs),
                len(jobs),
                finished + sum(each.epochs for each in running),
                total,
                rest / len(devices),
                [each.job.title for each in running]
                + [f"{job.title} in another process" for job, _ in waiting if is_locked(job.folder.with_suffix(LOCK))],
                message,
            )
        )

    try:
        while waiting or running:
            waiting = [item for item in waiting if not _settled(item[0])]
            left = None if budget_seconds is None else budget_seconds - (time.monotonic() - began)
            fitting = [item for item in waiting if left is None or item[1].seconds <= left]
            held = {job.folder for job, _ in fitting if is_locked(job.folder.with_suffix(LOCK))}
            ready = [item for item in fitting if item[0].folder not in held and _may_start(item[0])]
            free = Counter(devices) - Counter(each.device for each in running)
            for item, device in zip(ready, free.elements(), strict=False):
                waiting.remove(item)
                running.append(_Running(*item, device, threads))
            if not running and not held:
                break
            for each in [each for each in running if each.ended()]:
                running.remove(each)
                if each.process.returncode and is_locked(each.job.folder.with_suffix(LOCK)):
                    waiting.append((each.job, each.estimate))  # another process began it at the same moment
                else:
                    report(each.finish())
            report()
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        for each in running:
            each.process.terminate()
        for each in running:
            each.process.wait()
        done = sum(_settled(job) for job in jobs)
        raise Interrupted(
            f"Stopped with {done} of {counted(len(jobs), 'training')} done; the others are saved. The same command "
            "goes on."
        ) from None


def read_failure(job: Job) -> str | None:
    """Return why a job failed, or None."""
    path = job.folder.with_suffix("." + FAILED)
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def _settled(job: Job) -> bool:
    return job.done or read_failure(job) is not None


def _may_start(job: Job) -> bool:
    return job.start is None or (job.start / RESULT).exists()


class _Running:
    """A job at work."""

    def __init__(self, job: Job, estimate: Estimate, device: str, threads: int) -> None:
        self.job = job
        self.estimate = estimate
        self.device = device
        self._began = time.monotonic()
        self._first = self.epochs
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        recipe, description = job.folder.with_suffix(".yaml"), job.folder.with_suffix(".json")
        write_text(recipe, job.recipe.to_yaml())
        fields = {
            "recipe": str(recipe),
            "store": str(job.store),
            "folder": str(job.folder),
            "seed": job.seed,
            "precision": job.precision,
            "device": device,
            "threads": threads,
            "start": str(job.start) if job.start else None,
            "views": list(job.views),
        }
        write_text(description, json.dumps(fields, indent=2) + "\n")
        self._log = job.folder.with_suffix(".log")
        self._output: IO[bytes] = self._log.open("ab")
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", WORKER, str(description)],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # the interrupt of the terminal reaches this process alone, which passes it on
        )

    @property
    def epochs(self) -> int:
        """Epochs that are over."""
        metrics = self.job.folder / "metrics.jsonl"
        done = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
        return min(done, self.job.recipe.optimization.total_epochs)

    def seconds_left(self) -> float:
        """By the pace of this run where an epoch of it is over, else by the estimate."""
        elapsed, done = time.monotonic() - self._began, self.epochs - self._first
        if done > 0:
            return elapsed / done * (self.job.recipe.optimization.total_epochs - self.epochs)
        return max(0.0, self.estimate.seconds - elapsed)

    def ended(self) -> bool:
        """Whether its process has ended; its log is closed then."""
        if self.process.poll() is None:
            return False
        self._output.close()
        return True

    def finish(self) -> str:
        """Return a sentence about how it went; a failure is recorded."""
        name = self.job.title
        if self.process.returncode == 0:
            errors = self.job.read_result()["views"]
            best = errors[max(errors, key=int)]
            return f"{name}: {best['top1_error']:.2%} error with {best['views']} views"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        message = _find_error(lines) or f"ended with exit code {self.process.returncode}"
        write_text(self.job.folder.with_suffix("." + FAILED), message + "\n")
        return f"{name} failed: {message} (log: {self._log})"


def _find_error(lines: Sequence[str]) -> str | None:
    for line in reversed(lines):
        try:
            fields: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(fields, dict) and "error" in fields:
            return str(fields["error"])
    return lines[-1] if lines else None
