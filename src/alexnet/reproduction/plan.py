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
from alexnet.files.documents import parse_json
from alexnet.files.writing import write_text
from alexnet.network.dialects import find_dialect
from alexnet.network.shapes import count_training_operations
from alexnet.recipes.named import Recipe, find_recipe
from alexnet.reproduction.experiments import TARGET_ERROR, Experiment, Variant
from alexnet.runs.folder import METRICS, MODEL
from alexnet.text.commands import record_command

RESULT = "result.json"
"""Written into a training's folder when it is trained and tested."""
FAILED = "failed.txt"
"""Holds the message of a job that failed; remove it to try again."""
STOPPED = 75
"""Exit code of a job that did not fail by itself: the system refused it a file, as a full disk does."""
RUNS, PLAN = "runs", "plan.json"
"""Folder of all trainings, in that of reproductions; file of an experiment that names its own trainings."""
LOCK = ".lock"
"""Suffix of the file beside a training's folder that its process holds locked."""
PROBABILITIES = "probabilities-{views}.npy"
"""(N, K) float32 on the validation split, in its order; one file for each number of views."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training with its tests."""

    variant: str
    choice: str
    """The value tried of the experiment's `choices`, such as "0.001"; else empty."""
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
    num_train: int = 0
    num_val: int = 0
    num_classes: int = 2
    """Classes of its store."""

    @property
    def title(self) -> str:
        """Name for people."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def done(self) -> bool:
        """Whether it is trained and tested: its result is whole and has every number of views."""
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
        result: dict[str, Any] = parse_json((self.folder / RESULT).read_bytes())
        return result

    @property
    def epochs_done(self) -> int:
        """Epochs that are over by metrics.jsonl; of a trained one all of the recipe's, also where it ended early.

        A training that was killed, not stopped, does again what came after its last checkpoint, minutes at most.
        """
        metrics, total = self.folder / METRICS, self.recipe.optimization.total_epochs
        if (self.folder / MODEL).exists():
            return total
        return min(len(metrics.read_bytes().splitlines()), total) if metrics.exists() else 0

    @property
    def passes(self) -> int:
        """Its work in passes of an image through the network: training, validation and tests."""
        return self._count_passes(self.recipe.optimization.total_epochs, self.views)

    @property
    def passes_left(self) -> int:
        """Those beyond the epochs that are over."""
        return self.passes - self._count_passes(self.epochs_done, ())

    def _count_passes(self, epochs: int, views: Sequence[int]) -> int:
        total, every = self.recipe.optimization.total_epochs, self.recipe.evaluation.every_epochs
        return count_passes(epochs, total, every, self.num_train, self.num_val, views)

    @property
    def pass_operations(self) -> float:
        """Floating-point operations of a pass."""
        dialect = self.recipe.network.dialect
        return count_training_operations(find_dialect(dialect, self.num_classes)) / TRAINING_PASSES


TRAINING_PASSES = 3
"""Passes that training on an image counts as: forward, and backward twice as much."""


def count_validations(epochs: int, total_epochs: int, every_epochs: int) -> int:
    """Return the validations in the first of all epochs; the last one of all has one in any case."""
    return -(-total_epochs // every_epochs) if epochs == total_epochs else epochs // every_epochs


def count_passes(
    epochs: int, total_epochs: int, every_epochs: int, num_train: int, num_val: int, views: Sequence[int]
) -> int:
    """Return the passes of images through a network in the first of all epochs, in validations and in tests."""
    validations = count_validations(epochs, total_epochs, every_epochs)
    return TRAINING_PASSES * num_train * epochs + num_val * (validations + sum(views))


def begin_experiment(folder: Path, title: str, jobs: Sequence[Job]) -> None:
    """Write down what an experiment consists of, and the command that carries it out."""
    folder.mkdir(parents=True, exist_ok=True)
    record_command(folder)
    names = dict.fromkeys(job.folder.name for job in jobs)
    write_text(folder / PLAN, json.dumps({"title": title, "trainings": list(names)}, indent=2) + "\n")


def read_plan(folder: Path) -> tuple[str, list[str]]:
    """Return the title of an experiment and the names of its trainings' folders.

    Raises:
        OSError, ValueError, KeyError, TypeError: they are not written down, or damaged.
    """
    document = parse_json((folder / PLAN).read_bytes())
    return str(document["title"]), [str(Path(name).name) for name in document["trainings"]]


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
    return Job(
        variant,
        choice,
        seed,
        recipe,
        precision,
        store.path,
        folder,
        start.folder if start else None,
        num_train=len(store["train"]),
        num_val=len(store["val"]) if "val" in store.splits else 0,
        num_classes=len(store.class_names),
    )


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

    Then what is done when time runs out compares as many variants as possible.

    Args:
        recipe: Name of a recipe in place of the experiment's own.
        assignments: Fields of the recipe, "group.field=value", for all variants; a variant's own come after them.
        precision: Precision of variants that have none of their own.
    Raises:
        RecipeError, ConfigError: an unknown recipe, field or dialect.
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
            "batches.scaled_crops=null",
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
