"""What people see: rows, tables and sentences, on a terminal of 80 columns and without one."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from alexnet.console.terminal import Terminal, duration
from alexnet.runs.display import TrainingDisplay

ROW = {
    "epoch": 1,
    "train_loss": 2.30259,
    "train_top1_error": 0.8,
    "val_loss": 12.3456,
    "val_top1_error": 1.0,
    "val_top5_error": 0.501,
    "learning_rate": 0.00025,
    "images_per_second": 94.12,
    "waiting_share": 0.01,
    "seconds": 4000.0,
    "seconds_with_validation": 4000.0,
}


def on_screen(*, errors: bool = True, output: bool = True) -> Terminal:
    """A terminal of 80 columns that keeps what is printed."""
    terminal = Terminal()
    terminal.errors = Console(file=io.StringIO(), force_terminal=errors, width=80, highlight=False, soft_wrap=True, color_system=None)  # fmt: skip
    terminal.output = Console(file=io.StringIO(), force_terminal=output, width=80, highlight=False, soft_wrap=True, color_system=None)  # fmt: skip
    return terminal


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines_of_epochs(num_classes: int, *rows: dict[str, Any], at_most: bool = False) -> list[str]:
    terminal = on_screen(errors=False, output=False)
    with terminal.progress("training", "images") as meter:
        display = TrainingDisplay(terminal, meter, num_classes=num_classes, total_epochs=40, at_most=at_most)
        for row in rows:
            display.epoch_done(row)
    return text_of(terminal.output).splitlines()


def test_the_line_of_an_epoch_stands_under_its_headings_in_less_than_80_columns() -> None:
    lines = lines_of_epochs(1000, ROW, {**ROW, "epoch": 40}, at_most=True)
    assert max(map(len, lines)) == 79
    assert lines == [
        "           training            validation        learning             time left",
        "  epoch    loss   top-1     loss   top-1   top-5     rate  images/s     at most",
        "   1/40  2.3026  80.0 %     12.3 100.0 %  50.1 %  0.00025      94.1 43 h 20 min",
        "  40/40  2.3026  80.0 %     12.3 100.0 %  50.1 %  0.00025      94.1         0 s",
    ]


def test_an_epoch_without_validation_shows_dashes() -> None:
    row = {name: value for name, value in ROW.items() if not name.startswith("val")}
    assert lines_of_epochs(4, row)[1:] == [
        "  epoch    loss   top-1     loss   top-1   top-3     rate  images/s       about",
        "   1/40  2.3026  80.0 %        –       –       –  0.00025      94.1 43 h 20 min",
    ]


def test_two_classes_have_no_top_k_error() -> None:
    assert lines_of_epochs(2, {**ROW, "val_top1_error": 0.25})[1:] == [
        "  epoch    loss   top-1     loss   top-1             rate  images/s       about",
        "   1/40  2.3026  80.0 %     12.3  25.0 %          0.00025      94.1 43 h 20 min",
    ]


def test_waiting_for_images_is_said_only_where_it_matters() -> None:
    for share, seconds, said in ((0.01, 4000.0, False), (0.2, 4000.0, True), (0.2, 3.0, False)):
        terminal = on_screen(errors=False, output=False)
        with terminal.progress("training", "images") as meter:
            display = TrainingDisplay(terminal, meter, num_classes=10, total_epochs=40, at_most=False)
            display.epoch_done({**ROW, "waiting_share": share, "seconds_with_validation": seconds})
        assert ("20.00 % of epoch 1 was spent waiting for images" in text_of(terminal.errors)) is said


def test_results_go_through_the_console_of_the_bar_only_where_both_are_on_the_screen() -> None:
    """A row printed past a live bar would be appended to it; a row for a file must still reach the file."""
    for output, through_bar in ((True, True), (False, False)):
        terminal = on_screen(output=output)
        with terminal.progress("training", "images") as meter:
            meter(1, 2)
            terminal.print("a row")
            terminal.table(["class", "n"], [["ant", "1"]])
        terminal.print("afterwards")
        assert ("a row\n" in text_of(terminal.errors)) is through_bar
        assert ("ant" in text_of(terminal.errors)) is through_bar
        assert ("a row\n" in text_of(terminal.output)) is not through_bar
        assert text_of(terminal.output).endswith("afterwards\n")


def test_a_meter_shows_no_rate_before_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("alexnet.console.terminal.time.monotonic", lambda: clock.now)
    terminal = on_screen(errors=False)
    with terminal.progress("validating", "images") as meter:
        clock.now = 20.0
        meter(100, 200)
        clock.now = 40.0
        meter(200, 200, "loss 2.3")
    assert text_of(terminal.errors) == "validating: 100 of 200\nvalidating: 200 of 200, 5.0 images/s, loss 2.3\n"


def test_without_a_terminal_tables_and_facts_are_a_line_each_however_long() -> None:
    terminal = on_screen(output=False)
    long = "a [path] of " + "x" * 200
    terminal.table(["class", "n", "what"], [[long, "1,200", "ü"], ["b", "3", "c"]], title="Title")
    terminal.facts([("kind", long), ("next", "one"), ("", "two")])
    terminal.prose("word " * 50)
    assert text_of(terminal.output).splitlines() == [
        "Title",
        f"{'class':212}      n  what",
        f"{long:212}  1,200  ü",
        f"{'b':212}      3  c",
        f"kind  {long}",
        "next  one",
        "next  two",
        "word " * 50,
    ]


def test_what_is_printed_elsewhere_is_what_was_given_without_steering_anything() -> None:
    terminal = on_screen(output=False)
    terminal.print("a path\t:cat:\t[bold]\t1.0000")
    terminal.print("\udcff.jpg\x1b")
    assert text_of(terminal.output) == "a path\t:cat:\t[bold]\t1.0000\n\\xff.jpg\\x1b\n"


def test_names_cannot_steer_the_terminal() -> None:
    terminal = on_screen()
    terminal.print("a\x1b[2Jb :cat: [red]")
    terminal.say("\x1b[2J")
    assert text_of(terminal.output) == "a\\x1b[2Jb :cat: [red]\n"
    assert text_of(terminal.errors) == "\\x1b[2J\n"


def test_on_a_terminal_facts_are_folded_beside_their_names() -> None:
    terminal = on_screen()
    terminal.facts([("classes", "tench, " * 12), ("", "more [here]")])
    assert [line.rstrip() for line in text_of(terminal.output).splitlines()] == [
        "classes  tench, tench, tench, tench, tench, tench, tench, tench, tench, tench,",
        "         tench, tench,",
        "         more [here]",
    ]


def test_a_folded_sentence_gives_its_command_a_line_that_can_be_copied() -> None:
    terminal = on_screen()
    place = "/a/place/" + "x" * 80
    terminal.show_error(
        "RunError", f"{place}: is finished. Test it with: alexnet evaluate {place} STORE. Or train again."
    )
    assert text_of(terminal.errors).splitlines()[-2:] == [f"  alexnet evaluate {place} STORE", "Or train again."]
    terminal = on_screen(errors=False)
    terminal.show_error("RunError", f"Test it with: alexnet evaluate {place} STORE.")
    assert text_of(terminal.errors) == f"RunError: Test it with: alexnet evaluate {place} STORE.\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min"), (504_000, "140 h")],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("output", [True, False])
def test_a_line_feed_in_a_cell_is_shown_as_one(output: bool) -> None:
    terminal = on_screen(output=output)
    terminal.table(["class", "n"], [["blue\nx", "1"]])
    assert [line.strip() for line in text_of(terminal.output).splitlines()][1:] == [r"blue\x0ax  1"]


def test_a_quiet_terminal_says_nothing_in_a_notebook_either(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich import console, jupyter

    shown: list[object] = []
    monkeypatch.setattr(console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(jupyter, "display", lambda *arguments, **options: shown.append(arguments))
    terminal = Terminal(quiet=True)
    terminal.say("a sentence")
    terminal.print("a result")
    terminal.table(["a", "b"], [["1", "2"]])
    assert shown == []
