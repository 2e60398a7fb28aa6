"""What people see of a training: a line per epoch, and a meter between them."""

import math
from dataclasses import dataclass
from typing import Any

from alexnet.console.cores import CoreWatch
from alexnet.console.pace import Pace
from alexnet.console.terminal import Meter, Terminal, duration, percent
from alexnet.evaluation.calibrating import Confidence
from alexnet.evaluation.metrics import TEMPERATURES
from alexnet.text.wording import counted

WAITING_SHARE = 0.05
"""Share of an epoch spent waiting for images that is worth a sentence."""

WAITING_SECONDS = 20.0
"""Length of an epoch from which WAITING_SHARE counts: a shorter one waits mostly for its first images."""


FORESEEN_AFTER_SECONDS = 2.0
"""Training is watched this long before its whole time is told, or for the first epoch if that is shorter."""

FORWARD_SHARE = 1 / 3
"""Time to test a view, as a share of that to train on an image: one of three products of each layer."""

DRAWING_SECONDS = 12.0
"""Time for the figures of a report."""


_AT_END = 0.01
"""How near to an end of its range, in natural logarithms, a temperature is said to be at it."""


def describe_calibration(found: Confidence, views: int) -> str:
    """Return what the temperature of so many views does to the calibration error, in words."""
    raw, scaled = found.errors[views]
    words = f"calibration error {percent(scaled)}" + (
        f" in place of {percent(raw)}" if scaled < raw else f", no better than the {percent(raw)} without it"
    )
    if min(abs(math.log(found.temperatures[views] / end)) for end in TEMPERATURES) < _AT_END:
        words += ", the temperature at the end of its range: too few images are wrong to tell"
    return words


@dataclass(frozen=True, slots=True)
class Afterwards:
    """What follows a training."""

    num_views: int
    """Views of images that it computes."""
    what: str
    """To complete "then 20 s for ..."."""


