"""Training: readable from top to bottom (paper, section 5).

The loop knows batches, the network and the update rule. It is handed its validation, and reports through a listener, so
it neither tests nor prints.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

from torch import Tensor

from alexnet.batches.loader import TrainingBatches
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import AddressError, DivergedError, Interrupted
from alexnet.files.addresses import send
from alexnet.files.tensors import is_finite
from alexnet.network.alexnet import AlexNet
from alexnet.network.model_file import Model
from alexnet.recipes.named import Recipe
from alexnet.runs.folder import MODEL
from alexnet.text.wording import counted
from alexnet.training.batch_loss import UnreadLosses
from alexnet.training.checkpoint import save_best, save_checkpoint
from alexnet.training.objective import Objective, one_of_all
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.progress import Progress
from alexnet.training.schedule import Schedule
from alexnet.training.update import Update


class Listener(Protocol):
    """What the loop tells while it runs."""

    def batch_done(self, progress: Progress, num_batches: int, loss: float) -> None:
        """An update was made; `loss` is the mean over its batch."""

    def epoch_done(self, row: dict[str, Any]) -> None:
        """An epoch and its validation are over; `row` is its line of metrics.jsonl."""

    def notice(self, sentence: str) -> None:
        """Something that the user should read."""


class Silent:
    """A listener of processes that do not speak to the user."""

    def batch_done(self, progress: Progress, num_batches: int, loss: float) -> None:
        """Say nothing."""

    def epoch_done(self, row: dict[str, Any]) -> None:
        """Say nothing."""

    def notice(self, sentence: str) -> None:
        """Say nothing."""


Validate = Callable[[AlexNet, Callable[[], None]], dict[str, float]]
"""From a network in evaluation mode to what is recorded about it, which the objective compares. The second argument is
called between batches, and raises where the user asks to stop."""

AT_CHANCE_UPDATES = 100
"""Updates before which a network is not expected to have left chance."""

AT_CHANCE_MARGIN = 0.02
"""A mean loss closer than this share to that of chance, ln K, counts as chance."""
STOPPING = "Stopping after this batch, and saving. Ctrl-C again stops at once and loses what came after the last save."
_LOWER_RATE = "Train again with another --out and a lower rate, for example a third: --set optimization.learning_rate=…"


def train_model(
    model: Model,
    optimizer: MomentumDescent,
    batches: TrainingBatches,
    recipe: Recipe,
    progress: Progress,
    *,
    folder: Path,
    validate: Validate | None,
    listener: Listener,
    objective: Objective | None = None,
    class_weights: Tensor | None = None,
    checkpoint_minutes: float = 5.0,
    world: World = SINGLE_PROCESS,
) -> Progress:
    """Train from `progress` to the end of the schedule, and return where it ended.

    Saves a checkpoint every `checkpoint_minutes`, at the end, and when interrupted. Continuing from any of them gives
    the weights of an uninterrupted run, bit for bit on the same machine and number of threads.

    Args:
        objective: What the labels of the batches ask for; `one_of_all` where it is None.
        class_weights: See `training.class_weights.weigh_classes`.
        world: The processes that train together.
    Raises:
        DivergedError: the loss is not finite; the last checkpoint is kept as it was.
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was saved, or with a second SIGINT the last one kept.
    """
    objective = objective or one_of_all(model.network.spec.num_classes)
    schedule = Schedule(
        recipe.optimization,
        stop=recipe.stop,
        num_batches=len(batches),
        scale=recipe.rate_scale,
        train_error_called=objective.called,
        error_called=objective.compared,
        metric_called=objective.name_metric(recipe.stop.metric),
    )
    if progress.schedule:
        schedule.restore(progress.schedule)
    network = optimizer.working
    smoothing = recipe.optimization.label_smoothing
    update = Update(
        optimizer, label_smoothing=smoothing, class_weights=class_weights, world=world, in_parts=batches.in_parts
    )
    num_batches = len(batches)
    names = [name for name, _ in network.named_parameters()]
    saved_at = clock = time.perf_counter()
    saved = _say_place(progress, num_batches) if progress.schedule else None

    def save() -> None:
        nonlocal saved, saved_at
        world.run_on_all_ranks(lambda: _refuse_broken_weights(optimizer, progress))
        progress.schedule = schedule.state()
        save_checkpoint(folder, model, optimizer, progress, world)
        if world.is_main:
            _send(folder, listener)
        saved, saved_at = _say_place(progress, num_batches), time.perf_counter()

    def stop() -> NoReturn:
        save()
        raise Interrupted(f"Stopped in {saved}; saved. The same command continues from here.")

    def check_stop() -> None:
        # Several processes share a validation: they end it together, and stop after it.
        if world.world_size == 1 and stop_requested.is_set():
            raise _StopValidating

    def explain_loss() -> str:
        lost = f"Stopped at once, in {_say_place(progress, num_batches)}."
        if saved is None:
            return f"{lost} Nothing had been saved; the same command starts from the beginning."
        return f"{lost} What came after the last save is lost; the same command continues in {saved}."

    def count_batch(images: int, loss: float, errors: int, rates: dict[str, float]) -> None:
        nonlocal clock
        _refuse_diverged(loss, rates, progress)
        progress.batch += 1
        progress.images += images
        progress.loss_sum += loss * images
        progress.errors += errors
        progress.seconds += time.perf_counter() - clock
        progress.waited_seconds += batches.waited_seconds
        batches.waited_seconds = 0.0
        listener.batch_done(progress, num_batches, loss)
        clock = time.perf_counter()

    with _stop_requests(listener, explain_loss) as stop_requested:
        while not schedule.ended(progress.epoch):
            network.train(
                progress.epoch >= recipe.optimization.dropout_from_epoch
            )  # the mode decides about dropout alone
            batches.waited_seconds = 0.0
            clock = time.perf_counter()
            unread = UnreadLosses(count_batch)
            for batch in batches.epoch(progress.epoch, first=progress.batch):
                place = progress.epoch + (progress.batch + len(unread)) / num_batches
                rates = schedule.rates(place, names)
                optimizer.freeze(rates)
                launched = update(batch, rates, schedule.average_share(place))
                if launched is None:
                    continue
                unread.add(launched, rates)
                is_due = time.perf_counter() - saved_at > 60 * checkpoint_minutes
                stopping, due = world.all_reduce_any(stop_requested.is_set(), is_due)
                if stopping or due:
                    unread.read_all()  # only counted and finite updates are saved
                    stop() if stopping else save()
                    clock = time.perf_counter()
            unread.read_all()

            start = time.perf_counter()
            row = _summarize(progress, schedule, num_batches, objective)
            before = schedule.state()
            schedule.observe_training(row[objective.train_error])
            if validate and (
                schedule.ended(progress.epoch + 1) or (progress.epoch + 1) % recipe.evaluation.every_epochs == 0
            ):
                network.eval()
                try:
                    with optimizer.averaged():
                        row |= validate(network, check_stop)
                except _StopValidating:  # saved as if it had not begun: every batch is done
                    schedule.restore(before)
                    stop()
                if recipe.stop.looks_for_best:
                    row["is_best"] = schedule.observe_best(
                        progress.epoch, objective.read_metric(row, recipe.stop.metric)
                    )
                    if row["is_best"] and recipe.stop.keep != "last":
                        save_best(folder, model, optimizer, progress.epoch, world)
                sentence = schedule.observe(progress.epoch, objective.read_error(row))
                if sentence:
                    row["schedule"] = sentence
                    listener.notice(f"Epoch {progress.epoch + 1}: {sentence}.")
            ending = schedule.ended(progress.epoch + 1)
            if ending:
                row["ended"] = ending
            row["seconds_with_validation"] = row["seconds"] + time.perf_counter() - start
            progress.history.append(row)
            progress.total_seconds += row["seconds_with_validation"]
            _warn_at_chance(progress, num_batches, objective, recipe, listener)
            progress.epoch += 1
            progress.batch = progress.images = progress.errors = 0
            progress.loss_sum = progress.seconds = progress.waited_seconds = 0.0
            progress.finished = bool(ending)
            listener.epoch_done(row)
            if ending:
                listener.notice(f"Training ended after epoch {row['epoch']}: {ending}.")
                save()
                if any(world.all_reduce_any(stop_requested.is_set())):
                    raise Interrupted("Stopped after the last epoch; saved. The same command continues from here.")
    return progress


def _send(folder: Path, listener: Listener) -> None:
    """Send a run at an address there; a training of days does not end because a storage is away for an hour."""
    try:
        send(folder, last=MODEL, done=False)
    except AddressError as problem:
        listener.notice(f"{problem} The checkpoint is saved on this machine, and sent with the next.")


def _refuse_broken_weights(optimizer: MomentumDescent, progress: Progress) -> None:
    """Keep weights that an update has just broken, before any loss could show it, out of the checkpoints."""
    for name, weight in optimizer.master.named_parameters():
        if not is_finite(weight):
            raise DivergedError(
                f"Values of {name} are not finite in epoch {progress.epoch + 1} after batch {progress.batch}. The last "
                f"checkpoint is kept. {_LOWER_RATE}"
            )


def _refuse_diverged(loss: float, rates: dict[str, float], progress: Progress) -> None:
    """Raise DivergedError where a loss is not finite."""
    if not math.isfinite(loss):
        raise DivergedError(
            f"The loss is {loss} in epoch {progress.epoch + 1}, batch {progress.batch + 1}, at learning rate "
            f"{max(rates.values()):g}. The last checkpoint is kept. {_LOWER_RATE}"
        )


def _summarize(progress: Progress, schedule: Schedule, num_batches: int, objective: Objective) -> dict[str, Any]:
    """Return the training half of an epoch's line."""
    return {
        "epoch": progress.epoch + 1,
        "learning_rate": schedule.rate(progress.epoch + (num_batches - 1) / num_batches),
        "train_loss": progress.loss_sum / progress.images,
        objective.train_error: progress.errors / progress.images,
        "images_per_second": progress.images / progress.seconds,
        "waiting_share": progress.waited_seconds / progress.seconds,
        "seconds": progress.seconds,
    }


