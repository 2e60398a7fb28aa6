"""Single frames of clips, by their times."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from alexnet.data.video.clip import Clip, open_clip, say_odd
from alexnet.data.video.timeline import Frame
from alexnet.errors import ImageError
from alexnet.text.names import escape_name

_ROUNDING_S = 0.0006
"""Names hold times to a thousandth of a second."""


class FrameReader:
    """Reads frames that are asked for one after the other; of a clip in the order of time, it is decoded once."""

    def __init__(self, every_s: float, notice: Callable[[str], None] | None = None) -> None:
        """Read frames so far apart; a note on what is odd about a clip goes to notice when the next one begins, or on
        `finish`.
        """
        self._every_s, self._notice = every_s, notice
        self._clip: Clip | None = None
        self._path: str | None = None
        self._frames: Iterator[Frame] = iter(())
        self._frame: Frame | None = None

    def read(self, path: str | os.PathLike[str], time_s: float) -> NDArray[np.uint8]:
        """Return what is seen at a time, (H, W, 3); read only.

        Raises:
            ImageError: the clip cannot be read, or has no frame at this time, which is a multiple of every_s.
        """
        where = os.fspath(path)
        if where != self._path or self._frame is None or self._frame.time_s > time_s + _ROUNDING_S:
            if where != self._path:
                self.finish()
            self._clip = open_clip(where)
            self._path, self._frames, self._frame = where, self._clip.frames(self._every_s), None
        while self._frame is None or self._frame.time_s < time_s - _ROUNDING_S:
            self._frame = next(self._frames, None)
            if self._frame is None:
                raise ImageError(
                    f"{escape_name(where)}: has no frame at {time_s:.12g} s that can be decoded. Index the clip again "
                    "where it has changed."
                )
        return self._frame.pixels

    def finish(self) -> None:
        """Read the clip to its end, where what is odd about it is known, if anybody wants to know."""
        if self._clip is None or self._notice is None:
            return
        clip, self._clip = self._clip, None
        with suppress(ImageError):  # of what nobody asked for
            for _ in self._frames:
                pass
        for oddity in clip.oddities:
            self._notice(say_odd(clip.name, oddity))


def read_frame(path: str | os.PathLike[str], time_s: float) -> NDArray[np.uint8]:
    """Return what is seen at one time of a clip, (H, W, 3). All that comes before it is decoded too.

    Raises:
        ImageError: as `FrameReader.read`.
    """
    return FrameReader(time_s or 1.0).read(path, time_s)
