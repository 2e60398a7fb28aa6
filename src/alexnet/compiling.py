"""Compiling Python functions to machine code by Numba, kept on the disk from one process to the next.

A compiled function must reach others through its module, never through a closure: Numba's cache then misses every time,
compiles again, and grows by a file with every process. Numbers in closures are fine.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

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
