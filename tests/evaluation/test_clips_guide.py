"""Every command and example of docs/video.md, on small clips."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from evaluation.test_clips import NAMES, model_path, paint  # noqa: F401 - a fixture
from PIL import Image

from alexnet.cli import cli
from conftest import write_clip

pytest.importorskip("av", reason="needs PyAV, the extra video")

GUIDE = (Path(__file__).parents[2] / "docs" / "video.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("alexnet ") and not line.startswith("alexnet train ")  # which takes minutes; RUN is there
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_path: Path) -> Path:  # noqa: F811
    root = tmp_path_factory.mktemp("guide")
    (root / "RUN").mkdir()
    shutil.copy(model_path, root / "RUN" / "model.safetensors")
    write_clip(root / "clip.mp4", paint(("dark", 20), ("red", 40)), codec="libx264", pix_fmt="yuv420p")
    for name in NAMES:
        (root / "CLIPS" / name).mkdir(parents=True)
        for number in range(3):
            path = root / "CLIPS" / name / f"{number}.mp4"
            write_clip(path, paint((name, 10)), codec="libx264", pix_fmt="yuv420p")
    Image.fromarray(paint(("green", 1))[0]).save(root / "picture.jpg")
    return root


def test_the_guide_has_commands() -> None:
    assert len(COMMANDS) == 8
    assert {shlex.split(command)[1] for command in COMMANDS} == {"predict", "prepare", "evaluate", "features", "search"}


def test_every_command_of_the_guide_works_in_its_order(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    outputs = {}
    for command in COMMANDS:
        result = CliRunner().invoke(cli, shlex.split(command)[1:])
        assert result.exit_code == 0, (command, result.output, result.exception)
        outputs[command] = result.stdout
    shown, printed = outputs["alexnet predict RUN clip.mp4"], re.search(r"```\n(clip\.mp4, .*?)```", GUIDE, re.DOTALL)
    assert printed is not None
    numbers = re.compile(r"[0-9]+\.[0-9]+ %")  # which depend on the precision of the machine
    assert numbers.sub("%", shown.rstrip()) == numbers.sub("%", printed[1].rstrip())
    assert (place / "frames.csv").read_text().startswith("path,time_s,class_1,probability_1")


def test_the_example_in_python_prints_the_moments(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(compile(example, "docs/video.md", "exec"), {})
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["dark", "red"]
