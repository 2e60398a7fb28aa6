"""Training from a store into a run folder: it learns, it can be interrupted anywhere, and it says what it does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import alexnet
from alexnet import kernels
from alexnet.description.describe import describe
from alexnet.errors import (
    ConfigError,
    DivergedError,
    Interrupted,
    RecipeError,
    RunError,
    StoreError,
    WeightsError,
)
from alexnet.evaluation import evaluate
from alexnet.files.tensors import read_tensors
from alexnet.files.writing import lock_file
from alexnet.network import dialects
from alexnet.network.model_file import load_model, save_model
from alexnet.network.rows import Convolution, Dense, Dropout, Normalize, Pool, Rectify, Spec
from alexnet.recipes.named import Recipe, find_recipe
from alexnet.runs import train as runs
from alexnet.runs.existing import go_on
from alexnet.runs.folder import CHECKPOINTS, LATEST, NEXT, PREVIOUS, read_environment
from alexnet.runs.train import train
from alexnet.text.commands import train_again
from alexnet.training import loop
from alexnet.training.batch_loss import BatchLoss
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.transfer import read_start
from conftest import Listener, write_store

OPTIONS = ["batches.size=5", "batches.divisor=60", "network.initialization=he", "network.dialect=tiny",
           "optimization.learning_rate=0.02", "optimization.schedule=cosine"]  # fmt: skip


def tiny(num_classes: int) -> Spec:
    """A network with one of every part, small enough to train in a second."""
    relu = Rectify()
    return Spec(
        dialect="tiny",
        layers=(
            Convolution(name="conv1", kernels=8, window_px=11, stride_px=8, then=(relu, Normalize(), Pool())),
            Convolution(name="conv2", kernels=16, window_px=3, sees="own tower", then=(relu, Pool()), bias=1),
            Dense(name="fc6", units=32, then=(relu, Dropout())),
            Dense(name="fc8", units=num_classes),
        ),
    )


ACTIVE: list[MomentumDescent] = []
"""The optimizer of the run under way."""


class Watched(MomentumDescent):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        ACTIVE[:] = [self]


@pytest.fixture(autouse=True)
def tiny_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "tiny", tiny)
    monkeypatch.setattr(runs, "MomentumDescent", Watched)


def recipe(*more: str, epochs: int = 3) -> Recipe:
    return find_recipe("paper", [*OPTIONS, f"optimization.total_epochs={epochs}", *more])


def run(
    store_path: Path, out: Path, listener: Listener, *more: str, epochs: int = 3, **options: object
) -> alexnet.runs.train.Outcome:  # type: ignore[name-defined]
    return train(
        alexnet.open_store(store_path), recipe(*more, epochs=epochs), out, listener=listener, threads=1, **options
    )  # type: ignore[arg-type]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / "model.safetensors")


def assert_same_weights(a: Path, b: Path) -> None:
    ours, theirs = weights_of(a), weights_of(b)
    assert set(ours) == set(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns_to_tell_dark_from_bright(
    small_store_path: Path, tmp_path: Path, listener: Listener, precision: str
) -> None:
    outcome = run(small_store_path, tmp_path / "run", listener, epochs=25, precision=precision)
    first, last = outcome.history[0], outcome.history[-1]
    assert first["train_loss"] > 0.9
    assert last["train_loss"] < 0.6
    assert last["val_top1_error"] <= 0.34
    classifier = alexnet.load(tmp_path / "run", precision="float32")
    result = classifier.evaluate(alexnet.open_store(small_store_path), views=1)
    assert result.top1_error == pytest.approx(last["val_top1_error"], abs=0.12)


def test_the_best_epoch_becomes_the_model_where_the_recipe_says_so(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a constant rate, the weights of an epoch are those of a training that ends with it."""
    constant, errors = "optimization.schedule=constant", iter([0.5, 0.4, 0.2, 0.3, 0.2])
    real = runs.evaluate_network

    def evaluated(*arguments: Any, **options: Any) -> Any:
        return replace(real(*arguments, **options), top1_error=next(errors))

    monkeypatch.setattr(runs, "evaluate_network", evaluated)
    outcome = run(small_store_path, tmp_path / "best", Listener(), constant, "stop.keep=best", epochs=5)
    assert [row["is_best"] for row in outcome.history] == [True, True, True, False, False]
    assert outcome.validation is None  # that of the last epoch is of other weights
    monkeypatch.setattr(runs, "evaluate_network", real)
    run(small_store_path, tmp_path / "three", Listener(), constant, epochs=3)
    run(small_store_path, tmp_path / "five", Listener(), constant, epochs=5)
    assert_same_weights(tmp_path / "best", tmp_path / "three")
    last, five = read_tensors(tmp_path / "best/last.safetensors"), weights_of(tmp_path / "five")
    assert all(torch.equal(last[name], five[name]) for name in five)
    assert alexnet.load(tmp_path / "best").model.provenance["epoch"] == 3
    assert not (tmp_path / "best/best.safetensors").exists()
    facts = [row for part in describe(str(tmp_path / "best")).parts for row in getattr(part, "rows", [])]
    assert ("model", "of epoch 3, the best by top1_error; last.safetensors is of epoch 5") in facts


