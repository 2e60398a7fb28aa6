"""What people see: progress, tables and notices. On a terminal with colour and bars, elsewhere as plain lines."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

WAITING_SHARE = 0.05
"""Share of an epoch spent waiting for images that is worth a sentence."""
UNFOLDED = 10_000
"""Width of tables that no terminal shows."""
PLAIN_EVERY_SECONDS = 10.0
"""How often progress is printed where the output is not a terminal."""


class Terminal:
    """Standard error for progress and notices; standard output for results."""

    def __init__(self) -> None:
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)
        self.output = Console(highlight=False, soft_wrap=True)
        if not self.output.is_terminal:  # a line is a fact for the program that reads it: never folded
            self.output = Console(highlight=False, soft_wrap=True, width=UNFOLDED)

    def say(self, sentence: str) -> None:
        """Print a line of information on standard error."""
        self.errors.print(sentence, markup=False)

    def show_error(self, kind: str, message: str) -> None:
        """Print an error on standard error."""
        self.errors.print(f"[bold red]{kind}:[/bold red]", end=" ")
        self.errors.print(message, markup=False)

    def print(self, text: str) -> None:
        """Print a line of results on standard output."""
        self.output.print(text, markup=False)

    def print_json(self, text: str) -> None:
        """Print JSON on standard output, as it is."""
        sys.stdout.write(text + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
        """Print a table on standard output; columns of numbers are aligned to the right."""
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for position, column in enumerate(columns):
            numbers = position > 0 and _are_numbers([row[position] for row in rows])
            table.add_column(column, justify="right" if numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(_escaped, row))
        self.output.print(table)

    @contextmanager
    def progress(self, what: str, unit: str) -> Iterator["Meter"]:
        """Show how far something is, with its rate and the time left."""
        meter = Meter(self, what, unit)
        with meter:
            yield meter


class Meter:
    """Call with (done, total) and optional words; shows a bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, terminal: Terminal, what: str, unit: str) -> None:
        self._terminal = terminal
        self._what = what
        self._unit = unit
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._start = self._printed = time.monotonic()
        self._first: int | None = None
        if terminal.errors.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[words]}"),
                TimeRemainingColumn(),
                console=terminal.errors,
                transient=True,
            )

    def __enter__(self) -> "Meter":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int, words: str = "", *, unit_scale: float = 1.0) -> None:
        """Say that `done` of `total` are done; `unit_scale` turns one of them into units for the rate."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._start = done, now
        elapsed = now - self._start
        rate = (done - self._first) * unit_scale / elapsed if elapsed > 0 else 0.0
        speed = f"{rate:,.0f} {self._unit}/s" if rate >= 10 else f"{rate:.1f} {self._unit}/s" if rate else "starting"
        if self._bar:
            if self._task is None:
                self._task = self._bar.add_task(self._what, total=total, words="")
            self._bar.update(self._task, completed=done, total=total, words=f"{speed}  {words}".rstrip())
        elif now - self._printed >= PLAIN_EVERY_SECONDS:
            self._printed = now
            left = f", {duration((total - done) * unit_scale / rate)} left" if rate else ""
            self._terminal.say(f"{self._what}: {done:,} of {total:,}, {speed}{left}{', ' + words if words else ''}")

    def print_above(self, text: str) -> None:
        """Print a line of results on standard output; on a terminal above the bar, which would be torn otherwise."""
        if self._bar and self._terminal.output.is_terminal:
            self._bar.console.print(text, markup=False)
        else:
            self._terminal.print(text)

    def restart(self, what: str) -> None:
        """Begin to count something else on the same line."""
        self._what, self._first, self._start = what, None, time.monotonic()
        if self._bar and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None


def duration(seconds: float) -> str:
    """Return a time as people say it: 42 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(rate: float | None) -> str:
    """Return a fraction as percent with two digits."""
    return "–" if rate is None else f"{100 * rate:.2f} %"


class TrainingDisplay:
    """Shows a training run: a line per epoch, and a meter between them. A listener of `training.loop`."""

    def __init__(self, terminal: Terminal, meter: Meter, *, num_classes: int, total_epochs: int, at_most: bool) -> None:
        self._terminal = terminal
        self._meter = meter
        self._num_classes = num_classes
        self._total_epochs = total_epochs
        self._at_most = at_most
        self._printed_header = False
        self._epoch: int | None = None
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
                chance = f"ln {self._num_classes} = {math.log(self._num_classes):.3f}"
                self._terminal.say(f"A loss near {chance} is chance; that is normal in the first epoch or so.")
        per_batch = progress.images / progress.batch
        self._meter(progress.batch, num_batches, f"loss {loss:.3f}", unit_scale=per_batch)

    def validated(self, done: int, total: int) -> None:
        """Move the meter during validation."""
        if done <= 128:
            self._meter.restart("validating")
        self._meter(done, total)
        if done == total:
            self._epoch = None

    def epoch_done(self, row: dict[str, Any]) -> None:
        """Print the line of an epoch."""
        self._epoch = None
        topk = next((name for name in row if name.startswith("val_top") and name != "val_top1_error"), None)
        if not self._printed_header:
            self._printed_header = True
            label = topk.removeprefix("val_").removesuffix("_error").replace("top", "top-") if topk else ""
            self._terminal.say("loss, error: of training images as they were seen, cropped and with dropout.")
            self._meter.print_above(
                f"{'epoch':>5} {'loss':>7} {'error':>8} {'val loss':>8} {'val top-1':>9} {label:>8} {'rate':>8} "
                f"{'images/s':>8}  left"
            )
        left = (self._total_epochs - row["epoch"]) * row["seconds_with_validation"]
        bound = "≤ " if self._at_most and left else ""
        validation = (
            f"{row['val_loss']:8.4f} {percent(row['val_top1_error']):>9} {percent(row[topk]) if topk else '':>8}"
            if "val_loss" in row
            else f"{'–':>8} {'–':>9} {'':>8}"
        )
        self._meter.print_above(
            f"{row['epoch']:>5} {row['train_loss']:7.4f} {percent(row['train_top1_error']):>8} {validation} "
            f"{row['learning_rate']:8.2g} {row['images_per_second']:8.1f}  {bound}{duration(left)}"
        )
        if row["waiting_share"] > WAITING_SHARE:
            self._terminal.say(
                f"{percent(row['waiting_share'])} of this epoch was spent waiting for images: the disk is slow, or "
                "other programs take the processor."
            )


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether most cells of a column begin like a number, or are dashes."""
    return sum(cell[:1].isdigit() or cell[:1] in ("-", "+", "–", "") for cell in cells) * 2 > len(cells)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
