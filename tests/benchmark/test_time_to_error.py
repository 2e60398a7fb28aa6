"""benchmarks/time_to_error.py on drawn squares: both sides train, in little, and the table says when they got there."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from conftest import write_store


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "time_to_error.py"
    spec = importlib.util.spec_from_file_location("time_to_error", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROWS = [{"epoch": n, "seconds": 10.0 * n, "val_top1_error": error} for n, error in enumerate((0.9, 0.5, 0.3, 0.4), 1)]


def test_the_clock_stops_at_the_first_epoch_that_is_good_enough(script: ModuleType) -> None:
    assert script.find_seconds(ROWS, 0.5) == 20
    assert script.find_seconds(ROWS, 0.49) == 30
    assert script.find_seconds(ROWS, 0.2) is None
    assert script.rank(ROWS, 0.3) < script.rank(ROWS, 0.2)  # to get there counts more than where it ends
    assert script.rank(ROWS[:3], 0.2) < script.rank(ROWS, 0.2)


def test_both_sides_are_trained_and_not_again(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(16) % 2
    images = (generator.integers(0, 60, (16, 72, 72, 3)) + labels[:, None, None, None] * 150).astype(np.uint8)
    write_store(
        tmp_path / "store", {name: (images, labels.tolist()) for name in ("train", "val")}, class_names=["a", "b"]
    )
    words: list[object] = []

    def train_ours(store: Path, out: Path, more: list[object]) -> list[dict[str, float]]:
        words[:] = more
        return ROWS

    def train_here(store: Path, out: Path, **options: object) -> list[dict[str, float]]:
        if not out.exists():
            script.train_stock(store, out, **options)
        return [json.loads(line) for line in out.read_text().splitlines()]

    monkeypatch.setattr(script, "run_ours", train_ours)
    monkeypatch.setattr(script, "run_stock", train_here)
    command = [str(tmp_path / "store"), str(tmp_path / "out"), "--target", "0.3", "--seeds", "1", "--epochs", "4"]
    command += ["--stock-epochs", "1", "--stock-px", "64", "--rates", "0.01", "--workers", "0", "--threads", "1"]
    script.main(command)
    assert words == ["--recipe", "modern", "--epochs", 4, "--threads", 1, "--seed", 0]
    found = json.loads((tmp_path / "out" / "time_to_error.json").read_text())
    assert found["trainings"]["alexnet, modern"]["0"] == ROWS
    (row,) = found["trainings"]["plain loop, rate 0.01"]["0"]
    assert (row["epoch"], row["ended"]) == (1, True)
    assert row["val_top1_error"] * 16 == int(row["val_top1_error"] * 16)
    assert row["seconds"] > 0
    printed = capsys.readouterr().out
    assert "| alexnet, modern | 0.5 | 0.5 | 30.0% |" in printed
    shutil.rmtree(tmp_path / "store")  # so that training again would fail
    script.main(command)
    assert capsys.readouterr().out == printed


def test_rates_have_to_beat_the_best_before_them_and_it_serves_the_other_seeds(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, float | None, float | None]] = []

    def train(store: Path, out: Path, **options: Any) -> list[dict[str, float]]:
        asked.append((out.name, options.get("limit"), options.get("to_beat")))
        errors = {0.03: (0.6, 0.4, 0.3), 0.1: (0.5, 0.35, 0.2), 0.01: (0.9,)}[options["rate"]]
        return [
            {"epoch": epoch, "seconds": 10.0 * epoch, "val_top1_error": error}
            for epoch, error in enumerate(errors, start=1)
        ]

    monkeypatch.setattr(script, "run_ours", lambda store, out, words: ROWS)
    monkeypatch.setattr(script, "run_stock", train)
    command = ["STORE", str(tmp_path), "--target", "0.3", "--seeds", "2", "--stock-epochs", "3"]
    script.main([*command, "--rates", "0.03", "0.1", "0.01"])
    assert asked == [
        ("plain-0.03-0.jsonl", None, None),
        ("plain-0.1-0.jsonl", 30.0, 0.6),
        ("plain-0.01-0.jsonl", 30.0, 0.5),
        ("plain-0.1-0.jsonl", None, None),  # which is there
        ("plain-0.1-1.jsonl", None, None),
    ]


def test_a_rate_ends_after_half_of_its_epochs_where_it_is_behind(script: ModuleType, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 72, 72, 3), dtype=np.uint8)
    write_store(tmp_path / "store", {name: (images, [0, 1, 0, 1]) for name in ("train", "val")}, class_names=["a", "b"])
    options = {"rate": 1e-9, "seed": 0, "epochs": 4, "target": -1.0, "input_px": 64, "workers": 0, "threads": 1}
    for to_beat, epochs in ((-0.5, 2), (1.0, 4)):
        script.train_stock(tmp_path / "store", tmp_path / "log", to_beat=to_beat, **options)
        rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert [row["ended"] for row in rows] == [False] * (epochs - 1) + [True]
