import math
from typing import Any

import pytest

from alexnet.interpretation.curves import draw_curves, find_rate_drops, find_topk
from alexnet.interpretation.drawing import spread_apart


def rates(*values: float) -> list[dict[str, Any]]:
    return [{"epoch": epoch, "learning_rate": rate} for epoch, rate in enumerate(values, 1)]


def test_curves_show_the_numbers_of_the_history(history: list[dict[str, Any]]) -> None:
    drawing = draw_curves(history, num_classes=6)
    assert drawing.numbers["epoch"] == [1, 2, 3, 4, 5, 6]
    for name in ("learning_rate", "train_loss", "val_loss", "train_top1_error", "val_top1_error", "val_top5_error"):
        assert drawing.numbers[name] == [row[name] for row in history]
    loss, error = drawing.figure.axes
    lines = {tuple(line.get_ydata()): line for line in (*loss.lines, *error.lines)}
    for name in ("train_loss", "val_loss", "train_top1_error", "val_top1_error", "val_top5_error"):
        assert list(lines[tuple(row[name] for row in history)].get_xdata()) == [1, 2, 3, 4, 5, 6]
    assert (math.log(6), math.log(6)) in lines
    assert loss.get_ylim()[1] > 1.9
    assert "guessing: 1.79" in [text.get_text() for text in loss.texts]
    assert "validation top-5" in [text.get_text() for text in error.texts]
    assert drawing.render("png")


def test_a_drop_of_the_rate_is_marked_where_it_happened(history: list[dict[str, Any]]) -> None:
    drawing = draw_curves(history)
    assert drawing.numbers["rate_dropped_by"] == [None, None, pytest.approx(10), None, None, None]
    for axes in drawing.figure.axes:
        assert [3, 3] in [list(line.get_xdata()) for line in axes.lines]
        assert "rate ÷ 10" in [text.get_text() for text in axes.texts]
    assert "lowered" in drawing.caption


def test_drops_are_found_from_sentences_and_from_rates() -> None:
    assert find_rate_drops(rates(0.01, 0.01, 0.001, 0.001)) == {2: pytest.approx(10)}
    assert find_rate_drops(rates(0.01, 0.01, 0.005)) == {2: pytest.approx(2)}
    assert find_rate_drops(rates(0.01, 0.01, 0.006, 0.006)) == {}
    last = rates(0.01, 0.01)
    last[1]["schedule"] = "learning rate divided by 10 (1 of 3)"
    assert find_rate_drops(last) == {2: None}
    ended = rates(0.01, 0.01)
    ended[1]["schedule"] = "no improvement after 3 drops of the learning rate: training ends"
    assert find_rate_drops(ended) == {}


def test_the_end_of_a_cosine_and_a_warm_up_are_no_drops() -> None:
    cosine = [0.005 * (1 + math.cos(math.pi * (epoch + 0.98) / 12)) for epoch in range(12)]
    assert find_rate_drops(rates(0.002, *cosine)) == {}
    assert "lowered" not in draw_curves(rates(0.002, *cosine)).caption


def test_epochs_without_validation_leave_gaps(history: list[dict[str, Any]]) -> None:
    for row in history[::2]:
        for name in [name for name in row if name.startswith("val")]:
            del row[name]
    drawing = draw_curves(history)
    assert drawing.numbers["val_loss"][:3] == [None, 0.95, None]
    assert [2, 4, 6] in [list(line.get_xdata()) for line in drawing.figure.axes[0].lines]
    assert drawing.render("csv").decode().splitlines()[1].startswith("1,0.01,1.8,,0.8,,,")


def test_a_run_without_validation_or_epochs_can_be_drawn(history: list[dict[str, Any]]) -> None:
    training_only = [{k: v for k, v in row.items() if not k.startswith("val")} for row in history]
    assert draw_curves(training_only, "dark").render("png")
    empty = draw_curves([])
    assert "no epoch has ended yet" in [text.get_text() for text in empty.figure.axes[0].texts]
    assert empty.render("png")
    assert draw_curves(history[:1], num_classes=2).render("png")


def test_values_that_are_not_finite_are_left_out(history: list[dict[str, Any]]) -> None:
    history[2]["train_loss"] = math.nan
    history[3]["train_loss"] = math.inf
    drawing = draw_curves(history)
    assert [1, 2, 5, 6] in [list(line.get_xdata()) for line in drawing.figure.axes[0].lines]
    assert drawing.render("png")


def test_the_k_of_the_top_k_error_is_read_from_its_name() -> None:
    assert find_topk([{"val_top1_error": 0.1}, {"val_top1_error": 0.1, "val_top3_error": 0.0}]) == "val_top3_error"
    assert find_topk([{"val_top1_error": 0.1, "val_top10_error": 0.0}]) == "val_top10_error"
    assert find_topk([{"val_top1_error": 0.1}]) is None


def test_labels_are_spread_apart_in_order_and_within_bounds() -> None:
    assert spread_apart([0.5, 0.1, 0.9], 0.1, 0, 1) == [0.5, 0.1, 0.9]
    assert spread_apart([0.5, 0.5, 0.5], 0.2, 0, 1) == pytest.approx([0.5, 0.7, 0.9])
    assert spread_apart([1.0, 0.99], 0.2, 0, 1) == pytest.approx([1.0, 0.8])
    assert spread_apart([], 0.2, 0, 1) == []