def test_a_finished_run_can_go_on(small_store_path: Path, tmp_path: Path) -> None:
    run(small_store_path, tmp_path / "run", Listener(), "optimization.warmup_epochs=1")
    store, start, chosen = go_on(tmp_path / "run", 2, ["batches.size=6"])
    optimization = chosen.optimization
    assert (optimization.schedule, optimization.total_epochs, optimization.warmup_epochs) == ("cosine", 2, 0)
    assert optimization.learning_rate == pytest.approx(0.002)
    assert (chosen.batches.size, chosen.network.dialect, chosen.batches.divisor) == (6, "tiny", 60)
    listener = Listener()
    train(store, chosen, tmp_path / "more", listener=listener, threads=1, start=start)
    assert [row["learning_rate"] for row in listener.rows] == pytest.approx([0.0013827, 0.0000761], abs=1e-6)
    facts = [row for part in describe(str(tmp_path / "more")).parts for row in getattr(part, "rows", [])]
    assert ("started from", str(tmp_path / "run/model.safetensors")) in facts
    again, _, same = go_on(tmp_path / "more", 1)  # and once more
    assert (again.path, same.optimization.learning_rate) == (store.path, pytest.approx(0.0002))


def test_only_a_finished_run_whose_store_is_there_goes_on(small_store_path: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no finished run, and --more-epochs goes on from one"):
        go_on(small_store_path, 2)
    shutil.copytree(small_store_path, tmp_path / "store")
    run(tmp_path / "store", tmp_path / "run", Listener(), epochs=1)
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    other = json.dumps({**environment, "store_fingerprint": "of a fold"})
    shutil.copytree(tmp_path / "run", tmp_path / "fold")
    (tmp_path / "fold/environment.json").write_text(other)
    with pytest.raises(RunError, match=r"was trained on other images than .* on a fold of them"):
        go_on(tmp_path / "fold", 2)
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(RunError) as caught:
        go_on(tmp_path / "run", 2)
    assert str(caught.value) == (
        f"{tmp_path}/run: was trained on {tmp_path}/store, which is not there. Put it back, or train on another store "
        f"from its weights: alexnet train STORE --from {tmp_path}/run --out RUN"
    )


def test_the_best_epoch_is_kept_beside_the_last(small_store_path: Path, tmp_path: Path) -> None:
    more = ("optimization.schedule=constant", "stop.keep=both", "stop.metric=loss", "stop.patience_epochs=2")
    outcome = run(small_store_path, tmp_path / "both", Listener(), *more, epochs=4)
    losses = [row["val_loss"] for row in outcome.history]
    best = alexnet.load(tmp_path / "both/best.safetensors")
    assert best.model.provenance["epoch"] == 1 + losses.index(min(losses))
    store = alexnet.open_store(small_store_path)
    assert best.evaluate(store, views=1).cross_entropy == pytest.approx(min(losses), rel=1e-3)
    assert alexnet.load(tmp_path / "both").evaluate(store, views=1).cross_entropy == pytest.approx(losses[-1], rel=1e-3)


def test_the_best_epoch_cannot_be_told_without_validation_images(tmp_path: Path) -> None:
    images = np.full((4, 256, 256, 3), 100, np.uint8)
    write_store(tmp_path / "store", {"train": (images, [0, 1, 0, 1])}, class_names=["a", "b"])
    with pytest.raises(RecipeError, match=r"looks for the best epoch .* has no validation images"):
        run(tmp_path / "store", tmp_path / "run", Listener(), "stop.keep=best")
    assert not (tmp_path / "run").exists()


def test_a_run_folder_tells_everything(small_store_path: Path, tmp_path: Path, listener: Listener) -> None:
    run(small_store_path, tmp_path / "run", listener, seed=3)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"recipe.yaml", "environment.json", "metrics.jsonl", "checkpoints", "model.safetensors"} <= names
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["seed"] == 3
    assert environment["threads"] == 1
    assert environment["store_fingerprint"] == alexnet.open_store(small_store_path).fingerprint
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows == listener.rows
    assert {"train_loss", "val_loss", "val_top1_error", "val_top2_error", "learning_rate", "images_per_second",
            "waiting_share"} <= set(rows[0])  # fmt: skip
    assert find_recipe(str(tmp_path / "run" / "recipe.yaml")) == recipe()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(small_store_path: Path, tmp_path: Path) -> None:
    run(small_store_path, tmp_path / "a", Listener(), seed=1)
    run(small_store_path, tmp_path / "b", Listener(), seed=1)
    run(small_store_path, tmp_path / "c", Listener(), seed=2)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    name = "layers.fc8.weight"
    assert not torch.equal(weights_of(tmp_path / "a")[name], weights_of(tmp_path / "c")[name])


