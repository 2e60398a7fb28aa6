"""What people see: progress, tables and notices. On a terminal with colour and bars, elsewhere as plain lines."""

import io
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table as Grid
from rich.text import Text

from alexnet import startup
from alexnet.console.pace import Pace
from alexnet.text.names import escape_controls
from alexnet.text.places import shown

PLAIN_EVERY_SECONDS = 10.0
"""How often progress is printed where the output is not a terminal."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with a text each; an empty name goes on with the one before."""

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


class _Nowhere(io.StringIO):
    """Takes text and keeps none of it."""

    def write(self, text: str, /) -> int:
        return len(text)


class Terminal:
    """Standard error for progress and notices; standard output for results.

    On a terminal results are folded to its width. Elsewhere they are plain: one fact or row a line, however long.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        """Speak to whoever runs the program; `quiet` says nothing, for a program that calls this one."""
        nowhere = _Nowhere() if quiet else None
        aside = False if quiet else None  # in a notebook rich would show what a file was to take
        self.errors = Console(file=nowhere, force_jupyter=aside, stderr=True, highlight=False, soft_wrap=True)
        self.output = Console(file=nowhere, force_jupyter=aside, highlight=False, soft_wrap=True)
        self._bars = 0
        startup.tell_of_compiling = self._say_compiling if self.errors.is_terminal and not quiet else None

    def _say_compiling(self) -> None:
        self.say("Compiling for this processor, which takes some ten seconds.")

    def say(self, sentence: str) -> None:
        """Print a line of information on standard error."""
        _print_sentences(self.errors, _visible(sentence))

    def show_error(self, kind: str, message: str) -> None:
        """Print an error on standard error."""
        _print_sentences(self.errors, Text.assemble((f"{kind}:", "bold red"), " ", _visible(message)))

    def print(self, text: str) -> None:
        """Print a line of results on standard output; where that is no terminal, neither folded nor styled."""
        if self.output.is_terminal:
            self._results.print(_visible(text))
        else:
            self.output.file.write(f"{escape_controls(shown(text))}\n")

    def print_json(self, value: object) -> None:
        """Print a value as a line of JSON on standard output; paths and the like by their text."""
        sys.stdout.write(shown(json.dumps(value, default=str)) + "\n")

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
            table.add_row(*(_visible(_on_one_line(cell)) for cell in row))
        self._results.print(table)

    def facts(self, facts: Sequence[tuple[str, str]], *, title: str | None = None) -> None:
        """Print names with a text each on standard output; an empty name goes on with the last."""
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
            times: Whether to tell rate and time left; else the caller's words do.
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
        """The console of results: while a bar is drawn on the same screen, the bar's own, which keeps them apart."""
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
        self._printed = time.monotonic()
        self._pace = Pace()
        if terminal.errors.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[words]}"),
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

    def __call__(
        self,
        done: int,
        total: int,
        words: str = "",
        *,
        unit_scale: float = 1.0,
        work: tuple[float, float] | None = None,
    ) -> None:
        """Say that `done` of `total` are done.

        Args:
            unit_scale: Turns one of them into units for the rate.
            work: Work done, and in all, if the pieces that are counted take unequal times.
        """
        now = time.monotonic()
        done_work, all_work = work or (done, total)
        self._pace.observe(now, done_work)
        rate = (self._pace.rate or 0.0) * unit_scale if self._times and work is None else 0.0
        speed = f"{rate:,.0f} {self._unit}/s" if rate >= 10 else f"{rate:.1f} {self._unit}/s" if rate >= 0.1 else ""
        seconds = self._pace.seconds_left(now, all_work) if self._times and done < total else None
        left = "" if seconds is None else f"{duration(seconds)} left"
        if self._bar:
            if self._task is None:
                self._task = self._bar.add_task(self._what, total=total, words="")
            self._bar.update(
                self._task, completed=done, total=total, words="  ".join(filter(None, [speed, words, left]))
            )
        elif now - self._printed >= PLAIN_EVERY_SECONDS:
            self._printed = now
            what = f"{self._what}: {done:,} of {total:,}{'' if self._times else f' {self._unit}'}"
            self._terminal.say(", ".join(filter(None, [what, speed, left, words])))

    def restart(self, what: str, unit: str | None = None) -> None:
        """Begin to count something else on the same line."""
        self._what, self._unit, self._pace = what, unit or self._unit, Pace()
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


_COMMAND = re.compile(r"(?<=: )(alexnet [a-z]+ .+?)(?=\. [A-Z]|\.$|; |$)", re.MULTILINE)
"""A command inside a sentence."""


_COMMAND_LINE = re.compile(r"alexnet [a-z]+ ")
"""Beginning of a text that is a command and nothing else."""


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


def _visible(text: str) -> Text:
    """Return a text for the screen, with what would steer it or cannot be written escaped."""
    return Text(escape_controls(shown(text)))


def _on_one_line(text: str) -> str:
    """Return the text of a cell with its line feeds escaped as in `escape_name`."""
    return text.replace("\n", r"\x0a")


def _align(rows: Sequence[Sequence[str]], numbers: Sequence[bool] = ()) -> list[str]:
    """Return rows as lines with aligned columns, two spaces apart, as wide as they are."""
    cells = [[_on_one_line(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    right = [*numbers, *[False] * (len(widths) - len(numbers))]
    return [
        "  ".join(
            " " * (width - cell_len(cell)) + cell if is_number else cell + " " * (width - cell_len(cell))
            for cell, width, is_number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
