"""From training to its report: what is said before, what happens when it is interrupted, and that nothing is made twice."""

import io
import json
import os
import re
import shutil
import signal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import alexnet
from alexnet.console import cores
from alexnet.console.terminal import Terminal, duration
from alexnet.description.describe import describe
from alexnet.errors import Interrupted, RunError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.record import digest_weights
from alexnet.interpretation import report
from alexnet.network import dialects
from alexnet.network.model_file import load_model
from alexnet.runs import workflow
from alexnet.runs.display import DRAWING_SECONDS, Afterwards, TrainingDisplay
from alexnet.runs.folder import CHECKPOINTS, LATEST, MODEL
from alexnet.runs.workflow import train_and_report

from .test_runs import recipe, tiny


@pytest.fixture(autouse=True)
def tiny_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "tiny", tiny)


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The views of each test that is made after training."""
    views: list[int] = []
    evaluate = Classifier.evaluate

    def count(self: Classifier, *arguments: Any, **options: Any) -> Any:
        views.append(options["views"])
        return evaluate(self, *arguments, **options)

    monkeypatch.setattr(Classifier, "evaluate", count)
    return views


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, which take longer than everything else here."""
    monkeypatch.setattr(report, "in_both_themes", lambda *arguments, **options: None)
    monkeypatch.setattr(report, "_show_images", lambda *arguments: [])
    monkeypatch.setattr(report, "_save", lambda *arguments: None)
    write = report.write_report
    monkeypatch.setattr(report, "write_report", lambda path, **content: write(path, **{**content, "drawings": []}))


def quiet() -> Terminal:
    terminal = Terminal()
    terminal.errors = Console(file=io.StringIO(), soft_wrap=True, color_system=None)
    terminal.output = terminal.errors
    return terminal


def go(store_path: Path, out: Path, *more: str, **options: Any) -> str:
    """Train and report; return what is said."""
    terminal = quiet()
    store = alexnet.open_store(store_path)
    try:
        chosen = recipe(*more, epochs=2)
        train_and_report(terminal, store, chosen, out, **{"threads": 1, "precision": "float32", **options})
    finally:
        assert isinstance(terminal.errors.file, io.StringIO)
        said = terminal.errors.file.getvalue()
    return said


