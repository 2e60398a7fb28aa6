"""Which version of each kernel runs here, and why.

The choice is made when a kernel first meets a device, not at import. So importing this package stays cheap, and a
machine without a working Numba, or a GPU without a working Triton, can still compute a network. (Preparing images and
making batches needs Numba: they have one version.) Tests force a version with `using`; people read it in `report`.
"""

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from alexnet.errors import ConfigError
from alexnet.kernels.rules import DTYPES
from alexnet.system import has_short_vectors

Version = Literal["numba", "compiled", "plain", "reference"]

_MODULES: dict[Version, str] = {
    "numba": "alexnet.kernels.operators",
    "compiled": "alexnet.kernels.compiled",
    "plain": "alexnet.kernels.plain",
    "reference": "alexnet.kernels.reference_autograd",
}
KERNELS = (
    "normalize_responses",
    "normalize_and_pool",
    "pool_maximum",
    "spatially_normalize_responses",
    "gather_patches",
    "convolve",
    "update_weights",
    "dropout",
)
_PLAIN_ONLY: dict[tuple[str, Version], str] = {
    ("spatially_normalize_responses", "numba"): "one version only: PyTorch's average pooling does the work",
    ("gather_patches", "compiled"): "copies alone; there is nothing to fuse",
    ("convolve", "compiled"): "one version only: PyTorch's convolution",
    ("convolve", "reference"): "PyTorch's convolution is the definition",
}
"""Versions that kernels do not have, and why; the plain one runs in their place."""

COMPILING_SWITCH = "ALEXNET_COMPILE"
"""Set to 0, a GPU computes with plain PyTorch."""

_forced: Version | None = None
_in_training = ContextVar("in_training", default=False)


class Choice(NamedTuple):
    """One row of the report."""

    kernel: str
    device: str
    version: Version
    reason: str


@functools.cache
def choice(kernel: str, device: str) -> Choice:
    """Return the version of `kernel` that runs on a type of device when nothing is forced, with the reason."""
    if device == "cuda" and os.environ.get(COMPILING_SWITCH) == "0":
        return Choice(kernel, device, "plain", f"{COMPILING_SWITCH}=0")
    if device == "cuda":
        if (failure := importlib.import_module(_MODULES["compiled"]).find_failure(device)) is not None:
            return Choice(kernel, device, "plain", f"torch.compile failed here: {failure}")
        if (why := _PLAIN_ONLY.get((kernel, "compiled"))) is not None:
            return Choice(kernel, device, "plain", why)
        return Choice(kernel, device, "compiled", "plain PyTorch, fused by torch.compile; in testing as it is")
    if (why := _PLAIN_ONLY.get((kernel, "numba"))) is not None:
        return Choice(kernel, device, "plain", why)
    if device != "cpu":
        return Choice(kernel, device, "plain", f"Numba kernels are for the CPU; PyTorch runs on {device}")
    if (failure := _numba_failure()) is not None:
        return Choice(kernel, device, "plain", f"Numba could not be imported: {failure}")
    if kernel == "convolve" and not has_short_vectors():
        return Choice(kernel, device, "plain", "PyTorch's; gradients have a kernel for processors with AVX2 alone")
    if kernel == "convolve":
        return Choice(kernel, device, "numba", "in float32, gradients of weights are summed by a kernel for AVX2")
    return Choice(kernel, device, "numba", "compiled for this CPU; float64 and float16 inputs use plain PyTorch")


def implementation(kernel: str, x: Tensor) -> Callable[..., Any]:
    """Return the function that runs `kernel` on tensors like `x`.

    Raises:
        ConfigError: numba is forced where it cannot run.
    """
    answers = x.device.type == "cuda" and not _in_training.get()  # then even the trial of a compiler takes too long
    version = _forced or ("plain" if answers else choice(kernel, x.device.type).version)
    if (kernel, version) in _PLAIN_ONLY:
        version = "plain"
    if version == "numba" and _forced is None and x.dtype not in DTYPES:
        version = "plain"
    if version == "numba" and _forced is not None:
        _check_numba(kernel, x)
    function: Callable[..., Any] = getattr(importlib.import_module(_MODULES[version]), kernel)
    return function


@contextmanager
def using(version: Version) -> Iterator[None]:
    """Force one version of every kernel inside the block: numba, compiled, plain or reference.

    A kernel without such a version runs its plain one. Not isolated between threads: meant for tests.

    Raises:
        ConfigError: the version is unknown.
    """
    global _forced
    if version not in get_args(Version):
        raise ConfigError(f"version is {version!r}; choose one of {', '.join(get_args(Version))}.")
    before, _forced = _forced, version
    try:
        yield
    finally:
        _forced = before


@contextmanager
def training() -> Iterator[None]:
    """Allow kernels of this thread to be compiled for their shapes inside the block.

    Elsewhere they are plain, since an answer about one image would wait seconds for the compiler.
    """
    token = _in_training.set(True)
    try:
        yield
    finally:
        _in_training.reset(token)


def report() -> list[Choice]:
    """Return one row per kernel and kind of device of this machine: what runs there, and why."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return [choice(kernel, device) for device in devices for kernel in KERNELS]


@functools.cache
def _numba_failure() -> str | None:
    try:
        importlib.import_module("alexnet.kernels.cpu_normalization_and_pooling")
    except ImportError as error:
        return str(error)
    return None


def _check_numba(kernel: str, x: Tensor) -> None:
    if x.device.type != "cpu" or x.dtype not in DTYPES:
        raise ConfigError(
            f"numba is forced for {kernel}, but the input is {x.dtype} on {x.device.type}; "
            "its kernels take torch.float32 and torch.bfloat16 on cpu."
        )
    if (failure := _numba_failure()) is not None:
        raise ConfigError(f"numba is forced for {kernel}, but it could not be imported: {failure}")
