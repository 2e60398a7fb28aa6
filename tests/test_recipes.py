from pathlib import Path

import pytest

from alexnet.errors import RecipeError
from alexnet.recipes import RECIPES, Recipe, find_recipe


def test_the_paper_recipe_has_the_papers_numbers() -> None:
    recipe = find_recipe("paper")
    optimization = recipe.optimization
    assert (recipe.batches.size, optimization.learning_rate, optimization.momentum) == (128, 0.01, 0.9)
    assert (optimization.weight_decay, optimization.drop_factor, optimization.plateau_drops) == (0.0005, 10, 3)
    assert (recipe.batches.color_noise, recipe.batches.divisor, recipe.network.initialization) == (0.1, 1, "dialect")


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
        ("papper", (), "unknown recipe 'papper'. Known: paper, small-data, demo, or the path of a recipe.yaml. Did you mean paper?"),
        ("paper", ("optimization.momemtum=1",), "--set optimization.momemtum=1: unknown field optimization.momemtum. Did you mean optimization.momentum?"),
        ("paper", ("momentum",), "--set momentum: expected group.field=value, for example optimization.learning_rate=0.005."),
        ("paper", ("optimization.momentum=1",), "--set: optimization.momentum is 1: Input should be less than 1."),
        ("paper", ("batches.size=many",), "--set: batches.size is 'many': Input should be a valid integer, unable to parse string as an integer."),
        ("paper", ("batches.size=[",), "--set batches.size=[: '[' is not a YAML value."),
        ("paper", ("optimization.schedule=epochs",), "--set: optimization: schedule epochs needs drop_epochs."),
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
