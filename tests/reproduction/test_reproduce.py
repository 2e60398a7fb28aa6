"""alexnet reproduce, from the outside."""

import json
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import numpy as np
import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.data.store.reader import open_store
from alexnet.errors import Interrupted
from alexnet.files.writing import is_locked, lock_file
from alexnet.recipes.named import find_recipe, scale_epochs
from alexnet.reproduction import carry_out, engine, worker
from alexnet.reproduction.experiments import EXPERIMENTS, TABLES
from alexnet.reproduction.image_errors import read_image_errors
from alexnet.reproduction.outlook import Cost, Estimate
from alexnet.reproduction.plan import LOCK, STOPPED, make_job
from conftest import write_store

SMALL = ["--recipe", "cifar-80sec", "--set", "optimization.drop_epochs=[]", "--set", "optimization.schedule=constant",
         "--set", "optimization.learning_rate=0.01", "--set", "network.initialization=he", "--set", "batches.divisor=60",
         "--set", "batches.size=6"]  # fmt: skip


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """24 + 12 images of 32 px in three shades."""
    generator = np.random.default_rng(0)

    def shades(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        images = generator.normal(50 + 70 * labels[:, None, None, None], 25, (count, 32, 32, 3))
        return np.clip(images, 0, 255).astype(np.uint8), labels

    write_store(tmp_path / "store", {"train": shades(24), "val": shades(12)}, ["ant", "bee", "cat"])
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def known_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """What trainings cost is measured, a few seconds each."""
    monkeypatch.setattr(carry_out, "measure_cost", lambda *what, **how: Cost(5.0, 0.01, {1: 0.005, 9: 0.045, 10: 0.05}))


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["reproduce", *map(str, arguments)])
    return result.exit_code, result.output + (f" {result.exception}" if result.exception else "")


def test_without_a_name_it_lists_what_there_is() -> None:
    code, output = call()
    assert code == 0
    assert "figure1             ReLU against tanh (figure 1) – store of 32 px\n" in output
    assert output.count("\n") == len(EXPERIMENTS) + len(TABLES) + 2


def test_a_plan_is_shown_without_training(store_path: Path, tmp_path: Path) -> None:
    code, output = call("views", "--store", store_path, "--out", tmp_path / "out", "--dry-run", "--epochs", 2, *SMALL)
    assert code == 0, output
    assert "1 training, about" in output
    assert not (tmp_path / "out").exists()


def test_an_experiment_runs_fails_in_part_and_goes_on(store_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["activation", "--store", store_path, "--out", out, "--epochs", 3, *SMALL, "--side-by-side", 2]
    code, output = call(*arguments, "--budget", 1e-9)
    assert code == 0, output
    assert "Not done: 2 trainings (0 failed)" in output
    code, output = call(*arguments)
    assert code == 0, output
    assert "Not done:" not in output
    document = json.loads((out / "activation" / "results.json").read_text())
    assert [outcome["seeds"] for outcome in document["outcomes"]] == [[0]] * 2
    assert all(0 <= outcome["mean"] <= 1 for outcome in document["outcomes"])
    assert (out / "activation" / "figure-light.png").stat().st_size > 5000
    kept = read_image_errors(out / "activation")
    assert kept is not None
    assert [float(each.tests[0].top1.mean()) for each in kept] == [each["mean"] for each in document["outcomes"]]
    assert document["machine"]["memory_gib"] > 0.1
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("result.json")}
    assert len(before) == 2
    left = [path.with_name("checkpoints") / "latest.safetensors" for path in before]
    for path in left:  # as by a worker that was killed past its result
        path.parent.mkdir()
        path.write_bytes(b"half a gigabyte")
    code, again = call(*arguments)
    assert code == 0, again
    assert not any(path.parent.exists() for path in left)
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("result.json")} == before
    cut_off, emptied = sorted(before)
    cut_off.write_text('{"views": {"1"')
    (emptied.parent / "probabilities-10.npy").write_bytes(b"")
    results = json.loads((out / "activation" / "results.json").read_text())["outcomes"]
    code, mended = call(*arguments)
    assert code == 0, mended
    assert (
        json.loads((out / "activation" / "results.json").read_text())["outcomes"] == results
    )  # tested again, not trained


