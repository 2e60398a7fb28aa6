"""The page of a run: what is trained, how far it is, how well it does, and the next command."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet.console.terminal import duration, percent
from alexnet.data.store.format import find_start, find_store
from alexnet.description.models import list_confidence
from alexnet.description.page import Description, command, count_towers, describe_path, name_classes
from alexnet.errors import RunError, WeightsError
from alexnet.evaluation.record import digest_weights, read_errors
from alexnet.files.tensors import read_document, read_tensors
from alexnet.files.writing import is_locked, recall_places
from alexnet.network.model_file import FORMAT, find_checkpoint
from alexnet.network.rows import Spec
from alexnet.network.shapes import measure
from alexnet.recipes.named import Recipe, read_recipe
from alexnet.runs.folder import BEST, ERRORS, LAST, LOCK, METRICS, MODEL, RECIPE, REPORT, read_environment, read_metrics
from alexnet.text.commands import train_again
from alexnet.text.wording import counted
from alexnet.training.progress import Progress, read_progress

_VIEWS = {1: "centre view", 9: "nine views", 10: "ten views"}


def describe_run(path: Path, *, verify: bool = False, every: bool = False) -> Description:
    """Return what a run folder holds.

    Args:
        verify: Read every byte of its model, or of the newest checkpoint, and compare checksums.
        every: Name all classes.
    Raises:
        RunError, RecipeError: its environment or recipe is damaged.
        WeightsError: its model is damaged, or none of its checkpoints is readable.
    """
    environment, history = read_environment(path), read_metrics(path)
    recipe = read_recipe(path / RECIPE) if (path / RECIPE).exists() else None
    is_finished, is_training = (path / MODEL).exists(), is_locked(path / LOCK)
    newest = _find_newest(path, is_finished=is_finished, verify=verify)
    progress = None if newest is None or is_finished else read_progress(newest)
    facts = [("what", _say_state(recipe, history, progress, is_finished=is_finished, is_training=is_training))]
    facts += _list_trained(path, recipe, environment, newest, every=every)
    if verify and newest is not None:
        facts.append(("checked", f"that every byte of {newest.name} is as it was written"))
    try:
        facts.append(("trained for", _say_time(recipe, history, is_finished=is_finished)))
        facts += _list_kept(path, recipe, history, is_finished=is_finished)
        facts += _list_errors(history) if history else []
    except KeyError as problem:
        raise RunError(f"{path / METRICS}: its lines lack {problem}. Copy it again from where it came.") from None
    measured = read_errors(path, digest_weights(newest)) if newest and (path / ERRORS).exists() else None
    if newest and (path / ERRORS).exists() and measured is None and not verify:
        _find_newest(path, is_finished=is_finished, verify=True)  # weights may differ by damage
    for test in measured["tests"] if measured else ():
        if test["views"] != 1 and "mean_average_precision" in test:
            facts.append((
                _VIEWS[test["views"]],
                f"mean AP {test['mean_average_precision']:.3f}, macro F1 {test['f1_macro']:.3f}, set error "
                f"{percent(test['set_error'])}, on {counted(test['images'], 'image')} of "
                f"{measured['split'] if measured else ''}",
            ))  # fmt: skip
        elif test["views"] != 1:
            low, high = test["top1_interval"]
            top1, _, others = _say_errors(test, "").partition(", ")
            facts.append((
                _VIEWS[test["views"]],
                f"{top1} (95 %: {100 * low:.2f} to {100 * high:.2f}), {f'{others}, ' if others else ''}on "
                f"{counted(test['images'], 'image')} of {measured['split'] if measured else ''}",
            ))  # fmt: skip
    if newest and is_finished:
        document = read_document(newest, kinds=("model",), newest_format=FORMAT)
        try:
            facts += list_confidence(document, document["class_titles"])
        except (AttributeError, KeyError, TypeError, ValueError) as problem:
            raise WeightsError(
                f"{newest}: its header is incomplete or malformed ({problem}). Obtain the file again."
            ) from None
    if (path / REPORT).exists():
        others = "" if measured else f" (of other weights than these; anew: {command('report', path)})"
        facts.append(("report", f"{path / REPORT}{others}"))
    facts += _list_next(
        path,
        recipe,
        environment,
        is_finished=is_finished,
        is_training=is_training,
        is_validated=any("val_loss" in row for row in history),
    )
    return describe_path(
        path,
        "run",
        facts,
        finished=is_finished,
        training=is_training,
        recipe=recipe.model_dump(mode="json") if recipe else None,
        environment=environment,
        history=history,
        errors=measured,
    )


def _find_newest(path: Path, *, is_finished: bool, verify: bool) -> Path | None:
    """The finished model, or the newest readable checkpoint; None before the first is saved."""
    if is_finished:
        if verify:
            read_tensors(path / MODEL)
        return path / MODEL
    found = find_checkpoint(path, every_byte=verify)
    return None if found is None else found[0]


def _say_state(
    recipe: Recipe | None,
    history: Sequence[dict[str, Any]],
    progress: Progress | None,
    *,
    is_finished: bool,
    is_training: bool,
) -> str:
    total = recipe.optimization.total_epochs if recipe else None
    if is_finished:
        early = f" of at most {total}" if total and len(history) < total else ""
        why = f"; ended early: {history[-1]['ended']}" if early and history and "ended" in history[-1] else ""
        return f"a finished run of {counted(len(history), 'epoch')}{early}{why}"
    state = "a run that is being trained now" if is_training else "an unfinished run"
    if progress is None:
        return f"{state}; nothing is saved yet"
    batches = f" after {progress.batch} batches" if progress.batch else ""
    reached = f"{min(progress.epoch + 1, total)} of {total}" if total else f"{progress.epoch + 1}"
    return f"{state}; saved in epoch {reached}{batches}"


def _list_trained(
    path: Path, recipe: Recipe | None, environment: dict[str, Any], newest: Path | None, *, every: bool
) -> list[tuple[str, str]]:
    """What is trained, from what, on what and where."""
    name = recipe.name if recipe else f"{path / RECIPE} is missing"
    facts = [("recipe", f"{name}, seed {environment.get('seed', 'unknown')}")]
    if newest is None:
        facts += [("network", recipe.network.dialect)] if recipe else []
    else:
        document = read_document(newest, kinds=("model", "checkpoint"), newest_format=FORMAT)
        try:
            spec, titles = Spec.from_json(document["spec"], where=str(newest)), document["class_titles"]
        except KeyError as problem:
            raise WeightsError(f"{newest}: its header lacks {problem}. Obtain the file again.") from None
        parameters = sum(shape.parameters for shape in measure(spec))
        facts.append(("network", f"{spec.dialect}: {count_towers(spec.towers)}, {parameters:,} parameters"))
        facts.append(("classes", name_classes(titles, every=every)))
        if recipe is None and (document.get("provenance") or {}).get("recipe"):
            facts.insert(1, ("", f"its values are kept in the model: {command('info', newest, '--json')}"))
    for title, name, place in (
        ("store", "store", find_store(environment, path)),
        ("started from", "start", next(iter(recall_places("start", environment, path)), None)),
    ):
        recorded = environment.get(f"{name}_absolute", environment.get(name))
        if recorded or name == "store":
            facts.append((title, str(place or f"{recorded or 'not recorded'} (not there now)")))
    known = {name: environment.get(name, "unknown") for name in ("precision", "device", "threads", "processor")}
    if isinstance(known["threads"], int):
        known["threads"] = counted(known["threads"], "thread")
    facts.append(("computed in", "{precision} on {device}, {threads}, {processor}".format(**known)))
    versions = [f"{name} {environment[name]}" for name in ("alexnet", "torch", "python") if name in environment]
    return [*facts, ("versions", ", ".join(versions))]


def _say_time(recipe: Recipe | None, history: Sequence[dict[str, Any]], *, is_finished: bool) -> str:
    if not history:
        return "less than an epoch"
    spent = sum(row["seconds_with_validation"] for row in history)
    rate = sorted(row["images_per_second"] for row in history)[len(history) // 2]
    words = f"{duration(spent)}, {rate:,.0f} images/s"
    left = recipe.optimization.total_epochs - len(history) if recipe else 0
    if recipe is None or is_finished or left <= 0:
        return words
    most = "at most " if recipe.may_end_early else ""
    return f"{words}; {most}{duration(left * spent / len(history))} left"


def _list_kept(
    path: Path, recipe: Recipe | None, history: Sequence[dict[str, Any]], *, is_finished: bool
) -> list[tuple[str, str]]:
    """Return the epochs of the models in the folder, if the recipe looks for the best."""
    best = [row["epoch"] for row in history if row.get("is_best")]
    if recipe is None or not best or recipe.stop.keep == "last":
        return []
    if is_finished and recipe.stop.keep == "best":
        other = f"; {LAST} is of epoch {history[-1]['epoch']}" if (path / LAST).exists() else ""
        return [("model", f"of epoch {best[-1]}, the best by {recipe.stop.metric}{other}")]
    return [("best so far" if not is_finished else "best", f"epoch {best[-1]}, by {recipe.stop.metric}: {path / BEST}")]


def _list_errors(history: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Losses and errors of the newest epoch, and the best."""
    last = history[-1]
    has_sets = "train_set_error" in last
    called, error = ("set", last["train_set_error"]) if has_sets else ("top-1", last["train_top1_error"])
    facts = [
        (
            f"epoch {last['epoch']}",
            f"training: loss {last['train_loss']:.4f}, {called} error {percent(error)} (with dropout)",
        )
    ]
    judged = "val_mean_average_precision" if has_sets else "val_top1_error"
    tested = [row for row in history if judged in row]
    if tested:
        row, best = tested[-1], (max if has_sets else min)(tested, key=lambda each: float(each[judged]))
        if has_sets:
            words = f"mean AP {row[judged]:.3f}, set error {percent(row['val_set_error'])}"
            record = f"highest: {best[judged]:.3f}"
        else:
            words, record = _say_errors(row, "val_"), f"lowest: {percent(best[judged])}"
        before = f"; {record} in epoch {best['epoch']}" if best[judged] != row[judged] else ""
        name = "" if row is last else f"epoch {row['epoch']}"
        facts.append((name, f"validation: loss {row['val_loss']:.4f}, {words}{before}"))
    return facts


def _say_errors(row: dict[str, Any], prefix: str) -> str:
    """Return the errors in a row: "top-1 error 24.50 %, top-5 3.20 %"."""
    named = re.compile(rf"{prefix}top(\d+)_error")
    found = sorted((int(match[1]), row[name]) for name in row if (match := named.fullmatch(name)))
    return ", ".join(f"top-{k}{' error' if k == 1 else ''} {percent(value)}" for k, value in found)


def _list_next(
    path: Path,
    recipe: Recipe | None,
    environment: dict[str, Any],
    *,
    is_finished: bool,
    is_training: bool,
    is_validated: bool,
) -> list[tuple[str, str]]:
    """The commands that come next."""
    store = find_store(environment, path) or "STORE"
    if is_finished:
        predict = command("predict", path, "picture.jpg")
        return [("next", command("evaluate", path, store)), ("", predict)] if is_validated else [("next", predict)]
    if is_training:
        return []
    if recipe is None:
        return [("next", f"put {path / RECIPE} back; without it the training cannot go on")]
    start = find_start(environment, path)
    return [("next", train_again(environment, recipe=path / RECIPE, store=store, start=start, out=path))]
