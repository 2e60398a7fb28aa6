"""Checkpoints: everything that a run needs to go on as if nothing had happened.

A checkpoint is a model plus the velocities and the progress. There is no random state in it: order, views and dropout
are pure functions of (seed, epoch, sample).
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alexnet.distribution.team import ALONE, Team
from alexnet.errors import WeightsError
from alexnet.files.tensors import copy_into, read_document, read_tensors, write_tensors
from alexnet.network.model_file import CHECKPOINTS, FORMAT, LATEST, NEXT, PREVIOUS, Model, describe, tensors_of
from alexnet.training.optimizer import MomentumDescent

_VELOCITY = "velocity."


@dataclass(slots=True)
class Progress:
    """How far a run has come."""

    epoch: int = 0
    """Epoch that is under way, from 0."""
    batch: int = 0
    """Batches of it that are done."""
    loss_sum: float = 0.0
    """Sum over the images of this epoch so far."""
    errors: int = 0
    """Images of this epoch so far whose best class was wrong, as seen in training."""
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


def save_checkpoint(
    folder: Path, model: Model, optimizer: MomentumDescent, progress: Progress, team: Team = ALONE
) -> None:
    """Write the newest checkpoint of a run folder and keep the one before it.

    It holds the whole network, however it is divided: any number of processes can continue from it.
    """
    velocities = team.whole(optimizer.velocities)
    tensors = team.whole(tensors_of(model)) | {_VELOCITY + name: velocity for name, velocity in velocities.items()}

    def write() -> None:
        place = folder / CHECKPOINTS
        place.mkdir(exist_ok=True)
        latest, staged = place / LATEST, place / NEXT
        document = {"kind": "checkpoint", "format": FORMAT, **describe(model), "progress": asdict(progress)}
        write_tensors(staged, tensors, document)
        if latest.exists():
            latest.replace(place / PREVIOUS)
        staged.replace(latest)

    team.together(write if team.leads else lambda: None)


def load_checkpoint(path: Path, optimizer: MomentumDescent, team: Team = ALONE) -> Progress:
    """Fill weights and velocities of the optimizer from a checkpoint and return the progress.

    Raises:
        WeightsError: the file is damaged or belongs to another network.
    """
    tensors = read_tensors(path)
    velocities = {name.removeprefix(_VELOCITY): tensors.pop(name) for name in [*tensors] if name.startswith(_VELOCITY)}
    copy_into(path, optimizer.master.state_dict(), team.own(tensors))
    copy_into(path, optimizer.velocities, team.own(velocities), called=_VELOCITY)
    optimizer.refresh()
    return read_progress(path)


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