@pytest.mark.parametrize(
    ("code", "line", "reason"),
    [
        (STOPPED, '{"error": "runs/a.yaml: No space left on device"}\n', "runs/a.yaml: No space left on device"),
        (-9, '{"passes": 3}\n', "its process was killed (signal 9)"),
    ],
)
def test_a_training_that_the_system_stopped_is_not_called_failed(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, line: str, reason: str
) -> None:
    class Stopped:
        returncode = code

        def __init__(self, command: list[str], stdout: IO[bytes], **_: object) -> None:
            stdout.write(line.encode())

        def poll(self) -> int:
            return code

    monkeypatch.setattr(engine, "subprocess", SimpleNamespace(Popen=Stopped, STDOUT=None))
    ended, output = call("views", "--store", store_path, "--out", tmp_path / "out", "--epochs", 1, *SMALL)
    assert ended == 1
    assert output.endswith(
        f" ten views, seed 0 was stopped: {reason}. What is trained is saved; the same command goes on."
    )
    assert not list((tmp_path / "out" / "runs").glob("*.failed.txt"))


def test_a_worker_without_room_says_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"folder": str(tmp_path / "missing" / "job")}))
    monkeypatch.setattr("sys.argv", ["worker", str(tmp_path / "job.json")])
    with pytest.raises(SystemExit) as end:
        worker.main()
    assert end.value.code == STOPPED
    assert json.loads(capsys.readouterr().out) == {"error": f"{tmp_path}/missing/job.lock: No such file or directory"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], (5, "auto", "auto")),
        (["--threads", 3, "--precision", "float32"], (3, "auto", "float32")),
        (["--threads", 1, "--side-by-side", 2], (1, "auto", "auto")),
        (["--side-by-side", 2], (2, "auto", "auto")),
        (["--devices", "cpu,cpu"], (2, "cpu", "auto")),
        (["--devices", "cpu,cpu", "--side-by-side", 2], (1, "cpu", "auto")),
    ],
)
def test_a_training_is_told_its_device_precision_and_share_of_the_cores(
    store_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[object],
    expected: tuple[int, str, str],
) -> None:
    monkeypatch.setattr(engine, "WORKER", "no_such_module")  # what it is told is asked, not what it does
    monkeypatch.setattr(engine, "available_cores", lambda: 5)
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.01)
    code, output = call("views", "--store", store_path, "--out", tmp_path / "out", "--epochs", 1, *SMALL, *options)
    assert code == 1, output
    assert "Not done: 1 training (1 failed)" in output
    assert f"is not tried again until you delete its message: rm {tmp_path}/out/runs/*.failed.txt" in output
    (path,) = (tmp_path / "out" / "runs").rglob("*.json")
    told = json.loads(path.read_text())
    assert (told["threads"], told["device"], told["precision"]) == expected


