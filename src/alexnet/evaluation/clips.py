"""Clips in place of images: each frame takes the way of an image, and the frames of a clip speak together.

The class of a clip is that of the mean of its frames' probabilities, as that of an image is that of its views'. When it
changes is told by means over a window of time, so that one odd frame is no change.
"""

import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.decode import Framing, square_pixels
from alexnet.data.producer import produce_ahead
from alexnet.data.video.clip import Clip, check_step, is_clip, is_time, name_frame, open_clip, parse_frame, say_odd
from alexnet.errors import ConfigError, ImageError
from alexnet.evaluation.given import Picture
from alexnet.evaluation.prediction import Prediction, Predictor
from alexnet.network.confidence import UNKNOWN
from alexnet.network.independent import NO_CLASS
from alexnet.text.progress import Tick, untold

EVERY_S = 0.5
"""Time between the frames of a clip where nobody says."""
WINDOW_S = 5.0
"""Time over which probabilities are averaged to tell when the class changes."""
_FRAMES_AHEAD = 64


@dataclass(frozen=True, slots=True)
class Moment:
    """A stretch of a clip with one best class."""

    start_s: float
    end_s: float
    name: str
    """Of the class; UNKNOWN or NO_CLASS where there is none."""
    probability: float
    """Mean over the stretch of what the window says of the class; of the best class where there is none."""


@dataclass(frozen=True, slots=True)
class ClipPrediction:
    """What the frames of a clip say."""

    mean: Prediction
    """Of the clip: the mean of its frames' probabilities and distances."""
    times_s: NDArray[np.float64]
    """(T,) of the frames, from the first."""
    frames: Sequence[Prediction]
    """T, each of one frame."""
    moments: Sequence[Moment]
    """In order, without gaps, none followed by one of the same class."""
    oddities: Sequence[str]
    """What is odd about the clip, as words after "has"."""


def predict_clip(
    predictor: Predictor,
    source: str | os.PathLike[str] | bytes,
    *,
    every_s: float = EVERY_S,
    views: int = 1,
    window_s: float = WINDOW_S,
    calibrated: bool = False,
    name: str | None = None,
    tick: Tick = untold,
) -> ClipPrediction:
    """Return what a model or an ensemble sees in a clip; frames are decoded while it computes.

    Args:
        source: As for `open_clip`.
        every_s: Seconds between frames.
        views: As for `Predictor.predict`; and calibrated.
        window_s: Seconds over which probabilities are averaged, half of them before a frame and half after, and fewer
            near the ends, to tell when the best class changes; 0 for each frame by itself.
        tick: Called with the frames that are done, and how many there are by the header of the clip.
    Raises:
        ImageError: the clip cannot be read, or holds no frame.
        ConfigError: every_s, views, window_s or calibrated is not accepted.
    """
    _check_window(window_s)  # before the clip is decoded
    clip = open_clip(source, name=name)
    expected = count_frames(clip, every_s)
    pictures = produce_ahead(
        take_pictures(clip, every_s, predictor.image_px, predictor.framing), _FRAMES_AHEAD, name="frames"
    )
    frames: list[Prediction] = []
    try:
        for outcome in predictor.predict_each(pictures, views=views, calibrated=calibrated):
            if isinstance(outcome, ImageError):
                raise outcome
            frames.append(outcome)
            tick(len(frames), max(len(frames), expected))
    finally:
        pictures.close()
    return summarize_clip(
        clip.name, frames, every_s=every_s, window_s=window_s, end_s=clip.end_s, oddities=clip.oddities
    )


