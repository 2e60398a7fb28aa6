"""Runs a function in several processes that meet over Gloo, and returns what each of them returns.

Processes are forked from one server that has imported PyTorch, so that starting some costs a fraction of a second.
"""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

SECONDS = 200
PRELOADED = ["alexnet.runs.train", "alexnet.evaluation.assessment", "alexnet.retrieval.index.writer"]
"""What the server has imported; there is one for all tests, so others that fork from it name the same."""

GONE = "gone"
"""Result of a rank that ended without one."""


def run_crew(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return work(*arguments) of each rank, or GONE; whatever happens, no process outlives the call."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    crew = [
        context.Process(target=_work, args=(rank, count, port, pipes[rank][1], work, arguments), daemon=True)
        for rank in range(count)
    ]
    try:
        for process in crew:
            process.start()
        results = []
        for rank, (receiver, sender) in enumerate(pipes):
            sender.close()
            assert receiver.poll(SECONDS), f"rank {rank} did not answer"
            try:
                results.append(receiver.recv())
            except EOFError:
                results.append(("done", GONE))
    finally:
        for process in crew:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
    for rank, result in enumerate(results):
        assert result[0] == "done", f"rank {rank}:\n{result[1]}"
    return [result[1] for result in results]


def _work(rank: int, count: int, port: int, sender: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
    }
    try:
        sender.send(("done", work(*arguments)))
    except BaseException:
        sender.send(("failed", traceback.format_exc()))