def _warn_at_chance(
    progress: Progress, num_batches: int, objective: Objective, recipe: Recipe, listener: Listener
) -> None:
    """Say so after every third epoch in a row whose training loss stayed at chance, once there were enough updates."""
    if (progress.epoch + 1) * num_batches < AT_CHANCE_UPDATES:
        return
    losses = [row["train_loss"] for row in progress.history]
    stuck = 0
    while stuck < len(losses) and losses[-1 - stuck] > objective.chance * (1 - AT_CHANCE_MARGIN):
        stuck += 1
    if stuck and stuck % 3 == 0:
        weights = (
            "too few images for the paper's initial weights (use --recipe modern), "
            if recipe.network.initialization == "dialect"
            else ""
        )
        listener.notice(
            f"The training loss has been at chance ({objective.chance_called.rstrip(',')}) for {stuck} epochs. Usual "
            f"causes: {weights}a learning rate too high or too low for the batch size, or labels that do not belong to "
            "the images."
        )


class _StopValidating(Exception):  # noqa: N818 - caught where it is raised, never an error
    """The user asked to stop between two batches of a validation."""


def _say_place(progress: Progress, num_batches: int) -> str:
    """Return how far a run has come, as "epoch 2 after 3 of 8 batches"."""
    return f"epoch {progress.epoch + 1} after {progress.batch} of {counted(num_batches, 'batch', 'batches')}"


@contextmanager
def _stop_requests(listener: Listener, explain_loss: Callable[[], str]) -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into an event, and say so at once; a second SIGINT interrupts.

    Args:
        explain_loss: Returns what a second SIGINT loses, and the next step.
    Raises:
        Interrupted: there was a second SIGINT.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return
    told: list[threading.Thread] = []

    def request(number: int, frame: object) -> None:
        if requested.is_set():
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        requested.set()
        # Not from here: what the signal interrupted may be writing to the same stream.
        told.append(threading.Thread(target=listener.notice, args=(STOPPING,)))
        told[0].start()

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested
    except KeyboardInterrupt:
        raise Interrupted(explain_loss()) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for thread in told:
            thread.join()
