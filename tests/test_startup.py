"""What the commands set before PyTorch is imported."""

import os
import subprocess
import sys

import numba
import pytest

from alexnet import compiling, startup
from alexnet.console.terminal import Terminal
from alexnet.startup import SPINS, wait_briefly


@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ({}, str(SPINS)),
        ({"OMP_WAIT_POLICY": "active"}, None),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
    ],
)
def test_idle_threads_sleep_soon_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], spins: str | None
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that the end of the test puts back what was before
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    wait_briefly()
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_nothing_that_counts_turns_is_imported_before_the_commands_set_them() -> None:
    program = "import sys; from alexnet import cli; assert 'torch' not in sys.modules and 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_people_are_told_that_a_first_start_compiles(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal, and of what is compiled; what another process left on the disk is read in no time."""
    assert compiling  # it listens
    monkeypatch.setattr(startup, "tell_of_compiling", None)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if standard error were a terminal
    Terminal()
    assert startup.tell_of_compiling is not None
    for number in range(2):
        assert numba.njit(lambda x, number=number: x + number)(1) == 1 + number
    assert capsys.readouterr().err == "Compiling for this processor, which takes some ten seconds.\n"
    Terminal()
    Terminal(quiet=True)  # a program that says nothing forgets it again
    assert startup.tell_of_compiling is None
    monkeypatch.setenv("TTY_COMPATIBLE", "0")  # as if it were none
    Terminal()
    assert startup.tell_of_compiling is None
