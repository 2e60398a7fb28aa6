"""What a training costs here: `python -m alexnet.reproduction.probe JOB.json` does a few steps and tests of it.

They are those of the training itself, on its images, in a process like the one that will do it. Prints one JSON line.
"""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from alexnet.batches.preprocessing import Preprocessing
from alexnet.data.store.reader import Store, open_store
from alexnet.errors import AlexNetError
from alexnet.evaluation.classifier import load
from alexnet.evaluation.evaluate import images_at_a_time
from alexnet.network.alexnet import build
from alexnet.network.model_file import Model, save_model
from alexnet.recipes.named import Recipe, read_recipe
from alexnet.runs.train import train
from alexnet.training.loop import Silent

STEPS, SECONDS = 4, 4.0
"""Least steps, and least time, that are watched after the first, which compiles; an epoch may have fewer."""


class _Enough(Exception):  # noqa: N818 - it ends a training like an error, and is none
    """So many steps are known."""


class _Steps(Silent):
    """A listener that takes the time of steps, and ends the training when it knows enough."""

    def __init__(self) -> None:
        self.began: float | None = None
        """When the first step was over."""
        self.images, self.seconds, self._steps = 0, 0.0, 0
        self._last = (0, 0, 0.0)  # epoch, images of it, time

    def batch_done(self, progress: Any, num_batches: int, loss: float) -> None:
        """Count a step, but the first of an epoch: validation lies before it."""
        now = time.perf_counter()
        epoch, images, before = self._last
        if self.began is None:
            self.began = now
        elif epoch == progress.epoch:
            self.images += progress.images - images
            self.seconds += now - before
            self._steps += 1
        self._last = progress.epoch, progress.images, now
        if self._steps >= STEPS and self.seconds >= SECONDS:
            raise _Enough


def probe(job: dict[str, Any]) -> dict[str, Any]:
    """Return seconds: "start", from the process to the end of the first step; "image", of training; "views", by their
    number, of testing an image. Without "image" where all epochs have one step.

    Args:
        job: As for `worker.run_job`, and "began", the time when its process was started.
    """
    store, recipe = open_store(job["store"]), read_recipe(Path(job["recipe"]))
    compute = {"device": job["device"], "precision": job["precision"]}
    steps, started = _Steps(), time.perf_counter() - max(0.0, time.time() - job["began"])
    with TemporaryDirectory(prefix="probe-", dir=Path(job["folder"]).parent) as folder:
        with suppress(_Enough):
            train(
                store, recipe, Path(folder, "run"), listener=steps, seed=job["seed"], threads=job["threads"], **compute
            )
        found: dict[str, Any] = {"views": _test(store, recipe, Path(folder, "model.safetensors"), job, compute)}
    if steps.images and steps.began is not None:
        found["image"] = steps.seconds / steps.images
        found["start"] = max(0.0, steps.began - started - recipe.batches.size * found["image"])
    return found


def _test(store: Store, recipe: Recipe, file: Path, job: dict[str, Any], compute: dict[str, Any]) -> dict[int, float]:
    """Return the seconds that an image takes in each number of views; weights are not what decides them."""
    names = tuple(store.class_names)
    network = build(recipe.network.dialect, len(names))
    preprocessing = Preprocessing(store.mean_image, recipe.batches.divisor, recipe.batches.mean)
    save_model(file, Model(network, names, names, preprocessing, {}))
    classifier = load(file, **compute)
    seconds = {}
    for views in sorted({1, *job["views"]}):
        size = min(images_at_a_time(views), len(store["val"]))
        images = [store["val"].images[row] for row in range(size)]
        times = []
        for _ in range(4):
            begun = time.perf_counter()
            classifier.compute_probabilities(images, views=views)
            times.append(time.perf_counter() - begun)
        seconds[views] = sum(times[1:]) / 3 / size
    return seconds


def main() -> None:
    """Measure the job of the file named on the command line."""
    try:
        print(json.dumps(probe(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))), flush=True)
    except AlexNetError as problem:
        print(json.dumps({"error": str(problem)}), flush=True)
        sys.exit(problem.exit_code)


if __name__ == "__main__":
    main()
