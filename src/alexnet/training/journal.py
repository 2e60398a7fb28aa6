"""What a run writes down: its recipe and environment before the first step, then one line per epoch."""

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alexnet.errors import RunError
from alexnet.files import write_text

RECIPE, ENVIRONMENT, METRICS, EVENTS = "recipe.yaml", "environment.json", "metrics.jsonl", "events"


class Journal:
    """The text files of a run folder: recipe.yaml, environment.json, metrics.jsonl and, with TensorBoard, events/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, recipe_yaml: str, environment: dict[str, Any]) -> None:
        """Write what is fixed for the whole run."""
        write_text(self.folder / RECIPE, recipe_yaml)
        write_text(self.folder / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")

    def continue_from(self, history: Iterable[dict[str, Any]]) -> None:
        """Make metrics.jsonl hold exactly the epochs of a checkpoint; later lines belong to epochs that run again."""
        write_text(self.folder / METRICS, "".join(_line(row) for row in history))

    def record(self, row: dict[str, Any]) -> None:
        """Append the line of a finished epoch."""
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(_line(row))
        self._record_events(row)

    def _record_events(self, row: dict[str, Any]) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.folder / EVENTS)) as writer:
            for name, value in row.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, row["epoch"])


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
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("epoch"), int):
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
        values = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        raise RunError(f"{folder}: is not a run folder ({ENVIRONMENT} is missing or damaged).") from None
    if not isinstance(values, dict):
        raise RunError(f"{folder}: is not a run folder ({ENVIRONMENT} is damaged).")
    return values


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
