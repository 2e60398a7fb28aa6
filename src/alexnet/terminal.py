"""What people see: progress, tables and notices. On a terminal with colour and bars, elsewhere as plain lines."""

import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid
from rich.text import Text

PLAIN_EVERY_SECONDS = 10.0
"""How often progress is printed where the output is not a terminal."""
WAITING_SHARE = 0.05
"""Share of an epoch spent waiting for images that is worth a sentence."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names, and what is to say of each; an empty name goes on with the one before."""

    rows: Sequence[tuple[str, str]]
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under headings."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph."""

    text: str


class Terminal:
    """Standard error for progress and notices; standard output for results.

    On a terminal results are folded to its width. Elsewhere they are plain: one fact or row a line, however long.
    """

    def __init__(self) -> None:
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)
        self.output = Console(highlight=False, soft_wrap=True)
        self._bars = 0

    def say(self, sentence: str) -> None:
        """Print a line of information on standard error."""
        _print_sentences(self.errors, _visible(sentence))

    def show_error(self, kind: str, message: str) -> None:
        """Print an error on standard error."""
        _print_sentences(self.errors, Text.assemble((f"{kind}:", "bold red"), " ", _visible(message)))

    def print(self, text: str) -> None:
        """Print a line of results on standard output; where that is no terminal, exactly as it is."""
        if self.output.is_terminal:
            self._results.print(_visible(text))
        else:
            self.output.file.write(f"{_encodable(text)}\n")

    def print_json(self, text: str) -> None:
        """Print JSON on standard output, as it is."""
        sys.stdout.write(text + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
        """Print a table on standard output; columns of numbers are aligned to the right."""
        numbers = [i > 0 and _are_numbers([row[i] for row in rows]) for i in range(len(columns))]
        if not self.output.is_terminal:
            for line in ([title] if title else []) + _align([columns, *rows], numbers):
                self.print(line)
            return
        table = Grid(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for column, is_number in zip(columns, numbers, strict=True):
            table.add_column(column, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(_visible, row))
        self._results.print(table)

    def facts(self, facts: Sequence[tuple[str, str]], *, title: str | None = None) -> None:
        """Print names with what is to say of each, on standard output; a name may be empty, to go on with the last."""
        if not self.output.is_terminal:
            names: list[str] = []
            for name, _ in facts:
                names.append(name or (names[-1] if names else ""))
            for line in ([title] if title else []) + _align([*zip(names, (what for _, what in facts), strict=True)]):
                self.print(line)
            return
        console = self._results
        if title:
            console.print(Text(title, "bold"))
        indent = max(cell_len(name) for name, _ in facts) + 2
        for name, what in facts:
            head = Text(name + " " * (indent - cell_len(name)), "bold")
            if _COMMAND_LINE.match(what):  # left to the terminal to fold, so that it can be copied
                console.print(head + _visible(what))
                continue
            for folded in _visible(what).wrap(console, max(20, console.width - indent)) or [Text()]:
                console.print(head + folded)
                head = Text(" " * indent)

    def prose(self, text: str) -> None:
        """Print a paragraph on standard output."""
        _print_sentences(self._results, _visible(text))

    def show(self, part: Facts | Table | Prose) -> None:
        """Print a part of a page."""
        match part:
            case Facts(rows, title):
                self.facts(rows, title=title)
            case Table(columns, rows, title):
                self.table(columns, rows, title=title)
            case Prose(text):
                self.prose(text)

    @contextmanager
    def progress(self, what: str, unit: str, *, times: bool = True) -> Iterator["Meter"]:
        """Show how far something is, with its rate and the time left. Results printed meanwhile stand above.

        Args:
            times: Whether rate and time left follow from what was done so far; else the caller's words tell.
        """
        meter = Meter(self, what, unit, times=times)
        self._bars += 1
        try:
            with meter:
                yield meter
        finally:
            self._bars -= 1

    @property
    def _results(self) -> Console:
        """Where results go: while a bar is drawn on the same screen through its console, which keeps them apart."""
        return self.errors if self._bars and self.errors.is_terminal and self.output.is_terminal else self.output


class Meter:
    """Call with (done, total) and optional words; shows a bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, terminal: Terminal, what: str, unit: str, *, times: bool = True) -> None:
        self._terminal = terminal
        self._times = times
        self._what = what
        self._unit = unit
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._start = self._printed = time.monotonic()
        self._first: int | None = None
        if terminal.errors.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[words]}"),
                *([TimeRemainingColumn(compact=True)] if times else []),
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
        if not self._times:
            rate = 0.0
        speed = f"{rate:,.0f} {self._unit}/s" if rate >= 10 else f"{rate:.1f} {self._unit}/s" if rate >= 0.1 else ""
        said = [part for part in (speed, words) if part]
        if self._bar:
            if self._task is None:
                self._task = self._bar.add_task(self._what, total=total, words="")
            self._bar.update(self._task, completed=done, total=total, words="  ".join(said))
        elif now - self._printed >= PLAIN_EVERY_SECONDS:
            self._printed = now
            left = [f"{duration((total - done) * unit_scale / rate)} left"] if rate and done < total else []
            what = f"{self._what}: {done:,} of {total:,}{'' if self._times else f' {self._unit}'}"
            self._terminal.say(", ".join([what, *said[:1], *left, *said[1:]]))

    def restart(self, what: str) -> None:
        """Begin to count something else on the same line."""
        self._what, self._first, self._start = what, None, time.monotonic()
        if self._bar and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None


def duration(seconds: float) -> str:
    """Return a time as people say it: 42 s, 3 min 20 s, 2 h 05 min, 140 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 360_000:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{round(whole / 3600):,} h"


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
                chance = f"ln {self._num_classes} = {math.log(self._num_classes):.3f}"
                self._terminal.say(f"A loss near {chance} is chance; that is normal in the first epoch or so.")
        per_batch = progress.images / progress.batch
        self._meter(progress.batch, num_batches, f"loss {loss:.3f}", unit_scale=per_batch)

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
            for line in self._head():
                self._terminal.print(line)
        left = (self._total_epochs - row["epoch"]) * row["seconds_with_validation"]
        rate = row["images_per_second"]
        k = self._k()
        cells = [
            f"{row['epoch']}/{self._total_epochs}",
            _loss(row["train_loss"]),
            _short_percent(row["train_top1_error"]),
            _loss(row.get("val_loss")),
            _short_percent(row.get("val_top1_error")),
            _short_percent(row.get(f"val_top{k}_error")) if k > 1 else "",
            f"{row['learning_rate']:.2g}",
            f"{rate:,.0f}" if rate >= 1000 else f"{rate:.1f}",
            duration(left),
        ]
        widths = [width for _, columns in _COLUMNS for _, width in columns]
        self._terminal.print("".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
        if row["waiting_share"] > WAITING_SHARE:
            self._terminal.say(
                f"{percent(row['waiting_share'])} of epoch {row['epoch']} was spent waiting for images: the disk is "
                "slow, or other programs take the processor."
            )

    def _head(self) -> tuple[str, str]:
        """Return the two lines above the columns."""
        groups = [group.center(sum(width for _, width in columns)) for group, columns in _COLUMNS]
        names = {"K": f"top-{self._k()}" if self._k() > 1 else "", "LEFT": "at most" if self._at_most else "about"}
        heads = [f"{names.get(name, name):>{width}}" for _, columns in _COLUMNS for name, width in columns]
        return "".join(groups).rstrip(), "".join(heads)

    def _k(self) -> int:
        """The k of the top-k error that is measured beside top-1; 1 where there is none."""
        return min(5, self._num_classes - 1)


_COLUMNS: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = (
    ("", (("epoch", 7),)),
    ("training", (("loss", 8), ("top-1", 8))),
    ("validation", (("loss", 9), ("top-1", 8), ("K", 8))),
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


_COMMAND = re.compile(r"(?<=: )(alexnet [a-z]+ .+?)(?=\. [A-Z]|\.$|; |$)", re.MULTILINE)
"""A command inside a sentence."""


_COMMAND_LINE = re.compile(r"alexnet [a-z]+ ")
"""How what is a command and nothing else begins."""


def _print_sentences(console: Console, text: Text) -> None:
    """Print sentences: as they are where it is not a terminal, or where they fit; else folded between words.

    Commands then have lines of their own, which only the terminal itself folds: copied, they are still one line.
    """
    if not console.is_terminal or max(map(cell_len, text.plain.splitlines()), default=0) <= console.width:
        console.print(text)
        return
    place = 0
    for found in _COMMAND.finditer(text.plain):
        console.print(text[place : found.start() - 1], soft_wrap=False)
        console.print(Text("  ") + text[found.start() : found.end()], soft_wrap=True)
        place = found.end() + len(re.match(r"[.;]? ?", text.plain[found.end() :])[0])  # type: ignore[index]
    if place < len(text):
        console.print(text[place:], soft_wrap=False)


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether most cells of a column begin like a number, or are dashes."""
    return sum(cell[:1].isdigit() or cell[:1] in ("-", "+", "–", "") for cell in cells) * 2 > len(cells)


def _encodable(text: str) -> str:
    """Return a text that can be written: names of files may hold bytes that are no UTF-8, which become "?"."""
    return text.encode(errors="replace").decode()


def _visible(text: str) -> Text:
    """Return a text for the screen; characters that would steer it, as names of files may hold, are marked."""
    return Text("".join("\ufffd" if ord(each) < 32 and each not in "\n\t" else each for each in _encodable(text)))


def _align(rows: Sequence[Sequence[str]], numbers: Sequence[bool] = ()) -> list[str]:
    """Return rows as lines with aligned columns, two spaces apart, as wide as they are."""
    cells = [[cell.replace("\n", " ") for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    right = [*numbers, *[False] * (len(widths) - len(numbers))]
    return [
        "  ".join(
            " " * (width - cell_len(cell)) + cell if is_number else cell + " " * (width - cell_len(cell))
            for cell, width, is_number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
