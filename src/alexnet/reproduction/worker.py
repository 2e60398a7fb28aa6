"""Train and test one job, in a process of its own: `python -m alexnet.reproduction.worker JOB.json`.

Prints a JSON line for every epoch; a run that was interrupted goes on where it was.
"""

import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from alexnet.data.store.reader import open_store
from alexnet.errors import AlexNetError, RunError
from alexnet.evaluation.classifier import load
from alexnet.files.writing import lock_file, save_array, write_text
from alexnet.recipes.named import Recipe, read_recipe
from alexnet.reproduction.plan import LOCK, PROBABILITIES, RESULT, STOPPED, TRAINING_PASSES, count_passes
from alexnet.runs.folder import CHECKPOINTS, MODEL, read_metrics
from alexnet.runs.train import train
from alexnet.startup import collect_seldom
from alexnet.text.progress import Tick
from alexnet.training.transfer import adapt_recipe, read_start

SAYS_SECONDS, SAYS_SHARE = 1.0, 1 / 200
"""Time and share of the work after which a process tells again how far it is."""


class _Printed:
    """A listener that prints a JSON line for every epoch, and how many passes (`plan.count_passes`) are done."""

    def __init__(self, recipe: Recipe, num_train: int, num_val: int, views: Sequence[int]) -> None:
        epochs, every = recipe.optimization.total_epochs, recipe.evaluation.every_epochs
        self._before = partial(
            count_passes, total_epochs=epochs, every_epochs=every, num_train=num_train, num_val=num_val, views=()
        )  # given the number of epochs that are over
        self._epoch = 0
        self._in_training = TRAINING_PASSES * num_train
        self.tested = self._before(epochs)
        """Passes before the next test."""
        self._total = count_passes(epochs, epochs, every, num_train, num_val, views)
        self._said = (-math.inf, -math.inf)

    def batch_done(self, progress: Any, num_batches: int, loss: float) -> None:
        self._epoch = progress.epoch
        self._say(self._before(progress.epoch) + TRAINING_PASSES * progress.images)

    def validated(self, done: int, total: int) -> None:
        self._say(self._before(self._epoch) + self._in_training + done)

    def test(self, views: int) -> Tick:
        """Return the progress of a test with so many views, which begins now."""
        before = self.tested
        return lambda done, total: self._say(before + views * done)

    def _say(self, passes: int) -> None:
        now = time.monotonic()
        if now - self._said[0] >= SAYS_SECONDS and passes - self._said[1] >= SAYS_SHARE * self._total:
            self._said = now, passes
            print(json.dumps({"passes": passes}), flush=True)

    def epoch_done(self, row: dict[str, Any]) -> None:
        print(json.dumps(row), flush=True)

    def notice(self, sentence: str) -> None:
        print(json.dumps({"notice": sentence}), flush=True)


def run_job(job: dict[str, Any]) -> None:
    """Train if need be, test with every number of views asked for, and write the result.

    Args:
        job: "recipe" (a file), "store", "folder", "seed", "precision", "device", "threads", "start" (a run folder or
            None) and "views".
    Raises:
        RunError: another process is at work on it.
    """
    lock = lock_file(Path(job["folder"]).with_suffix(LOCK))
    if lock is None:
        raise RunError(f"{job['folder']}: another process is at work on it.")
    with lock:
        _train_and_test(job)


def _train_and_test(job: dict[str, Any]) -> None:
    folder, store = Path(job["folder"]), open_store(job["store"])
    recipe = read_recipe(Path(job["recipe"]))
    start = read_start(Path(job["start"])) if job["start"] else None
    if start:
        recipe = adapt_recipe(recipe, start, store.class_names, sixth_convolution=False)
    num_train, num_val = len(store["train"]), len(store["val"])
    said = _Printed(recipe, num_train, num_val, job["views"])
    if not (folder / MODEL).exists():
        train(
            store,
            recipe,
            folder,
            listener=said,
            tick=said.validated,
            seed=job["seed"],
            device=job["device"],
            precision=job["precision"],
            threads=job["threads"],
            start=start,
        )
    begun = time.monotonic()
    result: dict[str, Any] = {"seed": job["seed"], "store_fingerprint": store.fingerprint, "views": {}}
    classifier = load(folder, device=job["device"], precision=job["precision"])
    for views in job["views"]:
        evaluation = classifier.evaluate(store, views=views, tick=said.test(views))
        said.tested += views * num_val
        figures = evaluation.to_json()
        del figures["classes"]
        result["views"][str(views)] = figures
        save_array(folder / PROBABILITIES.format(views=views), evaluation.probabilities)
    history = read_metrics(folder)
    result["epochs"] = len(history)
    result["train_top1_errors"] = [row["train_top1_error"] for row in history]
    result["seconds"] = sum(row["seconds_with_validation"] for row in history)
    result["seconds_with_tests"] = result["seconds"] + time.monotonic() - begun
    epochs, every = len(history), recipe.evaluation.every_epochs
    result["passes"] = count_passes(epochs, epochs, every, num_train, num_val, job["views"])
    write_text(folder / RESULT, json.dumps(result, indent=2) + "\n")
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # a gigabyte that is not needed any more


def run_file(description: Path) -> int:
    """Run the job of a file and return the exit code; an error is printed as its message."""
    try:
        run_job(json.loads(description.read_text(encoding="utf-8")))
    except AlexNetError as problem:
        print(json.dumps({"error": f"{type(problem).__name__}: {problem}"}), flush=True)
        return problem.exit_code
    except OSError as problem:
        place = problem.filename or description.with_suffix(".log")  # into which these lines go
        print(json.dumps({"error": f"{place}: {problem.strerror or problem}"}), flush=True)
        return STOPPED
    return 0


def main() -> None:
    """Run the job of the file named on the command line."""
    collect_seldom()
    sys.exit(run_file(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