def test_dropout_can_begin_later_and_units_are_scaled_until_then(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop, dropped = kernels.dropout, []

    def count(x: torch.Tensor, keys: torch.Tensor, **options: Any) -> torch.Tensor:
        dropped.append(len(keys))
        return drop(x, keys, **options)

    with monkeypatch.context() as patch:
        patch.setattr(kernels, "dropout", count)
        run(small_store_path, tmp_path / "never", Listener(), "optimization.dropout_from_epoch=3")
        assert dropped == []
        run(small_store_path, tmp_path / "late", Listener(), "optimization.dropout_from_epoch=2")
        assert len(dropped) == 5  # the updates of the last epoch
    monkeypatch.setattr(kernels, "dropout", lambda x, keys, *, p, **_: x * (1 - p))
    run(small_store_path, tmp_path / "scaled", Listener())
    assert_same_weights(tmp_path / "never", tmp_path / "scaled")


AVERAGED = ("optimization.average_epochs=0.4", "optimization.schedule=constant")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_averaged_weights_are_validated_kept_and_become_the_model(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """They are those of the recursion in float64 over the weights of a training without; which is not disturbed."""
    weights: list[dict[str, np.ndarray[Any, Any]]] = []
    shares: list[float] = []
    step = MomentumDescent.step

    def watched(optimizer: MomentumDescent, *arguments: Any, average_share: float) -> None:
        step(optimizer, *arguments, average_share=average_share)
        weights.append({name: each.detach().double().numpy() for name, each in optimizer.master.named_parameters()})
        shares.append(average_share)

    with monkeypatch.context() as patch:
        patch.setattr(MomentumDescent, "step", watched)
        run(small_store_path, tmp_path / "plain", Listener(), AVERAGED[1], precision=precision, epochs=6)
    more = (*AVERAGED, "stop.keep=best", "stop.metric=loss")
    outcome = run(small_store_path, tmp_path / "averaged", Listener(), *more, precision=precision, epochs=6)
    shares = [1 / max(1, min(0.4 * 5, (updates + 1) / 10)) for updates in range(30)]
    average = weights[0]
    by_epoch = []
    for number, (now, share) in enumerate(zip(weights, shares, strict=True)):
        average = {name: average[name] + share * (now[name] - average[name]) for name in now}
        if number % 5 == 4:
            by_epoch.append(average)
    assert min(shares) == 0.5
    losses = [row["val_loss"] for row in outcome.history]
    best = losses.index(min(losses))
    last, kept = read_tensors(tmp_path / "averaged/last.safetensors"), weights_of(tmp_path / "averaged")
    for name, value in by_epoch[-1].items():
        np.testing.assert_allclose(last[name].numpy(), value, rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(kept[name].numpy(), by_epoch[best][name], rtol=1e-5, atol=1e-6, err_msg=name)
    store = alexnet.open_store(small_store_path)
    for file, loss in (("model.safetensors", losses[best]), ("last.safetensors", losses[-1])):
        classifier = alexnet.load(tmp_path / "averaged" / file, precision=precision)
        assert classifier.evaluate(store, views=1).cross_entropy == pytest.approx(loss, rel=1e-5)
    checkpoint = tmp_path / "averaged" / CHECKPOINTS / LATEST
    for name, value in load_model(checkpoint).network.named_parameters():
        assert torch.equal(value, last[name])  # the model in it is the average
        current = read_tensors(checkpoint)[f"current.{name}"].double().numpy()
        assert np.array_equal(current, weights[-1][name])


@pytest.mark.parametrize("stop_after", [1, 8, 14])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_averages_and_mixtures_go_on_after_an_interruption_bit_for_bit(
    small_store_path: Path, tmp_path: Path, stop_after: int, precision: str
) -> None:
    mixed = (f"batches.{field}" for field in ("mixup=0.4", "cutmix=1", "mix_epochs=2", "erasing=0.3"))
    chosen = (*AVERAGED, *mixed)
    run(small_store_path, tmp_path / "whole", Listener(), *chosen, precision=precision)
    stopped = Listener()
    stopped.on_batch = lambda progress: (
        os.kill(os.getpid(), signal.SIGINT) if len(stopped.losses) == stop_after else None
    )
    with pytest.raises(Interrupted):
        run(small_store_path, tmp_path / "part", stopped, *chosen, precision=precision)
    run(small_store_path, tmp_path / "part", Listener(), *chosen, precision=precision)
    assert_same_weights(tmp_path / "whole", tmp_path / "part")
    a, b = (read_tensors(tmp_path / name / CHECKPOINTS / LATEST) for name in ("whole", "part"))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stop_after", [1, 5, 8])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_interrupted_run_continues_to_the_same_weights_bit_for_bit(
    small_store_path: Path, tmp_path: Path, stop_after: int, precision: str
) -> None:
    run(small_store_path, tmp_path / "whole", Listener(), precision=precision)
    stopped = Listener()

    def interrupt(progress: object) -> None:
        if len(stopped.losses) == stop_after:
            os.kill(os.getpid(), signal.SIGINT)

    stopped.on_batch = interrupt
    with pytest.raises(Interrupted, match=r"batches; saved\. The same command continues from here\."):
        run(small_store_path, tmp_path / "part", stopped, precision=precision)
    with pytest.raises(Interrupted):  # once more, at the next epoch
        again = Listener()
        again.on_batch = lambda progress: os.kill(os.getpid(), signal.SIGTERM)
        run(small_store_path, tmp_path / "part", again, precision=precision)
    outcome = run(small_store_path, tmp_path / "part", Listener(), precision=precision)
    assert_same_weights(tmp_path / "whole", tmp_path / "part")
    assert [row["epoch"] for row in outcome.history] == [1, 2, 3]
    lines = (tmp_path / "part" / "metrics.jsonl").read_text().splitlines()
    timeless = ("train_loss", "val_loss", "val_top1_error", "learning_rate")
    whole = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [[json.loads(line)[name] for name in timeless] for line in lines] == [
        [row[name] for name in timeless] for row in whole
    ]


def test_a_run_interrupted_across_plateaus_keeps_its_counters(small_store_path: Path, tmp_path: Path) -> None:
    plateau = ["optimization.schedule=plateau", "optimization.plateau_patience_epochs=1", "optimization.plateau_threshold=0.9",
               "optimization.total_epochs=9"]  # fmt: skip
    whole = run(small_store_path, tmp_path / "whole", Listener(), *plateau)
    assert len(whole.history) == 5  # the first epoch counts as an improvement, then three drops, then the end
    while True:
        stopped = Listener()
        stopped.on_batch = lambda progress: os.kill(os.getpid(), signal.SIGINT) if progress.batch == 3 else None
        try:
            part = run(small_store_path, tmp_path / "part", stopped, *plateau)
        except Interrupted:
            assert len(stopped.losses) <= 5
            continue
        break
    assert [row["learning_rate"] for row in part.history] == [row["learning_rate"] for row in whole.history]
    assert_same_weights(tmp_path / "whole", tmp_path / "part")


def test_a_diverging_run_stops_at_the_step_and_keeps_its_checkpoint(small_store_path: Path, tmp_path: Path) -> None:
    stopped = Listener()
    stopped.on_batch = lambda progress: os.kill(os.getpid(), signal.SIGINT)
    more = ["optimization.schedule=plateau", "optimization.learning_rate=1e18"]
    with pytest.raises(Interrupted):
        run(small_store_path, tmp_path / "run", stopped, *more)
    saved = (tmp_path / "run" / CHECKPOINTS / LATEST).read_bytes()
    with pytest.raises(DivergedError) as problem:
        run(small_store_path, tmp_path / "run", Listener(), *more)
    assert str(problem.value).startswith(("The loss is nan in epoch 1, batch 2, at learning rate 1e+18.",
                                          "The loss is inf in epoch 1, batch 2, at learning rate 1e+18."))  # fmt: skip
    assert (tmp_path / "run" / CHECKPOINTS / LATEST).read_bytes() == saved


def test_an_epoch_without_a_wrong_image_does_not_end_a_training_that_goes_to_its_last(
    small_store_path: Path, tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = BatchLoss.read
    monkeypatch.setattr(BatchLoss, "read", lambda launched: (read(launched)[0], 0))
    outcome = run(small_store_path, tmp_path / "run", listener)
    assert [row.get("ended") for row in outcome.history] == [None, None, "3 epochs, as the recipe says"]
    assert listener.notices[-1] == "Training ended after epoch 3: 3 epochs, as the recipe says."
    outcome = run(small_store_path, tmp_path / "early", listener, "optimization.stop_train_error=0.01")
    reason = "its training top-1 error of 0.00% is no more than stop_train_error, 1.00%"
    assert [row["ended"] for row in outcome.history] == [reason]
    assert listener.notices[-1] == f"Training ended after epoch 1: {reason}."
    assert json.loads((tmp_path / "early" / "metrics.jsonl").read_text())["ended"] == reason


def test_ctrl_c_while_validating_saves_the_epoch_and_continues_to_the_same_weights(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small_store_path, tmp_path / "whole", Listener())
    stopped, ticks = Listener(), []

    def stop_in_the_second(done: int, total: int) -> None:
        ticks.append(done)
        if len(ticks) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as small:
        small.setattr(evaluate, "VIEWS_AT_A_TIME", 4)
        with pytest.raises(Interrupted, match=r"Stopped in epoch 1 after 5 of 5 batches; saved\."):
            run(small_store_path, tmp_path / "part", stopped, tick=stop_in_the_second)
    assert ticks == [4, 8]  # and not the last, of nine images
    assert stopped.notices[-1] == loop.STOPPING
    assert not stopped.rows
    outcome = run(small_store_path, tmp_path / "part", Listener())
    assert [row["epoch"] for row in outcome.history] == [1, 2, 3]
    assert_same_weights(tmp_path / "whole", tmp_path / "part")


@pytest.mark.parametrize("saves", [True, False])
def test_ctrl_c_twice_says_what_is_lost_and_what_comes_next(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: bool
) -> None:
    stopped = Listener()

    def press_twice(progress: Any) -> None:
        if progress.batch == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    stopped.on_batch = press_twice
    with pytest.raises(Interrupted) as problem:
        run(small_store_path, tmp_path / "run", stopped, checkpoint_minutes=1e-9 if saves else 5)
    lost = (
        "What came after the last save is lost; the same command continues in epoch 1 after 2 of 5 batches."
        if saves
        else "Nothing had been saved; the same command starts from the beginning."
    )
    assert str(problem.value) == f"Stopped at once, in epoch 1 after 3 of 5 batches. {lost}"
    assert stopped.notices[-1] == loop.STOPPING
    assert (tmp_path / "run" / CHECKPOINTS / LATEST).exists() is saves


def test_ctrl_c_after_the_last_validation_does_not_go_on_to_the_test(small_store_path: Path, tmp_path: Path) -> None:
    stopped = Listener()
    stopped.epoch_done = lambda row: os.kill(os.getpid(), signal.SIGINT)  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match=r"Stopped after the last epoch; saved\. The same command continues"):
        run(small_store_path, tmp_path / "run", stopped, epochs=1)
    assert len(run(small_store_path, tmp_path / "run", Listener(), epochs=1).history) == 1


def test_a_model_that_starts_from_another_records_the_colours_it_was_trained_on(
    small_store_path: Path, tmp_path: Path
) -> None:
    run(small_store_path, tmp_path / "run", Listener(), epochs=1)
    model = alexnet.load(tmp_path / "run", precision="float32").model
    assert model.color_mean == pytest.approx(alexnet.open_store(small_store_path).color_mean)
    inherited = replace(
        model, preprocessing=replace(model.preprocessing, mean_image=np.zeros((256, 256, 3), np.float32))
    )
    save_model(tmp_path / "start.safetensors", inherited)
    listener = Listener()
    run(small_store_path, tmp_path / "tuned", listener, epochs=1, start=read_start(tmp_path / "start.safetensors"))
    assert not any("mean colour" in notice for notice in listener.notices)
    tuned = alexnet.load(tmp_path / "tuned", precision="float32").model
    assert tuned.preprocessing.mean_image.max() == 0
    assert tuned.color_mean == pytest.approx(model.color_mean)


def test_a_run_that_stays_at_chance_is_told_so_after_enough_updates(
    small_store_path: Path, tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small_store_path, tmp_path / "early", listener, "optimization.learning_rate=1e-9")
    assert not any("at chance" in notice for notice in listener.notices)
    monkeypatch.setattr(loop, "AT_CHANCE_UPDATES", 15)
    run(small_store_path, tmp_path / "run", listener, "optimization.learning_rate=1e-9")
    assert any(
        "has been at chance (ln 3 = 1.099) for 3 epochs. Usual causes: a learning rate" in notice
        for notice in listener.notices
    )


def test_a_finished_run_is_not_overwritten(small_store_path: Path, tmp_path: Path) -> None:
    run(small_store_path, tmp_path / "run", Listener(), epochs=1)
    with pytest.raises(RunError) as problem:
        run(small_store_path, tmp_path / "run", Listener(), epochs=1)
    assert str(problem.value) == (
        f"{tmp_path / 'run'}: holds a finished run. Test it with: alexnet evaluate {tmp_path / 'run'} {small_store_path}. "
        "To train again, choose another --out."
    )


def test_the_test_of_a_finished_run_is_named_with_its_own_store_and_quotes(
    small_store_path: Path, tmp_path: Path
) -> None:
    run(small_store_path, tmp_path / "a run", Listener(), epochs=1)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(small_store_path, elsewhere)
    with pytest.raises(RunError, match=f"alexnet evaluate '{tmp_path}/a run' {small_store_path}"):
        run(elsewhere, tmp_path / "a run", Listener(), epochs=1)


@pytest.mark.parametrize("seed", [-5, 2**32])
def test_a_seed_out_of_range_is_refused_before_anything_is_written(
    small_store_path: Path, tmp_path: Path, seed: int
) -> None:
    with pytest.raises(ConfigError, match=f"seed is {seed}; accepted is 0 to 4294967295"):
        run(small_store_path, tmp_path / "run", Listener(), epochs=1, seed=seed)
    assert not (tmp_path / "run").exists()


def test_a_network_that_sees_a_corner_of_each_picture_says_so(small_store_path: Path, tmp_path: Path) -> None:
    listener = Listener()
    run(small_store_path, tmp_path / "run", listener, "network.dialect=cifar-80sec", epochs=1)
    assert any("reads 32 px of images of 256 px: never a whole picture." in notice for notice in listener.notices)


def test_advice_is_given_to_a_training_that_begins_and_not_to_one_that_is_refused(
    small_store_path: Path, tmp_path: Path, listener: Listener
) -> None:
    options = ("batches.size=4096", "optimization.warmup_epochs=1.5")
    run(small_store_path, tmp_path / "run", listener, *options, epochs=1)
    images = len(alexnet.open_store(small_store_path)["train"])
    advice = [
        f"The store has {images} training images, a batch 4,096: one update an epoch. For more of them, give a smaller "
        "batch: --set batches.size=8",
        "The rate rises from 0 during all of this training (warmup_epochs 1.5, total_epochs 1): little is learned. Train "
        "longer, or give --set optimization.warmup_epochs=0.",
    ]
    assert [notice for notice in listener.notices if notice in advice] == advice
    again = Listener()
    with pytest.raises(RunError, match="holds a finished run"):
        run(small_store_path, tmp_path / "run", again, *options, epochs=1)
    assert again.notices == []


def test_an_unfinished_run_with_other_options_is_refused(small_store_path: Path, tmp_path: Path) -> None:
    stopped = Listener()
    stopped.on_batch = lambda progress: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted):
        run(small_store_path, tmp_path / "run", stopped)
    with pytest.raises(RunError) as problem:
        run(small_store_path, tmp_path / "run", Listener(), "optimization.momentum=0.8", seed=4)
    assert str(problem.value) == (
        f"{tmp_path / 'run'}: holds an unfinished run that differs: optimization.momentum was 0.9, now 0.8; seed was 0, "
        "now 4. To train anew, choose another --out. To continue it: "
        + train_again(
            read_environment(tmp_path / "run"),
            recipe=tmp_path / "run" / "recipe.yaml",
            store=small_store_path,
            out=tmp_path / "run",
        )
    )


def test_weights_broken_by_the_last_update_never_reach_a_checkpoint(small_store_path: Path, tmp_path: Path) -> None:
    stopped = Listener()

    def break_then_stop(progress: object) -> None:
        if len(stopped.losses) == 2:
            for value in ACTIVE[0].master.parameters():
                value.data.fill_(float("nan"))
            os.kill(os.getpid(), signal.SIGINT)

    stopped.on_batch = break_then_stop
    with pytest.raises(
        DivergedError, match=r"Values of layers\.conv1\.weight are not finite in epoch 1 after batch 2\."
    ):
        run(small_store_path, tmp_path / "run", stopped)
    assert not (tmp_path / "run" / CHECKPOINTS / LATEST).exists()


def test_a_second_process_cannot_train_into_the_same_folder(small_store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    held = lock_file(tmp_path / "run" / ".lock")
    assert held is not None
    with held, pytest.raises(RunError) as problem:
        run(small_store_path, tmp_path / "run", Listener())
    assert str(problem.value) == (
        f"{tmp_path / 'run'}: another process is training into it. Wait until it ends, or choose another --out."
    )
    run(small_store_path, tmp_path / "run", Listener(), epochs=1)


def test_images_smaller_than_the_crops_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    images = np.zeros((4, 32, 32, 3), np.uint8)
    store = write_store(tmp_path / "store", {"train": (images, np.array([0, 1, 0, 1]))}, ("a", "b"))
    with pytest.raises(StoreError) as problem:
        train(store, recipe(), tmp_path / "run", listener=Listener())
    assert str(problem.value) == (
        f"{tmp_path / 'store'}: holds images of 32 px; dialect tiny reads crops of 224 px. Prepare the images again with a "
        "--size of 224 or more."
    )
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_is_left_alone(small_store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(RunError) as problem:
        run(small_store_path, tmp_path, Listener())
    assert str(problem.value) == f"{tmp_path}: exists and is not a run folder. Choose another --out."
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def interrupted_twice(store_path: Path, out: Path) -> None:
    for _ in range(2):
        stopped = Listener()
        stopped.on_batch = lambda progress: os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            run(store_path, out, stopped)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    small_store_path: Path, tmp_path: Path, listener: Listener
) -> None:
    run(small_store_path, tmp_path / "whole", Listener())
    interrupted_twice(small_store_path, tmp_path / "run")
    latest = tmp_path / "run" / CHECKPOINTS / LATEST
    latest.write_bytes(latest.read_bytes()[:1000])
    run(small_store_path, tmp_path / "run", listener)
    assert any(notice.startswith("Continuing from an older checkpoint: ") for notice in listener.notices)
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_checkpoint_with_one_flipped_bit_gives_way_to_the_one_before(
    small_store_path: Path, tmp_path: Path, listener: Listener
) -> None:
    run(small_store_path, tmp_path / "whole", Listener())
    interrupted_twice(small_store_path, tmp_path / "run")
    flip(tmp_path / "run" / CHECKPOINTS / LATEST, -1)
    alexnet.load(tmp_path / "run")  # also gives way
    run(small_store_path, tmp_path / "run", listener)
    (notice,) = (each for each in listener.notices if each.startswith("Continuing from an older checkpoint: "))
    assert f"{LATEST}: is damaged (its tensor velocity." in notice
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("split", ["train", "val"])
def test_training_ends_where_an_image_has_a_flipped_bit(small_store_path: Path, tmp_path: Path, split: str) -> None:
    store = tmp_path / "store"
    shutil.copytree(small_store_path, store)
    flip(store / split / "images-00000.npy", -1000)
    with pytest.raises(StoreError, match=rf"{split}/images-00000\.npy is damaged: its image \d+ has other bytes"):
        run(store, tmp_path / "run", Listener())
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_testing_refuses_weights_and_images_with_a_flipped_bit(small_store_path: Path, tmp_path: Path) -> None:
    run(small_store_path, tmp_path / "run", Listener(), epochs=1)
    store = tmp_path / "store"
    shutil.copytree(small_store_path, store)
    flip(store / "val" / "images-00000.npy", -1000)
    classifier = alexnet.load(tmp_path / "run")
    with pytest.raises(StoreError, match=r"val/images-00000\.npy is damaged: its image \d+ has other bytes"):
        classifier.evaluate(alexnet.open_store(store))
    flip(tmp_path / "run" / "model.safetensors", -1)
    with pytest.raises(
        WeightsError, match=r"model\.safetensors: is damaged \(its tensor .* is not as it was written\)"
    ):
        alexnet.load(tmp_path / "run")
    assert describe(str(tmp_path / "run")).values["finished"]
    with pytest.raises(WeightsError, match=r"model\.safetensors: is damaged \(its tensor"):
        describe(str(tmp_path / "run"), verify=True)


def test_two_damaged_checkpoints_are_an_error(small_store_path: Path, tmp_path: Path) -> None:
    interrupted_twice(small_store_path, tmp_path / "run")
    for name in (LATEST, PREVIOUS):
        (tmp_path / "run" / CHECKPOINTS / name).write_bytes(b"garbage")
    with pytest.raises(WeightsError, match=r"no readable checkpoint\. .* Start again with another --out\."):
        run(small_store_path, tmp_path / "run", Listener())


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    interrupted_twice(small_store_path, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run" / CHECKPOINTS).iterdir()}

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    stopped = Listener()
    stopped.on_batch = lambda progress: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(OSError, match="No space left"):
        run(small_store_path, tmp_path / "run", stopped)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run" / CHECKPOINTS).iterdir()} == before


@pytest.mark.parametrize("renamed", [[], [(LATEST, PREVIOUS)]])
def test_a_checkpoint_that_was_not_named_yet_is_named_by_the_run_that_continues(
    renamed: list[tuple[str, str]], small_store_path: Path, tmp_path: Path, listener: Listener
) -> None:
    interrupted_twice(small_store_path, tmp_path / "run")
    place = tmp_path / "run" / CHECKPOINTS
    whole = {path.name: path.read_bytes() for path in place.iterdir()}
    (place / LATEST).rename(place / NEXT)
    (place / PREVIOUS).rename(place / LATEST)
    for before, after in renamed:
        (place / before).rename(place / after)
    seen: dict[str, bytes] = {}
    listener.on_batch = lambda _: (
        seen.update({path.name: path.read_bytes() for path in place.iterdir()}) if not seen else None
    )
    run(small_store_path, tmp_path / "run", listener)
    assert seen == whole


KILLED = """
import sys
sys.path[:0] = [{tests!r}, {learning!r}]
from test_runs import recipe, tiny
from conftest import Listener
import alexnet
from alexnet.network.dialects import DIALECTS
from alexnet.runs.train import train
DIALECTS["tiny"] = tiny
listener = Listener()
listener.on_batch = lambda progress: print(progress.epoch, progress.batch, flush=True)
train(alexnet.open_store({store!r}), recipe(epochs=6), {out!r}, listener=listener, threads=1, checkpoint_minutes=1e-9)
"""


def test_a_run_killed_in_mid_epoch_continues_to_the_same_weights(small_store_path: Path, tmp_path: Path) -> None:
    run(small_store_path, tmp_path / "whole", Listener(), epochs=6)
    out = tmp_path / "killed"
    here = Path(__file__).parent
    code = KILLED.format(tests=str(here.parent), learning=str(here), store=str(small_store_path), out=str(out))
    code = code.replace(repr(str(out)), f"__import__('pathlib').Path({str(out)!r})")
    for kill_at in ("1 3", "3 2"):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == kill_at:
                time.sleep(np.random.default_rng().uniform(0, 0.02))
                process.kill()
                break
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
    outcome = run(small_store_path, out, Listener(), epochs=6)
    assert len(outcome.history) == 6
    assert_same_weights(tmp_path / "whole", out)


@pytest.mark.parametrize(
    "left", [[".recipe.yaml.writing"], ["recipe.yaml"], ["recipe.yaml", ".environment.json.writing"]]
)
def test_a_run_that_was_killed_before_its_second_file_begins_again(
    left: list[str], small_store_path: Path, tmp_path: Path, listener: Listener
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for name in left:
        (out / name).write_text(recipe(epochs=1).to_yaml() if name == "recipe.yaml" else "half")
    run(small_store_path, out, listener, epochs=1)
    assert (out / "model.safetensors").exists()
    assert not list(out.glob(".*.writing"))


def test_a_folder_with_another_recipe_alone_is_no_run(
    small_store_path: Path, tmp_path: Path, listener: Listener
) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe(epochs=2).to_yaml())
    with pytest.raises(RunError, match="exists and is not a run folder"):
        run(small_store_path, tmp_path, listener, epochs=1)
    assert (tmp_path / "recipe.yaml").read_text() == recipe(epochs=2).to_yaml()
