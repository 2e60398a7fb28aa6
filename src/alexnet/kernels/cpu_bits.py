"""How Numba compiles here, and the instructions that turn float32 and bfloat16 bits into numbers and back.

Numba's cache looks only at the file that a kernel is in, not at what the kernel inlines from here: after an edit of
this file, delete `__pycache__` beside it.
"""

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.extending import intrinsic

from alexnet.compiling import Function, compile_function

Bits = npt.NDArray[Any]  # uint16 (bfloat16) or uint32 (float32)
Floats = npt.NDArray[np.float32]

# OpenMP first: PyTorch brings it along, and the last one may not be entered from two threads at once.
_LAYERS = ["omp", "tbb", "workqueue"]
numba.config.THREADING_LAYER_PRIORITY = _LAYERS  # type: ignore[attr-defined]  # numba sets its attributes at run time

# Only contraction into fused multiply-adds: anything that assumes away NaN or infinity would hide a diverged run.
_FAST = {"contract"}


def compiled(function: Function) -> Function:
    """Compile a function that runs inside one thread of a kernel."""
    return compile_function(function, error_model="numpy", fastmath=_FAST)


def compiled_exactly(function: Function) -> Function:
    """Compile a function that rounds each operation by itself, for results that agree bit by bit with PyTorch's."""
    return compile_function(function, error_model="numpy")


def compiled_parallel(function: Function) -> Function:
    """Compile a kernel: the function that spreads work over threads."""
    return compile_function(function, error_model="numpy", parallel=True)


def num_threads() -> int:
    """Return the number of threads that kernels run on here."""
    return int(numba.get_num_threads())


def instructions(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function that emits instructions; its first parameter is the compiler's, callers leave it out."""
    return cast(Callable[..., Any], intrinsic(function))


@instructions
def widen(typing_context: Any, bits: Any) -> Any:
    """Turn the bits of a float32 or bfloat16 into a float32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = context.get_value_type(types.uint32)
        (value,) = arguments
        if bits.bitwidth == 16:
            value = builder.shl(builder.zext(value, word), word(16))
        return builder.bitcast(value, context.get_value_type(types.float32))

    return types.float32(bits), emit


@instructions
def bits_of(typing_context: Any, value: Any) -> Any:
    """Return the bits of a float32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.uint32))

    return types.uint32(types.float32), emit


@instructions
def narrow(typing_context: Any, value: Any, like: Any) -> Any:
    """Turn a float32 into the bits that the array `like` holds; bfloat16 rounds to nearest even and keeps NaN."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = context.get_value_type(types.uint32)
        bits = builder.bitcast(arguments[0], word)
        if like.dtype.bitwidth == 32:
            return bits
        high = builder.lshr(bits, word(16))
        up = builder.add(builder.and_(high, word(1)), word(0x7FFF))
        rounded = builder.lshr(builder.add(bits, up), word(16))
        is_nan = builder.fcmp_unordered("uno", arguments[0], arguments[0])
        kept = builder.select(is_nan, builder.or_(high, word(0x40)), rounded)
        return builder.trunc(kept, context.get_value_type(types.uint16))

    return like.dtype(types.float32, like), emit
