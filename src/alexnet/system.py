"""What this machine is, and the settings that follow from it: device, precision, threads, allocator.

Each choice is made in one place and comes with the sentence that explains it.
"""

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from alexnet.errors import ConfigError
from alexnet.startup import available_cores as available_cores


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and in which precision the network runs."""

    device: torch.device
    dtype: torch.dtype
    explanation: str
    """One line: the choice and its reason."""

    @property
    def precision(self) -> str:
        """Name of the dtype, as options give it."""
        return str(self.dtype).removeprefix("torch.")


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Return the device and dtype to use.

    Args:
        device: "auto" (a CUDA device if there is one, else the CPU) or a PyTorch device name.
        precision: "auto", "float32" or "bfloat16".
    Raises:
        ConfigError: the device is not there, or a name is unknown.
    """
    chosen = check_device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if chosen.type == "cuda":
        set_product_precision()
    hardware = "CUDA device" if chosen.type == "cuda" else "processor"
    if precision == "float32":
        return Compute(chosen, torch.float32, f"float32 on {chosen}, as asked for")
    if precision == "bfloat16":
        return Compute(chosen, torch.bfloat16, f"bfloat16 on {chosen}, as asked for; weights are kept in float32")
    if precision != "auto":
        raise ConfigError(f"unknown precision {precision!r}. Accepted: auto, float32, bfloat16.")
    if has_bfloat16(chosen):
        return Compute(
            chosen,
            torch.bfloat16,
            f"bfloat16 on {chosen}, since this {hardware} multiplies it natively; weights are kept in float32",
        )
    slow = chosen.type == "cpu" and _bfloat16_flags()
    reason = "multiplies bfloat16 more slowly" if slow else "has no native bfloat16"
    return Compute(chosen, torch.float32, f"float32 on {chosen}, since this {hardware} {reason}")


def check_device(name: str) -> torch.device:
    """Return a device of this machine by name, a CUDA device with its number.

    Raises:
        ConfigError: the name is unknown, or the device is not there.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}. Accepted: auto, cpu, cuda, cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported. Accepted: auto, cpu, cuda, cuda:N.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but PyTorch sees no CUDA device. Use cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ConfigError(f"device {name!r} was asked for, and PyTorch sees {count}: cuda:0 to cuda:{count - 1}.")
    # "cuda" is whichever device is current when a tensor is made; one that has been chosen stays the same.
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def set_product_precision() -> str:
    """Have CUDA devices multiply float32 as float32, and sum products of bfloat16 in float32; say so in a sentence.

    Left alone, PyTorch convolves float32 in TF32, whose 10 bits make errors near those of bfloat16. Who wants speed
    takes bfloat16: the devices that have TF32 have it too.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return "float32 in all its bits, not in TF32, and bfloat16 summed in float32"


_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"})
_LIMITS_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Values of ONEDNN_MAX_CPU_ISA that keep oneDNN from these instructions where the processor has them."""


def has_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 there.

    It follows from the instructions and not from a measurement, so that a training always continues in its precision.
    Products of 2048 x 2048 on two cores in bfloat16 are two to four times as fast as in float32 on AMD Zen 4 and Zen 5.
    They are half as fast (170 against 330 GFLOP/s) on an Intel Xeon that shows AVX512-BF16 without AMX, as some virtual
    machines do.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = _bfloat16_flags()
    return bool(flags - {"avx512_bf16"}) or ("avx512_bf16" in flags and cpu_vendor() != "GenuineIntel")


def has_short_vectors() -> bool:
    """Whether the widest vectors that products may use are those of AVX2, with 8 numbers and fused multiply-adds."""
    limit, flags = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper(), cpu_flags()
    if not {"avx2", "fma"} <= flags or limit in ("SSE41", "AVX"):
        return False
    return "avx512f" not in flags or limit.startswith("AVX2")


def _bfloat16_flags() -> frozenset[str]:
    """Return the processor's instructions for bfloat16 that ONEDNN_MAX_CPU_ISA lets oneDNN use."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if limit in _LIMITS_WITHOUT_BFLOAT16:
        return frozenset()
    without_tiles = limit and "AMX" not in limit and limit not in ("DEFAULT", "ALL")
    return cpu_flags() & (_BFLOAT16_FLAGS - {"amx_bf16"} if without_tiles else _BFLOAT16_FLAGS)


