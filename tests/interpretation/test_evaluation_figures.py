"""The figures of a test: what is taken for what, and whether confidence can be trusted."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from alexnet.evaluation.evaluate import measure_errors
from alexnet.evaluation.metrics import Calibration
from alexnet.interpretation.evaluation_figures import MOST_NAMED, count_confusions, draw_confusion, draw_reliability
from alexnet.interpretation.evaluation_report import _draw_disagreements, choose_disagreements

NAMES = ("<b>&\"'", "a$b$_c", "very " * 20 + "long")


def test_confusions_are_counted_by_class_and_answer() -> None:
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    assert count_confusions(probabilities, np.array([0, 0, 1, 2])).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_a_confusion_matrix_has_names_and_numbers_where_there_is_room() -> None:
    drawing = draw_confusion(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), NAMES, "dark")
    (axes,) = drawing.figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:2] == [*NAMES[:2]]
    assert names[2].endswith("…")
    assert not any(label.get_parse_math() for label in (*axes.get_xticklabels(), *axes.get_yticklabels()))
    assert [(*text.get_position(), text.get_text()) for text in axes.texts] == [(0, 0, "3"), (1, 0, "1"), (1, 1, "2")]
    assert drawing.numbers == {
        "class": [NAMES[0], NAMES[0], NAMES[1]],
        "taken_for": [NAMES[0], NAMES[1], NAMES[1]],
        "images": [3, 1, 2],
    }
    assert drawing.render("png")
    many = MOST_NAMED + 1
    (axes,) = draw_confusion(np.eye(many, dtype=np.int64), [f"class {i}" for i in range(many)]).figure.axes
    assert not axes.texts
    assert not axes.get_yticklabels()


def test_reliability_shows_accuracy_confidence_and_share_of_each_range() -> None:
    calibration = Calibration(0.05, (0.0, 0.5), (0, 4), (None, 0.8), (None, 0.75))
    drawing = draw_reliability(calibration)
    left, right = drawing.figure.axes
    assert [bar.get_height() for bar in left.patches] == [0, 0.75]
    assert [bar.get_height() for bar in right.patches] == [0, 1]
    dots = left.lines[-1]
    assert (dots.get_xdata()[1], dots.get_ydata()[1]) == (0.8, 0.75)
    assert "5.0 percentage points" in drawing.caption
    assert drawing.numbers["accuracy"] == [None, 0.75]
    assert drawing.render("png")
    empty = Calibration(0.0, (0.0, 0.5), (0, 0), (None, None), (None, None))
    assert draw_reliability(empty).render("svg")


def test_pictures_are_shown_both_ways_under_the_names_of_the_two() -> None:
    labels, paths = np.array([0, 1, 0]), ["x.png", "y.png", "z.png"]
    tests = [
        SimpleNamespace(
            name=name,
            evaluation=measure_errors(torch.tensor(rows), labels, class_names=("a", "b"), num_views=1, k=1),
        )
        for name, rows in (
            ("ONE", [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]),
            ("TWO", [[0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]),
        )
    ]
    trial = SimpleNamespace(decode=lambda place: np.full((8, 8, 3), 40 * place, np.uint8), paths=paths)
    assessment: Any = SimpleNamespace(results=tests, set_results=[], trial=trial, class_titles=("a", "b"))
    found = {themed.light.name: themed.light for themed in _draw_disagreements(assessment)}
    assert {name: drawing.title for name, drawing in found.items()} == {
        "lost-2": "Right by ONE, wrong by TWO, whose answers these are",
        "won-2": "Right by TWO, wrong by ONE, whose answers these are",
    }
    shown = {name: set(drawing.numbers["image"]) for name, drawing in found.items()}
    assert shown == {"lost-2": {"x.png"}, "won-2": {"y.png"}}


def test_disagreements_are_what_one_gets_right_and_the_other_wrong_the_furthest_apart_first() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    one = [[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]
    other = [[0.4, 0.6], [0.3, 0.7], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]]
    first, second = (
        measure_errors(torch.tensor(rows), labels, class_names=("a", "b"), num_views=1, k=1) for rows in (one, other)
    )
    assert choose_disagreements(first, second, 5) == [1, 0]
    assert choose_disagreements(first, second, 1) == [1]
    assert choose_disagreements(second, first, 5) == [4]
