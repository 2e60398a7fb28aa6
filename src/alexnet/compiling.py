"""Compiling Python functions to machine code by Numba, kept on the disk from one process to the next.

A compiled function must reach others through its module, never through a closure: Numba's cache then misses every time,
compiles again, and grows by a file with every process. Numbers in closures are fine.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core import event

from alexnet import startup

Function = TypeVar("Function", bound=Callable[..., Any])


def compile_function(function: Function, **options: Any) -> Function:
    """Return `function` compiled when it is first called; it runs without the interpreter lock.

    Args:
        options: Options of numba.njit.
    """
    try:
        return cast(Function, numba.njit(nogil=True, cache=True, **options)(function))
    except RuntimeError:  # neither the package's folder nor the user's can be written: compile in every process
        return cast(Function, numba.njit(nogil=True, **options)(function))


class _Compiling(event.Listener):
    """Hears of functions that are compiled; those that are read from the disk are not."""

    def on_start(self, event: Any) -> None:
        tell, startup.tell_of_compiling = startup.tell_of_compiling, None
        if tell is not None:
            tell()

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Compiling())  # type: ignore[no-untyped-call]  # numba leaves it untyped
