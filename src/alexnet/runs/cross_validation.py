"""Cross-validation: K networks, each trained on all folds but one and tested on that one, whose images it never saw.

FOLDER/
  folds.json          what is divided and trained, so that only the same continues; the errors, when all are there
  fold-1, fold-2, …   a run each
  out-of-fold.npz     the probabilities of every training image, see `confident_learning`
"""

import json
import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.console.terminal import Terminal, percent
from alexnet.data.folds import Fold, divide_into_folds
from alexnet.data.store.format import TEST, TRAIN
from alexnet.data.store.reader import Int64Array, Store
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import ConfigError, RunError
from alexnet.evaluation.classifier import load
from alexnet.evaluation.confident_learning import OutOfFold
from alexnet.evaluation.evaluate import Evaluation, measure_errors
from alexnet.evaluation.record import KeptTests, digest_weights
from alexnet.files.documents import parse_json
from alexnet.files.writing import write_text
from alexnet.recipes.named import Recipe
from alexnet.runs import workflow
from alexnet.runs.existing import find_differences, identify
from alexnet.runs.folder import MODEL
from alexnet.runs.requirements import find_spec
from alexnet.system import choose_compute
from alexnet.text.progress import Tick
from alexnet.text.wording import counted

FOLDS = "folds.json"
FORMAT = 1
VIEWS = 1
"""Views of each test: the centre."""


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What the folds found."""

    folds: tuple[Evaluation, ...]
    """The test of each network on its fold."""
    whole: Evaluation
    """All of them as one test on every training image."""
    path: Path
    """The file of out-of-fold probabilities."""

    @property
    def spread(self) -> float:
        """Standard deviation of the folds' top-1 errors (n - 1)."""
        return statistics.stdev(test.top1_error for test in self.folds)


def cross_validate(
    terminal: Terminal,
    store: Store,
    recipe: Recipe,
    out: Path,
    *,
    num_folds: int,
    only: int | None = None,
    **options: Any,
) -> CrossValidation | None:
    """Train and test a network for each fold, one after another; return what was found, on the first process only.

    Finished folds are kept, an unfinished one continues. All networks begin with the same weights.

    Args:
        only: The number of the one fold, from 1, that is trained here, while others are trained elsewhere at the same
            time. Nothing is tested then, and None returned.
        options: Those of `runs.train.train`; `seed` fixes the folds too.
    Raises:
        ConfigError: see `divide_into_folds`.
        RecipeError, StoreError: see `runs.requirements.find_spec`.
        ConfigError: there is no fold `only`.
        RunError: `out` holds folds of another store, recipe, number or seed, or something else; another process is at
            work on the fold.
        Interrupted, DivergedError: see `training.loop.train_model`.
    """
    world: World = options.get("world", SINGLE_PROCESS)
    seed: int = options.get("seed", 0)
    if only is not None and not 1 <= only <= num_folds:
        raise ConfigError(f"--fold {only}: there are {num_folds}. Accepted is 1 to {num_folds}.")
    folds, note = divide_into_folds(store, num_folds, seed=seed)
    find_spec(store, recipe)  # raises before a folder is made
    compute = choose_compute(options.get("device", "auto"), options.get("precision", "auto"))
    identity = {
        "format": FORMAT,
        "folds": num_folds,
        **identify(store, compute, seed=seed, start=options.get("start")),
        "recipe": recipe.model_dump(mode="json"),
    }
    world.run_on_all_ranks(lambda: _begin_or_continue(out, identity) if world.is_main else None)
    if note and world.is_main:
        terminal.say(f"Note: {note}")
    for number in range(num_folds) if only is None else [only - 1]:
        run = _name(out, number)
        if world.broadcast_result((run / MODEL).exists):
            continue
        fold = Fold(store, folds == number)
        if world.is_main:
            trained, tested = (counted(len(split), "image") for split in (fold[TRAIN], fold[TEST]))
            terminal.say(f"Fold {number + 1} of {num_folds}: trained on {trained}, tested on {tested}.")
        workflow.train_and_report(terminal, fold, recipe, run, report=False, **options)
    if not world.is_main or only is not None:
        return None
    tests: list[Evaluation] = []
    with terminal.progress("testing", "images") as meter:
        for number in range(num_folds):
            before = sum(test.images for test in tests)
            tick = partial(lambda before, done, _: meter(before + done, len(store)), before)
            tests.append(_test(_name(out, number), Fold(store, folds == number), tick, options))
    found = _gather(store, folds, tests, out)
    errors = {
        "top1_errors": [test.top1_error for test in tests],
        "top1_error": found.whole.top1_error,
        "spread": found.spread,
    }
    write_text(out / FOLDS, json.dumps({**identity, "errors": errors}, indent=2) + "\n")
    return found


def show_folds(terminal: Terminal, found: CrossValidation) -> None:
    """Print the error of each fold, and of all together with its spread."""
    terminal.table(
        ["fold", "images", "top-1 error", "balanced error"],
        [
            [str(number), f"{test.images:,}", percent(test.top1_error), percent(test.balanced_error[0])]
            for number, test in enumerate(found.folds, start=1)
        ],
    )
    low, high = found.whole.top1_interval
    terminal.print(
        f"Top-1 error {percent(found.whole.top1_error)} (95 % interval {percent(low)} to {percent(high)}) over "
        f"{counted(found.whole.images, 'image')}, each tested by the one network that did not see it. Standard "
        f"deviation over the folds: {percent(found.spread)}."
    )


def _name(out: Path, number: int) -> Path:
    return out / f"fold-{number + 1}"


def _begin_or_continue(out: Path, identity: dict[str, Any]) -> None:
    """Write down what is trained here, or refuse where that is another."""
    path = out / FOLDS
    begun = any(_name(out, number).exists() for number in range(identity["folds"]))
    if not path.exists() or not begun:
        if out.exists() and (not out.is_dir() or {*out.iterdir()} - {path}):
            raise RunError(f"{out}: exists and is not a folder of folds. Choose another --out.")
        out.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(identity, indent=2) + "\n")
        return
    try:
        before = parse_json(path.read_bytes())
        before.pop("errors", None)
    except (OSError, ValueError, AttributeError):
        raise RunError(f"{path}: is damaged. Choose another --out.") from None
    if differences := find_differences(before, identity):
        raise RunError(
            f"{out}: holds folds of a training that differs: {'; '.join(differences)}. Give the same again to continue "
            "it, or choose another --out."
        )


def _test(run: Path, fold: Fold, tick: Tick, options: dict[str, Any]) -> Evaluation:
    """Test a fold's network on its fold. The test stays in its run folder until a report is written there."""
    weights = digest_weights(run / MODEL)
    model = load(run, device=options.get("device", "auto"), precision=options.get("precision", "auto"))
    kept = KeptTests(run, weights, fold.fingerprint, TEST, str(model.compute.dtype).removeprefix("torch."))
    test = kept.find(VIEWS, model.class_names)
    if test is None:
        test = model.evaluate(fold, split=TEST, views=VIEWS, tick=tick)
        kept.keep(test)
    return test


def _gather(store: Store, folds: Int64Array, tests: list[Evaluation], out: Path) -> CrossValidation:
    probabilities = np.empty((len(store), len(store.class_names)), np.float32)
    for number, test in enumerate(tests):
        probabilities[folds == number] = test.probabilities
    path = OutOfFold(probabilities, store.labels, folds, store.paths, store.class_names, store.fingerprint).write(out)
    names = tuple(store.class_names)
    whole = measure_errors(torch.from_numpy(probabilities), store.labels, class_names=names, num_views=VIEWS)
    return CrossValidation(tuple(tests), whole, path)
