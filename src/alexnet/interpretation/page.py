"""What the pages of a run, a test and a search say. How they look is in `pages`; what a report holds, in report.py."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alexnet.console.terminal import duration, percent
from alexnet.data.images.jpeg import encode_jpeg
from alexnet.evaluation.confident_learning import Suspects
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.set_evaluation import SetEvaluation
from alexnet.interpretation.drawing import MARGIN_IN, SCREEN_DPI, Themed, Value
from alexnet.interpretation.tables import SET_HEAD, capitalized, list_set_row
from alexnet.pages.writing import embed, write_page
from alexnet.text.names import escape_name
from alexnet.text.wording import counted

MOST_ROWS = 1000
"""A figure with more numbers than this has them in its CSV file only."""
NOT_TESTED = "Not tested: no images were set aside for testing."
VIEWS_NOTE = (
    " Ten views are the four corners and the centre, and their mirror images; their probabilities are averaged."
)
VIEWS = {1: "centre view", 10: "ten views"}


def write_report(
    path: Path,
    *,
    title: str,
    recipe_name: str,
    history: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Evaluation | SetEvaluation],
    drawings: Sequence[Themed],
    facts: Sequence[tuple[str, str]],
    commands: Sequence[str],
    next_commands: Sequence[str] = (),
    trained_on: str = "",
    environment: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a report; it appears whole or not at all.

    Args:
        history: Rows of the run, one per epoch.
        evaluations: Tests on the same images; the one with most views makes the headline. May be empty.
        drawings: In the order of the page.
        facts: Names and values of a table.
        commands: What to type to get the same again.
        next_commands: What to type to use the run.
        trained_on: A sentence about the images.
        environment: What the run wrote down about its machine and libraries.
    """
    epochs = counted(len(history), "epoch")
    seconds = sum(float(row.get("seconds_with_validation") or row.get("seconds") or 0) for row in history)
    tests = sorted(evaluations, key=lambda evaluation: evaluation.num_views)
    write_page(
        path,
        "run.html",
        kicker="AlexNet report",
        title=title,
        lead=f"Recipe {recipe_name}, {epochs} in {duration(seconds)}. {trained_on}",
        description=headline(tests[-1]) if tests else NOT_TESTED,
        result=explain(tests[-1]) if tests else None,
        not_tested=NOT_TESTED,
        errors=_list_tests(tests) if tests else None,
        figures=map(show, drawings),
        facts=facts,
        environment=environment,
        commands=commands,
        next_commands=next_commands,
    )


class Thumbnail(NamedTuple):
    """A picture in a row of them."""

    data: bytes | None
    """JPEG; None where there is none to show."""
    caption: str
    differs: bool = False
    """Whether its caption is red: it is not what was looked for."""


def headline(evaluation: Evaluation | SetEvaluation) -> str:
    """Return the result of a test in one line of plain text."""
    if isinstance(evaluation, SetEvaluation):
        return (
            f"Mean average precision {evaluation.mean_average_precision:.3f}, macro F1 {evaluation.f1_macro:.3f}, "
            f"{counted(evaluation.images, 'image')}, {_views(evaluation)}"
        )
    return (
        f"Top-1 error {short_percent(evaluation.top1_error)} (95 % interval {interval(evaluation.top1_interval)}), "
        f"{counted(evaluation.images, 'image')}, {_views(evaluation)}"
    )


def short_percent(rate: float) -> str:
    """Return a fraction as percent with one digit."""
    return f"{100 * rate:.1f} %"


def interval(bounds: tuple[float, float]) -> str:
    """Return two fractions as a range of percent with one digit."""
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f} %"


def explain(evaluation: Evaluation | SetEvaluation) -> Mapping[str, str]:
    """Return what pages show of a test as `result`: its error, its headline, and what they mean."""
    if isinstance(evaluation, SetEvaluation):
        meaning = (
            f"Of 100 images like these, about {100 * evaluation.set_error:.0f} have a class that is missed or said "
            "falsely. The average precision of a class is the share of right ones among the images most like it, "
            "averaged over all that have it."
        )
        shown = f"{evaluation.mean_average_precision:.3f}"
        return {"error": shown, "headline": headline(evaluation), "meaning": meaning}
    meaning = f"Of 100 images like these, about {100 * evaluation.top1_error:.0f} get a wrong first answer."
    if evaluation.class_names:
        classes = counted(len(evaluation.class_names), "class", "classes")
        guessing = short_percent(1 - 1 / len(evaluation.class_names))
        meaning += f" Guessing among {classes} would be wrong for {guessing}."
    return {"error": short_percent(evaluation.top1_error), "headline": headline(evaluation), "meaning": meaning}


