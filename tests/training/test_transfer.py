"""Starting from a trained model: which layers are kept, with which rates, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from alexnet.batches.preprocessing import Preprocessing
from alexnet.cli import cli
from alexnet.errors import ConfigError, RecipeError
from alexnet.network.alexnet import build
from alexnet.network.dialects import find_dialect
from alexnet.network.model_file import Model, save_model
from alexnet.recipes.named import find_recipe, read_recipe
from alexnet.training.transfer import (
    adapt_recipe,
    choose_dialect,
    copy_layers,
    find_new_layers,
    freeze_layers,
    read_start,
)

ANIMALS = ("ant", "bee", "cat")
SMALL = "cifar-80sec"


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    mean = np.full((256, 256, 3), 100, np.float32)
    network = build(SMALL, 3, seed=1, initialization="he")
    path = tmp_path / "model.safetensors"
    save_model(path, Model(network, ANIMALS, ANIMALS, Preprocessing(mean, 50.0, "central"), {}))
    return path


def test_other_classes_get_a_new_last_layer_and_everything_else_is_kept(model_path: Path) -> None:
    start = read_start(model_path)
    names = ("dog", "eel")
    network = build(SMALL, 2, seed=5)
    fresh = {name: value.clone() for name, value in network.state_dict().items()}
    last = network.spec.layers[-1].name
    sentence = copy_layers(start, network, names)
    kept = [row.name for row in network.spec.layers[:-1]]
    assert sentence == f"From {model_path}: kept {', '.join(kept)}; new: {last} (2 other classes)."
    for name, value in network.state_dict().items():
        expected = fresh[name] if last in name else start.model.network.state_dict()[name]
        assert torch.equal(value, expected), name


def test_the_same_classes_in_another_order_keep_their_rows(model_path: Path) -> None:
    start = read_start(model_path)
    network = build(SMALL, 3, seed=5)
    assert copy_layers(start, network, ("cat", "ant", "bee")).endswith("new: none.")
    last = f"layers.{network.spec.layers[-1].name}.weight"
    assert torch.equal(network.state_dict()[last], start.model.network.state_dict()[last][[2, 0, 1]])


def test_a_sixth_convolution_is_new_and_the_rest_of_the_network_is_kept() -> None:
    model = Model(
        build("paper", 2), ("a", "b"), ("a", "b"), Preprocessing(np.zeros((256, 256, 3), np.float32), 1.0), {}
    )
    assert find_new_layers(model, find_dialect("paper+conv6", 2), ("b", "a")) == {"conv6": "not in the model"}
    assert find_new_layers(model, find_dialect("one-tower-2014", 2), ("c", "a")) == {
        "conv1": "another shape", "conv2": "another shape", "conv3": "another shape", "conv4": "another shape",
        "conv5": "another shape", "fc8": "2 other classes",
    }  # fmt: skip


def test_the_recipe_says_what_the_model_decides(model_path: Path) -> None:
    start = read_start(model_path)
    recipe = adapt_recipe(find_recipe("fine-tune"), start, ("dog", "eel"), sixth_convolution=False)
    assert recipe.network.dialect == SMALL
    assert (recipe.batches.divisor, recipe.batches.mean) == (50.0, "central")
    names = [row.name for row in find_dialect(SMALL, 2).layers]
    assert recipe.optimization.rate_factors == {"conv1": 0.01, **dict.fromkeys(names[1:-1], 0.1)}
    assert names[-1] not in recipe.optimization.rate_factors
    assert adapt_recipe(recipe, start, ("dog", "eel"), sixth_convolution=False) == recipe
    full = find_recipe("fine-tune", ["optimization.rate_factors={conv1: 1, conv2: 0.5}"])
    recipe = adapt_recipe(full, start, ("dog", "eel"), sixth_convolution=False)
    assert (
        recipe.optimization.rate_factors["conv1"] == 1
    )  # so that what is recorded says the same when it is adapted again
    assert adapt_recipe(recipe, start, ("dog", "eel"), sixth_convolution=False) == recipe
    again = find_recipe("fine-tune", ["optimization.rate_factors={conv2: 0}"])
    assert adapt_recipe(again, start, ("dog", "eel"), sixth_convolution=False).optimization.rate_factors["conv2"] == 0


def test_a_network_that_shares_nothing_is_refused(model_path: Path) -> None:
    recipe = find_recipe("small-data", ["network.dialect=paper"])
    with pytest.raises(
        RecipeError, match=r"none of its layers fits dialect paper. Start from a model of the same kind"
    ):
        adapt_recipe(recipe, read_start(model_path), ("dog", "eel"), sixth_convolution=False)


def test_a_fine_tuning_recipe_needs_a_model_and_a_sixth_convolution_comes_once() -> None:
    recipe = find_recipe("fine-tune")
    with pytest.raises(RecipeError, match=r"recipe fine-tune starts from a trained model. Name one: --from MODEL."):
        choose_dialect(recipe, recipe.network.dialect, sixth_convolution=False)
    paper = find_recipe("paper")
    assert choose_dialect(paper, "paper", sixth_convolution=True).network.dialect == "paper+conv6"
    with pytest.raises(ConfigError, match=r"has a sixth convolution already. Leave --add-sixth-convolution out."):
        choose_dialect(paper, "paper+conv6", sixth_convolution=True)


def test_layers_are_frozen_by_name_or_range() -> None:
    recipe = freeze_layers(find_recipe("paper"), "conv1-conv3, fc6")
    assert recipe.optimization.rate_factors == {"conv1": 0.0, "conv2": 0.0, "conv3": 0.0, "fc6": 0.0}
    for text, reason in (
        ("conv9", "has no layer 'conv9'. Its layers: conv1, conv2"),
        ("conv1-", "has no layer ''"),
        ("conv3-conv1", "conv3 comes after conv1. Write conv1-conv3."),
        ("conv1-fc8", "every layer would be frozen and nothing trained"),
    ):
        with pytest.raises(RecipeError, match=reason):
            freeze_layers(find_recipe("paper"), text)


def test_from_the_command_line_frozen_layers_stay_and_others_move(
    model_path: Path, small_store_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = ["train", str(small_store_path), "--from", str(model_path), "--freeze", "conv1-conv2", "--threads", "1",
               "--set", "optimization.total_epochs=1", "--set", "batches.size=5",
               "--precision", "float32", "--no-report", "--out", str(out)]  # fmt: skip
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, (result.output, result.exception)
    assert f"From {model_path}: kept conv1, conv2" in " ".join(result.output.split())
    before, after = read_start(model_path).model, read_start(out).model
    same = {
        name: torch.equal(value, before.network.state_dict()[name])
        for name, value in after.network.state_dict().items()
    }
    assert {name for name, equal in same.items() if equal} == {
        "layers.conv1.weight", "layers.conv1.bias", "layers.conv2.weight", "layers.conv2.bias",
    }  # fmt: skip
    assert np.array_equal(after.preprocessing.mean_image, before.preprocessing.mean_image)
    assert after.provenance["environment"]["start_sha256"] == read_start(model_path).sha256
    recipe = read_recipe(out / "recipe.yaml")
    assert recipe.optimization.rate_factors["conv1"] == 0
