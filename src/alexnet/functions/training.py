"""Training: on a store, from a finished run on, and once for every fold.

What tests and draws afterwards is imported when it is needed.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from alexnet.console.terminal import Terminal
from alexnet.data.store.format import VAL
from alexnet.data.store.reader import Store, open_store
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import ConfigError
from alexnet.files.addresses import local, on_disk, working
from alexnet.functions.opening import Place, check_shared, share_work, tell_unfinished
from alexnet.recipes.named import Recipe, change_recipe, check_batch, find_recipe, scale_epochs
from alexnet.runs.existing import go_on
from alexnet.runs.folder import RECIPE
from alexnet.runs.train import Outcome
from alexnet.text.commands import command
from alexnet.text.wording import counted
from alexnet.training.transfer import Start, adapt_recipe, choose_dialect, freeze_layers, read_start

if TYPE_CHECKING:
    from alexnet.runs.cross_validation import CrossValidation

WHY_MODERN = (
    "No --recipe: training with modern, which beats the paper's own on few images and on few epochs "
    "(docs/results/runs.md). The paper's: --recipe paper."
)


class _Job(NamedTuple):
    """A training that was asked for."""

    store: Store
    start: Start | None
    recipe: Recipe


def train(
    store: Place,
    out: Place,
    *,
    recipe: str | Recipe | None = None,
    assignments: Iterable[str] = (),
    epochs: int | None = None,
    start: Place | None = None,
    freeze: str | None = None,
    add_sixth_convolution: bool = False,
    seed: int = 0,
    report: bool = True,
    reject: float | None = None,
    checkpoint_minutes: float = 5.0,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    local_batch: int | None = None,
    log: Sequence[str] = (),
    show: bool = False,
    world: World = SINGLE_PROCESS,
) -> Outcome:
    """Train a network on a store (paper, sections 3 to 5), test it and report on it: `alexnet train`.

    Interrupted anywhere, the same call continues, bit for bit. The same store, recipe, seed, precision and threads give
    the same weights.

    Args:
        store: Folder of a store, as `prepare` makes it, or its address.
        out: Run folder to create, or to continue. Or an address, to which the run is sent with every checkpoint.
        recipe: A recipe, the name of one, or the path of a recipe.yaml; `modern` where None, and with `start`
            `fine-tune`.
        assignments: Fields of the recipe to change, as "optimization.learning_rate=0.02".
        epochs: Train for so many; what happens at fixed times moves in proportion. None: the recipe's.
        start: A model or run to take fitting layers from.
        freeze: Layers that stay as they are: "conv1-conv5", or "conv1,conv2".
        add_sixth_convolution: As for the pre-trained networks of section 6.
        seed: Fixes weights, order, crops, colour noise and dropout; 0 to 2**32 - 1.
        report: Whether to test the result and write `out`/report.html; `report` does so later.
        reject: Share of the validation images, in (0, 1), beyond which a picture is "unknown"; None for no such answer.
        checkpoint_minutes: At most this much work is lost to a crash.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "float32" or "bfloat16"; auto takes bfloat16 where the hardware multiplies it natively.
        threads: To compute with; every core where None.
        local_batch: Images to compute at once; larger batches come in parts whose gradients are summed.
        log: Experiment trackers, "tensorboard", "mlflow" or "wandb-offline"; without any, TensorBoard where it is
            installed.
        show: Whether to tell on standard error how it goes, as the command does.
        world: Processes that call this together.
    Raises:
        AddressError: an address cannot be read or written.
        ConfigError: `epochs` is no whole number from 1 on.
        RecipeError: there is no such recipe, field or layer, or it cannot train on these images.
        StoreError: `store` is none, or is damaged.
        RunError: `out` holds a finished run, a run of another recipe, store or seed, or something else.
        WeightsError: `start` is no model.
        DivergedError: the loss is not finite any more.
        Interrupted: Ctrl-C; what was done is saved.
    """
    from alexnet.runs import workflow

    terminal = Terminal(quiet=not (show and world.is_main))

    given = (recipe, tuple(assignments), epochs, start, freeze, add_sixth_convolution, reject)
    job = world.run_on_all_ranks(lambda: _choose(terminal, local(store), *given))
    folder = Path(world.broadcast_result(lambda: str(working(out))))
    _announce(terminal, job, is_usual=recipe is None)
    return workflow.train_and_report(
        terminal,
        job.store,
        job.recipe,
        folder,
        report=report,
        reject=reject,
        seed=seed,
        checkpoint_minutes=checkpoint_minutes,
        start=job.start,
        device=device,
        precision=precision,
        threads=threads,
        local_batch=local_batch,
        log=log,
        world=world,
    )


def train_longer(
    run: Place,
    out: Place,
    epochs: int,
    *,
    assignments: Iterable[str] = (),
    report: bool = True,
    reject: float | None = None,
    show: bool = False,
    world: World = SINGLE_PROCESS,
    **options: Any,
) -> Outcome:
    """Go on from a finished run into another folder: `alexnet train RUN --more-epochs`.

    The rate falls along a cosine from a tenth of its first to 0; momentum begins anew.

    Args:
        run: Folder of the finished run; its store must be where it was.
        out: Run folder to create, or to continue.
        epochs: How many more.
        options: seed, checkpoint_minutes, device, precision, threads, local_batch and log.
        assignments, report, reject, show, world and options: As for `train`.
    Raises:
        RunError: `run` is no finished run, or its store is gone or has changed; else as `train`.
    """
    from alexnet.runs import workflow

    terminal = Terminal(quiet=not (show and world.is_main))

    def choose() -> _Job:
        job = _Job(*go_on(local(run), epochs, tuple(assignments)))
        _refuse_reject(reject, job.store)
        return job

    job = world.run_on_all_ranks(choose)
    folder = Path(world.broadcast_result(lambda: str(working(out))))
    terminal.say(
        f"Going on from {run}: {counted(epochs, 'epoch')} more, the rate falling along a cosine from "
        f"{job.recipe.optimization.learning_rate:g}, a tenth of its first, to 0. Momentum begins anew."
    )
    _announce(terminal, job)
    return workflow.train_and_report(
        terminal, job.store, job.recipe, folder, report=report, reject=reject, start=job.start, world=world,
        **options,
    )  # fmt: skip


def cross_validate(
    store: Place,
    out: Place,
    *,
    folds: int,
    fold: int | None = None,
    recipe: str | Recipe | None = None,
    assignments: Iterable[str] = (),
    epochs: int | None = None,
    start: Place | None = None,
    freeze: str | None = None,
    add_sixth_convolution: bool = False,
    show: bool = False,
    world: World = SINGLE_PROCESS,
    cluster: str | None = None,
    **options: Any,
) -> "CrossValidation | None":
    """Train a network for every fold and test it on the images that it did not see: `alexnet train --folds`.

    Finished folds are kept, an unfinished one continues. All networks begin with the same weights.

    Args:
        store: Folder of a store; its training images are divided.
        out: Folder of the folds' runs, to create or to continue.
        folds: How many; each network is trained without one of as many parts of the training images.
        fold: Train only this one, counted from 1, while others are trained elsewhere; None is then returned.
        options: seed, checkpoint_minutes, device, precision, threads, local_batch and log.
        recipe, assignments, epochs, start, freeze, add_sixth_convolution, show, world and options: As for `train`.
        cluster: Address of a Ray cluster whose nodes train a network each, see `cluster.nodes.join_cluster`; threads
            are then those of each training.
    Raises:
        ConfigError: there are fewer images than folds, or no such fold; else as `train`.
    """
    from alexnet.runs import cross_validation

    terminal = Terminal(quiet=not (show and world.is_main))

    folder = on_disk(out, "a training of folds")
    check_shared(cluster, store, start)
    given = (recipe, tuple(assignments), epochs, start, freeze, add_sixth_convolution, None)
    job = world.run_on_all_ranks(lambda: _choose(terminal, local(store), *given))
    _announce(terminal, job, is_usual=recipe is None)
    if cluster is not None and fold is not None:
        raise ConfigError("fold and cluster are two ways of sharing the folds. Give one of them.")
    own: dict[str, Any] = {"num_folds": folds, "only": fold, "start": job.start, "world": world, **options}
    compute = {"threads": options.get("threads"), "device": options.get("device", "auto")}
    with share_work(cluster, **compute) as executor:
        return cross_validation.cross_validate(terminal, job.store, job.recipe, folder, executor=executor, **own)


def _choose(
    terminal: Terminal,
    store: Path,
    recipe: str | Recipe | None,
    assignments: tuple[str, ...],
    epochs: int | None,
    start_path: Place | None,
    freeze: str | None,
    sixth: bool,
    reject: float | None,
) -> _Job:
    """Open the store and the model to start from, and bring the recipe into the form that both need."""
    if (store / RECIPE).exists():
        raise ConfigError(f"{store} is a run. To go on from it: {command('train', store, more_epochs=10, out='RUN')}")
    opened = open_store(store)
    start = None
    if start_path is not None:
        model = local(start_path)
        tell_unfinished(terminal, model)
        start = read_start(model)
    name = recipe or ("fine-tune" if start else "modern")
    base = name if isinstance(name, Recipe) else find_recipe(name)
    chosen = change_recipe(base, [*(scale_epochs(base, epochs) if epochs is not None else []), *assignments])
    if start is None:
        chosen = choose_dialect(chosen, chosen.network.dialect, sixth_convolution=sixth)
    else:
        chosen = adapt_recipe(chosen, start, opened.class_names, sixth_convolution=sixth)
    check_batch(chosen, assignments, len(opened["train"]))
    _refuse_reject(reject, opened)
    if reject is not None and VAL not in opened.filled_splits:
        raise ConfigError(
            f"--reject {reject:g}: {store} has no validation images to measure distances of. They are those of a "
            f"folder val, or --val-fraction 0.1 sets them aside: {command('prepare', 'PHOTOS', out='STORE')}"
        )
    return _Job(opened, start, freeze_layers(chosen, freeze) if freeze is not None else chosen)


def _announce(terminal: Terminal, job: _Job, *, is_usual: bool = False) -> None:
    """Say what was chosen without being asked for, and what stays as it is."""
    if is_usual and job.start is None:
        terminal.say(WHY_MODERN)
    frozen = [layer for layer, factor in job.recipe.optimization.rate_factors.items() if factor == 0]
    if frozen:
        terminal.say(f"Frozen: {', '.join(frozen)}.")


def _refuse_reject(reject: float | None, store: Store) -> None:
    """Refuse to look for pictures of no class where a picture may have none."""
    if reject is not None and store.has_sets:
        raise ConfigError(
            f"--reject {reject:g}: a picture of {store.path} may have any number of classes, or none; that is said of "
            "it where no class is at or above its threshold. Leave it out."
        )
