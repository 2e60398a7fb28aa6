"""One clip, whatever it is kept as: the one way from its file to frames."""

import os
import re
import reprlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.decode import explain_unreadable
from alexnet.data.images.unusable import MAX_PIXELS, UnusableError
from alexnet.data.sources.folders import has_clip_suffix
from alexnet.data.video.animation import decode_animation, is_animation
from alexnet.data.video.container import decode_container, list_timestamps, measure_duration
from alexnet.data.video.timeline import Decoded, Frame, Timeline
from alexnet.errors import ConfigError, ImageError
from alexnet.files.kinds import recognize, recognize_bytes
from alexnet.files.writing import check_file
from alexnet.text.names import escape_name

SHORTEST_STEP_S = 0.001
"""Of timestamps: frames have names to a thousandth of a second."""

_FRAME = re.compile(r"(.+)@([0-9.]+(?:e[+-]?[0-9]+)?)s", re.DOTALL)

SHORTFALL = 1.05
"""Of a clip that is longer by its header than its frames last, by this factor and half a second, it is said."""


class Bounds(NamedTuple):
    """How much of a clip is decoded before it is refused, where it comes from a stranger who may want the time."""

    seconds: float
    frames: int
    """Of the clip itself, seen or not."""
    pixels: int
    """Width x height."""


@dataclass
class Clip:
    """A clip that was opened: its header was read and it has moving pictures."""

    name: str
    """What messages call it, usually its path."""
    duration_s: float | None
    """Seconds that its header names, true or not; None where it names none."""
    oddities: list[str] = field(default_factory=list)
    """What was odd when all frames had been read, as words after "has"; the frames that could be decoded are right."""
    end_s: float | None = None
    """How long its frames are shown altogether, when all had been read."""
    _source: str | bytes = b""
    _is_animation: bool = False
    _bounds: Bounds | None = None

    def frames(self, every_s: float = 1.0) -> Iterator[Frame]:
        """Yield what is seen at 0, every_s, 2 every_s and so on, in seconds since the first frame.

        One frame after the other is decoded; memory does not depend on the length of the clip.

        Raises:
            ConfigError: every_s is no number, or below SHORTEST_STEP_S.
            ImageError: no frame can be decoded; a frame is too large; or the file cannot be read any more.
        """
        check_step(every_s)
        return self._frames(every_s)

    def times(self, every_s: float = 1.0) -> list[float]:
        """Return the times of the frames that `frames` yields, as far as that is known without decoding a video.

        Raises:
            ConfigError, ImageError: as `frames`.
        """
        check_step(every_s)
        oddities: list[str] = []
        try:
            is_moving = self._is_animation
            listed = decode_animation(self._source, oddities.append) if is_moving else list_timestamps(self._source)
            return [frame.time_s for frame in Timeline((each._replace(draw=_draw_nothing) for each in listed), every_s)]
        except UnusableError as problem:
            raise _explain(problem, self.name) from None
        except OSError as error:
            raise ImageError(explain_unreadable(self.name, error)) from None

    def _frames(self, every_s: float) -> Iterator[Frame]:
        oddities: list[str] = []
        decode = decode_animation if self._is_animation else decode_container
        most_pixels = self._bounds.pixels if self._bounds else MAX_PIXELS
        timeline = Timeline(self._bound(decode(self._source, oddities.append, most_pixels)), every_s)
        try:
            for frame in timeline:
                if self._bounds and frame.time_s >= self._bounds.seconds:
                    raise UnusableError(f"is longer than {self._bounds.seconds:g} s", "Send a part of it.")
                yield frame
            if not timeline.end_s:
                raise UnusableError("has no frame that can be decoded", "Copy it again from where it came.")
        except UnusableError as problem:
            raise _explain(problem, self.name) from None
        except OSError as error:
            raise ImageError(explain_unreadable(self.name, error)) from None
        if timeline.num_jumps:
            oddities.append("timestamps that jump")
        if self.duration_s is not None and self.duration_s > SHORTFALL * (timeline.start_s + timeline.end_s) + 0.5:
            oddities.append(f"frames for {timeline.end_s:.1f} s of the {self.duration_s:.1f} s that its header names")
        self.oddities[:] = oddities
        self.end_s = timeline.end_s

    def _bound(self, decoded: Iterable[Decoded]) -> Iterator[Decoded]:
        for number, frame in enumerate(decoded):
            if self._bounds and number >= self._bounds.frames:
                raise UnusableError(f"has more than {self._bounds.frames:,} frames", "Send a part of it.")
            yield frame


