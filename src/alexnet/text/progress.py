"""How work tells how far it is."""

from collections.abc import Callable

Tick = Callable[[int, int], None]
"""Called with (done, in all), in units of the work: images, rows, rounds."""


def untold(done: int, total: int) -> None:
    """Tell nobody: the `Tick` of work that nobody watches."""
