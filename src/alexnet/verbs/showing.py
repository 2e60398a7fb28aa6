"""How a test looks on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from alexnet.console.terminal import Terminal, percent
from alexnet.data.store.reader import open_store
from alexnet.evaluation.assessment import Assessment, Result, SetResult, Unknown
from alexnet.evaluation.calibrating import Confidence
from alexnet.evaluation.confident_learning import find_suspects
from alexnet.evaluation.evaluate import Evaluation
from alexnet.interpretation.tables import SET_HEAD, list_classes, list_differences, list_set_row
from alexnet.runs.display import describe_calibration
from alexnet.text.commands import command
from alexnet.text.names import escape_name
from alexnet.text.wording import counted, say_unequal, say_views

VIEWS = {1: "centre view", 9: "nine views", 10: "ten views"}
MOST_CLASSES = 20
"""Classes that are listed; of more, the worst."""
MOST_PAIRS = 10
"""Pairs of a label and a suggested class that are printed."""


def show_assessment(terminal: Terminal, assessment: Assessment) -> None:
    """Print errors, differences, calibration, and the classes of the model that counts."""
    if assessment.set_results:
        _show_sets(terminal, assessment)
        return
    first = assessment.results[0].evaluation
    head = ["model" if len(assessment.results) > 1 else "", "top-1 error", "95 % interval"]
    if first.k > 1:
        head += [f"top-{first.k}", "95 % interval"]
    rows = [_list_errors(assessment, result.name, result.evaluation) for result in assessment.results]
    title = f"{counted(first.images, 'image')} of {assessment.images}, {VIEWS[first.num_views]}"
    terminal.table(head, rows, title=title)
    if first_clips := assessment.results[0].clips:
        head[1] = "clip error"
        title = f"{counted(first_clips.images, 'clip')}, each by the mean of its frames"
        rows = [_list_errors(assessment, result.name, result.clips or first_clips) for result in assessment.results]
        terminal.table(head, rows, title=title)
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
    _show_differences(terminal, assessment.results, "Top-1 error")
    if assessment.weights is not None:
        terminal.print("\nWeights: " + ", ".join(f"{weight:.3f}" for weight in assessment.weights))
    if len(assessment.class_titles) == 2:
        terminal.print("\nWith two classes there is no top-k error to speak of: k = 2 is always right.")
    terminal.print("")
    _show_classes(terminal, assessment)


def _list_errors(assessment: Assessment, name: str, found: Evaluation) -> list[str]:
    row = [name if len(assessment.results) > 1 else "", percent(found.top1_error), _interval(found.top1_interval)]
    return row + ([percent(found.topk_error), _interval(found.topk_interval)] if found.k > 1 else [])


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
    head = ["", "temperature", "calibration error", "scaled"] + (["largest distance", "unknown"] if rejection else [])
    terminal.table(
        head,
        [
            [
                say_views(views),
                f"{temperature:.3f}",
                *map(percent, found.errors[views]),
                *([f"{rejection.thresholds[views]:.4f}", f"{found.unknown[views]:,}"] if rejection else []),
            ]
            for views, temperature in found.temperatures.items()
        ],
        title=f"{counted(found.images, 'image')} of {found.split}",
    )
    if rejection:
        terminal.print('A picture that is farther than its largest distance from all it learned is "unknown".')
    for views in found.temperatures:
        if found.errors[views][1] >= found.errors[views][0]:
            terminal.print(f"In {say_views(views)}: {describe_calibration(found, views)}.")


def _show_sets(terminal: Terminal, assessment: Assessment) -> None:
    """Print average precisions, F1 scores and differences, and the classes of the model that counts."""
    results = assessment.set_results
    first, last = results[0].evaluation, results[-1].evaluation
    terminal.table(
        ["model" if len(results) > 1 else "", *SET_HEAD],
        [[result.name if len(results) > 1 else "", *list_set_row(result.evaluation, _interval)] for result in results],
        title=f"{counted(first.images, 'image')} of {assessment.images}, {VIEWS[first.num_views]}",
    )
    there = [count / last.images for count in last.class_images if count]
    terminal.print(
        f"Guessing has a mean AP of {sum(there) / len(there):.3f}. The set error counts images whose classes were not "
        "told exactly."
    )
    _show_differences(terminal, results, "Set error")
    terminal.print("")
    _show_classes(terminal, assessment)


def _show_differences(terminal: Terminal, results: Sequence[Result] | Sequence[SetResult], what: str) -> None:
    rows = list_differences(results)
    if rows:
        terminal.print("")
        terminal.table(
            ["", "points", "95 % interval", "wrong here alone", "in the first alone", "McNemar p"],
            rows,
            title=f"{what} against {results[0].name}, image by image",
        )


def _show_classes(terminal: Terminal, assessment: Assessment) -> None:
    results = assessment.set_results or assessment.results
    head, rows = list_classes(assessment, _interval)
    if len(rows) > MOST_CLASSES:
        head[0] = f"worst {MOST_CLASSES} of {counted(len(rows), 'class', 'classes')}"
    title = f"Classes, {results[-1].name}" if len(results) > 1 else None
    terminal.table(head, rows[:MOST_CLASSES], title=title)


def _interval(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.2f} – {100 * bounds[1]:.2f} %"


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
