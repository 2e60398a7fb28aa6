"""The commands of docs/questions.md that train, on pictures of three classes with a small network."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import alexnet
from alexnet.cli import cli
from alexnet.recipes.named import find_recipe
from conftest import write_pictures

PAGE = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
SECTIONS = ("None of these", "What if classes are unequal?", "Several things in one picture", "Is the error honest?",
            "When should training stop?", "Can few pictures teach more?", "Which of two networks is better, and where?")  # fmt: skip
SMALL = ["batches.size=8", "batches.random_crops=true", "optimization.total_epochs=2", "optimization.drop_epochs=[1]"]


def commands(section: str) -> list[str]:
    block = re.search(rf"## {re.escape(section)}\n[^#]*?```sh\n(.*?)```", PAGE, re.DOTALL)
    assert block
    return block[1].splitlines()


def test_every_command_of_the_sections_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 10), ("val", 4)):
        write_pictures(tmp_path / "PHOTOS" / split, per_class=count, classes=("ant", "bee"), seed=count)
    write_pictures(tmp_path / "PHOTOS" / "train", per_class=100, classes=("cat",), seed=3)
    write_pictures(tmp_path / "PHOTOS" / "val", per_class=40, classes=("cat",), seed=4)
    shutil.copyfile(tmp_path / "PHOTOS" / "val" / "ant" / "ant-0.png", tmp_path / "picture.jpg")
    (tmp_path / "small.yaml").write_text(find_recipe("cifar-80sec", SMALL).to_yaml())
    said = {}

    def run(line: str) -> None:
        words = shlex.split(line.split(" #")[0])[1:]
        if words[0] == "-c":  # python
            exec(words[1].replace("size=128", "size=32, train=24, val=12, test=8"), {})
            return
        if words[0] == "prepare":
            words += ["--size", "32"]
        elif words[0] == "train" and "--more-epochs" not in words:
            words += ["--epochs", "2"] if "--recipe" in words else ["--recipe", "small.yaml"]
        if words[0] in ("train", "evaluate"):
            words += ["--precision", "float32"]
        result = CliRunner().invoke(cli, [*words, *(["--no-report"] if words[0] == "train" else [])])
        assert result.exit_code == 0, (line, result.output, result.exception)
        said[line] = result.output

    run("alexnet prepare PHOTOS --out STORE")
    for section in SECTIONS:
        for line in commands(section):
            run(line)
    tested = [output for line, output in said.items() if line.startswith("alexnet evaluate HONEST THREE")]
    assert "split test, ten views" in tested[0]
    assert "split val, ten views" in tested[1]
    assert "Classes are unequal: cat has 40 images here, ant 4." in tested[1]
    (calibrated,) = [output for line, output in said.items() if line.startswith("alexnet evaluate RUN STORE")]
    assert "unknown" in calibrated
    assert "epoch" in alexnet.load(tmp_path / "BEST").model.provenance
    assert (tmp_path / "PATIENT" / "best.safetensors").exists()
    assert "mean AP" in said["alexnet evaluate THINGS SEVERAL --html things.html"]
    assert "What was missed" in (tmp_path / "things.html").read_text(encoding="utf-8")
    page = (tmp_path / "unequal.html").read_text(encoding="utf-8")
    assert "Balanced error" in page
    assert (tmp_path / "two.html").exists()
