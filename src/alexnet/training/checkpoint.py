"""Checkpoints: everything that a run needs to go on as if nothing had happened.

A checkpoint is a model plus the velocities and the progress. There is no random state in it: order, views and dropout
are pure functions of (seed, epoch, sample).
"""

from dataclasses import asdict, replace
from pathlib import Path

from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.files.tensors import copy_into, read_tensors, write_tensors
from alexnet.network.model_file import Model, choose_format, describe, save_model, tensors_of
from alexnet.runs.folder import BEST, CHECKPOINTS, NEXT, settle_checkpoint
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.progress import Progress, read_progress

_VELOCITY, _CURRENT = "velocity.", "current."


def save_checkpoint(
    folder: Path, model: Model, optimizer: MomentumDescent, progress: Progress, world: World = SINGLE_PROCESS
) -> None:
    """Write the newest checkpoint of a run folder and keep the one before it.

    It holds the whole network, however it is divided: any number of processes can continue from it. Where weights are
    averaged, the averages are the model in it, and those in training are beside them.
    """
    with optimizer.averaged():
        tensors = dict(world.gather_shards(tensors_of(model)))
        for called, beside in ((_VELOCITY, optimizer.velocities), (_CURRENT, optimizer.averages)):
            tensors |= {called + name: each for name, each in world.gather_shards(beside).items()}

    def write() -> None:
        place = folder / CHECKPOINTS
        place.mkdir(exist_ok=True)
        document = {
            "kind": "checkpoint",
            "format": choose_format(model),
            **describe(model),
            "progress": asdict(progress),
        }
        write_tensors(place / NEXT, tensors, document)
        settle_checkpoint(folder)

    world.run_on_all_ranks(write if world.is_main else lambda: None)


def save_best(
    folder: Path, model: Model, optimizer: MomentumDescent, epoch: int, world: World = SINGLE_PROCESS
) -> None:
    """Write the weights of an epoch, counted from 0, into a run folder, in place of those of the best one before.

    They are a whole model file, whose provenance tells the epoch, counted from 1; the averaged weights where there are
    any.
    """
    with optimizer.averaged():
        tensors = world.gather_shards(tensors_of(model))

    def write() -> None:
        save_model(folder / BEST, replace(model, provenance={**model.provenance, "epoch": epoch + 1}), tensors)

    world.run_on_all_ranks(write if world.is_main else lambda: None)


def load_checkpoint(path: Path, optimizer: MomentumDescent, world: World = SINGLE_PROCESS) -> Progress:
    """Fill weights, velocities and averages of the optimizer from a checkpoint and return the progress.

    Raises:
        WeightsError: the file is damaged or belongs to another network.
    """
    tensors = read_tensors(path)
    with optimizer.averaged():
        for called, beside in ((_VELOCITY, optimizer.velocities), (_CURRENT, optimizer.averages)):
            own = {name.removeprefix(called): tensors.pop(name) for name in [*tensors] if name.startswith(called)}
            copy_into(path, beside, world.take_shards(own), called=called)
        copy_into(path, optimizer.master.state_dict(), world.take_shards(tensors))
    optimizer.refresh()
    return read_progress(path)
