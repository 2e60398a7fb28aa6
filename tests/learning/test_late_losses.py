"""Losses that are read one update late, as on a GPU: the same training, the same errors, and nothing broken is saved."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.data.store.reader import Store
from alexnet.errors import DivergedError, Interrupted
from alexnet.recipes.named import find_recipe
from alexnet.runs.folder import CHECKPOINTS, LATEST
from alexnet.runs.train import Outcome, train
from alexnet.training import update
from alexnet.training.batch_loss import BatchLoss
from alexnet.training.progress import read_progress
from conftest import Listener, write_store

BATCHES = 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    images = np.random.default_rng(0).integers(0, 256, (BATCHES * 6, 32, 32, 3), dtype=np.uint8)
    return write_store(
        tmp_path_factory.mktemp("late") / "store", {"train": (images, np.arange(len(images)) % 3)}, "abc"
    )


def run(store: Store, out: Path, listener: Listener) -> Outcome:
    recipe = find_recipe(
        "cifar-80sec", ["batches.size=6", "optimization.drop_epochs=[1]", "optimization.total_epochs=2"]
    )
    return train(store, recipe, out, listener=listener, device="cpu", precision="float32", threads=1)


class Events(list[str]):
    """What happened, in order; and what the loss of a batch is made out to be, by its number from 1."""

    changed: dict[int, float]
    launched: int


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """Losses are said to be on their way for as long as they are not read."""
    seen = Events()
    seen.changed, seen.launched = {}, 0

    class Late(BatchLoss):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            seen.launched += 1
            self.is_here, self.number = False, seen.launched
            seen.append(f"launch {self.number}")

        def read(self) -> tuple[float, int]:
            seen.append(f"read {self.number}")
            loss, errors = super().read()
            return seen.changed.get(self.number, loss), errors

    monkeypatch.setattr(update, "BatchLoss", Late)
    return seen


def test_each_loss_is_read_after_the_next_launch_and_the_last_ones_of_an_epoch_before_its_end(
    store: Store, tmp_path: Path, listener: Listener, events: Events
) -> None:
    run(store, tmp_path / "late", listener)
    epoch = ["launch 1", "launch 2", "read 1", "launch 3", "read 2", "launch 4", "read 3", "read 4"]
    assert events[: len(epoch)] == epoch
    assert len(events) == 2 * len(epoch)


def test_a_training_with_late_losses_gives_the_bytes_of_one_without(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    at_once, late = Listener(), Listener()
    run(store, tmp_path / "at-once", at_once)
    request.getfixturevalue("events")
    run(store, tmp_path / "late", late)
    assert late.losses == at_once.losses
    told = [("epoch", "learning_rate", "train_loss", "train_top1_error")] * 2
    assert [[row[name] for name in names] for row, names in zip(late.rows, told, strict=True)] == [
        [row[name] for name in names] for row, names in zip(at_once.rows, told, strict=True)
    ]
    assert (tmp_path / "late" / "model.safetensors").read_bytes() == (
        tmp_path / "at-once" / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("batch", [2, BATCHES])
def test_a_loss_that_is_not_finite_stops_the_run_with_its_own_batch_and_nothing_is_saved_after_it(
    store: Store, tmp_path: Path, listener: Listener, events: Events, batch: int
) -> None:
    """Also where the user asks to stop, and so to save, when the broken batch has been launched but not read."""
    events.changed[batch] = math.nan
    listener.on_batch = lambda progress: os.kill(os.getpid(), signal.SIGINT) if progress.batch == batch - 1 else None
    with pytest.raises(DivergedError, match=rf"The loss is nan in epoch 1, batch {batch}, at learning rate 0\.00"):
        run(store, tmp_path / "run", listener)
    assert not (tmp_path / "run" / CHECKPOINTS / LATEST).exists()
    assert len(listener.losses) == batch - 1


def test_a_stopped_run_has_counted_what_it_launched_and_goes_on_bit_for_bit(
    store: Store, tmp_path: Path, events: Events
) -> None:
    run(store, tmp_path / "whole", Listener())
    stopped = Listener()
    stopped.on_batch = lambda progress: os.kill(os.getpid(), signal.SIGINT) if progress.batch == 1 else None
    with pytest.raises(Interrupted, match="Stopped in epoch 1 after 2 of 4 batches; saved"):
        run(store, tmp_path / "parts", stopped)
    saved = read_progress(tmp_path / "parts" / CHECKPOINTS / LATEST)
    assert (saved.batch, saved.images, len(stopped.losses)) == (2, 12, 2)
    run(store, tmp_path / "parts", Listener())
    whole, parts = (tmp_path / name / "model.safetensors" for name in ("whole", "parts"))
    assert parts.read_bytes() == whole.read_bytes()
