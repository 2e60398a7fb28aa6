"""benchmarks/heat.py on a small network that was not trained."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.batches.preprocessing import Preprocessing
from alexnet.data.scenes.scenes import CLASS_NAMES
from alexnet.interpretation.why import METHODS
from alexnet.network.alexnet import build
from alexnet.network.model_file import Model, save_model


@pytest.mark.slow
def test_every_method_is_measured_beside_a_random_network_and_maps_that_look_at_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "heat.py"
    spec = importlib.util.spec_from_file_location("heat", path)
    assert spec
    assert spec.loader
    heat: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(heat)
    mean = np.full((36, 36, 3), 120, np.float32)
    for seed in range(2):
        network = build("cifar-80sec", 10, seed=seed, initialization="he")
        model = Model(network, CLASS_NAMES, CLASS_NAMES, Preprocessing(mean, 60.0), {})
        save_model(tmp_path / f"{seed}.safetensors", model)
    runs = [str(tmp_path / f"{seed}.safetensors") for seed in range(2)]
    monkeypatch.setattr(sys, "argv", ["heat.py", *runs, "--per-class", "1", "--threads", "1", "--out", str(tmp_path)])
    heat.main()
    lines = capsys.readouterr().out.splitlines()
    table = {line.split(" | ")[0]: line.split(" | ")[1:] for line in lines[2:] if line.startswith("| ")}
    assert list(table) == [
        "| even, no network",
        "| middle, no network",
        *(f"| {method}, {network}" for method in METHODS for network in ("trained", "random")),
    ]
    (record,) = tmp_path.glob("*_heat_*.jsonl")
    head, *rows = map(json.loads, record.read_text(encoding="utf-8").splitlines())
    assert head["command"] == "python benchmarks/heat.py RUNS --per-class 1"
    even = rows[0]
    assert (even["what"], even["images"]) == ("even : no network", 10)
    # Heat that is the same everywhere has the object's share of the area, in both measures.
    np.testing.assert_allclose(even["samples"]["share_inside"], even["samples"]["points_inside"])
    assert table["| even, no network"][0].startswith(f"{np.mean(even['samples']['share_inside']):.2f} ±")
    assert table["| even, no network"][3] == "– |"
    correlations = np.array(rows[2]["samples"]["rank_correlation"])
    assert np.nanmax(np.abs(correlations)) <= 1 + 1e-9
