"""Which frame of a clip is seen at each timestamp, whatever its own timestamps are.

Frame rates vary, so frames are taken at times and not by number: at 0, `every_s`, 2 `every_s` and so on since the first
frame, that frame which a player shows then. Timestamps that are missing, stand still, run backwards or jump are what
cut, joined and damaged files have; the clip then goes on where it was.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_STEP_S = 60.0
"""Longest time that one frame is shown; what is longer is a jump of the timestamps."""
USUAL_STEP_S = 0.04
"""How long a frame is shown where nothing tells."""
_ROUNDING_S = 1e-6


class Frame(NamedTuple):
    """What is seen at one moment of a clip."""

    time_s: float
    """Seconds since the first frame, a multiple of the step that was asked for."""
    pixels: NDArray[np.uint8]
    """(H, W, 3) sRGB, upright, of square pixels; the same array as before while the picture stands still. Read only."""


class Decoded(NamedTuple):
    """A frame as its file holds it, which nobody may need to see."""

    start_s: float | None
    """Its timestamp; None where the file gives none."""
    duration_s: float | None
    """How long it is shown; None where the file does not say."""
    draw: Callable[[], NDArray[np.uint8]]
    """Its pixels as those of `Frame`: what costs most is done only for frames that are seen."""


class Timeline:
    """The frames of a clip at fixed timestamps; iterate over it once."""

    def __init__(self, decoded: Iterable[Decoded], every_s: float) -> None:
        self.start_s = 0.0
        """Timestamp of the first frame."""
        self.end_s = 0.0
        """How long the frames that were met are shown altogether."""
        self.num_jumps = 0
        """Timestamps that do not follow on the one before."""
        self._decoded, self._every_s = decoded, every_s
        self._num_seen = 0

    def __iter__(self) -> Iterator[Frame]:
        held, step = None, USUAL_STEP_S
        for frame in self._decoded:
            if held is None:
                self.start_s = max(frame.start_s or 0.0, 0.0)
            else:
                step = self._measure_step(held, frame, step)
                yield from self._show(held, step)
            held = frame
        if held is not None:
            yield from self._show(held, min(held.duration_s or step, MAX_STEP_S))

    def _measure_step(self, frame: Decoded, following: Decoded, usual: float) -> float:
        """Seconds from a frame to the one after it."""
        if frame.start_s is not None and following.start_s is not None:
            step = following.start_s - frame.start_s
            if 0 <= step <= MAX_STEP_S:
                return step
            self.num_jumps += 1
        return min(frame.duration_s or usual, MAX_STEP_S)

    def _show(self, frame: Decoded, step: float) -> Iterator[Frame]:
        self.end_s += step
        pixels = None
        while (time_s := self._num_seen * self._every_s) < self.end_s - _ROUNDING_S or not self._num_seen:
            pixels = frame.draw() if pixels is None else pixels
            self._num_seen += 1
            yield Frame(time_s, pixels)
