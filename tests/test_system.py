"""What is chosen on a machine, by what it can do."""

import pytest
import torch

from alexnet import system


@pytest.mark.parametrize(
    ("limit", "native"),
    [("", True), ("DEFAULT", True), ("AVX512_CORE_AMX", True), ("AVX512_CORE", False), ("avx2", False)],
)
def test_a_processor_has_no_bfloat16_where_onednn_is_kept_to_older_instructions(
    monkeypatch: pytest.MonkeyPatch, limit: str, native: bool
) -> None:
    monkeypatch.setattr(system, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    compute = system.choose_compute("cpu")
    assert compute.dtype == (torch.bfloat16 if native else torch.float32)
    reason = "multiplies it natively" if native else "has no native bfloat16"
    assert reason in compute.explanation


def test_a_processor_without_the_instructions_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "cpu_flags", lambda: frozenset({"avx2"}))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert system.choose_compute("cpu").dtype == torch.float32
