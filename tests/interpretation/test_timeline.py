"""The bands of classes under a strip of frames."""

import numpy as np
import pytest

from alexnet.interpretation.timeline import (
    _NAMES_IN,
    CLASSES,
    FRAMES,
    Timeline,
    _choose_ticks,
    choose_frames,
    draw_timeline,
)


def make(moments: int, classes: int) -> Timeline:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(classes), moments).astype(np.float32)
    times = np.arange(moments) / 2
    frames = [np.full((8, 8, 3), 90, np.uint8) for _ in choose_frames(moments)]
    titles = tuple(f"class {number}, $x_{number}$" for number in range(classes))
    return Timeline("clip.mp4", titles, times, 0.5, moments / 2, probabilities, frames)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_class_is_in_the_numbers_and_the_likeliest_are_drawn(theme: str) -> None:
    timeline = make(moments=5, classes=9)
    drawing = draw_timeline(timeline, theme=theme)  # type: ignore[arg-type]
    assert drawing.numbers["time_s"] == [0, 0.5, 1, 1.5, 2]
    for number, title in enumerate(timeline.class_titles):
        assert drawing.numbers[title] == timeline.probabilities[:, number].tolist()
    assert drawing.numbers["best"] == [timeline.class_titles[n] for n in timeline.probabilities.argmax(1)]
    written = [text.get_text() for text in drawing.figure.axes[0].texts]
    likeliest = np.argsort(-timeline.probabilities.mean(0))[:CLASSES]
    assert written[:CLASSES] == [timeline.class_titles[number] for number in sorted(likeliest)]
    assert "Not shown: 3 classes that are less probable." in drawing.caption
    assert drawing.render("png").startswith(b"\x89PNG")
    assert b"<svg" in drawing.render("svg")


def test_bands_are_as_high_as_the_class_is_probable() -> None:
    timeline = make(moments=4, classes=2)
    drawing = draw_timeline(timeline)
    polygons = [
        each.get_paths()[0].vertices for each in drawing.figure.axes[0].collections if len(each.get_paths()[0]) > 4
    ]
    heights = np.array([np.ptp(vertices[:, 1]) for vertices in polygons])
    assert np.allclose(
        heights.reshape(2, 4) / heights.max(), (timeline.probabilities / timeline.probabilities.max()).T, atol=1e-4
    )


@pytest.mark.parametrize(
    ("end_s", "ticks"),
    [(1.5, [0, 0.5, 1.0]), (6, [0, 1, 2, 3, 4, 5]), (0.1, [0, 0.02, 0.04, 0.06, 0.08]), (3600, [0, 1000, 2000, 3000])],
)
def test_times_are_round(end_s: float, ticks: list[float]) -> None:
    assert _choose_ticks(end_s) == ticks


def test_a_clip_of_one_frame_can_be_drawn() -> None:
    assert draw_timeline(make(moments=1, classes=2)).num_rows == 1


def test_frames_are_chosen_evenly() -> None:
    assert [choose_frames(count) for count in (1, 5, 12)] == [[0], [0, 1, 2, 3, 4], list(range(12))]
    assert choose_frames(13) == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]
    assert choose_frames(20) == [0, 2, 4, 5, 7, 9, 10, 12, 14, 15, 17, 19]
    assert choose_frames(40) == [1, 5, 8, 11, 15, 18, 21, 25, 28, 31, 35, 38]


@pytest.mark.parametrize("moments", [1, 5, 12, 13, 20, 23, 40, 1000])
def test_no_frame_covers_another_and_each_is_above_its_time(moments: int) -> None:
    timeline = make(moments, classes=2)
    axes = draw_timeline(timeline).figure.axes[0]
    extents = [image.get_extent() for image in axes.images]
    assert len(extents) == min(moments, FRAMES)
    lefts, rights = [each[0] for each in extents], [each[1] for each in extents]
    assert all(right <= left + 1e-9 for right, left in zip(rights, lefts[1:], strict=False))
    strip = axes.get_xlim()[1] - _NAMES_IN
    assert lefts[0] >= _NAMES_IN - 1e-9
    assert rights[-1] <= axes.get_xlim()[1] + 1e-9
    middles = (np.array(lefts) + rights) / 2 - _NAMES_IN
    shown_at = (np.array(choose_frames(moments)) + 0.5) / moments * strip
    assert np.abs(middles - shown_at).max() <= strip / moments / 2 + 1e-9  # half a moment