class TrainingDisplay:
    """Shows a training run. A listener of `training.loop`."""

    def __init__(
        self,
        terminal: Terminal,
        meter: Meter,
        *,
        num_classes: int,
        total_epochs: int,
        at_most: bool,
        num_validated: int = 0,
        validate_every: int = 1,
        afterwards: Afterwards | None = None,
        has_sets: bool = False,
        chance: str | None = None,
        threads: int = 1,
    ) -> None:
        """Show what is told.

        Args:
            at_most: Whether training may end before `total_epochs`.
            has_sets: Whether images have any number of labels, so that mean average precision takes the place of top-1.
            chance: The loss of chance in words; ln K where it is None.
            num_validated: Images of each validation, of which there is one every `validate_every` epochs.
            afterwards: What follows, if anything does.
            threads: Threads of the processor that compute; with several, it is told where others take the cores.
        """
        self._threads = threads
        self._num_validated, self._validate_every = num_validated, validate_every
        self._afterwards = afterwards
        self._training, self._validating = Pace(), Pace()
        """How fast epochs are trained, and how fast validations are done."""
        self._validating.observe(0.0, 0)
        self._seconds_trained = self._seconds_validated = 0.0
        self._images_per_epoch = 0.0
        self._validations = 0
        self._watched_from: float | None = None
        self._cores: CoreWatch | None = None
        """Since the first batch, as `_watched_from`."""
        self._foreseen = False
        self._terminal = terminal
        self._meter = meter
        self._num_classes = num_classes
        self._has_sets = has_sets
        self._chance = chance or f"ln {num_classes} = {math.log(num_classes):.3f}"
        self._total_epochs = total_epochs
        self._at_most = at_most
        self._printed_header = False
        self._epoch: int | None = None
        self._is_validating = False
        self._said_chance = False

    def notice(self, sentence: str) -> None:
        """Print a sentence."""
        self._terminal.say(sentence)

    def batch_done(self, progress: Any, num_batches: int, loss: float) -> None:
        """Move the meter."""
        if self._epoch != progress.epoch:
            self._epoch = progress.epoch
            self._meter.restart(f"epoch {progress.epoch + 1}/{self._total_epochs}")
            if not self._said_chance and progress.epoch == 0:
                self._said_chance = True
                self._terminal.say(f"A loss near {self._chance} is chance; that is normal in the first epoch or so.")
        per_batch = progress.images / progress.batch
        self._images_per_epoch = per_batch * num_batches
        if not self._foreseen:
            self._foresee(progress, num_batches)
        self._meter(progress.batch, num_batches, f"loss {loss:.3f}", unit_scale=per_batch)

    def _foresee(self, progress: Any, num_batches: int) -> None:
        """Tell the whole time once enough batches were watched; the first, a slow one, counts only where it must."""
        done = progress.epoch + progress.batch / num_batches
        self._training.observe(self._seconds_trained + progress.seconds, done)
        if self._watched_from is None:
            self._watched_from, self._cores = progress.seconds, CoreWatch()
        is_last = progress.batch == num_batches
        if progress.seconds - self._watched_from < FORESEEN_AFTER_SECONDS and not is_last:
            return
        self._foreseen = True
        training, after = self._seconds_left(done, progress.seconds)
        told = f"{duration(training)} for {self._say_epochs(progress.epoch)}"
        if self._afterwards is not None:
            told = f"{told}, then {duration(after)} for {self._afterwards.what}"
        self._terminal.say(f"{'At most' if self._at_most else 'About'} {duration(training + after)} to go: {told}.")
        if self._cores and (advice := self._cores.advise(self._threads)):
            self._terminal.say(advice)

    def _observe(self, row: dict[str, Any]) -> None:
        """Take what an epoch took."""
        self._images_per_epoch = row["images_per_second"] * row["seconds"]
        self._seconds_trained += row["seconds"]
        self._training.observe(self._seconds_trained, row["epoch"])
        if "val_loss" in row:
            self._seconds_validated += row["seconds_with_validation"] - row["seconds"]
            self._validations += 1
            self._validating.observe(self._seconds_validated, self._validations)

    def _say_epochs(self, done: int) -> str:
        return counted(self._total_epochs - done, "epoch") if not done else f"epochs {done + 1} to {self._total_epochs}"

    def _seconds_left(self, done: float, newest: float) -> tuple[float, float]:
        """What training with its validations still takes, and what follows it.

        Args:
            done: Epochs, of which the last may be half done.
            newest: Seconds of the last of them, so far; they tell as long as less than a second was watched.
        """
        per_epoch = newest / (done % 1 or 1.0)
        if self._training.rate:
            per_epoch = 1 / self._training.rate
        per_view = FORWARD_SHARE * per_epoch / self._images_per_epoch
        if self._validating.rate and self._num_validated:
            per_view = 1 / self._validating.rate / self._num_validated
        validations = -(-self._total_epochs // self._validate_every) - int(done) // self._validate_every
        training = (self._total_epochs - done) * per_epoch + validations * self._num_validated * per_view
        after = self._afterwards.num_views * per_view + DRAWING_SECONDS if self._afterwards else 0.0
        return training, after

    def validated(self, done: int, total: int) -> None:
        """Move the meter during validation."""
        if not self._is_validating:
            self._meter.restart("validating")
        self._meter(done, total)
        self._is_validating = done < total
        self._epoch = None

    def epoch_done(self, row: dict[str, Any]) -> None:
        """Print the line of an epoch; before the first one, what its columns are."""
        self._epoch = None
        if not self._printed_header:
            self._printed_header = True
            self._terminal.say(
                "Training errors are those of the crops as they were seen, with dropout, while it learned."
            )
            if self._has_sets:
                self._terminal.say(
                    "Set: images whose classes, those above one half, are not told exactly. mAP: mean average "
                    "precision over the classes; higher is better."
                )
            for line in self._head():
                self._terminal.print(line)
        rate = row["images_per_second"]
        self._observe(row)
        training, after = self._seconds_left(row["epoch"], row["seconds"])
        left = after if "ended" in row else training + after
        k = self._k()
        train, first, second = (
            ("train_set_error", "val_mean_average_precision", "val_set_error")
            if self._has_sets
            else ("train_top1_error", "val_top1_error", f"val_top{k}_error")
        )
        cells = [
            f"{row['epoch']}/{self._total_epochs}",
            _loss(row["train_loss"]),
            _short_percent(row[train]),
            _loss(row.get("val_loss")),
            _short_percent(row.get(first)),
            _short_percent(row.get(second)) if k > 1 or self._has_sets else "",
            f"{row['learning_rate']:.2g}",
            f"{rate:,.0f}" if rate >= 1000 else f"{rate:.1f}",
            duration(left),
        ]
        widths = [width for _, columns in _COLUMNS for _, width in columns]
        self._terminal.print("".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
        if row["waiting_share"] > WAITING_SHARE and row["seconds_with_validation"] > WAITING_SECONDS:
            self._terminal.say(
                f"{percent(row['waiting_share'])} of epoch {row['epoch']} was spent waiting for images: the disk is "
                "slow, or other programs take the processor."
            )

    def _head(self) -> tuple[str, str]:
        """Return the two lines above the columns."""
        groups = [group.center(sum(width for _, width in columns)) for group, columns in _COLUMNS]
        names = {"K": f"top-{self._k()}" if self._k() > 1 else "", "LEFT": "at most" if self._at_most else "about"}
        names |= {"TRAIN": "top-1", "VAL": "top-1"}
        names |= {"TRAIN": "set", "VAL": "mAP", "K": "set"} if self._has_sets else {}
        heads = [f"{names.get(name, name):>{width}}" for _, columns in _COLUMNS for name, width in columns]
        return "".join(groups).rstrip(), "".join(heads)

    def _k(self) -> int:
        """The k of the top-k error that is measured beside top-1; 1 where there is none."""
        return min(5, self._num_classes - 1)


_COLUMNS: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = (
    ("", (("epoch", 7),)),
    ("training", (("loss", 8), ("TRAIN", 8))),
    ("validation", (("loss", 9), ("VAL", 8), ("K", 8))),
    ("learning", (("rate", 9),)),
    ("", (("images/s", 10),)),
    ("   time left", (("LEFT", 12),)),
)
"""Groups of columns of the line per epoch, each with its name and width: 79 characters together."""


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}" if value < 10 else f"{value:.3g}"


def _short_percent(rate: float | None) -> str:
    """Percent with one digit, as the paper prints errors."""
    return "–" if rate is None else f"{100 * rate:.1f} %"
