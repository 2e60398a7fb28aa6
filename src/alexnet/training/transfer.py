"""Starting from a trained model: pre-train on much, fine-tune on little (paper, section 6).

Every layer whose weights have the same shape is kept, the last one only where the classes are the same; the others
start afresh. What this means for the recipe is written into it before training begins, so that recipe.yaml says all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alexnet.errors import ConfigError, RecipeError
from alexnet.files.record import hash_file
from alexnet.network.alexnet import AlexNet
from alexnet.network.dialects import find_dialect
from alexnet.network.model_file import Model, find_model, load_model
from alexnet.network.rows import Spec
from alexnet.recipes.fields import AS_START
from alexnet.recipes.named import Recipe
from alexnet.text.wording import counted


@dataclass(frozen=True, slots=True)
class Start:
    """A trained model that another training starts from."""

    path: Path
    sha256: str
    model: Model


def read_start(path: Path) -> Start:
    """Read a model file, or the model of a run folder.

    Raises:
        WeightsError: there is none, or it is damaged.
    """
    file = find_model(path)
    model = load_model(file)
    return Start(file, hash_file(file), model)


def find_new_layers(model: Model, spec: Spec, class_names: Sequence[str]) -> dict[str, str]:
    """Return the layers of `spec` that cannot take the weights of `model`, each with the reason; the others are kept.

    The last layer is kept where it has the same classes, whatever their order.
    """
    weights = model.network.state_dict()
    old_last = model.network.spec.layers[-1].name
    new = {}
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in AlexNet(spec).state_dict().items()}
    for row in spec.layers:
        name = f"layers.{row.name}.weight"
        if row.name == spec.layers[-1].name:
            if set(class_names) != set(model.class_names):
                new[row.name] = counted(len(class_names), "other class", "other classes")
                continue
            name = f"layers.{old_last}.weight"
        if name not in weights:
            new[row.name] = "not in the model"
        elif tuple(weights[name].shape) != wanted[f"layers.{row.name}.weight"]:
            new[row.name] = "another shape"
    return new


def adapt_recipe(recipe: Recipe, start: Start, class_names: Sequence[str], *, sixth_convolution: bool) -> Recipe:
    """Return the recipe with what the model to start from decides: the network, the scale of inputs, and rates.

    Inputs are divided by what the model's were, so that kept layers see what they were trained on. Kept layers have
    their rates multiplied by `optimization.kept_rate_factor`, unless `rate_factors` names them.

    Raises:
        RecipeError: no layer of the model fits.
        ConfigError: the network cannot have a sixth convolution, or has one.
    """
    dialect = recipe.network.dialect
    if dialect == AS_START:
        dialect = start.model.network.spec.dialect
    recipe = choose_dialect(recipe, dialect, sixth_convolution=sixth_convolution)
    spec = find_dialect(recipe.network.dialect, len(class_names))
    new = find_new_layers(start.model, spec, class_names)
    kept = [row.name for row in spec.layers if row.name not in new]
    if not kept:
        raise RecipeError(
            f"{start.path}: none of its layers fits dialect {recipe.network.dialect}. Start from a model of the same "
            f"kind (its dialect is {start.model.network.spec.dialect}), or name another --set network.dialect."
        )
    # A factor of 1 that is given stays: it says that a kept layer has the full rate, also when this is adapted again.
    given, usual = recipe.optimization.rate_factors, recipe.optimization.kept_rate_factor
    factors = given if usual == 1 else dict.fromkeys(kept, usual) | given
    changes: dict[str, Any] = {
        "divisor": start.model.preprocessing.divisor,
        "mean": start.model.preprocessing.mean_place,
    }
    return recipe.model_copy(
        update={
            "batches": recipe.batches.model_copy(update=changes),
            "optimization": recipe.optimization.model_copy(update={"rate_factors": factors}),
        }
    )


def choose_dialect(recipe: Recipe, dialect: str, *, sixth_convolution: bool) -> Recipe:
    """Return the recipe with this dialect, and with a sixth convolution if wanted.

    Raises:
        ConfigError: it has one already.
        RecipeError: the dialect is that of a model to start from, and there is none.
    """
    if dialect == AS_START:
        raise RecipeError(f"recipe {recipe.name} starts from a trained model. Name one: --from MODEL.")
    if sixth_convolution:
        if any(row.name == "conv6" for row in find_dialect(dialect, 2).layers):
            raise ConfigError(f"dialect {dialect} has a sixth convolution already. Leave --add-sixth-convolution out.")
        dialect += "+conv6"
    return recipe.model_copy(update={"network": recipe.network.model_copy(update={"dialect": dialect})})


def freeze_layers(recipe: Recipe, text: str) -> Recipe:
    """Return the recipe with layers frozen: names with commas, or from one to another, as "conv1-conv5,fc6".

    Raises:
        RecipeError: a layer that the dialect does not have.
    """
    names = [row.name for row in find_dialect(recipe.network.dialect, 2).layers]
    frozen: list[str] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, dash, last = part.partition("-")
        ends = [first.strip(), last.strip() if dash else first.strip()]
        for name in ends:
            if name not in names:
                raise RecipeError(
                    f"--freeze {text}: dialect {recipe.network.dialect} has no layer {name!r}. Its layers: "
                    f"{', '.join(names)}. Write, for example, conv1-conv5."
                )
        chosen = names[names.index(ends[0]) : names.index(ends[1]) + 1]
        if not chosen:
            raise RecipeError(f"--freeze {text}: {ends[0]} comes after {ends[1]}. Write {ends[1]}-{ends[0]}.")
        frozen += chosen
    if not frozen:
        raise RecipeError(f"--freeze {text!r}: names no layer. Write, for example, conv1-conv5, or leave it out.")
    if set(names) <= set(frozen):
        raise RecipeError(f"--freeze {text}: every layer would be frozen and nothing trained. Leave one out.")
    factors = recipe.optimization.rate_factors | dict.fromkeys(frozen, 0.0)
    return recipe.model_copy(update={"optimization": recipe.optimization.model_copy(update={"rate_factors": factors})})


def copy_layers(start: Start, network: AlexNet, class_names: Sequence[str]) -> str:
    """Fill the layers that fit from the model, and return a sentence that says which.

    Args:
        network: Freshly initialised, on the CPU or any device.
    """
    model = start.model
    new = find_new_layers(model, network.spec, class_names)
    weights, targets = model.network.state_dict(), network.state_dict()
    last, old_last = network.spec.layers[-1].name, model.network.spec.layers[-1].name
    rows = [model.class_names.index(name) for name in class_names] if last not in new else []
    kept = [row.name for row in network.spec.layers if row.name not in new]
    with torch.no_grad():
        for name in kept:
            for part in ("weight", "bias"):
                source = weights[f"layers.{old_last if name == last else name}.{part}"]
                targets[f"layers.{name}.{part}"].copy_(source[rows] if name == last else source)
    fresh = ", ".join(f"{name} ({reason})" for name, reason in new.items())
    return f"From {start.path}: kept {', '.join(kept)}; new: {fresh or 'none'}."