def summarize_clip(
    name: str,
    frames: Sequence[Prediction],
    *,
    every_s: float,
    window_s: float,
    end_s: float | None = None,
    oddities: Sequence[str] = (),
) -> ClipPrediction:
    """Return what frames say together, which are named as by `name_frame` and in order.

    Args:
        end_s: Where the clip ends; every_s after the last frame where nobody knows.
    Raises:
        ConfigError: every_s or window_s is not accepted.
    """
    check_step(every_s)
    _check_window(window_s)
    times = np.array([(parse_frame(frame.source) or ("", 0.0))[1] for frame in frames])
    most, last = int(window_s / 2 / every_s + 1e-9), len(frames) - 1
    # As far to one side as to the other, also near the ends: else what is in the middle would move changes outwards.
    reaches = [min(most, row, last - row) for row in range(len(frames))]
    smoothed = [_average(frames[row - reach : row + reach + 1]) for row, reach in enumerate(reaches)]
    named = [_name(each) for each in smoothed]
    starts = [row for row in range(len(frames)) if row == 0 or named[row] != named[row - 1]]
    ends = [*(times[row] for row in starts[1:]), times[-1] + every_s if end_s is None else max(end_s, times[-1])]
    moments = []
    for start, stop, end in zip(starts, [*starts[1:], len(frames)], ends, strict=True):
        known = frames[start].class_names
        own = named[start]
        values = [
            each.probabilities[known.index(own)] if own in known else each.probabilities.max()
            for each in smoothed[start:stop]
        ]
        moments.append(Moment(float(times[start]), float(end), own, float(np.mean(values))))
    return ClipPrediction(_average(frames, name), times, frames, moments, list(oddities))


def spread_clips(
    given: Iterable[Path],
    every_s: float,
    *,
    size: int,
    framing: Framing = "square",
    notice: Callable[[str], None] = lambda note: None,
) -> Iterator[Path | Picture]:
    """Yield images as they are, and in place of each clip its frames, named "clip.mp4@12.5s".

    A clip that cannot be read is one picture with the reason; a note on what is odd about one goes to `notice`.
    """
    for path in given:
        if not is_clip(path):
            yield path
            continue
        try:
            clip = open_clip(path)
            yield from take_pictures(clip, every_s, size, framing)
            for oddity in clip.oddities:
                notice(say_odd(clip.name, oddity))
        except ImageError as problem:
            yield Picture(str(path), problem)


def count_pictures(given: Iterable[Path], every_s: float) -> int:
    """Return how many pictures `spread_clips` will yield, as far as the headers of clips tell the truth."""
    total = 0
    for path in given:
        try:
            total += count_frames(open_clip(path), every_s) if is_clip(path) else 1
        except ImageError:
            total += 1
    return total


def count_frames(clip: Clip, every_s: float) -> int:
    """Return how many frames a clip has at this distance, as far as its header tells the truth; at least 1.

    Raises:
        ConfigError: every_s is not accepted.
    """
    check_step(every_s)
    return max(1, int(np.ceil((clip.duration_s or 0.0) / every_s)))


def average_clips(paths: Sequence[str], probabilities: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float32]]:
    """Return the clips that frames are of, in order of appearance, and the mean of the frames of each, (N, K).

    Nothing where one of the paths is not that of a frame.
    """
    frames = list(map(parse_frame, paths))
    clips = list(dict.fromkeys(frame[0] for frame in frames if frame))
    if None in frames or not clips:
        return [], probabilities[:0]
    numbers = {clip: number for number, clip in enumerate(clips)}
    rows = np.array([numbers[frame[0]] for frame in frames if frame])
    sums = np.zeros((len(clips), probabilities.shape[1]))
    np.add.at(sums, rows, probabilities)
    return clips, (sums / np.bincount(rows)[:, None]).astype(np.float32)


def take_pictures(clip: Clip, every_s: float, size: int, framing: Framing) -> Iterator[Picture]:
    """Yield the frames of a clip as images of the stored size, named as by `name_frame`.

    Raises:
        ImageError: as `Clip.frames`.
    """
    seen: Any = None
    square = np.zeros(0, np.uint8)
    for time_s, pixels in clip.frames(every_s):
        if pixels is not seen:
            seen, square = pixels, square_pixels(pixels, size, framing=framing)
        yield Picture(name_frame(clip.name, time_s), square)


def _check_window(window_s: float) -> None:
    if not is_time(window_s):
        raise ConfigError(
            f"window_s is {reprlib.repr(window_s)}; accepted are seconds, 0 for each frame by itself, for example "
            f"{WINDOW_S:g}."
        )


def _average(frames: Sequence[Prediction], name: str = "") -> Prediction:
    first = frames[0]
    distances = [frame.distance for frame in frames if frame.distance is not None]
    return Prediction(
        name,
        first.class_names,
        np.mean([frame.probabilities for frame in frames], axis=0),
        float(np.mean(distances)) if distances else None,
        sum(frame.is_unknown for frame in frames) * 2 > len(frames),
        first.thresholds,
    )


def _name(prediction: Prediction) -> str:
    if prediction.is_unknown:
        return UNKNOWN
    found = prediction.found
    return found[0][0] if found else NO_CLASS
