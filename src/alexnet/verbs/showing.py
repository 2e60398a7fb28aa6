"""How a test looks on the terminal."""

from pathlib import Path

from alexnet.console.terminal import Terminal, percent
from alexnet.data.store.reader import open_store
from alexnet.evaluation.assessment import Assessment, Unknown
from alexnet.evaluation.calibrating import Confidence
from alexnet.evaluation.confident_learning import find_suspects
from alexnet.evaluation.metrics import wilson_interval
from alexnet.text.commands import command
from alexnet.text.names import escape_name
from alexnet.text.wording import counted, say_unequal, say_views
from alexnet.verbs.showing_sets import MOST_CLASSES, show_sets


def show_assessment(terminal: Terminal, assessment: Assessment) -> None:
    """Print errors, differences, calibration, and the classes of the model that counts."""
    if assessment.set_results:
        show_sets(terminal, assessment)
        return
    first = assessment.results[0].evaluation
    views = {1: "centre view", 9: "nine views", 10: "ten views"}[first.num_views]
    head = ["model" if len(assessment.results) > 1 else "", "top-1 error", "95 % interval"]
    if first.k > 1:
        head += [f"top-{first.k}", "95 % interval"]
    rows = []
    for result in assessment.results:
        found = result.evaluation
        row = [
            result.name if len(assessment.results) > 1 else "",
            percent(found.top1_error),
            _interval(found.top1_interval),
        ]
        if first.k > 1:
            row += [percent(found.topk_error), _interval(found.topk_interval)]
        rows.append(row)
    terminal.table(head, rows, title=f"{counted(first.images, 'image')} of {assessment.images}, {views}")
    classes = len(assessment.class_titles)
    terminal.print(
        f"Guessing among {counted(classes, 'class', 'classes')} would be wrong for {percent(1 - 1 / classes)}."
    )
    terminal.print("")
    terminal.table(
        ["", "balanced error", "95 % interval", "macro F1", "cross-entropy", "calibration error", "scaled"],
        [
            [
                result.name,
                percent(result.evaluation.balanced_error[0]),
                _interval(result.evaluation.balanced_error[1:]),
                f"{result.evaluation.f1_macro:.3f}",
                f"{result.evaluation.cross_entropy:.4f}",
                percent(result.calibration.expected_error),
                percent(result.scaled.expected_error) if result.scaled else "–",
            ]
            for result in assessment.results
        ],
    )
    for result in assessment.results:
        if result.unknown is not None:
            terminal.print(f"{result.name}: {say_unknown(result.unknown)}")
    unequal = say_unequal(first.class_images, assessment.class_titles, "images here")
    if unequal:
        terminal.print(
            f"{unequal} The top-1 error is above all that of the large classes; the balanced error and F1 count every "
            "class alike."
        )
    compared = [(result.name, result.comparison) for result in assessment.results if result.comparison]
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
            title=f"Top-1 error against {assessment.results[0].name}, image by image",
        )
    if assessment.weights is not None:
        terminal.print("\nWeights: " + ", ".join(f"{weight:.3f}" for weight in assessment.weights))
    if len(assessment.class_titles) == 2:
        terminal.print("\nWith two classes there is no top-k error to speak of: k = 2 is always right.")
    terminal.print("")
    _show_classes(terminal, assessment)


def say_unknown(unknown: Unknown) -> str:
    """Return how many images were "unknown", and the errors of both parts."""
    parts = [
        f"{what} {percent(error)}"
        for what, error in (("of the others", unknown.accepted_error), ("of these", unknown.rejected_error))
        if error is not None
    ]
    return (
        f"{percent(unknown.share)} of the images are unknown (farther than {unknown.threshold:.4f} from all it "
        f"learned); top-1 error {', '.join(parts)}."
    )


def show_confidence(terminal: Terminal, found: Confidence) -> None:
    """Print temperatures, and what they do to the calibration; thresholds where there are some."""
    rejection = found.rejection
    head = ["", "temperature", "calibration error", "scaled"] + (["largest distance"] if rejection else [])
    terminal.table(
        head,
        [
            [
                say_views(views),
                f"{temperature:.3f}",
                *map(percent, found.errors[views]),
                *([f"{rejection.thresholds[views]:.4f}"] if rejection else []),
            ]
            for views, temperature in found.temperatures.items()
        ],
        title=f"{counted(found.images, 'image')} of {found.split}",
    )
    if rejection:
        terminal.print(f'{percent(rejection.share)} of these images are farther from all it learned, and "unknown".')


def _show_classes(terminal: Terminal, assessment: Assessment) -> None:

    found = assessment.results[-1].evaluation
    rows = sorted(
        zip(assessment.class_titles, found.class_images, found.class_errors, found.class_f1, strict=True),
        key=lambda row: -row[2] / max(1, row[1]),
    )
    some = len(rows) > MOST_CLASSES
    terminal.table(
        [
            f"worst {MOST_CLASSES} of {counted(len(rows), 'class', 'classes')}" if some else "class",
            "images",
            "top-1 error",
            "95 % interval",
            "F1",
        ],
        [
            [
                name,
                f"{count:,}",
                percent(errors / count) if count else "–",
                _interval(wilson_interval(errors, count)),
                f"{f1:.3f}" if count else "–",
            ]
            for name, count, errors, f1 in rows[:MOST_CLASSES]
        ],
        title=f"Classes, {assessment.results[-1].name}" if len(assessment.results) > 1 else None,
    )


def _interval(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.2f} – {100 * bounds[1]:.2f} %"


MOST_PAIRS = 10
"""Pairs of a label and a suggested class that are printed."""


def show_suspects(
    terminal: Terminal, folder: Path, store: Path, csv: Path, html: Path | None, *, as_json: bool
) -> None:
    """Write the doubtful labels of a store, and their page where one is named; print what they are."""
    opened = open_store(store)
    found = find_suspects(folder, opened)
    found.write(csv)
    if html:
        from alexnet.interpretation.page import write_suspects_page

        write_suspects_page(html, found, command("evaluate", folder, store, suspects=csv, html=html))
    images, doubtful = len(opened), len(found.numbers)
    if as_json:
        pairs = [
            {"label": escape_name(opened.class_names[a]), "suggested": escape_name(opened.class_names[b]), "images": n}
            for a, b, n in found.confusions
        ]
        terminal.print_json({"images": images, "suspects": doubtful, "pairs": pairs})
    else:
        titles = opened.class_titles
        share = percent(doubtful / images)
        terminal.print(f"{counted(doubtful, 'label')} of {counted(images, 'training image')} in doubt, {share}.")
        if doubtful:
            rows = [[titles[a], titles[b], f"{n:,}"] for a, b, n in found.confusions[:MOST_PAIRS]]
            terminal.table(["label", "suggested", "images"], rows)
    terminal.say(f"Doubtful labels: {csv}")
    if html:
        again = command("prepare", "PHOTOS", corrections="corrections.csv", out="OTHER")
        terminal.say(f"Look through them: {html}. With what it saves: {again}")
