"""Without the extra web."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.errors import ConfigError


def test_serve_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("alexnet.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(cli, ["serve", str(Path("RUN"))])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == (
        "alexnet serve needs packages that are not installed (uvicorn). Install them: pip install 'alexnet[web]'."
    )
