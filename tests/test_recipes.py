from pathlib import Path

import pytest

from alexnet.errors import RecipeError
from alexnet.network.dialects import find_dialect
from alexnet.recipes.fields import AS_START
from alexnet.recipes.named import RECIPES, Recipe, find_recipe


def test_the_paper_recipe_has_the_papers_numbers() -> None:
    recipe = find_recipe("paper")
    optimization = recipe.optimization
    assert (recipe.batches.size, optimization.learning_rate, optimization.momentum) == (128, 0.01, 0.9)
    assert (optimization.weight_decay, optimization.drop_factor, optimization.plateau_drops) == (0.0005, 10, 3)
    assert (recipe.batches.color_noise, recipe.batches.divisor, recipe.network.initialization) == (0.1, 1, "dialect")


def test_the_2012_recipe_has_the_recorded_schedule() -> None:
    # computerhistory/AlexNet-Source-Code, layers/layer-params-145.cfg and the notes in it
    recipe = find_recipe("source-2012")
    batches, optimization = recipe.batches, recipe.optimization
    assert (optimization.drop_epochs, optimization.total_epochs) == ((25, 51, 79), 91)
    assert (optimization.learning_rate, optimization.bias_learning_rate) == (0.01, 0.02)
    assert [(change.epoch, change.weights, change.biases) for change in optimization.rate_changes] == [
        (67, 1e-5, None),
        (72, 0, 0),
    ]
    assert (batches.color_noise, batches.color_noise_epochs, batches.color_noise_rescales) == (0.1, 67, True)
    assert (batches.images_per_crop, batches.mean, recipe.network.dialect) == (32, "central", "source-2012")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_a_dialect_and_layers_that_there_are(name: str) -> None:
    recipe = find_recipe(name)
    dialect = recipe.network.dialect if recipe.network.dialect != AS_START else "paper"
    layers = {layer.name for layer in find_dialect(dialect, 10).layers}
    optimization = recipe.optimization
    named = {*optimization.rate_factors, *optimization.weight_decays, *(c.layer for c in optimization.rate_changes)}
    assert named <= layers


def test_a_field_can_be_set_and_the_rest_stays() -> None:
    recipe = find_recipe("paper", ["optimization.learning_rate=0.005", "batches.reflections=false"])
    assert recipe.optimization.learning_rate == 0.005
    assert not recipe.batches.reflections
    assert recipe.network == find_recipe("paper").network


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_yaml(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(find_recipe(name).to_yaml(), encoding="utf-8")
    assert find_recipe(str(path)) == find_recipe(name)


@pytest.mark.parametrize(
    ("name", "assignments", "message"),
    [
        ("papper", (), "unknown recipe 'papper'. Known: paper, small-data, modern, fine-tune, demo, source-2012, caffe, cifar-80sec, cifar-19pct, cifar-18pct, cifar-13pct, cifar-11pct, or the path of a recipe.yaml. Did you mean paper?"),
        ("paper", ("optimization.momemtum=1",), "--set optimization.momemtum=1: unknown field optimization.momemtum. Did you mean optimization.momentum?"),
        ("paper", ("momentum",), "--set momentum: expected group.field=value, for example optimization.learning_rate=0.005. Did you mean optimization.momentum?"),
        ("paper", ("optimization.momentum=1",), "--set: optimization.momentum is 1: Input should be less than 1."),
        ("paper", ("batches.size=many",), "--set: batches.size is 'many': Input should be a valid integer, unable to parse string as an integer."),
        ("paper", ("optimization.learning_rate=.inf",), "--set: optimization.learning_rate is inf: Input should be a finite number."),
        ("paper", ("batches.size=[",), "--set batches.size: '[' cannot be read as a YAML value (line 1: expected the node content, but found '<stream end>')."),
        ("paper", ("optimization.schedule=epochs",), "--set: optimization: schedule epochs needs drop_epochs."),
        ("paper", ("optimization.schedule=steps",), "--set: optimization: schedule steps needs drop_steps."),
        ("paper", ("optimization.drop_steps=[0, 5]",), "--set: optimization.drop_steps.0 is 0: Input should be greater than or equal to 1."),
        ("paper", ("optimization.bias_schedule=constant",), "--set: optimization: bias_schedule constant needs a bias_learning_rate."),
        ("paper", ("optimization.rate_factors={conv1: -1}",), "--set: optimization.rate_factors.conv1 is -1: Input should be greater than or equal to 0."),
        ("paper", ("optimization.rate_changes=[{epoch: 1, layer: conv1, rate: 0}]",), "--set: optimization.rate_changes.0.rate is 0: Extra inputs are not permitted."),
    ],
)  # fmt: skip
def test_impossible_recipes_are_refused_with_the_reason(name: str, assignments: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError) as problem:
        find_recipe(name, assignments)
    assert str(problem.value) == message


def test_a_missing_or_foreign_recipe_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot be read as a recipe"):
        find_recipe(str(tmp_path / "none.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(RecipeError, match=r"list\.yaml: is not a recipe; expected groups"):
        find_recipe(str(tmp_path / "list.yaml"))


def test_every_field_is_documented() -> None:
    for group in Recipe.model_fields.values():
        for name, field in getattr(group.annotation, "model_fields", {}).items():
            assert field.description, name
