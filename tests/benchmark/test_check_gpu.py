"""benchmarks/check_gpu.py, by its own functions, on a machine without a GPU."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import check_gpu

SCRIPT = Path(check_gpu.__file__)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_fails(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--out", tmp_path / "r.md"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "There is no CUDA device here that PyTorch sees; nothing was checked.\n"
    assert not list(tmp_path.iterdir())


def test_every_part_is_in_the_report_whatever_became_of_those_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "import time; print('begun', flush=True); time.sleep(60)"
    parts = {
        "good": (("-c", "print('all | well')"), 60.0),
        "bad": (("-c", "raise SystemExit('it broke')"), 60.0),
        "slow": (("-c", long), 2.0),
        "last": (("-c", "print('still here')"), 60.0),
    }
    out = tmp_path / "report.md"
    assert check_gpu.check(out, parts) == 2
    report = out.read_text(encoding="utf-8")
    results = ["passed", "failed with exit code 1", "stopped after 2 s", "passed"]
    for name, result, printed in zip(parts, results, ("all | well", "it broke", "begun", "still here"), strict=True):
        assert f"| {name} | {result} |" in report
        section = report.partition(f"\n## {name}: {result}\n")[2].partition("\n## ")[0]
        assert printed in section.partition("```")[2]
    assert f"| torch | {torch.__version__} |" in report
    assert capsys.readouterr().out.splitlines()[-1] == f"Report: {out}"


def test_what_has_no_time_left_is_not_begun(tmp_path: Path) -> None:
    assert check_gpu.check(tmp_path / "report.md", {"late": (("-c", "print('begun')"), 60.0)}, seconds=0) == 1
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| late | not begun: no time was left | 0 |" in report
    assert "\nbegun" not in report


def test_the_parts_together_fit_their_time_and_name_what_there_is() -> None:
    assert list(check_gpu.PARTS) == ["this machine", "tests", "profile", "bench step", "bench loader", "bench evaluate"]
    assert check_gpu.SECONDS < 600
    assert all(0 < most < check_gpu.SECONDS for _, most in check_gpu.PARTS.values())


def test_a_device_is_busy_while_any_kernel_runs() -> None:
    assert check_gpu.measure_busy([]) == (0, 0)
    assert check_gpu.measure_busy([(5, 6), (0, 2), (1, 3), (1, 2)]) == (4, 6)


def test_only_waits_of_the_host_are_counted() -> None:
    names = ["cudaLaunchKernel"] * 9 + ["cudaEventSynchronize"] * 4 + ["cudaStreamSynchronize"]
    assert check_gpu.count_waits(names, 2) == {"cudaStreamSynchronize": 0.5, "cudaEventSynchronize": 2.0}


@pytest.mark.filterwarnings("default")  # the profiler's own
def test_a_profile_names_the_dearest_operations() -> None:
    found, rate = check_gpu.profile_steps("cpu", dialect="cifar-80sec", batch=4, steps=2)
    text = check_gpu.format_profile(found, rate, 2)
    lines = text.splitlines()
    assert lines[0].endswith(" images/s without the profiler.")
    assert lines[2].split() == ["operation", "ms", "a", "step", "share", "calls", "a", "step"]
    rows = [line.split() for line in lines[3 : 3 + check_gpu.OPERATIONS]]
    costs = [float(row[-3]) for row in rows]
    assert costs == sorted(costs, reverse=True)
    assert "The device was idle not known: nothing ran on a device." in text
    assert "Waits of the host for the device, a step: none." in text


class Event:
    """What a profiler tells of a kernel, or of a call of the host."""

    is_user_annotation = False

    def __init__(self, key: str, start: float, end: float, *, device: bool, annotation: bool = False) -> None:
        kinds = torch.autograd.DeviceType
        self.key = self.name = key
        self.time_range = SimpleNamespace(start=start, end=end)
        self.device_type = kinds.CUDA if device else kinds.CPU
        self.is_user_annotation, self.count = annotation, 2
        self.self_device_time_total, self.self_cpu_time_total = end - start, 0.0


def test_a_profile_of_a_gpu_counts_kernels_and_not_what_calls_or_surrounds_them() -> None:
    events = [
        Event("aten::mm", 0, 4000, device=False),
        Event("gemm", 0, 4000, device=True),
        Event("triton_fused", 6000, 7000, device=True),
        Event("Memcpy HtoD (Pinned -> Device)", 4000, 6000, device=True),
        Event("## Call CompiledFxGraph", 0, 10_000, device=True, annotation=True),
        Event("pool", 9000, 10_000, device=True),
        Event("cudaEventSynchronize", 0, 0, device=False),
    ]
    found = SimpleNamespace(events=lambda: events, key_averages=lambda: events)
    lines = check_gpu.format_profile(found, 1234.5, 2).splitlines()
    assert lines[0] == "1,234 images/s without the profiler."
    assert [line.split() for line in lines[3:6]] == [
        ["gemm", "2.000", "66.7%", "1.0"], ["triton_fused", "0.500", "16.7%", "1.0"], ["pool", "0.500", "16.7%", "1.0"],
    ]  # fmt: skip
    assert lines[7:] == [
        "The device was idle 40.0% of the time.",
        "Waits of the host for the device, a step: cudaEventSynchronize 0.50.",
    ]
