"""Carries jobs out in processes of their own, one after another or side by side.

A job that is done is not done again. One that was interrupted goes on from its checkpoint. One that another process
works on is waited for. A job that fails, such as by a loss that is not finite, is recorded, and the others go on.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from alexnet.cluster.nodes import Cluster
from alexnet.errors import Interrupted, RunError
from alexnet.files.writing import is_locked, write_text
from alexnet.reproduction.elsewhere import TRAINING, Process, Start, start_on_node
from alexnet.reproduction.outlook import Estimate, Outlook, Watch
from alexnet.reproduction.plan import FAILED, LOCK, RESULT, STOPPED, Job
from alexnet.startup import available_cores
from alexnet.text.wording import counted

WORKER = "alexnet.reproduction.worker"
POLL_SECONDS = 0.5
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
    """A sentence about what just happened, if anything did."""


def run_jobs(
    jobs: Sequence[Job],
    estimates: Sequence[Estimate],
    *,
    devices: Sequence[str],
    threads: int | None,
    budget_seconds: float | None,
    tell: Tell,
    cluster: Cluster | None = None,
) -> None:
    """Carry out the jobs that are not done, in order; a job waits for the one that it starts from.

    Args:
        devices: One for each training at a time; the same may be named several times.
        threads: Threads of each training; its share of the cores where None.
        budget_seconds: No training begins that should not end within this time from now.
        cluster: Whose nodes do the trainings, in place of processes of this machine: as many at a time as it can, with
            threads of its own.
    Raises:
        Interrupted: SIGINT or SIGTERM; trainings at work have saved.
        RunError: the system stopped one, as a full disk does; the others have saved.
    """
    began = time.monotonic()
    outlook = Outlook({job.folder: each.seconds for job, each in zip(jobs, estimates, strict=True)}, len(devices))
    threads = choose_threads(threads, devices)
    start = start_process if cluster is None else partial(start_on_node, cluster, cluster.giver(TRAINING))
    unique: dict[Path, Job] = {}
    for job in jobs:
        unique.setdefault(job.folder, job)
    waiting = list(unique.values())
    running: list[_Running] = []

    def report(message: str = "") -> None:
        now = time.monotonic()
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
                outlook.seconds_left([each.watch for each in running], waiting, now),
                [each.job.title for each in running]
                + [f"{job.title} in another process" for job in waiting if is_locked(job.folder.with_suffix(LOCK))],
                message,
            )
        )

    try:
        while waiting or running:
            waiting = [job for job in waiting if not _settled(job)]
            left = None if budget_seconds is None else budget_seconds - (time.monotonic() - began)
            fitting = [job for job in waiting if left is None or outlook.seconds(job) <= left]
            held = {job.folder for job in fitting if is_locked(job.folder.with_suffix(LOCK))}
            ready = [job for job in fitting if job.folder not in held and _may_start(job)]
            if cluster is not None:  # nodes come and go
                devices, threads = [cluster.device] * cluster.slots, cluster.threads
                outlook.places = max(1, len(devices))
            free = Counter(devices) - Counter(each.device for each in running)
            for job, device in zip(ready, free.elements(), strict=False):
                waiting.remove(job)
                running.append(_Running(job, outlook.watch(job, time.monotonic()), device, threads, start))
            if not running and not held:
                break
            for each in running:
                each.listen()
            for each in [each for each in running if each.ended()]:
                running.remove(each)
                if each.process.returncode and is_locked(each.job.folder.with_suffix(LOCK)):
                    waiting.append(each.job)  # another process began it at the same moment
                else:
                    report(each.finish())
            report()
            time.sleep(POLL_SECONDS)
    except BaseException as problem:  # also for a full disk: no process may go on unwatched
        _end([each.process for each in running])
        if not isinstance(problem, KeyboardInterrupt):
            raise
        done = sum(_settled(job) for job in jobs)
        raise Interrupted(
            f"Stopped with {done} of {counted(len(jobs), 'training')} done; the others are saved. The same command "
            "goes on."
        ) from None


def _end(processes: Sequence[Process]) -> None:
    """Let trainings save and end, and wait until they have."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def read_failure(job: Job) -> str | None:
    """Return why a job failed, or None."""
    path = job.folder.with_suffix("." + FAILED)
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def _settled(job: Job) -> bool:
    return job.done or read_failure(job) is not None


def _may_start(job: Job) -> bool:
    return job.start is None or (job.start / RESULT).exists()


def choose_threads(threads: int | None, devices: Sequence[str]) -> int:
    """Return the threads of each training: its share of the cores, where the user gives none."""
    return threads or max(1, available_cores() // len(devices))


def write_description(job: Job, device: str, threads: int, **more: Any) -> Path:
    """Write down beside its folder what a process is to do; return the file."""
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
        **more,
    }
    write_text(description, json.dumps(fields, indent=2) + "\n")
    return description


def start_process(
    description: Path, log: Path, threads: int, *, module: str | None = None
) -> "subprocess.Popen[bytes]":
    """Start a process of this machine that does what is described, and writes what it says into the log."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module or WORKER, str(description)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # the interrupt of the terminal reaches this process alone, which passes it on
        )


class _Running:
    """A job at work."""

    def __init__(self, job: Job, watch: Watch, device: str, threads: int, start: Start) -> None:
        self.job = job
        self.watch = watch
        self.device = device
        description = write_description(job, device, threads)
        self._log = job.folder.with_suffix(".log")
        self._log.touch()
        self._read: IO[bytes] = self._log.open("rb")
        self._read.seek(0, os.SEEK_END)  # lines of an earlier process have another pace
        self.process = start(description, self._log, threads)

    @property
    def epochs(self) -> int:
        """Epochs that are over."""
        return self.job.epochs_done

    def listen(self) -> None:
        """Read how far its process says it is."""
        for line in self._read.readlines():
            with suppress(ValueError, TypeError, KeyError):  # a line of another kind, or half a line
                self.watch.observe(time.monotonic(), float(json.loads(line)["passes"]))

    def ended(self) -> bool:
        """Whether its process has ended; its log is closed then."""
        if self.process.poll() is None:
            return False
        self._read.close()
        return True

    def finish(self) -> str:
        """Return a sentence about how it went; a failure is recorded.

        Raises:
            RunError: the system stopped it, which says nothing of the job: it is not recorded.
        """
        name, code = self.job.title, self.process.returncode
        if code == 0:
            errors = self.job.read_result()["views"]
            best = errors[max(errors, key=int)]
            return f"{name}: {best['top1_error']:.2%} error with {best['views']} views"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        message = _find_error(lines) or f"ended with exit code {code}"
        if code == STOPPED or code < 0:
            reason = message if code == STOPPED else f"its process was killed (signal {-code})"
            raise RunError(f"{name} was stopped: {reason}. What is trained is saved; the same command goes on.")
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