@cache
def cpu_vendor() -> str:
    """Maker of the processor as the Linux kernel names it, "GenuineIntel" or "AuthenticAMD"; empty elsewhere."""
    return _read_cpuinfo("vendor_id")


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the processor as the Linux kernel names them; empty elsewhere."""
    return frozenset(_read_cpuinfo("flags", "Features").split())


def cpu_name() -> str:
    """Name of the processor."""
    return _read_cpuinfo("model name") or platform.processor() or platform.machine()


_KINDS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "avx512f": "AVX512", "avx2": "AVX2"}
"""Instructions that decide how fast a network is, the fastest first, and what they are called."""


def describe_processor() -> str:
    """Name of the processor, its fastest instructions, and what ONEDNN_MAX_CPU_ISA keeps oneDNN to.

    Virtual machines give processors of many generations one name: "AMD EPYC (AVX2)" and "AMD EPYC (AVX512-BF16)".
    """
    limit, flags = os.environ.get("ONEDNN_MAX_CPU_ISA"), cpu_flags()
    kind = next((f" ({kind})" for flag, kind in _KINDS.items() if flag in flags), "")
    return cpu_name() + kind + (f" kept to {limit.upper()}" if limit else "")


def _read_cpuinfo(*fields: str) -> str:
    """Return the first value of one of the fields of /proc/cpuinfo; empty where there is none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in fields:
                    return value.strip()
    except OSError:
        pass
    return ""


MOST_THREADS = 1024
"""PyTorch and Numba crash if the system refuses a thread."""


def set_threads(threads: int | None = None) -> int:
    """Set the threads of PyTorch and Numba together; None takes every available core. Returns the number.

    Raises:
        ConfigError: threads is not 1 to MOST_THREADS.
    """
    count = available_cores() if threads is None else threads
    if not 1 <= count <= MOST_THREADS:
        raise ConfigError(f"threads is {threads}; accepted is 1 to {MOST_THREADS:,}.")
    torch.set_num_threads(count)
    # Numba reads its variables at import; where it is there already, it can only be told to use fewer.
    os.environ.setdefault("NUMBA_NUM_THREADS", str(max(count, available_cores())))
    import numba

    most: int = getattr(numba.config, "NUMBA_NUM_THREADS")  # noqa: B009 - set at run time, unknown to type checkers
    numba.set_num_threads(min(count, most))
    return count


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
ALLOCATOR_SWITCH = "ALEXNET_TUNE_ALLOCATOR"


def tune_allocator() -> str:
    """Make glibc keep freed memory instead of returning it, and say what was done.

    Otherwise every training step gives its large tensors back to the kernel and page-faults them in again, a third of
    the step on two cores. Affects this process only; does nothing without glibc. ALEXNET_TUNE_ALLOCATOR=0 turns it off.
    """
    if os.environ.get(ALLOCATOR_SWITCH) == "0":
        return f"freed memory goes back to the system ({ALLOCATOR_SWITCH}=0)"
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return "freed memory is left to the system"
    mallopt = ctypes.CDLL(None).mallopt
    large = 2**31 - 1
    if mallopt(_M_MMAP_THRESHOLD, 2**30) and mallopt(_M_TRIM_THRESHOLD, large):
        return "freed memory is kept for the next step, which needs it again"
    return "freed memory goes back to the system (it does not let that be changed)"


def describe_system() -> dict[str, str | int]:
    """Versions and hardware, for environment.json and `alexnet info --system`."""
    import numba
    import numpy
    import PIL

    from alexnet.version import __version__

    return {
        "alexnet": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "numba": numba.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
        "processor": describe_processor(),
        "cores": available_cores(),
        "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
    }


def memory_gib() -> float | None:
    """Return the machine's memory in GiB, or None where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def describe_storage(folder: Path, *, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the file system that a folder lies on and the kind of its disk: "ext4, solid state".

    The kind is "rotating", "solid state", "virtual disk" or "memory", and left out where the system does not say.
    "unknown" without a table of mounts.

    Args:
        mounts: Table of mounts in the form of the Linux kernel.
    """
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return "unknown"
    place, best = folder.resolve(), None
    for fields in lines:
        mounted = Path(fields[4].replace("\\040", " "))
        if place.is_relative_to(mounted) and (best is None or len(mounted.parts) >= len(best[0].parts)):
            best = (mounted, fields[2], fields[fields.index("-") + 1])
    if best is None:
        return "unknown"
    _, device, system = best
    if system in ("tmpfs", "ramfs"):
        return f"{system}, memory"
    try:
        disk = (Path("/sys/dev/block") / device).resolve()
        queue = next(path / "queue" for path in (disk, disk.parent) if (path / "queue").exists())
        turns = (queue / "rotational").read_text(encoding="utf-8").strip() == "1"
    except (OSError, StopIteration):
        return system
    if disk.name.startswith(("vd", "xvd")):
        return f"{system}, virtual disk"
    return f"{system}, {'rotating' if turns else 'solid state'}"
