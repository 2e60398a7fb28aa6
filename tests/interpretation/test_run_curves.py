from typing import Any

import pytest

from alexnet.errors import ConfigError
from alexnet.interpretation.curves import draw_runs
from alexnet.pages.themes import THEMES


def test_runs_are_drawn_beside_each_other_with_their_best_epoch(history: list[dict[str, Any]]) -> None:
    untested = [{k: v for k, v in row.items() if not k.startswith("val")} for row in history[:2]]
    drawing = draw_runs({"one": history, "日本語 " + "long " * 40: untested, "begun": []})
    loss, error = drawing.figure.axes
    (key,) = drawing.figure.legends
    assert len(loss.lines) - len(error.lines) == len(set(loss.lines)) - len(set(error.lines))
    drawn = [list(line.get_ydata()) for line in error.lines]
    assert [row["val_top1_error"] for row in history] in drawn
    assert [row["train_top1_error"] for row in untested] in drawn
    first, second, third = [text.get_text() for text in key.get_texts()]
    assert first == "1   one: lowest validation error 14.0 %, epoch 6 of 6"
    assert second.startswith("2   日本語 long")
    assert second.endswith("…: 2 epochs, not tested")
    assert third == "3   begun: no epoch has ended yet"
    assert drawing.numbers["run"] == ["one"] * 6 + ["日本語 " + "long " * 40] * 2
    assert drawing.numbers["val_loss"][5:7] == [history[5]["val_loss"], None]
    assert drawing.render("png")


def test_more_runs_than_colours_are_told_apart_by_number(history: list[dict[str, Any]]) -> None:
    count = len(THEMES["dark"].runs) + 2
    drawing = draw_runs({f"run {number}": history for number in range(count)}, "dark")
    labels = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert {str(number) for number in range(1, count + 1)} <= set(labels)
    assert drawing.render("svg")
    with pytest.raises(ConfigError) as caught:
        draw_runs({})
    assert str(caught.value) == "there are no runs to draw."