def check_step(every_s: float) -> None:
    """Raise ConfigError for a time between frames that is no number, or below SHORTEST_STEP_S."""
    if not is_time(every_s) or every_s < SHORTEST_STEP_S:
        given = f"{every_s:g}" if isinstance(every_s, float) else reprlib.repr(every_s)
        raise ConfigError(f"A frame every {given} seconds; accepted are {SHORTEST_STEP_S:g} and more, for example 0.5.")


def is_time(seconds: object) -> bool:
    """Whether it is a finite number of seconds, from 0 on."""
    is_number = isinstance(seconds, int | float | np.integer | np.floating) and not isinstance(seconds, bool)
    return is_number and bool(0 <= seconds <= sys.float_info.max)  # type: ignore[operator]


def open_clip(source: str | os.PathLike[str] | bytes, *, name: str | None = None, bounds: Bounds | None = None) -> Clip:
    """Return a clip of which the header was read.

    Args:
        source: The path of a video, an animated GIF or an animated WebP; or all its bytes.
        name: What messages call it; the path where this is None.
        bounds: Beyond which its frames are an ImageError; None for a clip that may be as long as it is.
    Raises:
        ImageError: "NAME: reason. Next step."; it cannot be read, has no moving pictures, is damaged or of a kind that
            is not read, or PyAV is missing. Never another exception for any bytes.
    """
    where = source if isinstance(source, bytes) else os.fspath(source)
    called = name or ("clip" if isinstance(where, bytes) else where)
    if isinstance(where, str):
        try:
            check_file(where)
        except OSError as error:
            raise ImageError(explain_unreadable(called, error)) from None
    try:
        is_moving = is_animation(where)
        return Clip(called, None if is_moving else measure_duration(where), [], None, where, is_moving, bounds)
    except UnusableError as problem:
        raise _explain(problem, called) from None
    except OSError as error:
        raise ImageError(explain_unreadable(called, error)) from None


def is_clip(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a video, or an animated GIF or WebP, by its content; by its name where this tells nothing.

    Whether it can be decoded is open.
    """
    kind = recognize(Path(path))
    if kind is None:
        return has_clip_suffix(os.fspath(path))
    return kind.name == "video" or (kind.name == "image" and is_animation(os.fspath(path)))


def is_clip_data(data: bytes) -> bool:
    """As `is_clip`, of the bytes of a file."""
    kind = recognize_bytes(data)
    return kind is not None and (kind.name == "video" or (kind.name == "image" and is_animation(data)))


def read_frames(source: str | os.PathLike[str] | bytes, every_s: float = 1.0) -> Iterator[Frame]:
    """Yield the frames of a clip at fixed timestamps, see `open_clip` and `Clip.frames`."""
    return open_clip(source).frames(every_s)


def name_frame(clip: str, time_s: float) -> str:
    """Return what a frame is called wherever images have names: "path/clip.mp4@12.5s"."""
    return f"{clip}@{round(time_s, 3):.12g}s"


def parse_frame(name: str) -> tuple[str, float] | None:
    """Return the clip and the time of a frame by its name; None where the name is not that of a frame."""
    found = _FRAME.fullmatch(name)
    return (found[1], float(found[2])) if found else None


def say_odd(clip: str, oddity: str) -> str:
    """Return the note on a clip that is used although it has an oddity, of `Clip.oddities`."""
    return f"{escape_name(clip)}: has {oddity}."


def find_clip(name: str) -> str:
    """Return the clip of a frame by its name; another name as it is."""
    frame = parse_frame(name)
    return frame[0] if frame else name


def _draw_nothing() -> NDArray[np.uint8]:
    return np.zeros(0, np.uint8)


def _explain(problem: UnusableError, name: str) -> ImageError:
    return ImageError(f"{escape_name(name)}: {problem.reason}. {problem.next_step}")
