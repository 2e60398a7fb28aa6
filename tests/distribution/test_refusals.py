"""Processes that do not fit together are refused in all of them, with one message, before the first step."""

from pathlib import Path

import pytest
from distribution.crew import run_crew
from distribution.work import disagree, meet_differently, small

import alexnet
from alexnet.data.prepare.prepare import prepare
from alexnet.network import dialects
from alexnet.recipes.named import find_recipe
from alexnet.runs.folder import read_environment
from alexnet.text.commands import train_again
from conftest import write_pictures

OPTIONS = ["batches.size=4", "batches.divisor=60", "network.initialization=he", "network.dialect=small",
           "optimization.learning_rate=0.02", "optimization.schedule=constant", "optimization.total_epochs=2"]  # fmt: skip
ALL_ALIKE = "All processes need the same version, store, recipe and options."


def test_what_two_processes_do_not_have_in_common_is_named_by_both(
    small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "small", small)
    write_pictures(tmp_path / "pictures" / "train", per_class=2, classes=("ant", "bee", "cat"), seed=9)
    prepare(tmp_path / "pictures", tmp_path / "other", val_fraction=0.5)
    recipes = {
        "one": find_recipe("paper", OPTIONS),
        "other": find_recipe("paper", [*OPTIONS, "batches.size=5"]),
        "wrong layer": find_recipe("paper", [*OPTIONS, "optimization.rate_factors={conv9: 2}"]),
    }
    (tmp_path / "out").mkdir()
    first, second = run_crew(
        2, disagree, str(small_store_path), str(tmp_path / "other"), recipes, str(tmp_path / "out")
    )
    one, other = (alexnet.open_store(path).fingerprint for path in (small_store_path, tmp_path / "other"))
    run = tmp_path / "out" / "run"
    no_layer = (
        "optimization.rate_factors names the layer 'conv9', which dialect small does not have. Its layers: conv1, "
        "conv2, conv3, conv4, fc6, fc7, fc8."
    )
    unfinished = (
        f"{run}: holds an unfinished run that differs: batches.size was 4, now 5. To train anew, choose another --out. To "
        "continue it: "
        + train_again(read_environment(run), recipe=run / "recipe.yaml", store=small_store_path, out=run)
    )
    shared = {
        "stores": (
            "DistributionError",
            f"store_fingerprint is '{one}' on rank 0 and '{other}' on rank 1. {ALL_ALIKE}",
        ),
        "recipes": ("DistributionError", f"recipe.batches.size is 4 on rank 0 and 5 on rank 1. {ALL_ALIKE}"),
        "seeds": ("DistributionError", f"seed is 0 on rank 0 and 1 on rank 1. {ALL_ALIKE}"),
        "stopped": (
            "Interrupted",
            "Stopped in epoch 1 after 2 of 6 batches; saved. The same command continues from here.",
        ),
        "files": ["run"],
    }
    assert first == shared | {
        "layers on one": ("RecipeError", f"rank 1: {no_layer}"),
        "continued": ("RunError", unfinished),
    }
    assert second == shared | {
        "layers on one": ("RecipeError", no_layer),
        "continued": ("RunError", f"rank 0: {unfinished}"),
    }


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        (
            "version",
            f"DistributionError: version is '{alexnet.__version__}' on rank 0 and '0.0.9' on rank 1. {ALL_ALIKE}",
        ),
        ("mesh", f"DistributionError: mesh is 'data=2,tower=1' on rank 0 and 'data=1,tower=2' on rank 1. {ALL_ALIKE}"),
        (
            "dialect",
            "ConfigError: mesh data=1,tower=2: dialect one-tower-2014 has one tower; accepted for tower is 1.",
        ),
    ],
)
def test_other_versions_meshes_and_networks_without_towers_end_both(fact: str, message: str) -> None:
    assert run_crew(2, meet_differently, fact) == [message] * 2
