"""Verbs that are given the folder of an unfinished run say which of its checkpoints they use."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from alexnet.batches.preprocessing import Preprocessing
from alexnet.cli import cli
from alexnet.network.alexnet import build
from alexnet.network.model_file import Model, save_model
from alexnet.recipes.fields import Optimization
from alexnet.runs.folder import CHECKPOINTS, NEXT
from alexnet.training.checkpoint import save_checkpoint
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.progress import Progress
from conftest import write_pictures

SAID = "run is unfinished: its checkpoint of epoch 2 is used. How to finish it: alexnet info run"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The model of a run that was interrupted in its second epoch; the run and photographs are where the test stands."""
    monkeypatch.chdir(tmp_path)
    network = build("cifar-80sec", 2, seed=0)
    found = Model(network, ("ant", "bee"), ("ant", "bee"), Preprocessing(np.zeros((32, 32, 3), np.float32), 60.0), {})
    (tmp_path / "run").mkdir()
    save(found, Progress(epoch=1, batch=17))
    write_pictures(tmp_path / "photos" / "val", per_class=1, classes=("ant", "bee"))
    return found


def save(model: Model, progress: Progress) -> None:
    weight = model.network.layers["conv1"].weight
    optimizer = MomentumDescent(model.network, Optimization(), dtype=weight.dtype)  # type: ignore[arg-type]
    save_checkpoint(Path("run"), model, optimizer, progress)


def stderr(line: str) -> str:
    """What a verb says on standard error, on one line."""
    result = CliRunner().invoke(cli, shlex.split(line), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "line",
    [
        "predict run photos",
        "evaluate run photos --device cpu",
        "features run photos --out features.npz",
        "export run --to alexnet --out model.safetensors",
        "search index run photos --out index",
        "draw filters run",
        "draw why run photos --method gradient --precision float32",
    ],
)
def test_a_verb_says_which_checkpoint_of_an_unfinished_run_it_uses(model: Model, line: str) -> None:
    assert stderr(line).count(SAID) == 1


def test_serve_says_so_too(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setattr("alexnet.serving.server.run_server", lambda server, listening, tell: listening.close())
    assert stderr("serve run --port 0").count(SAID) == 1


def test_searching_says_so_of_a_run_and_not_of_the_checkpoint_that_an_index_names(model: Model) -> None:
    stderr("search index run photos --out index")
    assert "unfinished" not in stderr("search query index photos/val/ant")
    assert stderr("search query index photos/val/ant --model run").count(SAID) == 1


def test_between_epochs_it_is_the_one_that_is_over(model: Model) -> None:
    save(model, Progress(epoch=4))
    assert "its checkpoint of epoch 4 is used" in stderr("predict run photos")


def test_a_newer_checkpoint_that_is_damaged_is_named(model: Model) -> None:
    (Path("run") / CHECKPOINTS / NEXT).write_bytes(b"12345678")
    said = stderr("predict run photos")
    assert "its checkpoint of epoch 2 is used. run/checkpoints/next.safetensors: " in said


def test_of_a_finished_run_nothing_is_said(model: Model) -> None:
    save_model(Path("run/model.safetensors"), model)
    assert "unfinished" not in stderr("predict run photos")
