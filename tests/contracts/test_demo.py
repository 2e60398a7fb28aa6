"""The demo, made small: every stage runs, it ends with the report, and interrupted it continues."""

from pathlib import Path

import pytest

from alexnet import demo
from alexnet.console.terminal import Terminal
from alexnet.errors import ConfigError, Interrupted
from alexnet.recipes import named as recipes


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PLANS", (demo.Plan(2, 1, 1, (), "90 %"),))
    monkeypatch.setattr(demo, "_measure_rate", lambda batch: 50.0)
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


def test_the_demo_does_not_touch_a_folder_of_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_choose_plan", begin)
    (tmp_path / f".{demo.CHOSEN}.writing").write_text("half")  # of a process that was killed
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(Terminal(), tmp_path)
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ConfigError) as problem:
        demo.run_demo(Terminal(), tmp_path)
    assert str(problem.value) == f"{tmp_path}: exists and is not a demo. Choose another --out."


@pytest.mark.parametrize(
    ("rate", "minutes", "chosen"),
    [
        (100.0, 6, 0),
        (60.0, 6, 1),
        (40.0, 6, 1),
        (25.0, 6, 2),
        (12.0, 6, 3),
        (2.0, 6, 3),  # none fits: the smallest
        (25.0, 60, 0),
    ],
)
def test_the_demo_is_as_large_as_the_machine_bears_and_stays_so(
    rate: float, minutes: float, chosen: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(demo, "_measure_rate", lambda batch: rate)
    plan = demo._choose_plan(Terminal(), tmp_path, minutes)
    assert plan == demo.PLANS[chosen]
    assert demo._read_plan(tmp_path) == plan


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"train_per_class": 1e9}', '"plan"'])
def test_a_plan_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / demo.CHOSEN).write_text(text)
    with pytest.raises(ConfigError) as problem:
        demo.run_demo(Terminal(), tmp_path)
    assert str(problem.value) == f"{tmp_path / demo.CHOSEN}: holds no plan of this demo. Choose another --out."


def test_what_the_demo_will_do_is_said_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(demo, "_measure_rate", lambda batch: 25.0)
    demo._choose_plan(Terminal(), tmp_path, 6.0)
    said = capsys.readouterr().err
    assert said.startswith("This machine trains 25 images/s. ")
    assert "for 1,000 pictures and 5 epochs, with a held-out error of about " in said
    assert "The whole demo, seven epochs with dropout, would take 14 min" in said


def test_a_few_steps_give_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 0 < demo._measure_rate(1) < 10_000
