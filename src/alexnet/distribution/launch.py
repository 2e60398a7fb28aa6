"""Starting one process for each device, with PyTorch's own elastic agent: what torchrun does, for one machine."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from alexnet.errors import DistributionError, Interrupted, error_called

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

STARTED = "ALEXNET_STARTED_PROCESSES"
"""Set in processes that were started here: what they meet is told by the process that started them."""


CONTINUES = "The same command continues from the last checkpoint."
REPEAT = "Nothing was written; give the same command again."
COMPLETES = "What was finished is kept; the same command adds the rest."
"""What to do after a fault, by what was under way."""


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
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "alexnet", *arguments)
    except ChildFailedError as problem:
        raise _explain(problem, count, advice) from None
    except SignalException:
        raise Interrupted(f"Stopped. {advice}") from None


def _explain(problem: "ChildFailedError", count: int, advice: str) -> BaseException:
    rank, failure = problem.get_first_failure()
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        why = " (often: the machine is out of memory)" if name == "SIGKILL" else ""
        return DistributionError(f"rank {rank} of {count} was ended by {name}{why}. {advice}")
    told = failure.error_file_data.get("message")
    if not isinstance(told, dict):
        return DistributionError(f"rank {rank} of {count} ended with code {failure.exitcode}; see its message above.")
    kind, _, message = str(told["message"]).partition(": ")
    if kind == SystemExit.__name__:
        return SystemExit(int(message))
    return error_called(kind, message)


def record_failure(problem: BaseException) -> None:
    """Leave an error, or the exit code that this process ends with, for the process that started this one."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(problem)
