"""How verbs end: what was left out is said."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alexnet.console.terminal import Terminal


def tell_odd(terminal: "Terminal", notes: Sequence[str]) -> None:
    """Say what is odd about clips that were used all the same."""
    for note in notes:
        terminal.say(note)


def tell_left_out(terminal: "Terminal", reasons: Sequence[object]) -> None:
    """Say of every image that was left out why, and exit with 1 if any was."""
    for reason in reasons:
        terminal.show_error("Left out", str(reason))
    if reasons:
        sys.exit(1)
