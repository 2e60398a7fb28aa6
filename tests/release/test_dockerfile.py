"""The Dockerfile's steps, carried out in folders where a container has its file system; and its linter, where there is one."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import make_environment

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"


def read_steps() -> list[tuple[str, str]]:
    """The instructions with their arguments, in order, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


class Stage:
    """A folder as the root of a file system, with a Python that has every dependency but no alexnet."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root
        python = make_environment(root / "usr")
        for name, text in (("pip", f'exec {python} -m pip "$@"'), ("useradd", "exit 0")):
            (python.parent / name).write_text(f"#!/bin/sh\n{text}\n")
            (python.parent / name).chmod(0o755)
        self.environment = {
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "HOME": str(root),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # which is how pip reads that there shall be none
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/") if path.startswith("/") else self.folder / path

    def copy(self, source: Path, target: str) -> None:
        to = self.place(target)
        if source.is_dir():
            shutil.copytree(source, to, dirs_exist_ok=True)
        else:
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to)

    def run(self, line: str) -> str:
        """Carry out a line of a shell, whose absolute paths are those of this root."""
        there = re.sub(r"(?<=[\s(])/(?=\w)", f"{self.root}/", line)
        done = subprocess.run(
            ["sh", "-c", there], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


def test_it_is_short_and_keeps_to_the_rules_of_its_linter() -> None:
    assert len(DOCKERFILE.read_text(encoding="utf-8").splitlines()) < 30
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if linter is not None:
        done = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    steps = read_steps()
    assert all(rest.split()[0].count(":") == 1 and "latest" not in rest for name, rest in steps if name == "FROM")
    assert all("--no-cache-dir" in rest for name, rest in steps if name == "RUN")
    assert [rest for name, rest in steps if name == "USER"] == ["1000"]  # and so not root


@pytest.mark.slow
def test_its_steps_end_in_a_command_that_works(source_tree: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the image has the extra web")
    stages: dict[str, Stage] = {}
    entry: list[str] = []
    for number, (name, rest) in enumerate(read_steps()):
        words = shlex.split(rest)
        match name:
            case "FROM":
                stage = stages[words[-1]] = Stage(tmp_path / str(number))
            case "WORKDIR":
                stage.folder = stage.place(rest)
                stage.folder.mkdir(parents=True, exist_ok=True)
            case "ARG":
                key, _, value = rest.partition("=")
                stage.environment[key] = value
            case "COPY" if words[0].startswith("--from="):
                stage.copy(stages[words[0].removeprefix("--from=")].place(words[1]), words[2])
            case "COPY":
                for each in words[:-1]:
                    stage.copy(source_tree / each, words[-1])
            case "RUN":
                stage.run(rest)
            case "ENTRYPOINT" | "CMD":
                entry += json.loads(rest)
            case _:
                assert name in ("USER", "EXPOSE")
    assert "prepare" in stage.run(shlex.join(entry))
    assert "60,965,224" in stage.run(f"{entry[0]} info paper")
