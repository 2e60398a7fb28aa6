"""The tables of a test, as cells: the terminal and the page of a test say the same."""

from collections.abc import Callable, Sequence

from alexnet.console.terminal import percent
from alexnet.evaluation.assessment import Assessment, Result, SetResult
from alexnet.evaluation.metrics import wilson_interval
from alexnet.evaluation.set_evaluation import SetEvaluation

Interval = Callable[[tuple[float, float]], str]
"""How two fractions are written: with two digits on the terminal, with one on pages."""

SET_HEAD = ("mean AP", "macro F1", "micro F1", "set error", "95 % interval", "loss")


def capitalized(head: Sequence[str]) -> list[str]:
    """Return a head as pages write it; the terminal has small letters."""
    return [name[:1].upper() + name[1:] for name in head]


def list_set_row(test: SetEvaluation, interval: Interval) -> list[str]:
    """Return the cells of a test below SET_HEAD."""
    return [
        f"{test.mean_average_precision:.3f}",
        f"{test.f1_macro:.3f}",
        f"{test.f1_micro:.3f}",
        percent(test.set_error),
        interval(test.set_interval),
        f"{test.loss:.4f}",
    ]


def list_differences(results: Sequence[Result] | Sequence[SetResult]) -> list[list[str]]:
    """Return what differs from the first result, image by image.

    Of each: its name, points, their interval, images wrong here alone and in the first alone, and McNemar's p.
    """
    return [
        [
            result.name,
            f"{100 * result.comparison.difference:+.2f}",
            " to ".join(f"{100 * bound:+.2f}" for bound in result.comparison.interval),
            f"{result.comparison.only_second:,}",
            f"{result.comparison.only_first:,}",
            f"{result.comparison.p_value:.2g}",
        ]
        for result in results
        if result.comparison
    ]


def list_classes(assessment: Assessment, interval: Interval) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the classes of the last result, the only model or the average, worst first."""
    titles = assessment.class_titles
    if assessment.set_results:
        of_sets = assessment.set_results[-1].evaluation
        return ["class", "images", "AP", "F1", "right", "false", "missed", "said from"], [
            [
                titles[place],
                f"{of_sets.class_images[place]:,}",
                f"{of_sets.class_precisions[place]:.3f}" if of_sets.class_images[place] else "–",
                f"{of_sets.class_f1[place]:.3f}" if of_sets.class_images[place] else "–",
                f"{of_sets.right[place]:,}",
                f"{of_sets.false[place]:,}",
                f"{of_sets.missed[place]:,}",
                percent(of_sets.thresholds[place]),
            ]
            for place in sorted(
                range(len(titles)),
                key=lambda place: of_sets.class_precisions[place] if of_sets.class_images[place] else 2.0,
            )
        ]
    found = assessment.results[-1].evaluation
    worst = sorted(
        zip(titles, found.class_images, found.class_errors, found.class_f1, strict=True),
        key=lambda row: -row[2] / max(1, row[1]),
    )
    return ["class", "images", "top-1 error", "95 % interval", "F1"], [
        [
            name,
            f"{count:,}",
            percent(errors / count) if count else "–",
            interval(wilson_interval(errors, count)),
            f"{f1:.3f}" if count else "–",
        ]
        for name, count, errors, f1 in worst
    ]
