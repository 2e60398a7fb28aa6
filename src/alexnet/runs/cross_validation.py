"""Cross-validation: K networks, each trained on all folds but one and tested on that one, whose images it never saw.

FOLDER/
  folds.json          what is divided and trained, so that only the same continues; the errors, when all are there
  fold-1, fold-2, …   a run each
  out-of-fold.npz     the probabilities of every training image, see `confident_learning`
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.cluster.parts import PATIENCE_S, Executor, Work
from alexnet.console.terminal import Terminal, percent
from alexnet.data.folds import Fold, divide_into_folds
from alexnet.data.store.format import HEADER_NAME, TEST, TRAIN
from alexnet.data.store.reader import Int64Array, Store, open_store
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import ConfigError, DistributionError, RunError
from alexnet.evaluation.classifier import load
from alexnet.evaluation.confident_learning import OutOfFold
from alexnet.evaluation.evaluate import Evaluation, measure_errors
from alexnet.evaluation.record import KeptTests, digest_weights
from alexnet.files.documents import parse_json
from alexnet.files.writing import is_locked, settled_names, write_text
from alexnet.recipes.named import Recipe
from alexnet.runs import workflow
from alexnet.runs.existing import find_differences, identify
from alexnet.runs.folder import LOCK, MODEL
from alexnet.runs.requirements import find_spec
from alexnet.system import Compute, choose_compute
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted
from alexnet.training.transfer import Start, read_start

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
    executor: Executor | None = None,
    **options: Any,
) -> CrossValidation | None:
    """Train and test a network for each fold, one after another; return what was found, on the first process only.

    Finished folds are kept, an unfinished one continues. All networks begin with the same weights.

    Args:
        only: The number of the one fold, from 1, that is trained here, while others are trained elsewhere at the same
            time. Nothing is tested then, and None returned.
        executor: Who trains the networks, where it is not this process.
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
    if executor is not None:
        missing = [number for number in range(num_folds) if not (name_run(out, number) / MODEL).exists()]
        _train_elsewhere(terminal, executor, store, recipe, out, num_folds, missing, compute, options)
    for number in range(num_folds) if only is None else [only - 1]:
        run = name_run(out, number)
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
            tests.append(measure_fold(name_run(out, number), Fold(store, folds == number), options, tick))
    found = _gather(store, folds, tests, out)
    errors = {
        "top1_errors": [test.top1_error for test in tests],
        "top1_error": found.whole.top1_error,
        "spread": found.spread,
    }
    write_text(out / FOLDS, json.dumps({**identity, "errors": errors}, indent=2) + "\n")
    return found


def _train_elsewhere(
    terminal: Terminal,
    executor: Executor,
    store: Store,
    recipe: Recipe,
    out: Path,
    num_folds: int,
    missing: Sequence[int],
    compute: Compute,
    options: dict[str, Any],
) -> None:
    """Have the networks of missing folds trained and tested; each in the precision of this machine."""
    start: Start | None = options.get("start")
    own = {"device": executor.device, "threads": executor.threads, "precision": compute.precision}
    given = {"seed": 0, **{key: value for key, value in options.items() if key not in ("start", "world")}, **own}
    work = Work(
        begin_folds,
        (store.path, store.fingerprint, recipe, out, num_folds, start and start.path, given),
        (store.path / HEADER_NAME, out / FOLDS, *([start.path] if start else [])),
    )
    with terminal.progress("training", "folds") as meter:
        meter(0, len(missing))
        for done, (number, _) in enumerate(zip(missing, executor.run(work, missing), strict=True), 1):
            terminal.say(f"Fold {number + 1} of {num_folds} is trained and tested.")
            meter(done, len(missing))


def begin_folds(
    store: Path,
    fingerprint: str,
    recipe: Recipe,
    out: Path,
    num_folds: int,
    start: Path | None,
    options: Mapping[str, Any],
) -> Callable[[int], None]:
    """Divide the images, in another process, and return what trains the network of a fold and tests it, by its number.

    Args:
        fingerprint: That of the store.
        start: Model that all networks start from.
        options: Those of `runs.train.train` but `start`.
    """
    opened = open_store(store)
    if opened.fingerprint != fingerprint:
        raise DistributionError(f"{store}: is another store on a node than on the machine of the command.")
    folds, _ = divide_into_folds(opened, num_folds, seed=options["seed"])
    terminal = Terminal(quiet=True)
    given = dict(options) | {"start": read_start(start) if start else None}

    def do(number: int) -> None:
        run, fold = name_run(out, number), Fold(opened, folds == number)
        last = time.monotonic() + PATIENCE_S
        while is_locked(run / LOCK) and time.monotonic() < last:  # by the process that was lost
            time.sleep(0.5)
        workflow.train_and_report(terminal, fold, recipe, run, report=False, **given)
        measure_fold(run, fold, given)

    return do


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


def name_run(out: Path, number: int) -> Path:
    """Return the run folder of the fold of this number, from 0."""
    return out / f"fold-{number + 1}"


def _begin_or_continue(out: Path, identity: dict[str, Any]) -> None:
    """Write down what is trained here, or refuse where that is another."""
    path = out / FOLDS
    begun = any(name_run(out, number).exists() for number in range(identity["folds"]))
    if not path.exists() or not begun:
        if out.exists() and (not out.is_dir() or {*settled_names(out, FOLDS)} - {FOLDS}):
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


def measure_fold(run: Path, fold: Fold, options: Mapping[str, Any], tick: Tick = untold) -> Evaluation:
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
