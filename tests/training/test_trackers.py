"""Experiment trackers hold each epoch once, whatever happened to the run, and its recipe and figures."""

import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from alexnet.cli import cli
from alexnet.errors import ConfigError
from alexnet.recipes.named import find_recipe
from alexnet.runs import trackers
from alexnet.runs.folder import Journal, Tracker, read_metrics
from alexnet.runs.trackers import TRACKERS, Kind, attach_files, choose_trackers, open_trackers, read_fields
from conftest import write_pictures

ROWS: list[dict[str, Any]] = [
    {"epoch": epoch, "train_loss": 1.0 / epoch, "seconds_with_validation": 60.0, "schedule": "no number"}
    for epoch in (1, 2, 3, 4)
]
LOSSES = [(row["epoch"], pytest.approx(row["train_loss"])) for row in ROWS]


def begin(folder: Path) -> Path:
    folder.mkdir()
    Journal(folder).begin(find_recipe("demo").to_yaml(), {"seed": 3, "precision": "float32"})
    return folder


class Kept:
    """A tracker that keeps what it is told, on disk nowhere."""

    told: list[Any] = []  # noqa: RUF012 - one for all, as a server is
    broken = False

    def __init__(self, folder: Path) -> None:
        assert folder.is_dir()

    def continue_from(self, history: Sequence[dict[str, Any]]) -> None:
        self.told[:] = [(row["epoch"], row["train_loss"]) for row in history]

    def record(self, row: dict[str, Any]) -> None:
        if self.broken:
            raise ConnectionError("no route to the server\nat length")
        self.told.append((row["epoch"], row["train_loss"]))

    def attach(self, files: Sequence[Path], figures: Sequence[Path]) -> None:
        self.told.append(([path.name for path in files], [path.stem for path in figures]))

    def close(self) -> None:
        self.told.append("closed")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> type[Kept]:
    monkeypatch.setitem(TRACKERS, "mlflow", Kind(Kept, "json", "mlflow"))
    monkeypatch.setattr(Kept, "told", [])
    return Kept


def test_a_tracker_follows_the_journal_and_gets_what_the_run_left(kept: type[Kept], tmp_path: Path) -> None:
    folder = begin(tmp_path / "RUN")
    journal = Journal(folder, open_trackers(["mlflow"], folder, pytest.fail))
    journal.continue_from([])
    for row in ROWS[:3]:
        journal.record(row)
    journal.continue_from(ROWS[:1])
    journal.record(ROWS[1])
    assert kept.told == LOSSES[:2]
    journal.close()
    journal.close()
    assert kept.told == [*LOSSES[:2], "closed"]
    (folder / "figures").mkdir()
    for name in ("curves", "curves-dark"):
        Image.new("RGB", (4, 4)).save(folder / "figures" / f"{name}.png")
    attach_files(["mlflow"], folder, pytest.fail)
    assert kept.told == [*LOSSES[:2], (["recipe.yaml", "environment.json"], ["curves"]), "closed"]


