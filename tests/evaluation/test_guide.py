"""Every command of docs/evaluation.md, in its order, on small models and images."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.data.store.reader import open_store
from conftest import write_store

from .test_ensemble import CLASSES, write_model

GUIDE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_commands_of_the_guide_run_one_after_the_other(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("RUN", "A", "B", "C")):
        (tmp_path / name).mkdir()
        write_model(tmp_path / name / "model.safetensors", seed=seed)
    store = open_store(small_store_path)
    parts = {
        name: (np.stack([np.asarray(store["val"].images[i]) for i in places]), store["val"].labels[places])
        for name, places in (("train", [0, 3, 6]), ("val", [1, 4, 7]), ("test", [2, 5, 8]))
    }
    write_store(tmp_path / "STORE", parts, list(CLASSES))
    shutil.copytree(small_store_path.parent / "pictures" / "val", tmp_path / "PHOTOS")
    shutil.copy(tmp_path / "PHOTOS" / "ant" / "ant-0.png", tmp_path / "picture.jpg")
    commands = [
        shlex.split(line.split("#")[0])
        for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(commands) == 10
    for words in commands:
        result = CliRunner().invoke(cli, [*words[1:], "--threads", "1"])
        assert result.exit_code == 0, (words, result.output, result.exception)
    for name in ("test.html", "figures/confusion.csv", "predictions.csv", "three.json", "weighted.json"):
        assert (tmp_path / name).exists()
