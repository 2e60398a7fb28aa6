"""What every `alexnet draw` has in common: the options of a figure, and what is said of it."""

from typing import TYPE_CHECKING

import click

from alexnet.verbs.ending import tell_left_out
from alexnet.verbs.options import DISK, Command, json_option

if TYPE_CHECKING:
    from alexnet.functions.figure_files import Drawn

FORMATS = ("png", "svg")


def figure_options(command: Command) -> Command:
    """Options that every figure has."""
    for option in reversed(
        (
            click.option("--out", type=DISK, help="File to write, .png or .svg.  [default: the figure's name, .png]"),
            click.option(
                "--format",
                "formats",
                multiple=True,
                type=click.Choice(FORMATS),
                help="Write this format beside or instead of the suffix of --out; repeatable.",
            ),
            click.option("--theme", default="light", type=click.Choice(["light", "dark"]), help="Background."),
            click.option("--overwrite", is_flag=True, help="Replace files that are there."),
            json_option,
        )
    ):
        command = option(command)
    return command


def show_drawn(drawn: "Drawn", *, as_json: bool) -> None:
    """Say what was written, and exit with 1 if images were left out."""
    from alexnet.console.terminal import Terminal

    terminal = Terminal()
    if as_json:
        terminal.print_json(drawn._asdict())
    else:
        for path in drawn.files:
            terminal.print(str(path))
        terminal.say(drawn.caption)
    tell_left_out(terminal, drawn.left_out)
