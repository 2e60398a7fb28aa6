"""What was measured of a run, beside it: errors.json in its folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet.evaluation.evaluate import Evaluation
from alexnet.files import write_text

ERRORS = "errors.json"


def write_errors(folder: Path, evaluations: Sequence[Evaluation], *, split: str, store_fingerprint: str) -> None:
    """Write the errors of a run's model, one entry for each number of views; it appears whole or not at all."""
    tests = [
        {name: value for name, value in evaluation.to_json().items() if name != "classes"} for evaluation in evaluations
    ]
    document = {"format": 1, "split": split, "store_fingerprint": store_fingerprint, "tests": tests}
    write_text(folder / ERRORS, json.dumps(document, indent=2) + "\n")


def read_errors(folder: Path) -> dict[str, Any] | None:
    """Return what `write_errors` wrote; None where it is missing, damaged, or of a newer format."""
    try:
        document = json.loads((folder / ERRORS).read_text(encoding="utf-8"))
        known: dict[str, Any] = document
        return known if known["format"] == 1 and known["tests"] and known["split"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
