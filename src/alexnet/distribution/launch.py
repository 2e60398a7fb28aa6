"""Starting one process for each device, with PyTorch's own elastic agent: what torchrun does, for one machine."""

import logging
import os
import signal
import sys
from collections.abc import Sequence

from alexnet.errors import DistributionError

STARTED = "ALEXNET_STARTED_PROCESSES"
"""Set in processes that were started here: what they meet is told by the process that started them."""


def start_processes(count: int, arguments: Sequence[str]) -> None:
    """Run `python -m alexnet ARGUMENTS` in `count` processes and wait for them.

    Raises:
        DistributionError: one of them failed; with its message and its exit code, or the signal that ended it.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL + 1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each process sets its own number later
    os.environ[STARTED] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "alexnet", *arguments)
    except ChildFailedError as problem:
        raise _explain(problem, count) from None
    except SignalException as problem:
        raise KeyboardInterrupt from problem


def _explain(problem: object, count: int) -> DistributionError:
    failures = dict(sorted(problem.failures.items()))  # type: ignore[attr-defined]
    for rank, failure in failures.items():
        if failure.exitcode < 0 and -failure.exitcode != signal.SIGTERM:
            name = signal.Signals(-failure.exitcode).name
            why = " (often: the machine is out of memory)" if name == "SIGKILL" else ""
            return DistributionError(
                f"rank {rank} of {count} was ended by {name}{why}. The same command continues from the last checkpoint."
            )
    rank, failure = next(iter(failures.items()))
    told = failure.error_file_data.get("message")
    if not isinstance(told, dict):
        error = DistributionError(f"rank {rank} of {count} ended with code {failure.exitcode}; see its message above.")
    else:
        error = DistributionError(str(told["message"]).partition(": ")[2])
    error.exit_code = failure.exitcode if failure.exitcode > 0 else 1
    return error


def record_failure(problem: Exception) -> None:
    """Leave an error for the process that started this one."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(problem)