def interrupt(*arguments: Any, **options: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("undrawn")
def test_the_whole_time_is_told_before_the_first_epoch_and_no_test_is_made_twice(
    small_store_path: Path, tmp_path: Path, tested: list[int]
) -> None:
    said = go(small_store_path, tmp_path / "run")
    foreseen = re.search(
        r"About .* to go: .* for 2 epochs, then .* for testing 9 images in ten views, as the paper does, and writing the "
        r"report \(--no-report leaves both out\)\.",
        said,
    )
    assert foreseen, said
    assert foreseen.start() < said.index("    1/2")
    assert "Training ended after epoch 2: 2 epochs, as the recipe says." in said
    assert "Testing 9 images of val in ten views, for the report; the centre view is known from the last epoch." in said
    assert tested == [10]
    errors = json.loads((tmp_path / "run" / "errors.json").read_text())
    assert [test["views"] for test in errors["tests"]] == [1, 10]
    assert errors["weights"] == digest_weights(tmp_path / "run" / MODEL)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["val_top1_error"] == errors["tests"][0]["top1_error"]
    assert rows[-1]["val_loss"] == errors["tests"][0]["cross_entropy"]
    assert re.search(r"\nTop-1 error .* %\), 9 images, ten views\.\nReport: ", said)
    with pytest.raises(RunError, match="holds a finished run"):
        go(small_store_path, tmp_path / "run")


@pytest.mark.usefixtures("undrawn")
def test_a_finished_training_goes_on_with_exactly_what_is_missing(
    small_store_path: Path, tmp_path: Path, tested: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    stopped = (
        f"Stopped while testing. The training is finished and saved: {re.escape(str(out / MODEL))}. The same command"
    )
    with monkeypatch.context() as broken:
        broken.setattr(Classifier, "evaluate", interrupt)
        with pytest.raises(Interrupted, match=stopped):
            go(small_store_path, out)
    weights = load_model(out / MODEL).network.state_dict()
    with pytest.raises(RunError, match=r"holds a finished run without a report that differs: seed was 0, now 4"):
        go(small_store_path, out, seed=4)
    with monkeypatch.context() as broken:
        broken.setattr(report, "draw_filters", interrupt)
        broken.setattr(report, "in_both_themes", lambda draw, *arguments, **options: draw(*arguments, **options))
        with pytest.raises(Interrupted, match=stopped):
            go(small_store_path, out)
    assert tested == [10]  # the centre view is kept from the training, ten views were tested now
    assert not (out / "report.html").exists()
    said = go(small_store_path, out)
    assert tested == [10]
    assert (out / "report.html").exists()
    assert not (out / "tests").exists()
    assert "1/2" not in said
    calibrated = load_model(out / MODEL)
    assert all(torch.equal(weights[name], weight) for name, weight in calibrated.network.state_dict().items())
    assert calibrated.temperatures.keys() == {1, 10}


@pytest.mark.usefixtures("undrawn")
def test_errors_of_the_half_trained_network_are_not_those_of_the_finished_one(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from alexnet.cli import cli
    from alexnet.training.update import Update

    out = tmp_path / "run"
    with monkeypatch.context() as stopping:
        update = Update.__call__

        def stop(*arguments: Any) -> tuple[float, int] | None:
            os.kill(os.getpid(), signal.SIGINT)
            return update(*arguments)

        stopping.setattr(Update, "__call__", stop)
        with pytest.raises(Interrupted, match="Stopped in epoch 1 after 1 of 5 batches; saved"):
            go(small_store_path, out)
    result = CliRunner().invoke(cli, ["report", str(out), "--threads", "1", "--precision", "float32"])
    assert result.exit_code == 0, result.output
    half = describe(str(out)).values["errors"]
    assert half["weights"] == digest_weights(out / CHECKPOINTS / LATEST)
    assert report.UNFINISHED in (out / "report.html").read_text()
    with monkeypatch.context() as broken:
        broken.setattr(workflow, "report_run", interrupt)
        with pytest.raises(Interrupted, match="Stopped while testing"):
            go(small_store_path, out)
    assert describe(str(out)).values["errors"] is None
    assert not (out / "report.html").exists()
    go(small_store_path, out)
    whole = describe(str(out)).values["errors"]
    assert whole["weights"] == digest_weights(out / MODEL) != half["weights"]
    assert report.UNFINISHED not in (out / "report.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_without_a_report_nothing_is_tested_until_it_is_asked_for(
    small_store_path: Path, tmp_path: Path, tested: list[int]
) -> None:
    said = go(small_store_path, tmp_path / "run", report=False)
    assert re.search(r"About [^,]* to go: [^,]* for 2 epochs\.", said), said
    assert "Testing" not in said
    assert tested == []
    assert not (tmp_path / "run" / "errors.json").exists()
    with pytest.raises(RunError, match="holds a finished run"):
        go(small_store_path, tmp_path / "run", report=False)
    go(small_store_path, tmp_path / "run")
    assert tested == [1, 10]


@pytest.mark.usefixtures("undrawn")
def test_a_run_and_its_store_that_moved_together_find_each_other(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from alexnet.cli import cli

    (tmp_path / "before").mkdir()
    shutil.copytree(small_store_path, tmp_path / "before" / "STORE")
    monkeypatch.chdir(tmp_path / "before")
    go(Path("STORE"), Path("RUN"), report=False)
    environment = json.loads(Path("RUN/environment.json").read_text())
    assert environment["store"] == "../STORE"
    assert environment["store_absolute"] == str(tmp_path / "before" / "STORE")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "before").rename(tmp_path / "after")
    options = ["--threads", "1", "--precision", "float32"]
    result = CliRunner().invoke(cli, ["report", "after/RUN", *options])
    assert result.exit_code == 0, result.output
    # The run alone moved: the absolute path leads to the store; and gone, it is named.
    shutil.move("after/STORE", tmp_path / "STORE")
    environment["store_absolute"] = str(tmp_path / "STORE")
    Path("after/RUN/environment.json").write_text(json.dumps(environment))
    assert CliRunner().invoke(cli, ["report", "after/RUN", *options]).exit_code == 0
    shutil.rmtree(tmp_path / "STORE")
    result = CliRunner().invoke(cli, ["report", "after/RUN", *options])
    assert str(result.exception) == (
        f"after/RUN: was trained on {tmp_path / 'STORE'}, which is not there. Say where it is: alexnet report after/RUN "
        "STORE"
    )


class Told:
    """Progress of a training, as it was recorded."""

    def __init__(self, epoch: int, batch: int, seconds: float) -> None:
        self.epoch, self.batch, self.images, self.seconds = epoch, batch, 100 * batch, seconds


@pytest.mark.parametrize("threads", [1, 2])
def test_fewer_threads_are_advised_to_who_takes_all_cores_beside_others(
    small_store_path: Path, tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = ((10.0 * number, 18.0 * number, 8.0 * number) for number in count())
    monkeypatch.setattr(cores, "_read", lambda: next(readings))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    said = go(small_store_path, tmp_path / "run", report=False, threads=threads)
    assert f", {threads} thread{'s' * (threads > 1)}; " in said
    assert said.count("Other programs take 1.0 of the 2 cores") == (threads > 1)


def test_the_time_that_was_foreseen_is_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 epochs of 20 batches at 1 s, the first 3 s longer; validations of 6 s; 100 s of tests; 12 s of drawing."""
    terminal = quiet()
    with terminal.progress("training", "images") as meter:
        display = TrainingDisplay(
            terminal,
            meter,
            num_classes=10,
            total_epochs=10,
            at_most=False,
            num_validated=1800,
            afterwards=Afterwards(num_views=30_000, what="the rest"),
        )
        for batch in range(1, 6):
            display.batch_done(Told(0, batch, 3.0 + batch), 20, 2.3)
        row = {"epoch": 1, "train_loss": 2.3, "train_top1_error": 0.9, "val_loss": 2.3, "val_top1_error": 0.9,
               "learning_rate": 0.01, "images_per_second": 87.0, "waiting_share": 0.0, "seconds": 23.0,
               "seconds_with_validation": 29.0}  # fmt: skip
        display.epoch_done(row)
        display.epoch_done({**row, "epoch": 10, "seconds": 20.0, "seconds_with_validation": 26.0, "ended": "so"})
    said = terminal.errors.file.getvalue()  # type: ignore[attr-defined]
    assert "About 6 min 09 s to go: 4 min 17 s for 10 epochs, then 1 min 52 s for the rest." in said
    took = 9 * 26 + 29 + 100 + DRAWING_SECONDS
    assert pytest.approx(took, rel=0.05) == 372 + 6
    first, last = [line.split("  ")[-1].strip() for line in said.splitlines() if line.strip().startswith(("1/", "10/"))]
    assert (first, last) == (duration(9 * 26 + 100 + DRAWING_SECONDS), "1 min 52 s")


def test_the_time_left_does_not_follow_one_slow_epoch() -> None:
    """Of 20 epochs at 10 s, with 2 s of validation every other epoch, the tenth takes 110 s: another program ran."""
    terminal = quiet()
    with terminal.progress("training", "images") as meter:
        display = TrainingDisplay(
            terminal, meter, num_classes=10, total_epochs=20, at_most=False, num_validated=100, validate_every=2
        )
        for epoch in range(1, 13):
            seconds = 110.0 if epoch == 10 else 10.0
            row = {"epoch": epoch, "train_loss": 2.3, "train_top1_error": 0.9, "learning_rate": 0.01, "seconds": seconds,
                   "images_per_second": 1000 / seconds, "waiting_share": 0.0, "seconds_with_validation": seconds}  # fmt: skip
            if epoch % 2 == 0:
                row |= {"val_loss": 2.3, "val_top1_error": 0.9, "seconds_with_validation": seconds + 2}
            display.epoch_done(row)
    said = terminal.errors.file.getvalue()  # type: ignore[attr-defined]
    left = {line.split("/")[0].strip(): line.split("  ")[-1].strip() for line in said.splitlines() if "/20" in line}
    assert left["8"] == duration(12 * 10 + 6 * 2)
    assert left["9"] == duration(11 * 10 + 6 * 2)
    assert left["10"] == duration(10 * (4 * 10 + 110) / 5 + 5 * 2)  # of the later half, where it was 10 * 112
    assert left["12"] == duration(8 * (5 * 10 + 110) / 6 + 4 * 2)
