"""Trainings on the nodes of a cluster, which look to the engine like processes of this machine."""

import json
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Protocol

from alexnet.cluster.nodes import Cluster
from alexnet.cluster.parts import Work
from alexnet.errors import DistributionError
from alexnet.reproduction.worker import run_file

INTERRUPTED = 130


class Process(Protocol):
    """What the engine asks of a process; a `subprocess.Popen`, for one."""

    returncode: Any

    def poll(self) -> int | None:
        """Return its exit code, None as long as it runs."""

    def terminate(self) -> None:
        """Let it save and end."""

    def wait(self) -> int:
        """Wait until it has ended."""


Start = Callable[[Path, Path, int], Process]
"""From the description of a job, the log that it writes and its threads to the process that does it."""


class NodeProcess:
    """A job on a node. Where the node is lost, Ray begins it again on another, and it goes on from its checkpoint."""

    def __init__(self, cluster: Cluster, given: Any) -> None:
        self._cluster, self._given = cluster, given
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """As `Process.poll`.

        Raises:
            DistributionError: it was lost again and again, or its node sees other files than this machine.
        """
        if self.returncode is None and self._cluster.is_done(self._given):
            self.returncode = int(self._cluster.result(self._given))
        return self.returncode

    def terminate(self) -> None:
        """As `Process.terminate`."""
        self._cluster.stop(self._given)

    def wait(self) -> int:
        """As `Process.wait`."""
        with suppress(DistributionError):
            self.returncode = int(self._cluster.result(self._given))
        return INTERRUPTED if self.returncode is None else self.returncode


def start_on_node(
    cluster: Cluster, give: Callable[[tuple[Path, Path]], Any], description: Path, log: Path, threads: int
) -> NodeProcess:
    """Give a job to a cluster."""
    return NodeProcess(cluster, give((description, log)))


def begin_training() -> Callable[[tuple[Path, Path]], int]:
    """Return what does a job in a process of a node, and returns its exit code."""
    return _train


def _train(job: tuple[Path, Path]) -> int:
    description, log = job
    if not description.exists():
        raise DistributionError(
            f"{description}: is not there on a node. All nodes of a cluster need the same files under the same paths."
        )
    with log.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        return run_file(description)


def begin_probing() -> Callable[[Path], dict[str, Any]]:
    """Return what measures a job in a process of a node; see `probe.probe`."""
    from alexnet.reproduction.probe import probe

    return lambda description: probe(json.loads(description.read_text(encoding="utf-8")) | {"began": time.time()})


TRAINING: Work[tuple[Path, Path], int] = Work(begin_training, ())
