"""Every call that changes files fails once, and nothing is lost: a sample here, all of them by `make faults`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faults.injection import FAULTS, KILLS, find_compiler, find_points, find_unflushed, read_log, seen_by_strace
from faults.matrix import names_file
from faults.stages import STAGES

TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or find_compiler() is None, reason="needs Linux and a C compiler for the library of faults"
)


def matrix(out: Path, *words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "faults.matrix", "--out", str(out), *words]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def rows(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "faults.jsonl").read_text().splitlines()]


@pytest.mark.timeout(600)
def test_a_sample_of_faults_loses_nothing_and_a_second_call_goes_on(tmp_path: Path) -> None:
    words = ("--stage", "corrections of serve", "--most", "24")
    ended = matrix(tmp_path, *words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "named before" not in ended.stdout
    done = rows(tmp_path)
    assert len(done) == 24
    assert {row["state"] for row in done} <= {"old", "new", "between"}
    assert not [row for row in done if row["wrong"] or not row["met"]]
    assert {row["code"] for row in done if row["how"] in KILLS} == {-9}
    assert "| 0 |" in ended.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_larger_sample_of_every_stage_loses_nothing(tmp_path: Path) -> None:
    ended = matrix(tmp_path, "--most", "25")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "named before" not in ended.stdout
    assert not [row for row in rows(tmp_path) if row["wrong"] or not row["met"]]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("stage", ["prepare", "train", "search index", "features .npz"])
def test_the_library_sees_every_call_that_the_kernel_sees(tmp_path: Path, stage: str) -> None:
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-o", os.devnull, "true"], check=False).returncode:
        pytest.skip("needs strace, and leave to use it")
    trace = tmp_path / "trace"
    calls = "trace=%file,%desc"
    ended = matrix(tmp_path, "--stage", stage, "--points", before=(strace, "-f", "-y", "-e", calls, "-o", str(trace)))
    assert ended.returncode == 0, ended.stderr
    log = [line.split() for line in ended.stdout.splitlines()]
    seen = {(call, path) for call, path in (words[:2] for words in log)}
    kernel = {(call, path) for call, path in seen_by_strace(trace.read_text(errors="replace"), tmp_path / "case")}
    plain = {(call, path) for call, path in kernel if not path.endswith(tuple("0123456789")) and ".tmp" not in path}
    needed = next(each.needs for each in STAGES if each.name == stage)  # the driver itself puts these there
    changed = {each for each in plain if not each[1].startswith(needed)}
    assert len(changed) > 10
    # The library of tensors renames its file within the temporary folder by a system call of its own.
    own = {("rename", path) for call, path in changed if call == "rename" and ".writing.writing/" in path}
    assert changed - seen - own == set()


def test_every_fault_has_a_call_that_it_can_befall(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("open\ta\t\nwrite\ta\t\nwrite\ta\t\nfsync\ta\t\nrename\tb\ta\nfsync\t.\t\n")
    calls = read_log(log)
    assert [point.turn for point in find_points(calls)] == [1, 1, 2, 1, 1, 1]
    assert {point.call for point in find_points(calls)} <= set(FAULTS)
    assert find_unflushed(calls) == []
    assert find_unflushed([call for call in calls if call[0] != "fsync"]) == ["b", "."]
    assert find_unflushed(calls[:3] + calls[4:]) == ["b"]
    assert find_unflushed([*calls[:3], ["remove", "a", ""], *calls[4:]]) == []
    emptied = [["write", "t/a/x", ""], ["remove", "t/a", ""], ["rename", "u", "t"], ["fsync", ".", ""]]
    assert find_unflushed(emptied) == []
    assert find_unflushed([emptied[0], *emptied[2:]]) == ["u"]


def test_an_error_must_name_what_the_user_knows() -> None:
    assert names_file("Failed: MADE/x.json: Permission denied.", "MADE/.x.json.writing")
    assert names_file("RunError: made.npz: is there.", ".made.npz.writing/0.raw")
    assert not names_file("Training MADE\nFailed: Input/output error.", "MADE/x.json")