def _list_tests(tests: Sequence[Evaluation | SetEvaluation]) -> Mapping[str, Any]:
    sets = [test for test in tests if isinstance(test, SetEvaluation)]
    return _list_sets(sets) if sets else _list_errors([test for test in tests if isinstance(test, Evaluation)])


def _list_sets(tests: Sequence[SetEvaluation]) -> Mapping[str, Any]:
    note = (
        f"{counted(tests[0].images, 'image')}, each counted once. The set error counts images whose classes are not "
        "told exactly, at the threshold of each class. Macro F1 is the mean over the classes, micro F1 that of all "
        f"answers together.{VIEWS_NOTE if len(tests) > 1 else ''}"
    )
    return {
        "head": ("", *capitalized(SET_HEAD)),
        "rows": [(_views(test).capitalize(), *list_set_row(test, interval)) for test in tests],
        "note": note,
    }


def _list_errors(tests: Sequence[Evaluation]) -> Mapping[str, Any]:
    k = tests[0].k
    rows = [
        (
            _views(test).capitalize(),
            percent(test.top1_error),
            interval(test.top1_interval),
            *([percent(test.topk_error), interval(test.topk_interval)] if k > 1 else []),
            f"{test.cross_entropy:.4f}",
        )
        for test in tests
    ]
    of_k = [f"Top-{k} error", "95 % interval"] if k > 1 else []
    meaning = f" Top-{k} counts an image as wrong if its class is not among the {k} most probable." if k > 1 else ""
    note = (
        f"{counted(tests[0].images, 'image')}, each counted once.{meaning} The interval says how far chance in "
        f"the choice of images reaches.{VIEWS_NOTE if len(tests) > 1 else ''}"
    )
    return {"head": ("", "Top-1 error", "95 % interval", *of_k, "Cross-entropy"), "rows": rows, "note": note}


def show(pair: Themed) -> Mapping[str, Any]:
    """Return what pages show of a drawing as one of their `figures`: the pictures, the words, the numbers."""
    drawing = pair.light
    rows = list(zip(*drawing.numbers.values(), strict=True)) if drawing.num_rows <= MOST_ROWS else []
    return {
        "title": drawing.title,
        "caption": drawing.caption,
        "light": embed(pair.light.render("webp"), "webp"),
        "dark": embed(pair.dark.render("webp"), "webp"),
        "width_px": round(SCREEN_DPI * (drawing.figure.get_size_inches()[0] + 2 * MARGIN_IN)),
        "head": [re.sub(r"top(\d)", r"top-\1", name.replace("_", " ")) for name in drawing.numbers],
        "rows": [[_value(name, value) for name, value in zip(drawing.numbers, row, strict=True)] for row in rows],
        "kind": "words" if any(isinstance(value, str) for row in rows for value in row[1:]) else "numbers",
    }


def _value(column: str, value: Value) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        is_rate = column.endswith("error") or column in ("lower", "upper", "probability")
        return percent(value) if is_rate else f"{value:.4g}"
    return str(value)


def _views(evaluation: Evaluation | SetEvaluation) -> str:
    return VIEWS.get(evaluation.num_views, counted(evaluation.num_views, "view"))


MOST_PICTURES = 500
"""Suspects on the page, the most doubtful: as many as a person looks through in half an hour."""


class Doubtful(NamedTuple):
    """One picture of the page."""

    data: bytes
    """JPEG."""
    path: str
    label: str
    """Readable name."""
    suggested: str
    """Class name, as corrections take it."""
    title: str
    """Readable name of the suggested class."""
    score: float


def write_suspects_page(path: Path, suspects: Suspects, typed: str) -> None:
    """Write the page; it appears whole or not at all.

    Args:
        typed: The command that writes it again.
    """
    store, doubts = suspects.store, suspects.doubts
    shown = suspects.numbers[:MOST_PICTURES]
    names = list(map(escape_name, store.class_names))
    pictures = [
        Doubtful(
            data=encode_jpeg(store.images[number], 85),
            path=escape_name(store.paths[number]),
            label=store.class_titles[doubts.labels[number]],
            suggested=names[doubts.suggested[number]],
            title=store.class_titles[doubts.suggested[number]],
            score=float(doubts.scores[number]),
        )
        for number in shown
    ]
    images, found = counted(len(store), "training image"), counted(len(suspects.numbers), "label")
    write_page(
        path,
        "suspects.html",
        kicker="AlexNet labels",
        title=f"{found} in doubt",
        lead=f"Of {images} of {store.path.name}, each judged by a network that had not seen it.",
        cut=len(suspects.numbers) - len(shown),
        pictures=pictures,
        classes=list(zip(names, store.class_titles, strict=True)),
        commands=[typed],
    )