def test_an_unknown_device_is_refused_before_anything_is_trained(store_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, output = call("views", "--store", store_path, "--out", out, "--epochs", 1, *SMALL, "--devices", "cpu,gpu")
    assert code == 1
    assert "gpu" in output
    assert not out.exists()


def test_trainings_are_given_to_devices_that_are_free(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    class Recorded(engine._Running):
        def __init__(self, job: object, watch: object, device: str, *rest: object) -> None:
            given.append(device)
            super().__init__(job, watch, device, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "WORKER", "no_such_module")
    monkeypatch.setattr(engine, "_Running", Recorded)
    monkeypatch.setattr("alexnet.reproduction.carry_out.choose_compute", lambda device: None)
    call("crops", "--store", store_path, "--out", tmp_path / "out", "--epochs", 1, *SMALL, "--devices", "cpu,cuda:7")
    assert sorted(given) == ["cpu", "cpu", "cuda:7", "cuda:7"]


@pytest.mark.parametrize(
    ("problem", "said"), [(OSError(28, "No space left on device"), OSError), (KeyboardInterrupt(), Interrupted)]
)
def test_whatever_ends_it_ends_its_trainings(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: BaseException, said: type
) -> None:
    store = open_store(store_path)
    (tmp_path / "python").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(engine.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.01)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(engine.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    jobs = [make_job(find_recipe("cifar-80sec"), store, tmp_path / "runs", variant="a", seed=seed) for seed in (0, 1)]

    def tell(state: engine.State) -> None:
        raise problem

    with pytest.raises(said):
        engine.run_jobs(jobs, [Estimate(1, "")] * 2, devices=["cpu", "cpu"], threads=1, budget_seconds=None, tell=tell)
    assert [process.returncode for process in started] == [-signal.SIGTERM] * 2


@pytest.mark.parametrize("begins", ["before", "at the same moment"])
def test_a_training_that_another_process_does_is_waited_for(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: str
) -> None:
    arguments = ["views", "--store", store_path, "--out", tmp_path / "out", "--epochs", 1, *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(engine, "WORKER", "no_such_module")
        assert call(*arguments)[0] == 1
    (description,) = (tmp_path / "out" / "runs").glob("*.json")
    description.with_suffix(".failed.txt").unlink()
    lock = lock_file(description.with_suffix(LOCK))
    assert lock is not None
    at_work: list[list[str]] = []

    def tell(state: engine.State) -> None:
        at_work.append(state.running)
        if "in another process" in " ".join(state.running):
            lock.close()

    answers = iter([False] if begins == "at the same moment" else [])
    monkeypatch.setattr(engine, "is_locked", lambda path: next(answers, None) is None and is_locked(path))
    run = engine.run_jobs
    monkeypatch.setattr(
        "alexnet.reproduction.carry_out.run_jobs", lambda *jobs, **options: run(*jobs, **{**options, "tell": tell})
    )
    code, output = call(*arguments)
    assert code == 0, output
    assert ["ten views, seed 0 in another process"] in at_work
    assert "Not done" not in output


def test_images_smaller_than_the_network_reads_are_refused_in_the_plan(store_path: Path, tmp_path: Path) -> None:
    code, output = call("table1", "--store", store_path, "--out", tmp_path / "out", "--dry-run")
    assert code == 1
    assert "holds images of 32 px; dialect paper reads crops of 224 px." in output


def test_what_table_2_needs_is_said(store_path: Path, tmp_path: Path) -> None:
    common = ("--store", store_path, "--out", tmp_path / "out", "--dry-run", *SMALL, "--epochs", 1)
    code, output = call("table2", *common)
    assert code == 0
    assert "Rows with pre-trained nets stay empty without a store to pre-train on: --larger STORE." in output
    assert "--larger is for table2; table1 trains on one store." in call("table1", *common, "--larger", store_path)[1]
    assert "is the store to test on. Name one with other" in call("table2", *common, "--larger", store_path)[1]


def test_fewer_epochs_move_the_drops_of_the_rate(store_path: Path, tmp_path: Path) -> None:
    common = ("table1", "--store", store_path, "--out", tmp_path / "out", "--dry-run", "--recipe", "cifar-80sec")
    for epochs in (1, 4):
        code, output = call(*common, "--epochs", epochs)
        assert code == 0, output
    assert scale_epochs(find_recipe("cifar-11pct"), 104)[1:] == ["optimization.drop_epochs=[100, 102]"]
    assert scale_epochs(find_recipe("cifar-11pct"), 8)[1:] == ["optimization.drop_epochs=[7]"]
    alone = ["optimization.drop_epochs=[]", "optimization.schedule=constant"]
    assert scale_epochs(find_recipe("cifar-80sec"), 1)[1:] == alone
    assert find_recipe("cifar-80sec", scale_epochs(find_recipe("cifar-80sec"), 1)).optimization.total_epochs == 1
    recorded = find_recipe("source-2012", scale_epochs(find_recipe("source-2012"), 182))
    assert recorded.optimization.drop_epochs == (50, 102, 158)
    assert [(each.epoch, each.weights, each.biases) for each in recorded.optimization.rate_changes] == [
        (134, 1e-5, None),
        (144, 0, 0),
    ]
    assert recorded.batches.color_noise_epochs == 134
    caffe = find_recipe("caffe", scale_epochs(find_recipe("caffe"), 9)).optimization
    assert (caffe.total_epochs, caffe.drop_steps) == (9, (10_000, 20_000, 30_000, 40_000))
    late = find_recipe("small-data", ["optimization.dropout_from_epoch=20", "batches.mix_epochs=30"])
    moved = ["optimization.dropout_from_epoch=4", "batches.mix_epochs=6"]
    assert scale_epochs(late, 8) == ["optimization.total_epochs=8", *moved]
    assert scale_epochs(find_recipe("small-data"), 3) == ["optimization.total_epochs=3"]


def test_a_store_without_validation_images_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path / "store", {"train": (np.zeros((6, 32, 32, 3), np.uint8), np.arange(6) % 2)}, ["a", "b"])
    code, output = call("dropout", "--store", tmp_path / "store")
    assert code == 1
    assert (
        "has no validation images, which results are measured on. Prepare it again with --val-fraction 0.1." in output
    )


def test_a_store_must_be_named() -> None:
    code, output = call("dropout")
    assert code == 2
    assert "dropout needs images to train and test on. Name a store: --store STORE." in output
