import sys
import types
from pathlib import Path
from typing import Any

import pytest

from alexnet.errors import RunError
from alexnet.training import journal as journal_module
from alexnet.training.journal import Journal, read_environment, read_metrics


def test_metrics_hold_a_line_per_epoch_and_go_back_to_a_checkpoint(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    rows = [{"epoch": epoch, "train_loss": 1.0 / epoch} for epoch in (1, 2, 3)]
    journal.continue_from([])
    for row in rows:
        journal.record(row)
    assert read_metrics(tmp_path) == rows
    journal.continue_from(rows[:1])
    journal.record({"epoch": 2, "train_loss": 9.0})
    assert read_metrics(tmp_path) == [rows[0], {"epoch": 2, "train_loss": 9.0}]


def test_a_folder_without_an_environment_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError) as problem:
        read_environment(tmp_path)
    assert str(problem.value) == f"{tmp_path}: is not a run folder (environment.json is missing or damaged)."
    assert read_metrics(tmp_path) == []


def test_where_tensorboard_is_installed_every_number_becomes_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            self.folder = folder

        def __enter__(self) -> "SummaryWriter":
            return self

        def __exit__(self, *exception: object) -> None:
            pass

        def add_scalar(self, name: str, value: float, step: int) -> None:
            events.append((self.folder, name, value, step))

    board: Any = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setattr(journal_module.importlib.util, "find_spec", lambda name: object())
    Journal(tmp_path).record({"epoch": 4, "train_loss": 0.5, "schedule": "no number"})
    assert events == [(str(tmp_path / "events"), "train_loss", 0.5, 4)]
