"""What computes on the pretended device of apart.py, in processes of its own: PyTorch cannot be told to forget it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from distribution.crew import run_crew
from placement.crew_on_apart import train_shared

CASES = Path(__file__).with_name("on_apart.py")


def needs_a_pretended_device() -> None:
    backends = pytest.importorskip("torch.utils.backend_registration")
    if not hasattr(backends, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch cannot be given a device that is written in Python")


def test_nothing_mixes_the_memory_of_a_device_with_that_of_the_cpu() -> None:
    needs_a_pretended_device()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CASES.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("mesh", "layer_trust"),
    [
        ("tower=2", 0.0),
        pytest.param("data=2", 0.01, marks=pytest.mark.slow),
        pytest.param("data=2,dense=2", 0.0, marks=pytest.mark.slow),
    ],
)
def test_processes_exchange_what_lies_on_their_devices(mesh: str, layer_trust: float) -> None:
    """What a training exchanges never passes the CPU; agreements between processes do, and never need a device."""
    needs_a_pretended_device()
    there = run_crew(2, train_shared, mesh, "apart", layer_trust)
    here = run_crew(2, train_shared, mesh, "cpu", layer_trust)
    for (losses, weights, places), (expected_losses, expected_weights, _) in zip(there, here, strict=True):
        assert places == ["apart"]
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
        for name, weight in expected_weights.items():
            np.testing.assert_allclose(weights[name], weight, rtol=1e-5, atol=1e-6, err_msg=name)
