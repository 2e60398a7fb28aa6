"""How far a run has come, as its checkpoints say; read without PyTorch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet.errors import WeightsError
from alexnet.files.tensors import read_document
from alexnet.network.model_file import FORMAT


@dataclass(slots=True)
class Progress:
    """How far a run has come."""

    epoch: int = 0
    """Epoch that is under way, from 0."""
    batch: int = 0
    """Batches of it that are done."""
    loss_sum: float = 0.0
    """Summed losses of the images of this epoch so far."""
    errors: int = 0
    """Images of this epoch so far whose class, or set of classes, was wrong while training."""
    images: int = 0
    """Images of this epoch so far."""
    seconds: float = 0.0
    """Time spent training this epoch so far, without validation."""
    waited_seconds: float = 0.0
    """Part of it spent waiting for data."""
    total_seconds: float = 0.0
    """Time spent on the run before this epoch, validation included."""
    schedule: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row per finished epoch, as in metrics.jsonl."""
    finished: bool = False


def read_progress(path: Path) -> Progress:
    """Return the progress that a checkpoint holds, without reading its tensors.

    Raises:
        WeightsError: the file is damaged or not a checkpoint.
    """
    document = read_document(path, kinds=("checkpoint",), newest_format=FORMAT)
    try:
        return Progress(**document["progress"])
    except (KeyError, TypeError) as problem:
        raise WeightsError(f"{path}: its progress is incomplete or malformed ({problem}).") from None
