"""Every command and example of docs/storage.md, in a bucket."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from conftest import write_pictures

pytest.importorskip("moto", reason="needs moto: make test-extras")
GUIDE = (Path(__file__).parents[2] / "docs" / "storage.md").read_text(encoding="utf-8")
SMALLER = {"prepare": ["--size", "32", "--val-fraction", "0.4"],
           "train": ["--recipe", "cifar-80sec", "--epochs", "1", "--set", "batches.size=4", "--no-report"]}  # fmt: skip


def test_every_command_and_example_of_the_guide_works(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "PHOTOS", per_class=5, classes=("x", "y"))
    shutil.copy(tmp_path / "PHOTOS" / "x" / "x-0.png", tmp_path / "picture.jpg")
    ran = 0
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL):
        for line in block.replace("s3://bucket", bucket).splitlines():
            words = shlex.split(line, comments=True)[1:]
            result = CliRunner().invoke(cli, [*words, *SMALLER.get(words[0], [])])
            assert result.exit_code == 0, (line, result.output, result.exception)
            ran += 1
    assert ran > 6
    for example in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        names: dict[str, object] = {}
        exec(example.replace("s3://bucket", bucket), names)
        assert names["pixels"].shape == (32, 32, 3)  # type: ignore[attr-defined]
