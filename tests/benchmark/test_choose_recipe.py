"""benchmarks/choose_recipe.py: its choices are recipes, and its table tells them apart."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from alexnet import system
from alexnet.recipes.named import find_recipe


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "choose_recipe.py"
    spec = importlib.util.spec_from_file_location("choose_recipe", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_choice_is_a_recipe_of_its_own(script: ModuleType) -> None:
    recipes = {
        find_recipe("modern", fields).to_yaml() for name, fields in script.CHOICES.items() if name != "small-data"
    }
    assert len(recipes) == len(script.CHOICES) - 1


def test_choices_take_turns_and_the_best_one_is_named_first(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[list[str]] = []

    def alexnet(*words: object) -> str:
        said.append([str(word) for word in words])
        out = Path(said[-1][said[-1].index("--out") + 1])
        out.mkdir(parents=True)
        if said[-1][0] == "train":
            error = 0.25 if "small-data" in said[-1] else 0.2 + 0.02 * int(said[-1][said[-1].index("--seed") + 1])
            row = {"val_top1_error": error, "train_top1_error": 0.1, "seconds_with_validation": 90}
            (out / "metrics.jsonl").write_text(2 * (json.dumps(row) + "\n"))
            (out / "model.safetensors").touch()
        return ""

    monkeypatch.setattr(script, "run", alexnet)
    command = ["choose_recipe.py", "PHOTOS", str(tmp_path), "--seeds", "2", "--only", "small-data", "not-averaged"]
    monkeypatch.setattr(sys, "argv", [*command, "--set", "network.dialect=caffe"])
    script.main()
    assert said[0][:4] == ["prepare", "PHOTOS/train", "--val-fraction", "0.2"]
    assert [words[words.index("--seed") + 1] for words in said[1:]] == ["0", "0", "1", "1"]
    assert said[2][2:8] == ["--recipe", "modern", "--set", "network.dialect=caffe", "--set", script.NOT_AVERAGED]
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert table[2:] == [
        "| not-averaged | 21.00% (1.41) | 20.0%, 22.0% | 10.0% | 3.0 |",
        "| small-data | 25.00% (0.00) | 25.0%, 25.0% | 10.0% | 3.0 |",
    ]
    kept = json.loads((tmp_path / "choose-256.json").read_text())
    assert kept["choices"]["not-averaged"][1]["error"] == 0.22
    assert (kept["set"], kept["system"]["cores"]) == (["network.dialect=caffe"], system.available_cores())
    script.main()
    assert len(said) == 5  # nothing is trained again
