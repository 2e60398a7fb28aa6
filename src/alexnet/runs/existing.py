"""The run folder of a training: begun, continued where it is of the same kind, or refused."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from alexnet.data.store.format import find_start, find_store
from alexnet.data.store.reader import Store, open_store
from alexnet.distribution.world import World
from alexnet.errors import RunError
from alexnet.files.addresses import send
from alexnet.files.writing import lock_file, settled_names
from alexnet.network.model_file import find_checkpoint
from alexnet.recipes.named import Recipe, change_recipe, check_epochs, read_recipe
from alexnet.runs.folder import (
    ENVIRONMENT,
    LOCK,
    MODEL,
    NEXT,
    RECIPE,
    Journal,
    Tracker,
    read_environment,
    settle_checkpoint,
)
from alexnet.system import Compute
from alexnet.text.commands import command, train_again
from alexnet.training.progress import read_progress
from alexnet.training.transfer import Start, adapt_recipe, read_start

IDENTITY = ("store_fingerprint", "seed", "precision", "start_sha256")
"""What must be the same in the environment of a run, of its continuation, and of all its processes."""


def identify(store: Store, compute: Compute, *, seed: int, start: Start | None) -> dict[str, Any]:
    """Return the fields of IDENTITY."""
    return {
        "store_fingerprint": store.fingerprint,
        "seed": seed,
        "precision": str(compute.dtype).removeprefix("torch."),
        **({"start_sha256": start.sha256} if start else {}),
    }


@contextmanager
def open_run(
    out: Path,
    recipe: Recipe,
    environment: dict[str, Any],
    *,
    notice: Callable[[str], None],
    world: World,
    trackers: Sequence[Tracker] = (),
) -> Iterator[tuple[Journal, Path | None]]:
    """Keep a run folder from other processes; yield its journal, and the checkpoint to continue from if any.

    Args:
        environment: What a run that begins records; it holds what `identify` returns.
        notice: Told what the user should know of a run that continues.
        world: The processes that call this together; rank 0 looks at the folder.
        trackers: Those that follow the journal.
    Raises:
        RunError: it holds a finished run, a run of another recipe, store or seed, or something else; or another process
            trains into it.
    """
    journal = Journal(out, trackers)
    with ExitStack() as stack:
        world.run_on_all_ranks(lambda: stack.enter_context(_locked(out)) if world.is_main else None)
        stack.callback(journal.close)
        checkpoint = world.broadcast_result(lambda: _begin_or_continue(journal, recipe, environment, notice))
        yield journal, Path(checkpoint) if checkpoint else None


def _begin_or_continue(
    journal: Journal, recipe: Recipe, environment: dict[str, Any], notice: Callable[[str], None]
) -> str | None:
    """Write down what the run is, or return the checkpoint to continue from."""
    out = journal.folder
    entries, text = _entries(out), recipe.to_yaml()
    # A process that was killed between its first two files has left the recipe alone; another's would be overwritten.
    if not entries or (entries == [RECIPE] and (out / RECIPE).read_bytes() == text.encode()):
        journal.begin(text, environment)
        send(out, last=MODEL, done=False)
        return None
    if not (out / RECIPE).exists() or not (out / ENVIRONMENT).exists():
        raise RunError(f"{out}: exists and is not a run folder. Choose another --out.")
    if (out / MODEL).exists():
        test = command("evaluate", out, find_store(read_environment(out), out) or "STORE")
        raise RunError(f"{out}: holds a finished run. Test it with: {test}. To train again, choose another --out.")
    refuse_other(out, recipe, environment, holds="an unfinished run")
    before = read_environment(out)
    for name, alone in (("threads", None), ("mesh", "data=1,tower=1")):
        was, now = before.get(name, alone), environment.get(name, alone)
        if was != now:
            began, goes_on = (f"{value} {name}" if name == "threads" else f"the mesh {value}" for value in (was, now))
            notice(
                f"This run began with {began} and continues with {goes_on}: results will agree, but not to the last "
                "bit."
            )
    found = find_checkpoint(out)
    if found is None:
        notice("The run that was begun here had not saved anything yet; it starts from the beginning.")
        return None
    path, problem = found
    if problem:
        notice(f"Continuing from an older checkpoint: {problem}")
    if path.name == NEXT:
        path = settle_checkpoint(out)
    progress = read_progress(path)
    notice(f"Continuing in epoch {progress.epoch + 1} after {progress.batch} batches.")
    return str(path)


def refuse_other(out: Path, recipe: Recipe, identity: dict[str, Any], *, holds: str) -> None:
    """Refuse a run folder whose run is of another recipe, store, seed, precision or start.

    Args:
        identity: See `identify`.
        holds: What the folder holds: "an unfinished run".
    Raises:
        RunError: it is of another.
    """
    before = read_environment(out)
    differences = find_differences(read_recipe(out / RECIPE).model_dump(), recipe.model_dump())
    differences += [
        f"{name} was {before.get(name)!r}, now {identity.get(name)!r}"
        for name in IDENTITY
        if before.get(name) != identity.get(name)
    ]
    if differences:
        store, start = find_store(before, out) or "STORE", find_start(before, out)
        again = train_again(before, recipe=out / RECIPE, store=store, start=start, out=out)
        raise RunError(
            f"{out}: holds {holds} that differs: {'; '.join(differences)}. To train anew, choose another --out. To "
            f"continue it: {again}"
        )


def go_on(run: Path, epochs: int, assignments: Sequence[str] = ()) -> tuple[Store, Start, Recipe]:
    """Return what a training needs that goes on from a finished run: its store, its model, and a recipe.

    The recipe is the run's, but that the rate falls along a cosine from a tenth of its first to 0. The run's last rate
    would teach little where it ended near 0, and its first would destroy what was learned.

    Args:
        assignments: Changes of the recipe, as --set takes them.
    Raises:
        ConfigError: epochs is no whole number from 1 on.
        RunError: it is no finished run, or its store is not where it was, or another.
    """
    if not (run / RECIPE).exists() or not (run / MODEL).exists():
        raise RunError(f"{run}: is no finished run, and --more-epochs goes on from one. Give the folder of a run.")
    environment = read_environment(run)
    store = find_store(environment, run)
    if store is None:
        recorded = environment.get("store_absolute", environment.get("store", "a store"))
        raise RunError(
            f"{run}: was trained on {recorded}, which is not there. Put it back, or train on another store from its "
            f"weights: {command('train', 'STORE', from_=run, out='RUN')}"
        )
    opened, start = open_store(store), read_start(run)
    if environment.get("store_fingerprint") != opened.fingerprint:
        raise RunError(
            f"{run}: was trained on other images than {store} holds: on a fold of them, or the store was prepared "
            f"anew. Train on these from its weights: {command('train', store, from_=run, out='RUN')}"
        )
    recipe = read_recipe(run / RECIPE)
    before = recipe.optimization
    optimization = before.model_copy(
        update={
            "learning_rate": before.learning_rate / 10,
            "bias_learning_rate": before.bias_learning_rate and before.bias_learning_rate / 10,
            "schedule": "cosine",
            "warmup_epochs": 0.0,
            "rate_changes": (),
            "kept_rate_factor": 1.0,
            "total_epochs": check_epochs(epochs),
        }
    )
    chosen = change_recipe(recipe.model_copy(update={"optimization": optimization}), assignments)
    return opened, start, adapt_recipe(chosen, start, opened.class_names, sixth_convolution=False)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Create the run folder if need be, and keep other processes out of it."""
    if (out.exists() and not out.is_dir()) or (out.is_dir() and not (out / RECIPE).exists() and _entries(out)):
        raise RunError(f"{out}: exists and is not a run folder. Choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    lock = lock_file(out / LOCK)
    if lock is None:
        raise RunError(f"{out}: another process is training into it. Wait until it ends, or choose another --out.")
    with lock:
        yield


def _entries(out: Path) -> list[str]:
    """Names in a folder, besides the lock and what a killed process was writing."""
    return [name for name in settled_names(out, RECIPE, ENVIRONMENT) if name != LOCK]


def find_differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Return what two documents differ in, each as "group.field was 1, now 2"."""
    result = []
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        if isinstance(new, dict) and isinstance(old, dict):
            result += find_differences(old, new, f"{prefix}{name}.")
        elif old != new:
            result.append(f"{prefix}{name} was {old!r}, now {new!r}")
    return result
