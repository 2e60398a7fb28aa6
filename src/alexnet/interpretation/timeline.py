"""A clip over time: a strip of its frames, and below it how probable each class is at each moment."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.decode import square_pixels
from alexnet.data.video.clip import open_clip, say_odd
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.evaluate import VIEWS_AT_A_TIME
from alexnet.interpretation.drawing import (
    NORMAL,
    WIDTH_IN,
    Drawing,
    Value,
    new_figure,
    place_image,
    sheet,
    styled,
    write,
)
from alexnet.pages.themes import ThemeName, find_theme
from alexnet.temporal.clip_model import TemporalClassifier
from alexnet.text.wording import counted

FRAMES = 12
"""Most frames in the strip."""
CLASSES = 6
"""Most bands."""
FRAME_PX = 128
"""Side of the frames in the strip."""
USUAL_EVERY_S = 0.5
_NAMES_IN, _BAND_IN, _GAP_IN = 1.7, 0.42, 0.12


@dataclass(frozen=True, eq=False)
class Timeline:
    """What a model makes of the moments of a clip."""

    clip: str
    class_titles: tuple[str, ...]
    times_s: NDArray[np.float64]
    """(M,) when each moment begins."""
    every_s: float
    """How long a moment lasts."""
    end_s: float
    probabilities: NDArray[np.float32]
    """(M, K)"""
    frames: Sequence[NDArray[np.uint8]]
    """The frames of choose_frames, each (S, S, 3) uint8 RGB."""
    odd: tuple[str, ...] = ()
    """Notes on what is odd about the clip."""


@styled
def draw_timeline(timeline: Timeline, theme: ThemeName = "light") -> Drawing:
    """The classes with the highest means as bands under a strip of frames; a band is as high as its class is probable.

    The best class of a moment is in color.
    """
    colors = find_theme(theme)
    means, best = timeline.probabilities.mean(0), timeline.probabilities.argmax(1)
    shown = sorted(np.argsort(-means, kind="stable")[:CLASSES].tolist())
    strip_in = WIDTH_IN - _NAMES_IN
    slot_in = strip_in / len(timeline.frames)  # of the equal stretch of time that a frame stands for
    side_in = min(slot_in, strip_in / 6)
    top_in = side_in + _GAP_IN
    height_in = top_in + len(shown) * (_BAND_IN + _GAP_IN) + 0.25
    figure = new_figure(WIDTH_IN, height_in, colors)
    figure.set_layout_engine("none")  # all is placed in inches
    axes = sheet(figure)
    end_s = timeline.end_s

    def place(seconds: float) -> float:
        return _NAMES_IN + strip_in * seconds / end_s

    for number, pixels in enumerate(timeline.frames):
        place_image(axes, pixels, _NAMES_IN + number * slot_in + (slot_in - side_in) / 2, 0, side_in)
    edges = [place(seconds) for seconds in [*timeline.times_s.tolist(), float(timeline.times_s[-1]) + timeline.every_s]]
    for row, label in enumerate(shown):
        foot = top_in + row * (_BAND_IN + _GAP_IN) + _BAND_IN
        hue = colors.runs[row % len(colors.runs)]
        values = timeline.probabilities[:, label]
        axes.hlines(foot, _NAMES_IN, WIDTH_IN, color=colors.rule, linewidth=0.8)
        for moment, value in enumerate(values.tolist()):
            left, right = edges[moment], edges[moment + 1]
            is_best = best[moment] == label
            axes.fill_between(
                [left, right], foot - value * _BAND_IN, foot, color=hue if is_best else colors.bar, linewidth=0
            )
        write(
            axes, _NAMES_IN - 0.12, foot - _BAND_IN / 2, timeline.class_titles[label], colors.ink, NORMAL,
            align="right", within_in=_NAMES_IN - 0.15,
        )  # fmt: skip
    for seconds in _choose_ticks(end_s):
        write(axes, place(seconds), height_in - 0.1, f"{seconds:g} s", colors.muted, align="center")
    columns: dict[str, Sequence[Value]] = {
        "time_s": [round(float(seconds), 6) for seconds in timeline.times_s],
        "best": [timeline.class_titles[label] for label in best],
    }
    columns |= {title: timeline.probabilities[:, label].tolist() for label, title in enumerate(timeline.class_titles)}
    others = len(timeline.class_titles) - len(shown)
    return Drawing(
        name="timeline",
        figure=figure,
        numbers=columns,
        title=timeline.clip,
        caption=f"{counted(len(timeline.times_s), 'moment')}, one every {timeline.every_s:g} s. A band is as high as "
        "its class is probable at that moment, and in colour where no other is more so."
        + (f" Not shown: {counted(others, 'class', 'classes')} that are less probable." if others else ""),
        has_photographs=True,
    )


def _choose_ticks(end_s: float) -> list[float]:
    """Return round times, about six, from 0 to before the end."""
    raw = end_s / 6
    power = 10 ** np.floor(np.log10(raw))
    step = next(float(factor * power) for factor in (1, 2, 5, 10) if factor * power >= raw)
    return [round(step * number, 9) for number in range(int(end_s / step * (1 - 1e-9)) + 1)]


def choose_frames(count: int) -> list[int]:
    """Return which of a clip's frames the strip shows, in order: the middle one of each of FRAMES equal stretches.

    All where there are no more than FRAMES.
    """
    shown = min(count, FRAMES)
    return [(2 * number + 1) * count // (2 * shown) for number in range(shown)]


def look_over_time(model: Classifier | TemporalClassifier, clip: Path, every_s: float | None = None) -> Timeline:
    """Return what an image model or a model of clips makes of the moments of a clip.

    Args:
        every_s: Seconds between frames; those that a model of clips learned from, else USUAL_EVERY_S, where None.
    Raises:
        ImageError: the clip cannot be read, or is too short for the model.
    """
    if isinstance(model, TemporalClassifier):
        every_s = model.model.every_seconds if every_s is None else every_s
        seen = model.look(clip, every_s=every_s)
        times, probabilities = list(seen.times_s), seen.look.moments
        middle = (len(times) - len(probabilities)) // 2  # of the frames that a moment is of
        starts, odd = times[middle : middle + len(probabilities)], seen.odd
    else:
        every_s = USUAL_EVERY_S if every_s is None else every_s
        opened = open_clip(clip)
        frames = opened.frames(every_s)
        times, parts = [], []
        while some := list(itertools.islice(frames, VIEWS_AT_A_TIME)):
            times += [frame.time_s for frame in some]
            squares = [square_pixels(frame.pixels, model.image_px, framing=model.framing) for frame in some]
            parts.append(model.compute_probabilities(squares, views=1))
        starts, probabilities = times, np.concatenate(parts)
        odd = tuple(say_odd(str(clip), oddity) for oddity in opened.oddities)
    # Decoded once more, so that of a long clip no more than the strip is held.
    wanted = choose_frames(len(times))
    strip = [
        square_pixels(frame.pixels, FRAME_PX)
        for number, frame in enumerate(open_clip(clip).frames(every_s))
        if number in wanted
    ]
    end_s = times[-1] + every_s
    return Timeline(str(clip), model.class_titles, np.array(starts), every_s, end_s, probabilities, strip, odd)
