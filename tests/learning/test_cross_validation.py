"""Cross-validation: each fold is tested by the network that did not see it, and what was interrupted goes on to the same."""

import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import alexnet
from alexnet.cli import cli
from alexnet.cluster.parts import ThisProcess
from alexnet.console.terminal import Terminal
from alexnet.data.folds import divide_into_folds
from alexnet.data.store.reader import Store
from alexnet.errors import ConfigError, Interrupted, RecipeError, RunError
from alexnet.evaluation.confident_learning import OUT_OF_FOLD, read_out_of_fold
from alexnet.network import dialects
from alexnet.recipes.named import Recipe
from alexnet.runs import workflow
from alexnet.runs.cross_validation import CrossValidation, cross_validate, show_folds
from alexnet.runs.display import TrainingDisplay
from conftest import write_pictures

from .test_runs import recipe, tiny


@pytest.fixture(autouse=True)
def tiny_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "tiny", tiny)


def quiet() -> Terminal:
    terminal = Terminal()
    terminal.errors = terminal.output = Console(file=io.StringIO(), soft_wrap=True, color_system=None)
    return terminal


def go(store: Path, out: Path, *more: str, seed: int = 0, num_folds: int = 2) -> tuple[CrossValidation, str]:
    terminal = quiet()
    found = cross_validate(terminal, alexnet.open_store(store), recipe(*more, epochs=1), out, num_folds=num_folds,
                           seed=seed, threads=1, precision="float32")  # fmt: skip
    assert found is not None
    show_folds(terminal, found)
    return found, terminal.errors.file.getvalue()  # type: ignore[attr-defined]


def test_folds_that_are_trained_as_parts_are_those_of_one_machine(small_store_path: Path, tmp_path: Path) -> None:
    """Without the fold of an earlier command, which is kept."""
    alone, _ = go(small_store_path, tmp_path / "alone")
    options = {"num_folds": 2, "threads": 1, "precision": "float32"}
    given: Any = (quiet(), alexnet.open_store(small_store_path), recipe(epochs=1), tmp_path / "shared")
    cross_validate(*given, only=2, **options)
    shared = cross_validate(*given, executor=ThisProcess(), **options)
    assert shared is not None
    np.testing.assert_array_equal(shared.whole.probabilities, alone.whole.probabilities)
    for number in (1, 2):
        model = Path(f"fold-{number}", "model.safetensors")
        assert (tmp_path / "shared" / model).read_bytes() == (tmp_path / "alone" / model).read_bytes()
    assert given[0].errors.file.getvalue().count("is trained and tested.") == 1


def test_each_fold_is_tested_by_the_network_that_did_not_see_it(small_store_path: Path, tmp_path: Path) -> None:
    found, said = go(small_store_path, tmp_path / "folds")
    store = alexnet.open_store(small_store_path)
    told = read_out_of_fold(tmp_path / "folds")
    assert list(told.paths) == list(store.paths)
    assert told.class_names == list(store.class_names)
    assert told.store_fingerprint == store.fingerprint
    np.testing.assert_array_equal(told.labels, store.labels)
    folds, _ = divide_into_folds(store, 2, seed=0)
    np.testing.assert_array_equal(told.folds, folds)
    for number in range(2):
        held = np.flatnonzero(folds == number)
        model = alexnet.load(tmp_path / "folds" / f"fold-{number + 1}", precision="float32")
        own = model.compute_probabilities([store.images[int(row)] for row in held], views=1)
        np.testing.assert_array_equal(told.probabilities[held], own)
        error = float((own.argmax(1) != store.labels[held]).mean())
        assert found.folds[number].top1_error == pytest.approx(error)
    errors = [test.top1_error for test in found.folds]
    assert found.spread == pytest.approx(abs(errors[0] - errors[1]) / 2**0.5)
    assert found.whole.images == 24
    recorded = json.loads((tmp_path / "folds" / "folds.json").read_text())
    assert recorded["errors"] == {"top1_errors": errors, "top1_error": found.whole.top1_error, "spread": found.spread}
    assert "Fold 1 of 2: trained on 12 images, tested on 12 images." in said
    assert "over 24 images, each tested by the one network that did not see it." in said


def test_folds_that_are_trained_apart_are_those_that_are_trained_together(
    small_store_path: Path, tmp_path: Path
) -> None:
    together, _ = go(small_store_path, tmp_path / "together")
    options: dict[str, Any] = {"num_folds": 2, "seed": 0, "threads": 1, "precision": "float32"}
    store, apart = alexnet.open_store(small_store_path), tmp_path / "apart"
    for number in (2, 1):
        assert cross_validate(quiet(), store, recipe(epochs=1), apart, only=number, **options) is None
        assert (apart / f"fold-{number}" / "model.safetensors").exists()
    assert not (apart / "out-of-fold.npz").exists()
    gathered, said = go(small_store_path, apart)
    assert "Fold 1 of 2" not in said
    np.testing.assert_array_equal(gathered.whole.probabilities, together.whole.probabilities)
    with pytest.raises(ConfigError, match=r"^--fold 3: there are 2. Accepted is 1 to 2\.$"):
        cross_validate(quiet(), store, recipe(epochs=1), apart, only=3, **options)
    with pytest.raises(RunError, match="holds folds of a training that differs"):
        cross_validate(quiet(), store, recipe(epochs=1), apart, only=1, **{**options, "seed": 1})


