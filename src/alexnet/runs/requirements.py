"""What a store and a recipe ask of a training together: network and objective, and what is refused."""

import numpy as np
from numpy.typing import NDArray

from alexnet.data.store.reader import Store
from alexnet.errors import RecipeError, StoreError
from alexnet.network.dialects import find_dialect
from alexnet.network.rows import Spec
from alexnet.recipes.named import Recipe
from alexnet.training.objective import Objective, each_by_itself, one_of_all


def find_spec(store: Store, recipe: Recipe) -> Spec:
    """Return the network that a recipe trains on a store.

    Raises:
        RecipeError, ConfigError: the recipe names an unknown layer or dialect.
        StoreError: the images are smaller than the network's crops.
    """
    spec = find_dialect(recipe.network.dialect, len(store.class_names))
    known = [layer.name for layer in spec.layers]
    optimization = recipe.optimization
    for field, names in (
        ("rate_factors", list(optimization.rate_factors)),
        ("rate_changes", [change.layer for change in optimization.rate_changes]),
        ("weight_decays", list(optimization.weight_decays)),
    ):
        for name in names:
            if name not in known:
                raise RecipeError(
                    f"optimization.{field} names the layer {name!r}, which dialect {spec.dialect} does not have. "
                    f"Its layers: {', '.join(known)}."
                )
    if store.size < spec.input_px:
        raise StoreError(
            f"{store.path}: holds images of {store.size} px; dialect {spec.dialect} reads crops of {spec.input_px} px. "
            f"Prepare the images again with a --size of {spec.input_px} or more."
        )
    return spec


def choose_objective(store: Store) -> Objective:
    """Return what the labels of a store ask for."""
    if store.has_sets:
        return each_by_itself(count_classes(store), len(store["train"]))
    return one_of_all(len(store.class_names))


def count_classes(store: Store) -> NDArray[np.int64]:
    """Return (K,) training images of each class; one with several counts for each of them."""
    if store.has_sets:
        return np.asarray(store["train"].label_sets.sum(0), np.int64)
    return np.bincount(np.asarray(store["train"].labels), minlength=len(store.class_names))


def refuse_for_sets(store: Store, recipe: Recipe) -> None:
    """Refuse what has no meaning where an image has any number of labels.

    Raises:
        RecipeError: the recipe asks for it.
        StoreError: no validation image has any class.
    """
    if "val" in store.filled_splits and not store["val"].label_sets.any():
        raise StoreError(
            f"{store.path}: no validation image has any of the classes, so that nothing can be measured. Prepare the "
            "images again with some that have."
        )
    if recipe.batches.balance != "none":
        raise RecipeError(
            f"batches.balance={recipe.batches.balance} shows images of small classes more often; an image with several "
            "labels is of no one class. Leave it out, or let losses count more: --set "
            "optimization.class_weights=square-root"
        )
    if recipe.stop.looks_for_best and recipe.stop.metric == "balanced_error":
        raise RecipeError(
            "stop.metric=balanced_error counts classes alike, as the mean average precision of images with several "
            "labels does already. Leave it out, or give --set stop.metric=loss."
        )
