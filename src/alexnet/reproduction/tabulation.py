"""Results and verdicts as tables of text, for the terminal and for docs/."""

import math
from collections.abc import Sequence

from alexnet.reproduction.contrasts import Contrast
from alexnet.reproduction.experiments import Experiment
from alexnet.reproduction.results import Outcome


def tabulate(
    experiment: Experiment, outcomes: Sequence[Outcome], contrasts: Sequence[Contrast] = ()
) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of an experiment's table; what was not run is a dash.

    Args:
        contrasts: Those of this experiment. Their differences are means over the seeds that both have; the first
            variant's error over these seeds is beside each.
    """
    if experiment.measure == "epochs":
        return ["variant", "seeds", "epochs", "best choice", *(each.by for each in experiment.references)], [
            [
                each.variant,
                f"{len(each.seeds)} of {each.planned}",
                show_epochs(each),
                each.choice or "–",
                *(reference.figures.get(each.variant, "–") for reference in experiment.references),
            ]
            for each in outcomes
        ]
    k = next((each.k for each in outcomes if each.k), 5)
    of = {contrast.variant: contrast for contrast in contrasts}
    head = ["variant", "seeds", "top-1", "± sd", f"top-{k}"]
    if contrasts:
        head += ["first row, same seeds", "difference", "95 %, images", "95 %, images and seeds", "by seed"]
    return head, [
        [
            each.variant,
            f"{len(each.seeds)} of {each.planned}",
            show_error(each.mean),
            show_error(each.deviation),
            show_error(each.topk),
            *(_compared(of.get(each.variant)) if contrasts else []),
        ]
        for each in outcomes
    ]


def _compared(contrast: Contrast | None) -> list[str]:
    if contrast is None:
        return ["–"] * 5
    return [
        show_error(contrast.baseline),
        show_points(contrast.difference),
        show_interval(contrast.over_images),
        show_interval(contrast.both.interval if contrast.both else None),
        ", ".join(map(show_points, contrast.differences)),
    ]


def tabulate_verdicts(contrasts: Sequence[Contrast]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of verdicts, one for each contrast."""
    head = ["variant : first", "images", "updates (epochs)", "seeds", "difference", "95 %, images and seeds"]
    return [*head, "p", "p, Holm", "verdict"], [
        [
            f"{each.variant} : {each.against}",
            each.place,
            f"{each.updates:,} ({each.epochs})",
            _count_seeds(each),
            show_points(each.difference),
            show_interval(each.both.interval if each.both else None),
            show_p_value(each.both.p_value if each.both else None),
            show_p_value(each.corrected),
            each.verdict,
        ]
        for each in contrasts
    ]


def _count_seeds(contrast: Contrast) -> str:
    """Return 3, or 15 (3 averages)."""
    averages = len(contrast.differences)
    several = 1 < averages < len(contrast.seeds)
    return f"{len(contrast.seeds)}{f' ({averages} averages)' if several else ''}"


def tabulate_recorded(experiment: Experiment) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of what others recorded of an experiment's variants."""
    return ["recorded, top-1 / top-5 in %", *(each.by for each in experiment.references)], [
        [each.name, *(reference.figures.get(each.name, "–") for reference in experiment.references)]
        for each in experiment.variants
    ]


def compare_epochs(outcomes: Sequence[Outcome]) -> str | None:
    """Return a sentence about how many times the epochs of the first variant the second one takes."""
    first, second = outcomes[0].mean, outcomes[1].mean if len(outcomes) > 1 else None
    if first and second:
        return f"{outcomes[1].variant} takes {second / first:.1f} times as many epochs."
    if first and len(outcomes) > 1 and outcomes[1].beyond:
        return f"{outcomes[1].variant} takes more than {outcomes[1].beyond / first:.1f} times as many epochs."
    return None


def show_epochs(outcome: Outcome) -> str:
    """Return 5.5, or > 30 where no training got there, or a dash where none was run."""
    if outcome.mean is not None:
        return f"{outcome.mean:.1f}"
    return f"> {outcome.beyond}" if outcome.beyond else "–"


def show_error(value: float | None) -> str:
    """Return 23.73 % or a dash."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.2%}".replace("%", " %")


def show_points(value: float) -> str:
    """Return a difference of rates in percentage points: +1.4."""
    return f"{100 * value:+.1f}"


def show_interval(interval: tuple[float, float] | None) -> str:
    """Return +0.2 to +2.5, in percentage points, or a dash."""
    return "–" if interval is None else f"{show_points(interval[0])} to {show_points(interval[1])}"


def show_p_value(value: float | None) -> str:
    """Return 0.012, or < 0.001, or a dash."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
