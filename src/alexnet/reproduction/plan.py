"""From an experiment to trainings: which there are, in which order, and how long they should take.

A training is known by what decides its outcome: recipe, store, seed, precision and the model it starts from. Two
experiments that need the same one share it.
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data.store.reader import Store
from alexnet.network.spec import count_training_operations, find_dialect
from alexnet.recipes.named import Recipe, find_recipe
from alexnet.reproduction.experiment import TARGET_ERROR, Experiment, Variant

RESULT = "result.json"
"""Written into a training's folder when it is trained and tested."""
LOCK = ".lock"
"""Suffix of the file beside a training's folder that the process at work on it holds."""
PROBABILITIES = "probabilities-{views}.npy"
"""(N, K) float32 on the validation split, in its order; one file for each number of views."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training with its tests."""

    variant: str
    choice: str
    """What was tried of the experiment's `choices`, as "0.001"; else empty."""
    seed: int
    recipe: Recipe
    precision: str
    store: Path
    folder: Path
    """Run folder."""
    start: Path | None = None
    """Run folder of the training whose model this one starts from."""
    views: tuple[int, ...] = (1,)
    """Numbers of views that it is tested with."""

    @property
    def title(self) -> str:
        """Name for people."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def done(self) -> bool:
        """Whether it is trained and tested; a result that is damaged or lacks a number of views is not there."""
        try:
            tested = self.read_result()["views"]
            return all(self._holds(views, tested[str(views)]) for views in self.views)
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return False

    def _holds(self, views: int, figures: dict[str, Any]) -> bool:
        path = self.folder / PROBABILITIES.format(views=views)
        rows = len(np.load(path, mmap_mode="r", allow_pickle=False))
        return bool(rows == figures.get("images", rows))

    def read_result(self) -> dict[str, Any]:
        """Return what the worker wrote."""
        result: dict[str, Any] = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
        return result

    def images(self, num_train: int) -> int:
        """Images it trains on, every epoch counted."""
        return num_train * self.recipe.optimization.total_epochs

    def operations(self, num_classes: int) -> int:
        """Floating-point operations of training on one image."""
        return count_training_operations(find_dialect(self.recipe.network.dialect, num_classes))


def make_job(
    recipe: Recipe,
    store: Store,
    runs: Path,
    *,
    variant: str,
    seed: int,
    precision: str = "auto",
    choice: str = "",
    start: Job | None = None,
) -> Job:
    """Return a job whose folder under `runs` is named by what decides its outcome."""
    decisive = [recipe.model_dump(mode="json", exclude={"name"}), store.fingerprint, seed, precision]
    decisive.append(start.folder.name if start else None)
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]
    folder = runs / f"{_slug(recipe.network.dialect)}-seed{seed}-{digest}"
    return Job(variant, choice, seed, recipe, precision, store.path, folder, start.folder if start else None)


def plan_jobs(
    experiment: Experiment,
    store: Store,
    runs: Path,
    *,
    recipe: str | None,
    assignments: Sequence[str],
    seeds: int,
    precision: str = "auto",
) -> list[Job]:
    """Return the trainings of an experiment, all variants with the first seed first.

    So what is done when time runs out compares as many variants as possible.

    Args:
        recipe: In place of the experiment's own.
        assignments: Fields of the recipe, "group.field=value", for all variants; a variant's own come after them.
        precision: Of variants that have none of their own.
    Raises:
        RecipeError, ConfigError: a recipe, field or dialect that there is not.
    """
    jobs = []
    options = [[(path, value) for value in values] for path, values in experiment.choices.items() if path]
    for seed, variant in itertools.product(range(seeds), experiment.variants):
        for chosen in itertools.product(*options):
            changed = _resolve(experiment, variant, recipe, [*assignments, *(f"{p}={v}" for p, v in chosen)])
            jobs.append(
                make_job(
                    changed,
                    store,
                    runs,
                    variant=variant.name,
                    choice=", ".join(value for _, value in chosen),
                    seed=seed,
                    precision=precision if variant.precision == "auto" else variant.precision,
                )
            )
    return jobs


def _resolve(experiment: Experiment, variant: Variant, recipe: str | None, assignments: Sequence[str]) -> Recipe:
    fixed = []
    if experiment.measure == "epochs":  # no regularisation, constant rates, and an end when the mark is reached
        fixed = [
            "optimization.weight_decay=0",
            "optimization.weight_decays={}",
            "optimization.drop_epochs=[]",
            "optimization.schedule=constant",
            f"optimization.stop_train_error={TARGET_ERROR}",
            "optimization.total_epochs=60",
            "batches.color_noise=0",
            "batches.random_crops=false",
            "batches.reflections=false",
        ]
    found = find_recipe(recipe or experiment.recipe, [*fixed, *assignments, *variant.changes])
    if experiment.measure == "epochs" and found.optimization.bias_learning_rate is not None:
        twice = 2 * found.optimization.learning_rate
        found = found.model_copy(
            update={"optimization": found.optimization.model_copy(update={"bias_learning_rate": twice})}
        )
    if variant.modifiers:
        dialect = found.network.dialect + variant.modifiers
        found = found.model_copy(update={"network": found.network.model_copy(update={"dialect": dialect})})
    find_dialect(found.network.dialect, 2)
    return found


def _slug(text: str) -> str:
    kept = "".join(char if char.isalnum() else "-" for char in text.lower().replace("%", "pct"))
    return "-".join(filter(None, kept.split("-")))[:40]
