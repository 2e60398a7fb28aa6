"""What `alexnet train` does beyond training: it shows it, tests the result, and writes the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet.console.terminal import Meter, Terminal
from alexnet.data.store.format import VAL, choose_reported
from alexnet.data.store.reader import Store
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import Interrupted
from alexnet.evaluation.calibrating import calibrate, save_calibration
from alexnet.evaluation.classifier import load
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.record import digest_weights, is_reported
from alexnet.evaluation.set_evaluation import SetEvaluation
from alexnet.files.addresses import send
from alexnet.interpretation.page import headline
from alexnet.interpretation.report import MOST_SEARCHED, VIEWS, report_run
from alexnet.recipes.named import Recipe
from alexnet.runs.display import Afterwards, TrainingDisplay, describe_calibration
from alexnet.runs.existing import identify, refuse_other
from alexnet.runs.folder import MODEL, read_metrics
from alexnet.runs.requirements import choose_objective
from alexnet.runs.trackers import attach_files, choose_trackers
from alexnet.runs.train import Outcome, train
from alexnet.system import available_cores, choose_compute
from alexnet.text.commands import command
from alexnet.text.wording import counted
from alexnet.training.loop import Silent

VALIDATED_VIEWS = 1
"""Views of the test with which training ends, which the report need not make again."""


def train_and_report(
    terminal: Terminal,
    store: Store,
    recipe: Recipe,
    out: Path,
    *,
    report: bool = True,
    reject: float | None = None,
    **options: Any,
) -> Outcome:
    """Train with a display, then test, write the report, and calibrate. Options are those of `runs.train`.

    A finished training whose test or report is missing goes on with these. Of several processes, all train and the
    first does the rest.

    Args:
        report: Whether to test and report at all.
        reject: Share of the validation images to call unknown; see `calibrate`. None leaves the model as it is.
    Raises:
        RunError: see `runs.train`; or the finished training is another than this.
        Interrupted: see `runs.train`; or the user stopped the test.
    """
    world: World = options.get("world", SINGLE_PROCESS)
    only_report = report and world.broadcast_result(lambda: _lacks_report(store, recipe, out, options))
    if not world.is_main:
        history = [] if only_report else train(store, recipe, out, listener=Silent(), **options).history
        return Outcome(out, history)
    validated = len(store[VAL]) if VAL in store.filled_splits else 0
    with terminal.progress("training", "images") as meter:
        display = TrainingDisplay(
            terminal,
            meter,
            num_classes=len(store.class_names),
            total_epochs=recipe.optimization.total_epochs,
            at_most=recipe.may_end_early,
            num_validated=validated,
            validate_every=recipe.evaluation.every_epochs,
            afterwards=_foresee(store, recipe) if report else None,
            has_sets=store.has_sets,
            chance=choose_objective(store).chance_called,
            threads=_count_threads(options, world),
        )
        outcome = Outcome(out, [])
        if not only_report:
            outcome = train(store, recipe, out, listener=display, tick=display.validated, **options)
    page, tests = None, list[Evaluation | SetEvaluation]()
    if report:
        try:
            with terminal.progress("testing", "views") as meter:
                page, tests = _report(terminal, meter, store, out, outcome.validation, options)
        except KeyboardInterrupt:
            raise Interrupted(
                f"Stopped while testing. The training is finished and saved: {out / MODEL}. The same command goes on "
                "with the test and the report."
            ) from None
    attach_files(choose_trackers(options.get("log", ())), out, terminal.say)
    if reject is not None or (report and VAL in store.filled_splits and not store.has_sets):
        _calibrate(terminal, store, out, reject, tests, options)
    send(out, last=MODEL)
    return Outcome(out, read_metrics(out), outcome.validation, tests, page)


def _count_threads(options: dict[str, Any], world: World) -> int:
    """Return the threads of the processor that compute; 1 where a GPU does, or where processes share the cores."""
    device = choose_compute(options.get("device", "auto"), "float32").device
    if device.type != "cpu" or world.world_size > 1:
        return 1
    return options.get("threads") or available_cores()


def _calibrate(
    terminal: Terminal,
    store: Store,
    out: Path,
    reject: float | None,
    tests: Sequence[Evaluation | SetEvaluation],
    options: dict[str, Any],
) -> None:
    """Find temperatures, and with `reject` thresholds, which go into the finished model.

    Args:
        tests: Those with which training ended; where they are on the validation images, temperatures cost nothing.
    """
    classifier = load(out, device=options.get("device", "auto"), precision=options.get("precision", "auto"))
    try:
        with terminal.progress("calibrating", "views") as meter:
            known = tests if choose_reported(store.filled_splits) == VAL else []
            tested = {test.num_views: test.probabilities for test in known if isinstance(test, Evaluation)}
            found = calibrate(classifier, store, reject=reject, tested=tested, tick=meter)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped while calibrating. The training is finished and saved. Calibrate it: "
            f"{command('calibrate', out, store.path, reject=reject)}"
        ) from None
    save_calibration(classifier, found)
    rejected = "" if reject is None else f"; {found.unknown[10]:,} of them are unknown"
    terminal.say(
        f"Calibrated on {counted(found.images, 'image')} of {found.split}: temperature {found.temperatures[10]:.3f} in "
        f"ten views ({describe_calibration(found, 10)}){rejected}. More: "
        f"{command('info', out / MODEL)}"
    )


def _lacks_report(store: Store, recipe: Recipe, out: Path, options: dict[str, Any]) -> bool:
    """Whether this very training is finished, and its test or report missing."""
    if not (out / MODEL).exists() or is_reported(out, out / MODEL):
        return False
    compute = choose_compute(options.get("device", "auto"), options.get("precision", "auto"))
    identity = identify(store, compute, seed=options.get("seed", 0), start=options.get("start"))
    refuse_other(out, recipe, identity, holds="a finished run without a report")
    return True


def _foresee(store: Store, recipe: Recipe) -> Afterwards:
    """Return what follows the training, and how much."""
    split = choose_reported(store.filled_splits)
    tested = len(store[split]) if split in store.filled_splits else 0
    known = VALIDATED_VIEWS if split == VAL and recipe.stop.keep != "best" else 0
    searched = min(len(store["train"]), MOST_SEARCHED) if tested else 0
    test = f"testing {counted(tested, 'image')} in ten views, as the paper does, and " if tested else ""
    return Afterwards(
        (sum(VIEWS) - known) * tested + searched,
        f"{test}writing the report (--no-report leaves {'both' if tested else 'it'} out)",
    )


def _report(
    terminal: Terminal,
    meter: Meter,
    store: Store,
    out: Path,
    validation: Evaluation | None,
    options: dict[str, Any],
) -> tuple[Path, list[Evaluation | SetEvaluation]]:
    """Test a finished run and write its report; return the page and the tests."""
    split = choose_reported(store.filled_splits)
    if split in store.filled_splits:
        images = f"{counted(len(store[split]), 'image')} of {split}"
        is_known = validation is not None and split == VAL
        views = "ten views" if is_known else "one view and in ten"
        known = "; the centre view is known from the last epoch" if is_known else ""
        terminal.say(f"Testing {images} in {views}, for the report{known}.")
    weights = digest_weights(out / MODEL)
    classifier = load(out, device=options.get("device", "auto"), precision=options.get("precision", "auto"))
    path, evaluations = report_run(
        out, classifier, store, read_metrics(out), weights=weights, tick=meter, validation=validation
    )
    if evaluations:
        terminal.say(f"{headline(evaluations[-1])}.")
    terminal.say(f"Report: {path}")
    return path, evaluations
