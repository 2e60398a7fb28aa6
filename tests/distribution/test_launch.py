"""What befalls real processes, as --devices and torchrun start them: what the user reads, and what is left."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexnet.files.tensors import read_tensors

pytestmark = pytest.mark.slow

OPTIONS = ["--recipe", "cifar-80sec", "--set", "optimization.drop_epochs=[]", "--set", "optimization.schedule=constant",
           "--set", "batches.size=6", "--precision", "float32", "--threads", "1", "--checkpoint-minutes", "1e-9",
           "--no-report"]  # fmt: skip
SECONDS = 150
AGAIN = "The same command continues from the last checkpoint."


def train(store: Path, out: Path, *more: str, epochs: int = 1000) -> list[str]:
    total = f"optimization.total_epochs={epochs}"
    return ["-m", "alexnet", "train", str(store), "--out", str(out), *OPTIONS, "--set", total, *more]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def epochs_of(out: Path) -> int:
    metrics = out / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def find_rank(launcher: int, rank: int) -> int:
    """Number of the process of this rank below a launcher."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text():
            return int(child)
    raise AssertionError(f"no rank {rank}")


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait; return the exit code and what it wrote to standard error."""
    try:
        _, written = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return process.returncode, written


def last_line(written: str) -> str:
    assert "Traceback" not in written
    return written.strip().splitlines()[-1]


def test_ctrl_c_ends_all_with_the_words_and_the_code_of_one_process(small_store_path: Path, tmp_path: Path) -> None:
    process = start(*train(small_store_path, tmp_path / "run", "--devices", "cpu,cpu"))
    wait_for(lambda: epochs_of(tmp_path / "run") > 1)
    process.send_signal(signal.SIGINT)
    code, written = end(process)
    assert code == 130
    said = r"Interrupted: Stopped in epoch \d+ after \d of 4 batches; saved. The same command continues from here."
    assert re.fullmatch(said, last_line(written)), written
    assert written.count("Stopped") == 1
    assert (tmp_path / "run" / "checkpoints" / "latest.safetensors").exists()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGSTOP, f"rank 1 of 2 is gone, or has not answered for 4 s. {AGAIN}"),
        (signal.SIGKILL, f"rank 1 of 2 was ended by SIGKILL (often: the machine is out of memory). {AGAIN}"),
    ],
)
def test_a_rank_that_hangs_or_dies_is_named_and_ends_all(
    small_store_path: Path, tmp_path: Path, number: signal.Signals, message: str
) -> None:
    process = start(*train(small_store_path, tmp_path / "run", "--devices", "cpu,cpu", "--timeout", "4"))
    wait_for(lambda: epochs_of(tmp_path / "run") > 1)
    os.kill(find_rank(process.pid, 1), number)
    began = time.monotonic()
    code, written = end(process)
    assert time.monotonic() - began < 30  # 4 to give up, 5 to find out who it is, 8 to end, and the machine's own time
    assert code == 1
    assert last_line(written) == f"DistributionError: {message}"
    assert written.count("rank 1") == 1


def test_torchrun_starts_again_after_a_killed_rank_and_ends_at_the_same_weights(
    small_store_path: Path, tmp_path: Path
) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    whole = start(*launcher, *train(small_store_path, tmp_path / "whole", epochs=30))
    assert end(whole)[0] == 0
    process = start(*launcher, *train(small_store_path, tmp_path / "run", epochs=30))
    wait_for(lambda: epochs_of(tmp_path / "run") > 1)
    os.kill(find_rank(process.pid, 1), signal.SIGKILL)
    code, written = end(process)
    assert code == 0, written
    assert "Continuing in epoch" in written
    weights, expected = (read_tensors(tmp_path / name / "model.safetensors") for name in ("run", "whole"))
    for name, weight in expected.items():
        assert torch.equal(weights[name], weight), name


def test_a_machine_that_leaves_is_named_on_the_one_that_stays(small_store_path: Path, tmp_path: Path) -> None:
    """Two agents of torchrun on this machine, each with one process; one agent is killed with its process."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        endpoint = f"localhost:{probe.getsockname()[1]}"
    launcher = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d",
                "--rdzv-endpoint", endpoint, "--rdzv-id", "test", "--max-restarts", "0"]  # fmt: skip
    command = train(small_store_path, tmp_path / "run", "--timeout", "4")
    machines = [start(*launcher, *command)]
    time.sleep(1)  # so that the first is the one whose agent keeps the store
    machines.append(start(*launcher, *command))
    try:
        wait_for(lambda: epochs_of(tmp_path / "run") > 1)
        leaving = next(rank for rank in (0, 1) if _has_rank(machines[1].pid, rank))
        worker = find_rank(machines[1].pid, leaving)
        machines[1].kill()
        os.kill(worker, signal.SIGKILL)
        code, written = end(machines[0])
    finally:
        for machine in machines:
            machine.kill()
            machine.communicate()  # closes its pipes
    assert code == 1
    message = f"DistributionError: rank {leaving} of 2 is gone, or has not answered for 4 s. {AGAIN}"
    assert written.count(message) == 1, written


def _has_rank(launcher: int, rank: int) -> bool:
    try:
        return bool(find_rank(launcher, rank))
    except AssertionError:
        return False
