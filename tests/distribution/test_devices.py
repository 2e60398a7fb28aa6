"""Training on devices that are named: the same function on CPUs here, and on GPUs where there are some."""

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.distribution.processes import LaunchEnvironment, choose_device
from alexnet.errors import ConfigError
from alexnet.files.tensors import read_tensors

SECONDS = 280


def train(store: Path, out: Path, recipe: str, *more: str) -> Path:
    """Train for one epoch of one update in a process of its own and return the model file."""
    fields = ("schedule=constant", "drop_epochs=[]", "warmup_epochs=0", "total_epochs=1")
    settings = [part for field in fields for part in ("--set", f"optimization.{field}")]
    command = [sys.executable, "-m", "alexnet", "train", str(store), "--out", str(out), "--recipe", recipe,
               *settings, "--set", "batches.size=24", "--precision", "float32", "--threads", "1", "--no-report", *more]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return out / "model.safetensors"


@pytest.fixture(scope="module")
def trained_alone(small_store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Device -> the model file of a training of the paper's network there, made once."""

    @functools.cache
    def train_alone(device: str) -> Path:
        return train(small_store_path, tmp_path_factory.mktemp("alone") / "run", "small-data", "--device", device)

    return train_alone


def need(devices: tuple[str, ...]) -> None:
    wanted = sum(device.startswith("cuda") for device in devices)
    if torch.cuda.device_count() < wanted:
        pytest.skip(f"needs {wanted} CUDA devices; here are {torch.cuda.device_count()}")


def check_close(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    """Compare whole parameters: where a unit's input is zero but for rounding, its gradient appears or is gone, which
    changes a layer's gradient by a thousandth and those of later updates by more. Hence one update."""
    assert set(weights) == set(expected)
    for name, weight in expected.items():
        difference = float((weights[name] - weight).norm())
        scale = 1.0 if name.endswith("bias") else float(weight.norm())
        assert difference <= tolerance * scale, f"{name}: {difference:.1e} of {scale:.1e}"


def test_one_device_by_name_gives_the_bytes_of_none(small_store_path: Path, tmp_path: Path) -> None:
    unnamed = train(small_store_path, tmp_path / "unnamed", "cifar-80sec", "--device", "cpu")
    named = train(small_store_path, tmp_path / "named", "cifar-80sec", "--devices", "cpu")
    assert named.read_bytes() == unnamed.read_bytes()


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("cpu,gpu", "unknown device 'gpu'. Accepted: auto, cpu, cuda, cuda:N."),
        ("cpu,cuda:99", "device 'cuda:99' was asked for, "),
        ("cpu,", "--devices 'cpu,': a name is empty. Write cpu,cpu or cuda:0,cuda:1."),
        ("", "--devices '': a name is empty."),
    ],
)
@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_devices_that_are_not_there_are_refused_before_anything_starts(
    small_store_path: Path, tmp_path: Path, verb: str, devices: str, message: str
) -> None:
    subjects = [str(small_store_path), "--out", str(tmp_path / "run")] if verb == "train" else ["m", "s"]
    result = CliRunner().invoke(cli, [verb, *subjects, "--devices", devices])
    assert result.exit_code in (1, 2)
    assert message in result.output + str(result.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_each_process_that_a_launcher_started_gets_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks = [LaunchEnvironment(rank=4 + local, world_size=6, local_rank=local, local_world_size=2) for local in (0, 1)]
    assert [choose_device(rank, (), asked) for rank in ranks] == ["cuda:0", "cuda:1"]
    with pytest.raises(
        ConfigError, match=r"^--device cuda:1 is one GPU for 2 processes of this machine; each needs its own"
    ):
        choose_device(ranks[0], (), "cuda:1")
    assert choose_device(ranks[0], (), "cpu") == "cpu"


def test_processes_that_are_to_have_gpus_are_not_given_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    alone = LaunchEnvironment(rank=0, world_size=2, local_rank=0, local_world_size=1)
    assert choose_device(alone, ()) == "cpu"
    with pytest.raises(ConfigError, match="PyTorch sees no CUDA device"):
        choose_device(alone, (), "cuda")


@pytest.mark.parametrize("mesh", ["data=2", "tower=2", "data=2,dense=2"])
@pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)]
)
def test_two_devices_train_the_papers_network_as_one_does(
    small_store_path: Path, trained_alone: Callable[[str], Path], tmp_path: Path, device: str, mesh: str
) -> None:
    """On GPUs NCCL gathers, sums and shifts; on CPUs Gloo."""
    devices = ("cpu", "cpu") if device == "cpu" else ("cuda:0", "cuda:1")
    need(devices)
    options = ("--devices", ",".join(devices), "--mesh", mesh)
    two = train(small_store_path, tmp_path / "two", "small-data", *options)
    check_close(read_tensors(two), read_tensors(trained_alone(devices[0])), 1e-5)


@pytest.mark.gpu
def test_one_gpu_trains_the_papers_network_as_a_cpu_does(trained_alone: Callable[[str], Path]) -> None:
    need(("cuda:0",))
    check_close(read_tensors(trained_alone("cuda:0")), read_tensors(trained_alone("cpu")), 1e-4)
