"""What the processes of a test do, and the networks they do it with. Without pytest: other processes import this."""

import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import alexnet
from alexnet import system
from alexnet.batches.shard import BatchShard
from alexnet.distribution import processes
from alexnet.distribution.mesh import parse_mesh
from alexnet.distribution.processes import DistributedWorld, LaunchEnvironment
from alexnet.distribution.world import SINGLE_PROCESS
from alexnet.errors import AlexNetError
from alexnet.evaluation import evaluate
from alexnet.evaluation.assessment import assess
from alexnet.evaluation.assessment_options import Options
from alexnet.evaluation.classifier import load
from alexnet.evaluation.evaluate import evaluate_network
from alexnet.evaluation.labeled_images import open_labeled_images
from alexnet.kernels import choose
from alexnet.network import dialects
from alexnet.network.alexnet import AlexNet, build
from alexnet.network.rows import Convolution, Dense, Dropout, Normalize, Pool, Rectify, Spec
from alexnet.recipes.named import Recipe
from alexnet.retrieval.index.images import choose_images
from alexnet.retrieval.index.writer import make_index
from alexnet.runs import train as runs
from alexnet.training.loop import Silent


def small(num_classes: int) -> Spec:
    """The paper's network in little: every kind of layer and exchange."""
    relu, norm = Rectify(), Normalize(size=5, alpha=0.01)
    own: Any = {"sees": "own tower"}
    return Spec(
        dialect="small",
        layers=(
            Convolution(name="conv1", kernels=8, window_px=11, stride_px=8, then=(relu, norm, Pool())),
            Convolution(name="conv2", kernels=16, window_px=5, padding_px=2, then=(relu, norm, Pool()), bias=1, **own),
            Convolution(name="conv3", kernels=16, window_px=3, padding_px=1, then=(relu, Dropout(probability=0.2))),
            Convolution(name="conv4", kernels=16, window_px=3, padding_px=1, then=(relu, Pool()), **own),
            Dense(name="fc6", units=32, then=(relu, Dropout())),
            Dense(name="fc7", units=16, then=(relu, Dropout())),
            Dense(name="fc8", units=num_classes),
        ),
    )


def meet(mesh: str | None, timeout_seconds: float = 60) -> DistributedWorld:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    system.set_threads = lambda threads=None: 1
    choose._numba_failure = lambda: "starting is faster without"
    runs.kernels.warm_up = lambda dtype: 0.0
    processes.GRACE_SECONDS = 1.5
    dialects.DIALECTS["small"] = small  # of this process, which ends with its work
    environment = LaunchEnvironment.read()
    assert environment is not None
    return DistributedWorld(
        parse_mesh(mesh, environment.world_size), environment, torch.device("cpu"), timeout_seconds=timeout_seconds
    )


