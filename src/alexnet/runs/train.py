"""From a store and a recipe to a run folder: begins a run, or continues the one that is there.

`train` checks that it can be done, opens the run folder, builds what it takes, and trains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from alexnet import kernels, system
from alexnet.batches.augmentation import scale_axes
from alexnet.batches.loader import TrainingBatches
from alexnet.batches.preprocessing import Preprocessing
from alexnet.data.store.reader import Store
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import ConfigError, RecipeError
from alexnet.evaluation.evaluate import Evaluation, evaluate_network, gather_probabilities
from alexnet.evaluation.record import digest_weights, forget_others
from alexnet.evaluation.set_evaluation import SetEvaluation, measure_sets
from alexnet.files.addresses import send
from alexnet.files.writing import put_in_place, remember_place
from alexnet.network.alexnet import AlexNet, build_spec
from alexnet.network.independent import Independent
from alexnet.network.model_file import FAR_MEAN, Model, load_model, save_model, tensors_of
from alexnet.network.rows import Spec
from alexnet.recipes.named import Recipe
from alexnet.runs.advice import advise
from alexnet.runs.existing import identify, open_run
from alexnet.runs.folder import BEST, LAST, MODEL, Journal
from alexnet.runs.requirements import choose_objective, count_classes, find_spec, refuse_for_sets
from alexnet.runs.thresholds import choose_thresholds
from alexnet.runs.trackers import choose_trackers, open_trackers
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted
from alexnet.training.checkpoint import load_checkpoint
from alexnet.training.class_weights import weigh_classes
from alexnet.training.loop import Listener, train_model
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.progress import Progress
from alexnet.training.transfer import Start, copy_layers

COMPILED_SECONDS = 3.0
"""Warming the kernels up takes longer than this only where they had to be compiled."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run."""

    folder: Path
    """`alexnet.load` takes it."""
    history: list[dict[str, Any]]
    """One row per epoch, as in metrics.jsonl."""
    validation: Evaluation | None = None
    """The test with which training ended, if this process has it: of images with one label each."""
    tests: Sequence[Evaluation | SetEvaluation] = ()
    """For the report, in one view and in ten; none where there is no report, or no image to test."""
    report: Path | None = None
    """The page, where one was written."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A training that was checked, with all it needs."""

    store: Store
    recipe: Recipe
    spec: Spec
    """The recipe's network for the store's classes."""
    compute: system.Compute
    seed: int
    start: Start | None
    class_weights: Tensor | None
    environment: dict[str, Any]
    """As the run folder records it."""
    listener: Listener
    world: World


@dataclass(frozen=True, slots=True)
class _Training:
    """What the loop trains with."""

    model: Model
    optimizer: MomentumDescent
    batches: TrainingBatches
    progress: Progress


def train(
    store: Store,
    recipe: Recipe,
    out: Path,
    *,
    listener: Listener,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    checkpoint_minutes: float = 5.0,
    tick: Tick = untold,
    start: Start | None = None,
    local_batch: int | None = None,
    log: Sequence[str] = (),
    world: World = SINGLE_PROCESS,
) -> Outcome:
    """Train a network on a store into a run folder; continue if the folder holds an unfinished run of the same kind.

    Args:
        listener: Told about every batch, epoch and notice.
        seed: Fixes weights, order, views and dropout.
        checkpoint_minutes: At most this much work is lost to a crash.
        tick: Progress of each validation.
        start: Begin with the weights of this model where they fit; `recipe` was adapted to it by
            `training.transfer.adapt_recipe`.
        local_batch: Images to compute at once; larger batches come in parts whose gradients are summed.
        log: Experiment trackers, names of `runs.trackers.TRACKERS`; without any, TensorBoard where it is installed.
        world: The processes that train together, each of which calls this.
    Raises:
        RecipeError, ConfigError: the recipe names an unknown layer or dialect; a tracker is not installed.
        StoreError: the images are smaller than the network's crops.
        RunError: `out` holds a finished run, a run of another recipe, store or seed, or something else.
        DistributionError: the processes disagree, or lost each other.
        Interrupted, DivergedError: see `training.loop.train_model`.
    """
    names = world.run_on_all_ranks(lambda: choose_trackers(log))
    plan = _check(
        store,
        recipe,
        out,
        listener=listener,
        seed=seed,
        device=device,
        precision=precision,
        threads=threads,
        start=start,
        checkpoint_minutes=checkpoint_minutes,
        world=world,
    )
    trackers = open_trackers(names, out, listener.notice) if world.is_main else []
    notice = listener.notice
    with open_run(out, recipe, plan.environment, notice=notice, world=world, trackers=trackers) as (
        journal,
        checkpoint,
    ):
        training = _build(plan, checkpoint, local_batch)
        return _train(plan, training, journal, checkpoint_minutes=checkpoint_minutes, tick=tick)


