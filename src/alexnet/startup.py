"""What a process sets before it imports PyTorch: how its threads wait, how often Python looks for garbage, and who is
told that a first start takes longer."""

import atexit
import gc
import os
from collections.abc import Callable

tell_of_compiling: Callable[[], None] | None = None
"""Called before the first function is compiled that no earlier process has left on the disk; then forgotten."""


def available_cores() -> int:
    """Cores that this process may use: a batch scheduler, or taskset, may have given it a few of many."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def collect_seldom() -> None:
    """Have Python look for garbage less often, and not when the process ends.

    PyTorch and Numba make a million objects when they are imported, and keep them all. Looking for garbage among them
    took a quarter of the time of predicting one picture.
    """
    gc.set_threshold(5_000)
    atexit.register(gc.freeze)


SPINS = 20_000
"""Turns of the loop in which an OpenMP thread waits for work before it sleeps; measured in docs/notebook.md."""


def wait_briefly() -> None:
    """Have idle threads of GNU OpenMP sleep soon, unless the environment says how they are to wait.

    By default they spin for milliseconds, on cores that other programs want, too. Beside two busy loops on two cores a
    training is 7 % faster so, two trainings at once are 8 % faster each, and one alone is within 2 % of its best
    (docs/notebook.md). OMP_WAIT_POLICY and GOMP_SPINCOUNT are the user's.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
