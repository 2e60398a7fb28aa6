"""The demo, made small: every stage runs, it ends with the report, and interrupted it continues."""

from pathlib import Path

import pytest

from alexnet import demo
from alexnet.console.terminal import Terminal
from alexnet.errors import ConfigError, Interrupted
from alexnet.recipes import named as recipes


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TRAIN_PER_CLASS", 2)
    monkeypatch.setattr(demo, "VAL_PER_CLASS", 1)
    short = recipes.find_recipe("demo", ["optimization.total_epochs=1", "batches.size=10"])
    monkeypatch.setitem(recipes.RECIPES, "demo", lambda: short)


def test_the_demo_ends_with_its_report_and_continues_where_it_was_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from alexnet.runs import workflow

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(workflow, "report_run", interrupt)
        with pytest.raises(Interrupted, match=r"Stopped while testing\. .* The same command goes on with the test"):
            demo.run_demo(Terminal(), tmp_path / "demo")
    assert (tmp_path / "demo" / "run" / "model.safetensors").exists()
    path = demo.run_demo(Terminal(), tmp_path / "demo")
    assert path == tmp_path / "demo" / "run" / "report.html"
    assert path.exists()
    report, page = capsys.readouterr().out.strip().splitlines()[-2:]
    assert report == f"Report: {path}"
    assert page.startswith("Try it on pictures of your own")
    assert page.endswith(f": alexnet serve {path.parent}")


def test_the_demo_does_not_touch_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ConfigError) as problem:
        demo.run_demo(Terminal(), tmp_path)
    assert str(problem.value) == f"{tmp_path}: exists and is not a demo. Choose another --out."