def batch_of(network: AlexNet, images: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    side, classes = network.spec.input_px, network.spec.num_classes
    inputs = torch.randn((images, 3, side, side), generator=generator)
    return inputs, torch.arange(images) % classes, torch.arange(images) * 7919 + 1


def differentiate_whole(dialect: str, classes: int, images: int) -> dict[str, Any]:
    """One process: logits and gradients."""
    network = build(dialect, classes, seed=3, initialization="he").train()
    inputs, labels, keys = batch_of(network, images)
    logits = network(inputs, keys)
    F.cross_entropy(logits, labels).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return {"logits": logits.detach(), "gradients": gradients}


def differentiate_part(mesh: str, dialect: str, classes: int, images: int) -> dict[str, Any]:
    """Every process: its logits, the gradients put together, and what was sent."""
    from alexnet.distribution.gradients import GradientSums

    world = meet(mesh)
    network = world.shard_network(build(dialect, classes, seed=3, initialization="he")).train()
    sums = GradientSums(network, world.data_group, sharded=world.sharded)
    inputs, labels, keys = batch_of(network, images)
    (positions,) = BatchShard(world.data_group.rank, world.data_group.size).parts(images)
    counted = torch.from_numpy(np.where(positions < 0, -100, labels[positions]))
    sums.begin()
    sums.expect_last()
    world.traffic.clear()
    logits = network(inputs[positions], keys[positions])
    (F.cross_entropy(logits, counted, reduction="sum") / images).backward()
    gradients = sums.finish()
    sent = dict(world.traffic.bytes)
    result = {
        "logits": logits.detach().numpy(),
        "gradients": {name: value.clone().numpy() for name, value in world.gather_shards(gradients).items()},
        "sent": sent,
    }
    world.all_ranks.all_gather(torch.zeros(1), "end").wait()
    return result


class Losses(Silent):
    """Remembers the losses, and does something to a rank at a batch."""

    def __init__(self, fault: str | None = None, at: int = 0) -> None:
        self.losses: list[float] = []
        self.fault, self.at = fault, at

    def batch_done(self, progress: Any, num_batches: int, loss: float) -> None:
        self.losses.append(loss)
        if len(self.losses) == self.at and self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if len(self.losses) == self.at and self.fault == "stopped":
            os.kill(os.getpid(), signal.SIGTERM)
        if len(self.losses) == self.at and self.fault == "hanging":
            time.sleep(8)
            os._exit(1)


def train_shared(
    store: str,
    recipe: Recipe,
    out: str,
    mesh: str | None,
    *,
    fault: tuple[str, int, int] | None = None,
    timeout_seconds: float = 60,
    **options: Any,
) -> dict[str, Any]:
    """Every process: the losses, the metrics and the error of a training; `fault` befalls a rank at a batch."""
    world = meet(mesh, timeout_seconds)
    kind, rank, at = fault or (None, 0, 0)
    listener = Losses(kind, at) if rank == world.rank else Losses()
    error = history = None
    try:
        with world.session():
            history = runs.train(
                alexnet.open_store(Path(store)),
                recipe,
                Path(out),
                listener=listener,
                threads=1,
                precision="float32",
                world=world,
                **options,
            ).history
    except AlexNetError as problem:
        error = (type(problem).__name__, str(problem), problem.told_elsewhere)
    return {"losses": listener.losses, "history": history, "error": error}


def find_out_in_twos(folder: str, out: str) -> dict[str, Any]:
    """Every process: what it finds out about the model and the ten pictures of a folder; the index goes to `out`."""
    world = meet(None) if LaunchEnvironment.read() else SINGLE_PROCESS
    root = Path(folder)
    evaluate.VIEWS_AT_A_TIME = 20  # two images with ten views
    options = Options(views=10, precision="float32", predictions=Path(out + ".csv"))
    assessment = assess([root / "model.safetensors"], root / "pictures", options, world=world)
    classifier = load(root / "model.safetensors", device="cpu", precision="float32")
    report = make_index(classifier, choose_images([root / "pictures"]), Path(out), batch_size=2, world=world)
    images = open_labeled_images(root / "pictures", split="val", image_px=classifier.model.preprocessing.image_px)
    numbers, pixels, _ = images.read(range(len(images)))
    validation = evaluate_network(
        classifier.network,
        pixels,
        images.labels[numbers],
        classifier.model.preprocessing,
        classifier.compute,
        class_names=classifier.class_names,
        num_views=10,
        data=world.data_group,
    )
    return {
        "json": assessment.to_json(),
        "probabilities": assessment.trial.probabilities[0],
        "numbers": assessment.trial.numbers,
        "report": report,
        "validation": validation,
        "written": [str(path) for path in assessment.written],
    }


def disagree(store: str, other_store: str, recipes: dict[str, Recipe], out: str) -> dict[str, Any]:
    """Two processes: what each hears of every disagreement, and whether it tells the user."""
    heard = {}
    world = meet(None)
    last = world.rank == 1

    def hear(name: str, act: Any) -> None:
        try:
            act()
        except AlexNetError as problem:
            heard[name] = (type(problem).__name__, str(problem))

    def train(recipe: str, path: str = store, to: str = "none", **options: Any) -> None:
        listener = Losses("stopped", options.pop("stop", 0))
        runs.train(
            alexnet.open_store(Path(path)),
            recipes[recipe],
            Path(out) / to,
            listener=listener,
            precision="float32",
            world=world,
            **options,
        )

    hear("stores", lambda: train("one", other_store if last else store))
    hear("recipes", lambda: train("other" if last else "one"))
    hear("seeds", lambda: train("one", seed=world.rank))
    hear("layers on one", lambda: train("wrong layer" if last else "one"))
    hear("stopped", lambda: train("one", to="run", stop=2))
    hear("continued", lambda: train("other", to="run"))
    heard["files"] = sorted(path.name for path in Path(out).iterdir())  # type: ignore[assignment]
    return heard


def meet_differently(fact: str) -> str:
    """Two processes: the refusal that ends their meeting, or their training of one tower on two."""
    environment = LaunchEnvironment.read()
    assert environment is not None
    mesh = "tower=2" if fact == "dialect" else None
    if environment.rank == 1 and fact == "version":
        processes.describe_system = lambda: {**system.describe_system(), "alexnet": "0.0.9"}
    if environment.rank == 1 and fact == "mesh":
        mesh = "tower=2"
    try:
        world = meet(mesh)
        world.run_on_all_ranks(lambda: world.check_spec(dialects.find_dialect("one-tower-2014", 3)))
    except AlexNetError as problem:
        return f"{type(problem).__name__}: {problem}"
    return "met"
