"""Checkpoints: everything that a run needs to go on as if nothing had happened.

A checkpoint is a model plus the velocities and the progress. There is no random state in it: order, views and dropout
are pure functions of (seed, epoch, sample).
"""

from dataclasses import asdict
from pathlib import Path

from alexnet.distribution.team import ALONE, Team
from alexnet.files.tensors import copy_into, read_tensors, write_tensors
from alexnet.network.model_file import CHECKPOINTS, FORMAT, LATEST, NEXT, PREVIOUS, Model, describe, tensors_of
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.progress import Progress, read_progress

_VELOCITY = "velocity."


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
