"""How a test of independent classes looks on the terminal."""

from alexnet.console.terminal import Terminal, percent
from alexnet.evaluation.assessment import Assessment
from alexnet.text.wording import counted

MOST_CLASSES = 20
"""Classes that are listed; of more, the worst."""


def show_sets(terminal: Terminal, assessment: Assessment) -> None:
    """Print average precisions, F1 scores and differences, and the classes of the model that counts."""
    results = assessment.set_results
    first, last = results[0].evaluation, results[-1].evaluation
    views = {1: "centre view", 9: "nine views", 10: "ten views"}[first.num_views]
    terminal.table(
        ["model" if len(results) > 1 else "", "mean AP", "macro F1", "micro F1", "set error", "95 % interval", "loss"],
        [
            [
                result.name if len(results) > 1 else "",
                f"{result.evaluation.mean_average_precision:.3f}",
                f"{result.evaluation.f1_macro:.3f}",
                f"{result.evaluation.f1_micro:.3f}",
                percent(result.evaluation.set_error),
                " – ".join(f"{100 * bound:.2f}" for bound in result.evaluation.set_interval) + " %",
                f"{result.evaluation.loss:.4f}",
            ]
            for result in results
        ],
        title=f"{counted(first.images, 'image')} of {assessment.images}, {views}",
    )
    there = [count / last.images for count in last.class_images if count]
    terminal.print(
        f"Guessing has a mean AP of {sum(there) / len(there):.3f}. The set error counts images whose classes were not "
        "told exactly."
    )
    compared = [(result.name, result.comparison) for result in results if result.comparison]
    if compared:
        terminal.print("")
        terminal.table(
            ["", "points", "95 % interval", "wrong here alone", "in the first alone", "McNemar p"],
            [
                [
                    name,
                    f"{100 * each.difference:+.2f}",
                    " to ".join(f"{100 * bound:+.2f}" for bound in each.interval),
                    f"{each.only_second:,}",
                    f"{each.only_first:,}",
                    f"{each.p_value:.2g}",
                ]
                for name, each in compared
            ],
            title=f"Set error against {results[0].name}, image by image",
        )
    terminal.print("")
    rows = sorted(
        zip(
            assessment.class_titles,
            last.class_images,
            last.class_precisions,
            last.class_f1.tolist(),
            last.right,
            last.false,
            last.missed,
            last.thresholds,
            strict=True,
        ),
        key=lambda row: row[2] if row[1] else 2.0,
    )
    some = len(rows) > MOST_CLASSES
    terminal.table(
        [
            f"worst {MOST_CLASSES} of {counted(len(rows), 'class', 'classes')}" if some else "class",
            "images",
            "AP",
            "F1",
            "right",
            "false",
            "missed",
            "from",
        ],
        [
            [
                name,
                f"{count:,}",
                f"{precision:.3f}" if count else "–",
                f"{f1:.3f}" if count else "–",
                f"{right:,}",
                f"{false:,}",
                f"{missed:,}",
                percent(threshold),
            ]
            for name, count, precision, f1, right, false, missed, threshold in rows[:MOST_CLASSES]
        ],
        title=f"Classes, {results[-1].name}" if len(results) > 1 else None,
    )
