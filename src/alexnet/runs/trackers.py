"""Experiment trackers: programs that keep the numbers of many runs, each behind the four calls of `Tracker`.

A tracker holds what a run's metrics.jsonl holds: each epoch once, also after an interruption, after a kill, and after a
checkpoint that is older than what was recorded. None reaches a network, unless MLFLOW_TRACKING_URI names a server.
"""

import importlib
import importlib.util
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from alexnet.errors import ConfigError
from alexnet.files.writing import write_text
from alexnet.recipes.named import read_recipe
from alexnet.runs.folder import (
    ENVIRONMENT,
    EVENTS,
    FIGURES,
    METRICS,
    RECIPE,
    REPORT,
    Tracker,
    read_environment,
    read_metrics,
)

ATTACHED = (RECIPE, ENVIRONMENT, REPORT)
"""Files of a run that a tracker gets beside the numbers; figures as pictures come with them."""

Row = dict[str, Any]
"""An epoch's line of metrics.jsonl."""


def choose_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """Return the trackers that are asked for, each once; without any, TensorBoard where it is installed.

    Raises:
        ConfigError: a name is unknown, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"--log {name}: accepted are {', '.join(TRACKERS)}.")
        if importlib.util.find_spec(TRACKERS[name].package) is None:
            raise ConfigError(
                f"--log {name}: needs the package {TRACKERS[name].package}. Install it: "
                f"pip install 'alexnet[{TRACKERS[name].extra}]'"
            )
    if names:
        return tuple(dict.fromkeys(names))
    return ("tensorboard",) if importlib.util.find_spec("tensorboard") else ()


def open_trackers(names: Sequence[str], folder: Path, notice: Callable[[str], None]) -> list[Tracker]:
    """Return the trackers of a run folder. One that fails says so once, and the run goes on without it."""
    return [Guarded(name, TRACKERS[name].make, folder, notice) for name in names]


def attach_files(names: Sequence[str], folder: Path, notice: Callable[[str], None]) -> None:
    """Give the trackers of a run that is over its recipe, its report and its figures, as far as they are there."""
    files = [folder / name for name in ATTACHED if (folder / name).is_file()]
    figures = sorted(path for path in (folder / FIGURES).glob("*.png") if not path.stem.endswith("-dark"))
    for tracker in open_trackers(names, folder, notice):
        tracker.continue_from(read_metrics(folder))
        tracker.attach(files, figures)
        tracker.close()


class Guarded:
    """A tracker whose failure does not end the training; it is then left alone until `continue_from`."""

    def __init__(self, name: str, make: Callable[[Path], Tracker], folder: Path, notice: Callable[[str], None]) -> None:
        self._name, self._make, self._folder, self._notice = name, make, folder, notice
        self._tracker: Tracker | None = None

    def continue_from(self, history: Sequence[Row]) -> None:
        """Hold exactly these epochs."""
        self.close()
        with self._guard():
            self._tracker = self._make(self._folder)
            self._tracker.continue_from(history)

    def record(self, row: Row) -> None:
        """Add an epoch."""
        if self._tracker is not None:
            with self._guard():
                self._tracker.record(row)

    def attach(self, files: Sequence[Path], figures: Sequence[Path]) -> None:
        """Keep files and figures."""
        if self._tracker is not None:
            with self._guard():
                self._tracker.attach(files, figures)

    def close(self) -> None:
        """Have everything written."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            with self._guard():
                tracker.close()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception as problem:  # whatever a program of others, its server or a full disk may raise
            self._tracker = None
            reason = next(iter(str(problem).splitlines()), type(problem).__name__)
            self._notice(
                f"{self._name} failed: {reason} The run goes on without it; {METRICS} has every epoch, and the same "
                "command gives them to it when the run continues."
            )