def test_an_interrupted_fold_goes_on_to_the_same_and_finished_ones_are_kept(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(small_store_path, tmp_path / "whole")
    with monkeypatch.context() as patch:
        show = TrainingDisplay.batch_done
        seen: list[int] = []

        def stop(self: TrainingDisplay, *arguments: Any) -> None:
            seen.append(1)
            if len(seen) == 5:  # three batches are an epoch of the first fold
                raise KeyboardInterrupt
            show(self, *arguments)

        patch.setattr(TrainingDisplay, "batch_done", stop)
        with pytest.raises((Interrupted, KeyboardInterrupt)):
            go(small_store_path, tmp_path / "broken")
    first = tmp_path / "broken" / "fold-1" / "model.safetensors"
    written = first.stat().st_mtime_ns
    _, said = go(small_store_path, tmp_path / "broken")
    assert "Fold 1 of 2" not in said
    assert "Fold 2 of 2" in said
    assert first.stat().st_mtime_ns == written
    assert (tmp_path / "broken" / OUT_OF_FOLD).read_bytes() == (tmp_path / "whole" / OUT_OF_FOLD).read_bytes()
    monkeypatch.setattr(workflow, "train_and_report", None)
    monkeypatch.setattr("alexnet.evaluation.classifier.evaluate_network", None)
    go(small_store_path, tmp_path / "broken")  # neither trained nor tested again


def test_other_folds_are_refused(small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "train_and_report", stop_here)
    out = tmp_path / "folds"
    with pytest.raises(KeyboardInterrupt):
        go(small_store_path, out)
    for options, difference in (
        ({"num_folds": 3}, "folds was 2, now 3"),
        ({"seed": 1}, "seed was 0, now 1"),
    ):
        with pytest.raises(RunError) as caught:
            go(small_store_path, out, **options)  # type: ignore[arg-type]
        assert str(caught.value) == (
            f"{out}: holds folds of a training that differs: {difference}. Give the same again to continue it, or choose "
            "another --out."
        )
    with pytest.raises(RunError, match=r"recipe\.batches\.size was 5, now 6\. Give the same"):
        go(small_store_path, out, "batches.size=6")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".folds.json.writing").write_text("half")  # of a process that was killed
    with pytest.raises(KeyboardInterrupt):
        go(small_store_path, tmp_path / "mine")
    assert sorted(each.name for each in (tmp_path / "mine").iterdir()) == ["fold-1", "folds.json"]
    (tmp_path / "mine" / "folds.json").rename(tmp_path / "mine" / "letter.txt")
    with pytest.raises(RunError, match=r"mine: exists and is not a folder of folds\. Choose another --out\."):
        go(small_store_path, tmp_path / "mine")


def stop_here(terminal: Terminal, store: Store, recipe: Recipe, run: Path, **options: Any) -> None:
    run.mkdir()
    raise KeyboardInterrupt


def test_what_cannot_be_trained_leaves_nothing_that_keeps_others_out(small_store_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "folds"
    with pytest.raises(RecipeError, match="names the layer 'conv9'"):
        go(small_store_path, out, "optimization.rate_factors={conv9: 0}")
    assert not out.exists()
    with pytest.raises(ConfigError, match="checkpoint_minutes is 0"):
        cross_validate(quiet(), alexnet.open_store(small_store_path), recipe(epochs=1), out, num_folds=2, threads=1,
                       checkpoint_minutes=0)  # fmt: skip
    assert [each.name for each in out.iterdir()] == ["folds.json"]
    found, _ = go(small_store_path, out, seed=1)
    assert len(found.folds) == 2


def test_a_file_of_probabilities_that_is_damaged_or_missing_is_refused(small_store_path: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        read_out_of_fold(tmp_path)
    path = tmp_path / OUT_OF_FOLD
    assert str(caught.value) == (
        f"{path}: is not there. Finished folds of a training make it: alexnet train STORE --folds 4 --out FOLDS"
    )
    go(small_store_path, tmp_path / "folds")
    data = (tmp_path / "folds" / OUT_OF_FOLD).read_bytes()
    for broken in (b"", data[:200], data[:400] + bytes([data[400] ^ 1]) + data[401:]):
        path.write_bytes(broken)
        with pytest.raises(RunError, match=r"out-of-fold\.npz: is damaged"):
            read_out_of_fold(tmp_path)


def test_the_commands_of_the_question_lead_from_a_wrong_label_to_a_corrected_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "PHOTOS" / "train", per_class=8, classes=("ant", "bee"), seed=1)
    write_pictures(tmp_path / "PHOTOS" / "val", per_class=2, classes=("ant", "bee"), seed=2)
    wrong = Path("PHOTOS", "train", "bee", "bee-3.png").rename(Path("PHOTOS", "train", "ant", "wrong.png"))
    run("prepare", "PHOTOS", "--out", "STORE")
    (tmp_path / "mine.yaml").write_text(recipe("optimization.learning_rate=0.05", epochs=6).to_yaml())
    page = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
    block = re.search(r"## Which labels are wrong\?\n\n```sh\n(.*?)```", page, re.DOTALL)
    assert block
    train, evaluate, prepare = (shlex.split(line.split("#")[0])[1:] for line in block[1].splitlines())
    said = run(*train, "--recipe", "mine.yaml", "--threads", "1", "--precision", "float32")
    assert "over 16 images, each tested by the one network that did not see it." in said
    run(*evaluate)
    rows = list(csv.DictReader((tmp_path / "suspects.csv").read_text().splitlines()))
    path = wrong.relative_to("PHOTOS").as_posix()
    assert (rows[0]["path"], rows[0]["label"], rows[0]["suggested"]) == (path, "ant", "bee")
    (tmp_path / "corrections.csv").write_text(f'"path","choice","class"\n"{path}","change","bee"\n')
    run(*prepare)
    store = alexnet.open_store(tmp_path / "CORRECTED")
    assert store.class_names[store.labels[list(store.paths).index(path)]] == "bee"


def run(*words: str) -> str:
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output