def test_a_tracker_that_fails_is_said_once_and_gets_everything_later(
    kept: type[Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, notices = begin(tmp_path / "RUN"), list[str]()
    journal = Journal(folder, open_trackers(["mlflow"], folder, notices.append))
    journal.continue_from([])
    monkeypatch.setattr(Kept, "broken", True)
    for row in ROWS[:3]:
        journal.record(row)
    assert notices == [
        "mlflow failed: no route to the server The run goes on without it; metrics.jsonl has every epoch, and the same command gives them to it when the run continues."
    ]
    assert read_metrics(folder) == ROWS[:3]
    monkeypatch.setattr(Kept, "broken", False)
    journal.continue_from(ROWS[:3])
    journal.record(ROWS[3])
    assert kept.told == LOSSES


def test_what_is_not_there_is_refused_before_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as problem:
        choose_trackers(["nothing"])
    assert str(problem.value) == "--log nothing: accepted are tensorboard, mlflow, wandb-offline."
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as problem:
        choose_trackers(["wandb-offline"])
    assert str(problem.value) == (
        "--log wandb-offline: needs the package wandb. Install it: pip install 'alexnet[wandb]'"
    )
    assert choose_trackers([]) == ()
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: object())
    assert choose_trackers([]) == ("tensorboard",)
    assert choose_trackers(["mlflow", "tensorboard", "mlflow"]) == ("mlflow", "tensorboard")


def test_the_recipe_is_told_as_flat_fields(tmp_path: Path) -> None:
    fields = read_fields(begin(tmp_path / "RUN"))
    assert (fields["seed"], fields["name"]) == ("3", "demo")
    assert fields["optimization.momentum"] == str(find_recipe("demo").optimization.momentum)


def test_a_training_tells_its_tracker_each_epoch_and_its_report(
    kept: type[Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "PHOTOS" / "train", per_class=8, classes=("ant", "bee"))
    write_pictures(tmp_path / "PHOTOS" / "val", per_class=4, classes=("ant", "bee"))
    recipe = find_recipe(
        "cifar-80sec", ["batches.size=8", "optimization.total_epochs=2", "optimization.drop_epochs=[1]"]
    )
    (tmp_path / "small.yaml").write_text(recipe.to_yaml())
    monkeypatch.setitem(TRACKERS, "tensorboard", TRACKERS["mlflow"])
    page = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```sh\nalexnet (.*)\n```", page)
    for line in (
        "prepare PHOTOS --out STORE --size 32",
        f"{shown} --recipe small.yaml --precision float32 --threads 1",
    ):
        done = CliRunner().invoke(cli, line.split())
        assert done.exit_code == 0, (done.output, done.exception)
    rows = [(row["epoch"], row["train_loss"]) for row in read_metrics(tmp_path / "RUN")]
    *told, (files, figures), closed = kept.told
    assert (told, len(rows), closed) == (rows, 2, "closed")
    assert files == ["recipe.yaml", "environment.json", "report.html"]
    assert {"curves", "filters", "confusion"} <= set(figures)
    assert all(f"`{name}`" in page for name in TRACKERS)


# With the real programs, where they are installed.

Found = tuple[list[tuple[int, float]], dict[str, str], set[str]]
"""Epochs with their losses, fields of the recipe where the tracker has them, and names of what is attached."""


def read_tensorboard(folder: Path) -> Found:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (folder / "events").iterdir()
    events = EventAccumulator(str(file)).Reload()
    texts = {tag.removesuffix("/text_summary") for tag in events.Tags()["tensors"]}
    losses = [(event.step, event.value) for event in events.Scalars("train_loss")]
    return losses, {}, texts | {f"{name}.png" for name in events.Tags()["images"]}


def read_mlflow(folder: Path) -> Found:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(folder / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("alexnet")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (folder.name, "FINISHED")
    losses = [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "train_loss")]
    files = {item.path for item in client.list_artifacts(run.info.run_id) if not item.is_dir}
    figures = {Path(item.path).name for item in client.list_artifacts(run.info.run_id, "figures")}
    return losses, run.data.params, files | figures


def read_wandb(folder: Path) -> Found:
    """Read the file of records: framed as LevelDB frames its log, each a protocol buffer."""
    import json

    from wandb.proto import wandb_internal_pb2

    (run,) = (folder / "wandb").glob("offline-run-*")
    (file,) = run.glob("run-*.wandb")
    data, position, part, losses, fields = file.read_bytes(), 7, b"", [], {}
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        part = (b"" if kind in (1, 2) else part) + data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind not in (1, 4):
            continue
        record = wandb_internal_pb2.Record.FromString(part)
        items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
        if "train_loss" in items:
            losses.append((record.history.step.num, json.loads(items["train_loss"])))
        fields |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    files = {path.name for path in (run / "files").rglob("*")}
    return losses, fields, files | {re.sub(r"_.*", ".png", name) for name in files if name.endswith(".png")}


READERS: dict[str, Callable[[Path], Found]] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "wandb-offline": read_wandb,
}


def read_when_written(name: str, folder: Path, epochs: int) -> Found:
    """Read what a tracker holds; wandb's service goes on writing for a moment after its run is over."""
    for _ in range(100):
        found = READERS[name](folder)
        if len(found[0]) >= epochs:
            break
        time.sleep(0.1)
    return found


PROGRAM = """
import os, signal, sys, json
from pathlib import Path
from alexnet.runs.folder import Journal
from alexnet.runs.trackers import open_trackers
folder, rows = Path(sys.argv[1]), json.loads(sys.argv[3])
journal = Journal(folder, open_trackers([sys.argv[2]], folder, sys.exit))
journal.continue_from(rows[:1])
for row in rows[1:]:
    journal.record(row)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_killed_run_has_each_epoch_once_and_its_figures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(TRACKERS[name].package, reason=f"needs the extra {TRACKERS[name].extra}")
    import json

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = begin(tmp_path / "RUN")
    killed = subprocess.run([sys.executable, "-c", PROGRAM, str(folder), name, json.dumps(ROWS[:3])], check=False)
    assert killed.returncode == -signal.SIGKILL
    for first, last in ((1, 3), (3, 4)):  # the checkpoint knew one epoch; then the run was stopped and continued
        opened: list[Tracker] = open_trackers([name], folder, pytest.fail)
        journal = Journal(folder, opened)
        journal.continue_from(ROWS[:first])
        for row in ROWS[first:last]:
            journal.record(row)
        journal.close()
        assert read_when_written(name, folder, last)[0] == LOSSES[:last]
    (folder / "figures").mkdir()
    Image.new("RGB", (4, 4), "red").save(folder / "figures" / "curves.png")
    attach_files([name], folder, pytest.fail)
    losses, fields, files = read_when_written(name, folder, 4)
    assert losses == LOSSES
    assert {"recipe.yaml", "environment.json", "curves.png"} <= files
    if fields:
        assert (fields["seed"], fields["name"]) == ("3", "demo")
    assert os.environ.get("MLFLOW_TRACKING_URI") is None
