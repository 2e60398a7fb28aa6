"""What is chosen on a machine, by what it can do."""

import os
from pathlib import Path

import pytest
import torch

from alexnet import startup, system
from alexnet.system import describe_system


@pytest.mark.parametrize(
    ("limit", "native"),
    [("", True), ("DEFAULT", True), ("AVX512_CORE_AMX", True), ("AVX512_CORE", False), ("avx2", False)],
)
def test_a_processor_has_no_bfloat16_where_onednn_is_kept_to_older_instructions(
    monkeypatch: pytest.MonkeyPatch, limit: str, native: bool
) -> None:
    monkeypatch.setattr(system, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setattr(system, "cpu_vendor", lambda: "AuthenticAMD")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    compute = system.choose_compute("cpu")
    assert compute.dtype == (torch.bfloat16 if native else torch.float32)
    reason = "multiplies it natively" if native else "has no native bfloat16"
    assert reason in compute.explanation


@pytest.mark.parametrize(
    ("flags", "vendor", "limit", "dtype"),
    [
        ({"avx512_bf16"}, "AuthenticAMD", "", torch.bfloat16),
        ({"avx512_bf16"}, "GenuineIntel", "", torch.float32),
        ({"avx512_bf16", "amx_bf16"}, "GenuineIntel", "", torch.bfloat16),
        ({"avx512_bf16", "amx_bf16"}, "GenuineIntel", "AVX512_CORE_BF16", torch.float32),
        ({"bf16"}, "", "", torch.bfloat16),
    ],
)
def test_bfloat16_is_chosen_where_its_products_are_faster(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], vendor: str, limit: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(system, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(system, "cpu_vendor", lambda: vendor)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    compute = system.choose_compute("cpu")
    assert compute.dtype == dtype
    assert ("multiplies bfloat16 more slowly" in compute.explanation) == (dtype == torch.float32)


def test_a_processor_without_the_instructions_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "cpu_flags", lambda: frozenset({"avx2"}))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert system.choose_compute("cpu").dtype == torch.float32


@pytest.mark.parametrize(
    ("flags", "limit", "short"),
    [
        ({"avx2", "fma"}, "", True),
        ({"avx2"}, "", False),
        ({"avx2", "fma", "avx512f"}, "", False),
        ({"avx2", "fma", "avx512f"}, "avx2", True),
        ({"avx2", "fma", "avx512f"}, "AVX512_CORE", False),
        ({"avx2", "fma"}, "AVX", False),
        ({"avx2", "fma"}, "AVX512_CORE", True),
        (set(), "", False),
    ],
)
def test_vectors_are_short_where_products_use_avx2(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], limit: str, short: bool
) -> None:
    monkeypatch.setattr(system, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert system.has_short_vectors() == short


def test_on_a_gpu_float32_means_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a device that has been chosen another one when the current one changes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    torch.set_float32_matmul_precision("high")
    assert system.choose_compute("auto", "float32").device == torch.device("cuda:0")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    assert torch.get_float32_matmul_precision() == "highest"
    assert system.check_device("cuda:1") == torch.device("cuda:1")


def test_storage_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 999:1 / / rw - ext4 /dev/a rw\n"
        f"2 1 999:2 / {tmp_path.resolve()}/with\\040blank rw,x shared:1 - tmpfs none rw\n"
        f"3 1 999:3 / {tmp_path.resolve()}/net rw - nfs4 server:/x rw\n"
    )
    assert system.describe_storage(tmp_path, mounts=table) == "ext4"
    assert system.describe_storage(tmp_path / "with blank" / "a", mounts=table) == "tmpfs, memory"
    assert system.describe_storage(tmp_path / "net", mounts=table) == "nfs4"
    assert system.describe_storage(tmp_path, mounts=tmp_path / "none") == "unknown"
    assert system.memory_gib() == pytest.approx(
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, abs=0.06
    )


def test_a_record_tells_what_onednn_was_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet.system.cpu_name", lambda: "Processor 1")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr("alexnet.system.cpu_flags", lambda: frozenset({"fpu", "avx2", "avx512f"}))
    assert describe_system()["processor"] == "Processor 1 (AVX512)"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    assert describe_system()["processor"] == "Processor 1 (AVX512) kept to AVX2"
    monkeypatch.setattr("alexnet.system.cpu_flags", lambda: frozenset[str]())
    assert describe_system()["processor"] == "Processor 1 kept to AVX2"


def test_only_the_cores_that_a_process_was_given_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch scheduler gives a job a few cores of many. os.cpu_count sees them all, so that one place asks."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5, 9}, raising=False)
    assert startup.available_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert startup.available_cores() == 64
    package = Path(startup.__file__).parent
    asking = {path.relative_to(package) for path in package.rglob("*.py") if "os.cpu_count" in path.read_text("utf-8")}
    assert asking == {Path("startup.py"), Path("console/cores.py")}  # the second looks at the whole machine
