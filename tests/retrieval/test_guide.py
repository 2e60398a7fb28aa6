"""Every command and example of docs/search.md, and what docs/formats.md says of reading an index."""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from retrieval.conftest import draw_picture

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "search.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


def test_every_command_and_example_works(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss")
    shutil.copytree(scene / "pictures", tmp_path / "PHOTOS")
    shutil.copy(scene / "model.safetensors", tmp_path / "RUN")
    (tmp_path / "MORE").mkdir()
    for number, name in enumerate(("old", "other")):
        draw_picture(200 + number).save(tmp_path / "MORE" / f"{name}.jpg")
    draw_picture(300).save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) > 10
    has_lance = importlib.util.find_spec("lancedb") is not None
    for command in COMMANDS:
        words = shlex.split(command)
        if "lance" in words and not has_lance:
            continue
        # The miniature network has few features in its last layer.
        small = ["--layer", "fc6.relu"] if words[2] == "index" else []
        if words[2] in ("index", "add", "query", "codes", "compare", "duplicates"):
            small += ["--threads", "1"]
        done = CliRunner().invoke(cli, [*words[1:], *small])
        assert done.exit_code == 0, (command, done.output, done.exception)
    capsys.readouterr()
    elsewhere, example = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    if has_lance:
        exec(elsewhere, {})
    exec(example, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3  # the neighbours that it asks for
    assert [float(line.split()[0]) for line in lines] == sorted(float(line.split()[0]) for line in lines)
    section = (DOCS / "formats.md").read_text(encoding="utf-8").split("## The index\n")[1]
    (example, *_) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    found: dict[str, object] = {"OPEN": _open_and_close}
    exec(example.replace("open(", "OPEN("), found)
    assert [part.shape[1] for part in found["features"]] == [16] * len(found["features"])  # type: ignore[attr-defined,arg-type]
    assert len(found["lines"]) == 26  # type: ignore[arg-type]


def _open_and_close(path: str) -> object:
    """Open a file for an example that leaves closing to Python, which is a warning here."""
    import io

    return io.StringIO(Path(path).read_text(encoding="utf-8"))
