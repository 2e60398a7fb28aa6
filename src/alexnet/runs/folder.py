"""A run folder: what every file in it is called, and those that are text.

The names are known to all stages that read or write a run; its recipe and environment are written before the first
step, then one line per epoch.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from alexnet.errors import RunError
from alexnet.files.documents import Form, find_misfit, is_bool, is_text, is_whole, numbers, parse_json
from alexnet.files.writing import put_in_place, write_bytes, write_text

RECIPE, ENVIRONMENT, METRICS, EVENTS = "recipe.yaml", "environment.json", "metrics.jsonl", "events"
CHECKPOINTS = "checkpoints"
NEXT, LATEST, PREVIOUS = "next.safetensors", "latest.safetensors", "previous.safetensors"
"""Checkpoints in their folder, newest first. The first is one whose writer was stopped before the last rename."""
MODEL = "model.safetensors"
"""The finished model."""
BEST, LAST = "best.safetensors", "last.safetensors"
"""Models of the best epoch so far, and of the last where the best one's became the finished model; see `Stop`."""
ERRORS, REPORT, FIGURES, TESTS = "errors.json", "report.html", "figures", "tests"
"""What was measured of the model, the page about it, its figures, and probabilities until the page is written."""
LOCK = ".lock"
"""Held by the process at work."""


ROW: Form = {
    "epoch": is_whole,
    "seconds?": numbers(),
    "seconds_with_validation?": numbers(),
    "images_per_second?": numbers(),
    "is_best?": is_bool,
    "ended?": is_text,
}
"""What a line of METRICS must be; beside it what was measured, as `_is_measured` says."""


def _is_row(row: Any) -> bool:
    measured = ("train_", "val_")
    return find_misfit(row, ROW) is None and all(
        _is_measured(value) for name, value in row.items() if name.startswith(measured)
    )


def _is_measured(value: Any) -> bool:
    """Whether it is a number, NaN too, or None where there was nothing to measure."""
    return value is None or isinstance(value, float) or numbers()(value)


class Tracker(Protocol):
    """What keeps the numbers of a run beside metrics.jsonl; see `runs.trackers`."""

    def continue_from(self, history: Sequence[dict[str, Any]]) -> None:
        """Hold exactly these epochs; called before the first and whenever the run continues."""

    def record(self, row: dict[str, Any]) -> None:
        """Add an epoch, as metrics.jsonl holds it."""

    def attach(self, files: Sequence[Path], figures: Sequence[Path]) -> None:
        """Keep files, and figures (.png), of a run that is over."""

    def close(self) -> None:
        """Have everything written; `continue_from` opens it again."""


def settle_checkpoint(folder: Path) -> Path:
    """Make the checkpoint that was just written the latest, and keep the one before it; return its path.

    Whoever is stopped meanwhile leaves it whole as the next, and the run that continues from it does this again.
    """
    place = folder / CHECKPOINTS
    latest = place / LATEST
    if latest.exists():
        latest.replace(place / PREVIOUS)
    put_in_place(place / NEXT, latest)
    return latest


class Journal:
    """The text files of a run folder: recipe.yaml, environment.json, metrics.jsonl; and the trackers that follow it."""

    def __init__(self, folder: Path, trackers: Sequence[Tracker] = ()) -> None:
        self.folder = folder
        self.trackers = trackers

    def begin(self, recipe_yaml: str, environment: dict[str, Any]) -> None:
        """Write what is fixed for the whole run."""
        write_text(self.folder / RECIPE, recipe_yaml)
        write_text(self.folder / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")

    def continue_from(self, history: Sequence[dict[str, Any]]) -> None:
        """Make metrics.jsonl and the trackers hold exactly the epochs of a checkpoint; what came later runs again."""
        write_text(self.folder / METRICS, "".join(_line(row) for row in history))
        for tracker in self.trackers:
            tracker.continue_from(history)

    def record(self, row: dict[str, Any]) -> None:
        """Append the line of a finished epoch; on a full disk the file stays what it was, not half a line more."""
        path = self.folder / METRICS
        before = path.read_bytes() if path.exists() else b""
        write_bytes(path, before + _line(row).encode())
        for tracker in self.trackers:
            tracker.record(row)

    def close(self) -> None:
        """Have the trackers write what they hold."""
        for tracker in self.trackers:
            tracker.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl, oldest first; empty if there are none yet.

    Raises:
        RunError: a line is damaged.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError:
            row = None
        if not _is_row(row):
            raise RunError(
                f"{path}: line {number} is damaged. Delete it; an unfinished run writes the file again from its "
                "checkpoint when it continues."
            )
        rows.append(row)
    return rows


def read_environment(folder: Path) -> dict[str, Any]:
    """Return environment.json of a run folder.

    Raises:
        RunError: the folder is not a run.
    """
    try:
        values = parse_json((folder / ENVIRONMENT).read_bytes())
    except (OSError, ValueError):
        raise RunError(f"{folder}: is not a run folder ({ENVIRONMENT} is missing or damaged).") from None
    if not isinstance(values, dict):
        raise RunError(f"{folder}: is not a run folder ({ENVIRONMENT} is damaged).")
    return values


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