def _check(
    store: Store,
    recipe: Recipe,
    out: Path,
    *,
    listener: Listener,
    seed: int,
    device: str,
    precision: str,
    threads: int | None,
    start: Start | None,
    checkpoint_minutes: float,
    world: World,
) -> _Plan:
    """Refuse what cannot be trained, or not by these processes together; set the processor up."""

    def find() -> tuple[Spec, system.Compute, Tensor | None]:
        if not 0 <= seed < 2**32:
            raise ConfigError(f"seed is {seed}; accepted is 0 to {2**32 - 1}.")
        if not checkpoint_minutes > 0:
            raise ConfigError(f"checkpoint_minutes is {checkpoint_minutes}; accepted is more than 0.")
        if recipe.stop.looks_for_best and not ("val" in store.splits and len(store["val"])):
            raise RecipeError(
                f"The recipe looks for the best epoch (group stop), and {store.path} has no validation images. Prepare "
                "it with some, or leave these fields of stop as they are."
            )
        spec = find_spec(store, recipe)
        if store.has_sets:
            refuse_for_sets(store, recipe)
        world.check_spec(spec)
        weights = weigh_classes(recipe.optimization.class_weights, count_classes(store), store.class_names)
        return spec, system.choose_compute(device, precision), weights

    spec, compute, class_weights = world.run_on_all_ranks(find)
    thread_count = system.set_threads(world.choose_threads(threads))
    allocator = system.tune_allocator()
    identity = identify(store, compute, seed=seed, start=start)
    environment = {
        **system.describe_system(),
        **remember_place("store", store.path, out),
        **identity,
        "color_mean": store.color_mean.tolist(),
        "device": str(compute.device),
        "threads": thread_count,
        "allocator": allocator,
        **(remember_place("start", start.path, out) if start else {}),
        **world.describe(),
    }
    world.check_same({**identity, "recipe": recipe.model_dump(mode="json")})
    return _Plan(store, recipe, spec, compute, seed, start, class_weights, environment, listener, world)


def _build(plan: _Plan, checkpoint: Path | None, local_batch: int | None) -> _Training:
    """Return network, optimizer and batches as the checkpoint left them, or fresh ones."""
    store, recipe, compute = plan.store, plan.recipe, plan.compute
    _warm_up(plan)
    advise(store, recipe, plan.spec, plan.listener.notice)
    mean_image = _choose_mean(plan)
    network = build_spec(plan.spec, seed=plan.seed, initialization=recipe.network.initialization)
    if plan.start is not None and checkpoint is None:
        plan.listener.notice(copy_layers(plan.start, network, store.class_names))
    model = Model(
        network=plan.world.shard_network(network).to(compute.device),
        class_names=tuple(store.class_names),
        class_titles=tuple(store.class_titles),
        preprocessing=Preprocessing(mean_image, recipe.batches.divisor, recipe.batches.mean),
        provenance={"recipe": recipe.model_dump(mode="json"), "environment": plan.environment},
        independent=Independent() if store.has_sets else None,
    )
    optimizer = MomentumDescent(model.network, recipe.optimization, dtype=compute.dtype, world=plan.world)
    progress = Progress() if checkpoint is None else load_checkpoint(checkpoint, optimizer, plan.world)
    batches = TrainingBatches(
        store["train"].images,
        store["train"].targets,
        mean_image,
        recipe.batches,
        seed=plan.seed,
        crop_px=plan.spec.input_px,
        color_axes=scale_axes(store.color_eigenvectors, store.color_eigenvalues, unit=recipe.batches.color_noise_unit),
        dtype=compute.dtype,
        device=compute.device,
        shard=plan.world.batch_shard(local_batch),
    )
    return _Training(model, optimizer, batches, progress)


