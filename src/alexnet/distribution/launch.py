"""Starting one process for each device of this machine, and ending all of them together.

torchrun does this on several machines, and alexnet works under it. Here it is done anew, for what torchrun's agent does
not give: one message instead of tracebacks, the words of a process that was interrupted, and seconds instead of half a
minute until a process that hangs is ended.

Every start has a name of its own. torchrun keeps its store when it starts processes again, and with it the addresses of
those that are gone; its count of restarts differs between machines.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError, DistributionError, Interrupted, error_called

STARTED = "ALEXNET_STARTED_PROCESSES"
"""Variable of processes that were started here: a folder for the errors that the first process then tells."""
CONTINUES = "The same command continues from the last checkpoint."
REPEAT = "Nothing was written; give the same command again."
COMPLETES = "What was finished is kept; the same command adds the rest."
"""What to do after a fault, by what was under way."""
SAVING_SECONDS = 30.0
"""After SIGINT or SIGTERM: how long processes have to save their work."""
ENDING_SECONDS = 8.0
"""After one has failed: how long the others have to end; more than `processes.GRACE_SECONDS`."""


def start_processes(count: int, arguments: Sequence[str], *, advice: str = CONTINUES) -> None:
    """Run `python -m alexnet ARGUMENTS` in `count` processes and wait for them.

    Args:
        advice: What to do after a fault, a sentence.
    Raises:
        AlexNetError: one of them failed; what it raised.
        DistributionError: a signal ended one of them.
        Interrupted: SIGINT or SIGTERM arrived; it was passed on, and they had half a minute to save their work.
        SystemExit: one of them ended with a code of its own and had told why.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    # The store where they meet lives here: whichever of them is lost, the others can find out.
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory(prefix="alexnet-") as folder, _signals() as arrived:
        crew: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(count):
                own = launch_variables(rank, count, store.port) | {STARTED: folder}
                command = [sys.executable, "-m", "alexnet", *arguments]
                # In sessions of their own, so that Ctrl-C reaches them once: from here.
                crew.append(subprocess.Popen(command, env=own, start_new_session=True))
            problem = _watch(crew, arrived, Path(folder), advice)
        finally:
            for process in crew:
                process.kill()
                process.wait()
    if problem is not None:
        raise problem


def launch_variables(rank: int, count: int, port: int, host: str = "localhost") -> dict[str, str]:
    """Return the environment of one of `count` processes that meet at a TCPStore, as torchrun sets it."""
    return {
        "OMP_NUM_THREADS": "1",  # until each process sets its own
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }


def _watch(
    crew: Sequence[subprocess.Popen[bytes]], arrived: list[int], folder: Path, advice: str
) -> BaseException | None:
    """Wait until all have ended; pass signals on, end the others after a failure, and return what to raise."""
    problem: BaseException | None = None
    passed_on, end = 0, float("inf")
    while any(process.poll() is None for process in crew) and time.monotonic() < end:
        if len(arrived) > passed_on:
            passed_on += 1
            problem = problem or Interrupted(f"Stopped. {advice}")
            end = min(end, time.monotonic() + SAVING_SECONDS)
            _send(crew, arrived[passed_on - 1])
        failed = next((rank for rank, process in enumerate(crew) if process.poll()), None)
        if failed is not None and problem is None:
            problem = _explain(failed, crew[failed].returncode, len(crew), folder, advice)
            end = min(end, time.monotonic() + ENDING_SECONDS)
            _send(crew, signal.SIGTERM)
        time.sleep(0.05)
    if isinstance(problem, Interrupted):
        return next((said for rank in range(len(crew)) if (said := _read(folder, rank))), problem)
    failed = next((rank for rank, process in enumerate(crew) if process.poll()), None)
    if problem is None and failed is not None:
        problem = _explain(failed, crew[failed].returncode, len(crew), folder, advice)
    return problem


def _send(crew: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in crew:
        if process.poll() is None:
            process.send_signal(number)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of acting on them."""
    arrived: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, frame: arrived.append(number)) for number in kinds}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(rank: int, code: int, count: int, folder: Path, advice: str) -> BaseException:
    if code < 0:
        name = signal.Signals(-code).name
        why = " (often: the machine is out of memory)" if name == "SIGKILL" else ""
        return DistributionError(f"rank {rank} of {count} was ended by {name}{why}. {advice}")
    told = _read(folder, rank)
    return told or DistributionError(f"rank {rank} of {count} ended with code {code}; see its message above.")


def _read(folder: Path, rank: int) -> BaseException | None:
    """Return what a process left with `record_failure`."""
    try:
        kind, message = json.loads((folder / f"{rank}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return SystemExit(int(message)) if kind == SystemExit.__name__ else error_called(kind, message)


def record_failure(problem: AlexNetError | SystemExit) -> None:
    """Leave an error, or the exit code that this process ends with, for the process that started this one."""
    from alexnet.files.writing import write_text

    path = Path(os.environ[STARTED]) / f"{os.environ['RANK']}.json"
    write_text(path, json.dumps([type(problem).__name__, str(problem)]))


POLL_SECONDS = 0.02


def name_start(store: Any, rank: int, world: int, timeout_seconds: float) -> str:
    """Return the name of this start, the same in all processes; each calls this once.

    Every process asks under a name of its own, so that no answer to an earlier one can be taken for its.

    Raises:
        RuntimeError: not all came in time; what a store raises too.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"asks/{rank}", own)
        name: str = store.get(f"answer/{own}").decode()
        store.add(f"came/{name}", 1)
        return name
    end = time.monotonic() + timeout_seconds
    while (came := store.add(f"came/{own}", 0)) < world - 1:
        if time.monotonic() > end:
            raise RuntimeError(f"{came + 1} of {world} processes came")
        for other in range(1, world):
            if store.check([f"asks/{other}"]):
                store.set(f"answer/{store.get(f'asks/{other}').decode()}", own)
        time.sleep(POLL_SECONDS)
    return own
