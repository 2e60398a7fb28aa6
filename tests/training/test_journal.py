import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet.errors import RunError
from alexnet.runs import trackers
from alexnet.runs.folder import Journal, read_environment, read_metrics
from alexnet.runs.trackers import TensorBoard


def test_metrics_hold_a_line_per_epoch_and_go_back_to_a_checkpoint(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    rows = [{"epoch": epoch, "train_loss": 1.0 / epoch, "seconds_with_validation": 1.0} for epoch in (1, 2, 3)]
    journal.continue_from([])
    for row in rows:
        journal.record(row)
    assert read_metrics(tmp_path) == rows
    journal.continue_from(rows[:1])
    journal.record({"epoch": 2, "train_loss": 9.0})
    assert read_metrics(tmp_path) == [rows[0], {"epoch": 2, "train_loss": 9.0}]


def test_half_a_line_is_never_there(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    journal = Journal(tmp_path)
    journal.record({"epoch": 1})
    full_disk(20)
    with pytest.raises(OSError, match="File too large") as problem:
        journal.record({"epoch": 2, "train_loss": 1.0})
    full_disk(10**9)
    assert problem.value.filename == str(tmp_path / "metrics.jsonl")
    assert read_metrics(tmp_path) == [{"epoch": 1}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_folder_without_an_environment_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError) as problem:
        read_environment(tmp_path)
    assert str(problem.value) == f"{tmp_path}: is not a run folder (environment.json is missing or damaged)."
    assert read_metrics(tmp_path) == []


ROWS: list[dict[str, Any]] = [
    {"epoch": epoch, "train_loss": 1.0 / epoch, "seconds_with_validation": 60.0, "schedule": "no number"}
    for epoch in (1, 2, 3, 4)
]


def record_and_be_killed(folder: Path) -> Journal:
    """Three epochs, of which a checkpoint knows one; then two more after the continuation."""
    killed = Journal(folder, [TensorBoard(folder)])
    killed.continue_from([])
    for row in ROWS[:3]:
        killed.record(row)
    journal = Journal(folder, [TensorBoard(folder)])
    journal.continue_from(ROWS[:1])
    for row in ROWS[1:4]:
        journal.record(row)
    return journal


def test_events_of_a_killed_run_hold_each_epoch_once_and_in_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[Path, list[tuple[str, float, int]]] = {}
    clocks: list[float] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert purge_step == 0
            Path(folder).mkdir(exist_ok=True)
            self.path = Path(folder) / f"events.out.tfevents.{len(files)}"
            self.path.write_text("")
            files[self.path] = []

        def add_scalar(self, name: str, value: float, step: int, walltime: float) -> None:
            files[self.path].append((name, value, step))
            clocks.append(walltime)

        def flush(self) -> None:
            pass

        def close(self) -> None:
            pass

    board: Any = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setattr(trackers.time, "time", lambda: 10_000.0)
    record_and_be_killed(tmp_path).close()
    (kept,) = (tmp_path / "events").iterdir()
    losses = [event for event in files[kept] if event[0] == "train_loss"]
    assert losses == [("train_loss", row["train_loss"], row["epoch"]) for row in ROWS]
    Journal(tmp_path, [TensorBoard(tmp_path)]).continue_from(ROWS[:2])
    assert clocks[-4:] == [9940.0, 9940.0, 10_000.0, 10_000.0]  # as far apart as their trainings were


def test_tensorboard_reads_each_epoch_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra board")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record_and_be_killed(tmp_path).close()
    (kept,) = (tmp_path / "events").iterdir()
    events = EventAccumulator(str(kept)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [
        (row["epoch"], pytest.approx(row["train_loss"])) for row in ROWS
    ]