class TensorBoard:
    """One event file in the folder events/, written anew where the run continues."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def continue_from(self, history: Sequence[Row]) -> None:
        """Hold exactly these epochs, as far apart as their trainings were."""
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        events = self._folder / EVENTS
        for old in events.glob("events.out.tfevents.*"):
            old.unlink()
        # A TensorBoard that has read the old file drops what it knew when the new one says where it starts.
        self._writer = SummaryWriter(str(events), purge_step=0)
        for row, clock in zip(history, _clocks(history), strict=True):
            self._write(row, clock)

    def record(self, row: Row) -> None:
        """Add an epoch."""
        self._write(row, time.time())

    def attach(self, files: Sequence[Path], figures: Sequence[Path]) -> None:
        """Show texts and figures; a page cannot be shown."""
        import numpy as np
        from PIL import Image

        for path in files:
            if path.suffix != ".html":
                text = path.read_text(encoding="utf-8")
                self._writer.add_text(path.name, "".join(f"    {line}\n" for line in text.splitlines()))
        for path in figures:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self._writer.add_image(path.stem, pixels, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Close the file of events."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, row: Row, clock: float) -> None:
        for name, value in _numbers(row).items():
            self._writer.add_scalar(name, value, row["epoch"], walltime=clock)
        self._writer.flush()


class MLflow:
    """A run of the experiment "alexnet", on the server that MLFLOW_TRACKING_URI names, else in the folder mlflow/.

    MLflow deletes no number of a run: one that holds an epoch which the checkpoint does not know is deleted, and
    another takes its place.
    """

    FOLDER, RUN = "mlflow", "mlflow-run.txt"
    """In the run folder: the store, and which run of it is this one."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        address = os.environ.get("MLFLOW_TRACKING_URI")
        if address is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # its newest versions ask for this
            address = (folder / self.FOLDER).absolute().as_uri()
        tracking = importlib.import_module("mlflow.tracking")
        self._folder, self._client = folder, tracking.MlflowClient(tracking_uri=address)
        self._run = ""

    def continue_from(self, history: Sequence[Row]) -> None:
        """Hold exactly these epochs, as far apart as their trainings were."""
        known = {row["epoch"] for row in history}
        run = self._find_run()
        logged = self._logged(run) if run else set()
        if run and not logged <= known:
            self._client.delete_run(run)
            run, logged = "", set()
        if run:
            self._client.set_terminated(run, "RUNNING")
        else:
            run = self._begin()
            write_text(self._folder / self.RUN, run + "\n")
        self._run = run
        for row, clock in zip(history, _clocks(history), strict=True):
            if row["epoch"] not in logged:
                self._log(row, clock)

    def record(self, row: Row) -> None:
        """Add an epoch."""
        self._log(row, time.time())

    def attach(self, files: Sequence[Path], figures: Sequence[Path]) -> None:
        """Keep them as artifacts."""
        for path in files:
            self._client.log_artifact(self._run, str(path))
        for path in figures:
            self._client.log_artifact(self._run, str(path), FIGURES)

    def close(self) -> None:
        """Say that nothing more comes."""
        if self._run:
            self._client.set_terminated(self._run)
            self._run = ""

    def _find_run(self) -> str:
        """The run of before, if it is still there."""
        exceptions = importlib.import_module("mlflow.exceptions")
        with suppress(FileNotFoundError, exceptions.MlflowException):
            run = (self._folder / self.RUN).read_text(encoding="utf-8").strip()
            if run and self._client.get_run(run).info.lifecycle_stage == "active":
                return run
        return ""

    def _begin(self) -> str:
        experiment = self._client.get_experiment_by_name("alexnet")
        number = experiment.experiment_id if experiment else self._client.create_experiment("alexnet")
        run = str(self._client.create_run(number, run_name=self._folder.resolve().name).info.run_id)
        for name, value in read_fields(self._folder).items():
            self._client.log_param(run, name, value)
        return run

    def _logged(self, run: str) -> set[int]:
        names = self._client.get_run(run).data.metrics
        return {metric.step for name in names for metric in self._client.get_metric_history(run, name)}

    def _log(self, row: Row, clock: float) -> None:
        metric = importlib.import_module("mlflow.entities").Metric
        rows = [metric(name, value, int(1000 * clock), row["epoch"]) for name, value in _numbers(row).items()]
        self._client.log_batch(self._run, metrics=rows)


class WandbOffline:
    """An offline run of Weights & Biases in the folder wandb/, written anew where the run continues.

    `wandb sync RUN/wandb/offline-run-…` uploads it once training is over. Its id stays, so that it is one run there.
    """

    FOLDER, RUN = "wandb", "wandb-run.txt"
    """In the run folder: the runs as wandb writes them, and the id of this one."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._folder = folder
        self._run: Any = None

    def continue_from(self, history: Sequence[Row]) -> None:
        """Hold exactly these epochs."""
        wandb: Any = importlib.import_module("wandb")
        self.close()
        shutil.rmtree(self._folder / self.FOLDER, ignore_errors=True)
        name = self._folder / self.RUN
        if not name.is_file():
            write_text(name, secrets.token_hex(4) + "\n")
        self._run = wandb.init(
            project="alexnet",
            name=self._folder.resolve().name,
            id=name.read_text(encoding="utf-8").strip(),
            dir=str(self._folder),
            mode="offline",
            config=read_fields(self._folder),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
        for row in history:
            self.record(row)

    def record(self, row: Row) -> None:
        """Add an epoch."""
        self._run.log(_numbers(row), step=row["epoch"])

    def attach(self, files: Sequence[Path], figures: Sequence[Path]) -> None:
        """Keep copies, figures also as pictures of the run."""
        wandb: Any = importlib.import_module("wandb")
        for path in files:
            shutil.copy(path, Path(self._run.dir) / path.name)
            self._run.save(str(Path(self._run.dir) / path.name), base_path=self._run.dir, policy="now")
        for path in figures:
            self._run.summary[f"{FIGURES}/{path.stem}"] = wandb.Image(str(path))

    def close(self) -> None:
        """Have everything written."""
        if self._run is not None:
            self._run.finish()
            self._run = None


class Kind(NamedTuple):
    """A tracker that can be asked for."""

    make: Callable[[Path], Tracker]
    package: str
    """What it needs."""
    extra: str
    """What brings the package."""


TRACKERS = {
    "tensorboard": Kind(TensorBoard, "tensorboard", "board"),
    "mlflow": Kind(MLflow, "mlflow", "mlflow"),
    "wandb-offline": Kind(WandbOffline, "wandb", "wandb"),
}
"""The names that `--log` accepts."""


def read_fields(folder: Path) -> dict[str, str]:
    """Return the recipe and the seed of a run as flat names and texts, such as "optimization.momentum"."""
    recipe = read_recipe(folder / RECIPE).model_dump(mode="json")
    environment = read_environment(folder)
    fields = {f"{group}.{name}": value for group, values in recipe.items() if isinstance(values, dict)
              for name, value in values.items()}  # fmt: skip
    fields |= {name: value for name, value in recipe.items() if not isinstance(value, dict)}
    fields |= {name: environment[name] for name in ("seed", "precision", "store_fingerprint") if name in environment}
    return {re.sub(r"[^\w./ -]", "_", name): str(value)[:500] for name, value in fields.items()}


def _numbers(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, float)}


def _clocks(history: Sequence[Row]) -> list[float]:
    """When the epochs ended, in seconds since 1970, had they followed each other until now."""
    clock = time.time() - sum(row["seconds_with_validation"] for row in history)
    return [clock := clock + row["seconds_with_validation"] for row in history]
