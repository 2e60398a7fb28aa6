"""How long work tells how far it is."""

from collections.abc import Callable

Tick = Callable[[int, int], None]
"""Called with (done, in all), in units of the work: images, rows, rounds."""
