"""Runs on_apart.py in a process of its own: a device that PyTorch is told of cannot be taken back."""

import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("on_apart.py")


def test_nothing_mixes_the_memory_of_a_device_with_that_of_the_cpu() -> None:
    backends = pytest.importorskip("torch.utils.backend_registration")
    if not hasattr(backends, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch cannot be given a device that is written in Python")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CASES.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
