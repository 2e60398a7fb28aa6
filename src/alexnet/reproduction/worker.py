"""Train and test one job, in a process of its own: `python -m alexnet.reproduction.worker JOB.json`.

Prints a JSON line for every epoch; a run that was interrupted goes on where it was.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from alexnet.data.store import open_store
from alexnet.errors import AlexNetError, RunError
from alexnet.evaluation.classifier import load
from alexnet.files import lock_file, name_in_errors, write_array, write_text
from alexnet.garbage import collect_seldom
from alexnet.network.model_file import CHECKPOINTS, MODEL
from alexnet.recipes import read_recipe
from alexnet.reproduction.plan import LOCK, PROBABILITIES, RESULT
from alexnet.runs import train
from alexnet.training.journal import read_metrics
from alexnet.training.transfer import adapt_recipe, read_start


class _Printed:
    """A listener that prints a JSON line for every epoch."""

    def batch_done(self, progress: Any, num_batches: int, loss: float) -> None:
        pass

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
    if not (folder / MODEL).exists():
        train(
            store,
            recipe,
            folder,
            listener=_Printed(),
            seed=job["seed"],
            device=job["device"],
            precision=job["precision"],
            threads=job["threads"],
            start=start,
        )
    result: dict[str, Any] = {"seed": job["seed"], "store_fingerprint": store.fingerprint, "views": {}}
    classifier = load(folder, device=job["device"], precision=job["precision"])
    for views in job["views"]:
        evaluation = classifier.evaluate(store, views=views)
        figures = evaluation.to_json()
        del figures["classes"]
        result["views"][str(views)] = figures
        path = folder / PROBABILITIES.format(views=views)
        with name_in_errors(path), path.open("wb") as file:
            write_array(file, evaluation.probabilities)
    history = read_metrics(folder)
    result["epochs"] = len(history)
    result["train_top1_errors"] = [row["train_top1_error"] for row in history]
    result["seconds"] = sum(row["seconds_with_validation"] for row in history)
    write_text(folder / RESULT, json.dumps(result, indent=2) + "\n")
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # a gigabyte that nothing needs any more


def main() -> None:
    """Run the job of the file named on the command line; an error is printed as its message."""
    collect_seldom()
    try:
        run_job(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except AlexNetError as problem:
        print(json.dumps({"error": f"{type(problem).__name__}: {problem}"}), flush=True)
        sys.exit(problem.exit_code)


if __name__ == "__main__":
    main()