def _train(plan: _Plan, training: _Training, journal: Journal, *, checkpoint_minutes: float, tick: Tick) -> Outcome:
    """Train to the end, validating on the way, and write the finished model."""
    world, model, out = plan.world, training.model, journal.folder
    validation = plan.store["val"] if "val" in plan.store.splits and len(plan.store["val"]) else None
    validated: list[Evaluation] = []

    def validate(network: AlexNet, check_stop: Callable[[], None]) -> dict[str, float]:
        assert validation is not None

        def count(done: int, total: int) -> None:
            check_stop()
            tick(done, total)

        if validation.has_sets:
            found = gather_probabilities(
                network,
                validation.images,
                model.preprocessing,
                plan.compute,
                tick=count,
                data=world.data_group,
                independent=True,
            ).numpy()
            # At one half: thresholds that were found on these very images would flatter.
            measured = measure_sets(
                found,
                validation.label_sets,
                Independent().for_views(1, len(model.class_names)),
                class_names=model.class_names,
                num_views=1,
            )
            return {
                "val_loss": measured.loss,
                "val_mean_average_precision": measured.mean_average_precision,
                "val_set_error": measured.set_error,
                "val_f1_macro": measured.f1_macro,
            }
        validated.clear()  # and with it the probabilities of the epoch before
        result = evaluate_network(
            network,
            validation.images,
            np.asarray(validation.labels),
            model.preprocessing,
            plan.compute,
            class_names=model.class_names,
            tick=count,
            data=world.data_group,
        )
        validated[:] = [result]
        return {
            "val_loss": result.cross_entropy,
            "val_top1_error": result.top1_error,
            f"val_top{result.k}_error": result.topk_error,
            "val_balanced_error": result.balanced_error[0],
        }

    if world.is_main:
        journal.continue_from(training.progress.history)
    progress = train_model(
        model,
        training.optimizer,
        training.batches,
        plan.recipe,
        training.progress,
        folder=out,
        validate=validate if validation is not None else None,
        listener=_Recorded(plan.listener, journal) if world.is_main else plan.listener,
        objective=choose_objective(plan.store),
        class_weights=None if plan.class_weights is None else plan.class_weights.to(plan.compute.device),
        checkpoint_minutes=checkpoint_minutes,
        world=world,
    )
    with training.optimizer.averaged():
        tensors = world.gather_shards(tensors_of(model))
    keep = plan.recipe.stop.keep
    world.run_on_all_ranks(lambda: _finish(plan, out, model, tensors, tick) if world.is_main else None)
    of_model = validated and (keep != "best" or progress.history[-1].get("is_best"))
    return Outcome(out, progress.history, validated[0] if of_model else None)


def _warm_up(plan: _Plan) -> None:
    """Load the kernels, and say what will compute."""
    environment, notice = plan.environment, plan.listener.notice
    threads = counted(environment["threads"], "thread")
    notice(f"Computing in {plan.compute.explanation}, {threads}; {environment['allocator']}.")
    if plan.compute.device.type == "cpu":
        seconds = kernels.warm_up(plan.compute.dtype)
        compiled = "compiled; they start faster next time" if seconds > COMPILED_SECONDS else "loaded"
        notice(f"Kernels {compiled} ({seconds:.1f} s).")
    else:
        chosen = kernels.choice("normalize_and_pool", plan.compute.device.type)
        notice(f"Kernels: {chosen.version} ({chosen.reason}).")


def _finish(plan: _Plan, out: Path, model: Model, tensors: dict[str, Tensor], tick: Tick) -> None:
    """Write the finished model, see `Stop.keep`, and forget tests of the half-trained network."""
    keep = plan.recipe.stop.keep
    if plan.store.has_sets:
        model = choose_thresholds(plan.store, model, plan.compute, tensors, tick=tick)
        if keep != "last":
            best = load_model(out / BEST)
            save_model(out / BEST, choose_thresholds(plan.store, best, plan.compute, tensors_of(best), tick=tick))
    if keep == "best":
        save_model(out / LAST, model, tensors)
        put_in_place(out / BEST, out / MODEL)
    else:
        save_model(out / MODEL, model, tensors)
    forget_others(out, digest_weights(out / MODEL))
    send(out, last=MODEL, done=False)


class _Recorded:
    """A listener that also writes every epoch into the journal."""

    def __init__(self, listener: Listener, journal: Journal) -> None:
        self.batch_done = listener.batch_done
        self.notice = listener.notice
        self._epoch_done = listener.epoch_done
        self._journal = journal

    def epoch_done(self, row: dict[str, Any]) -> None:
        self._journal.record(row)
        self._epoch_done(row)


def _choose_mean(plan: _Plan) -> NDArray[np.float32]:
    """The mean image that is subtracted: that of the model to start from if it fits, else the store's."""
    store, start, listener = plan.store, plan.start, plan.listener
    if start is None:
        return store.mean_image
    kept = start.model.preprocessing.mean_image
    if kept.shape != store.mean_image.shape:
        listener.notice(
            f"Images are of {store.size} px, those of {start.path} were of {kept.shape[0]} px: the store's own mean "
            "image is subtracted."
        )
        return store.mean_image
    difference = float(np.abs(start.model.color_mean - store.color_mean).max())
    if difference > FAR_MEAN:
        listener.notice(
            f"The mean colour of these images differs by {difference:.0f} grey levels from that of the images that "
            f"{start.path} was trained on. Its mean image is subtracted; expect to train for longer."
        )
    return kept
