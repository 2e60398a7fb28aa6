"""What `train --temporal` does, and `predict` and `evaluate` where MODEL is a model of clips."""

import os
from pathlib import Path
from typing import Any

import click

from alexnet.text.commands import command
from alexnet.verbs.ending import tell_left_out, tell_odd
from alexnet.verbs.options import typed_besides

COMPUTE = {"device", "precision", "threads"}
"""The options of `options.compute_options`."""


def is_temporal(path: Path) -> bool:
    """Whether a file is a model of clips."""
    from alexnet.network import model_file

    return model_file.is_temporal(path)


def train_on_clips(
    store: Path,
    kind: str,
    start: Path | None,
    out: Path,
    *,
    seed: int,
    device: str,
    precision: str,
    threads: int | None,
) -> None:
    """Train a head of this kind on the frozen image model of `start`, test it, and write the model of clips."""
    from alexnet.data.store.format import choose_reported
    from alexnet.data.store.reader import open_store
    from alexnet.errors import ConfigError
    from alexnet.functions.opening import open_classifier
    from alexnet.temporal.clip_model import TemporalClassifier, save_temporal
    from alexnet.temporal.testing import measure_clip_errors
    from alexnet.temporal.training import train_temporal

    if start is None:
        raise click.UsageError("--temporal learns on the features of an image model that stays as it is: add --from.")
    _refuse_others({"store", "temporal", "start", "out", "seed", *COMPUTE}, "--temporal trains a head alone.")
    if out.exists() or not out.absolute().parent.is_dir():
        why = "is there already" if out.exists() else f"there is no folder {out.parent}"
        raise ConfigError(f"--out {out}: {why}. Name a new file for the model of clips, such as clips.safetensors.")
    opened = open_store(store)
    terminal, images = open_classifier(start, device=device, precision=precision, threads=threads)
    with terminal.progress("computing features", "frames") as meter:

        def restart(what: str, unit: str) -> Any:
            meter.restart(what, unit)
            return meter

        model, clips = train_temporal(opened, images, kind, seed=seed, begin=restart)
        classifier = TemporalClassifier(model, out, device=device, precision=precision)
        split = choose_reported(opened.filled_splits)
        errors = None
        if split in opened.filled_splits:
            errors = measure_clip_errors(classifier, opened, split=split, tick=restart("testing", "frames"))
    save_temporal(out, model)
    if clips.num_uneven:
        terminal.say(clips.describe_unevenness())
    if errors:
        show_clip_errors(terminal, errors, kind, f"{store}, split {split}")
    terminal.say(f"Trained: {out}. Use it: {command('predict', out, 'clip.mp4')}")


def show_clip_errors(terminal: Any, errors: Any, kind: str, where: str) -> None:
    """Print the errors of single frames, of their mean and of the head, and those of each class."""
    from alexnet.console.terminal import percent
    from alexnet.text.names import escape_name
    from alexnet.text.wording import counted

    def interval(bounds: tuple[float, float]) -> str:
        return f"{100 * bounds[0]:.2f} – {100 * bounds[1]:.2f} %"

    terminal.table(
        ["", "error", "95 % interval"],
        [
            ["one frame", percent(errors.frame_error), "–"],
            ["mean of frames", percent(errors.mean_error), interval(errors.mean_interval)],
            [kind, percent(errors.error), interval(errors.interval)],
        ],
        title=f"{counted(errors.clips, 'clip')}, {counted(errors.frames, 'frame')}, of {where}",
    )
    classes = len(errors.class_names)
    terminal.print(
        f"Guessing among {counted(classes, 'class', 'classes')} would be wrong for {percent(1 - 1 / classes)}."
    )
    terminal.print("")
    rows = [
        [escape_name(name), f"{count:,}", percent(wrong / count) if count else "–"]
        for name, count, wrong in zip(errors.class_names, errors.class_clips, errors.class_errors, strict=True)
    ]
    terminal.table(["class", "clips", f"error of the {kind}"], rows)


def evaluate_clips(
    models: tuple[Path, ...],
    store: Path,
    *,
    split: str | None,
    as_json: bool,
    device: str,
    precision: str,
    threads: int | None,
) -> None:
    """Measure the errors of a model of clips on a store of clips."""
    from alexnet.data.store.format import choose_reported
    from alexnet.data.store.reader import open_store
    from alexnet.functions.opening import begin
    from alexnet.temporal.clip_model import open_temporal
    from alexnet.temporal.testing import measure_clip_errors

    _refuse_others({"models", "images", "split", "as_json", *COMPUTE}, "A model of clips is tested by itself.")
    if len(models) > 1:
        raise click.UsageError("A model of clips is tested by itself: name it alone.")
    terminal = begin(threads)
    classifier, opened = open_temporal(models[0], device=device, precision=precision), open_store(store)
    chosen = split or choose_reported(opened.filled_splits)
    with terminal.progress("computing features", "frames") as meter:
        errors = measure_clip_errors(classifier, opened, split=chosen, tick=meter)
    for note in errors.notes:
        terminal.say(f"Note: {note}")
    if as_json:
        terminal.print_json({"model": str(models[0]), "head": classifier.model.kind, **errors.to_json()})
    else:
        show_clip_errors(terminal, errors, classifier.model.kind, f"{store}, split {chosen}")


def predict_clips(
    model: Path,
    clips: tuple[Path, ...],
    *,
    top: int | None,
    one_line: bool,
    every_s: float | None,
    as_json: bool,
    device: str,
    precision: str,
    threads: int | None,
) -> None:
    """Name what clips are, with probabilities, by a model of clips."""
    from alexnet.console.terminal import percent
    from alexnet.errors import ImageError
    from alexnet.functions.opening import begin
    from alexnet.temporal.clip_model import open_temporal
    from alexnet.text.names import escape_name
    from alexnet.text.wording import counted

    _refuse_others({"model", "images", "top", "one_line", "every", "as_json", *COMPUTE}, "MODEL is a model of clips.")
    terminal = begin(threads)
    classifier = open_temporal(model, device=device, precision=precision)
    paths, left_out = clip_files(clips), []
    best_k, rows = top or (1 if one_line else 5), []
    with terminal.progress("looking", "clips") as meter:
        for number, path in enumerate(paths):
            try:
                seen = classifier.look(path, every_s=every_s)
            except ImageError as problem:
                left_out.append(str(problem))
                continue
            finally:
                meter(number + 1, len(paths))
            tell_odd(terminal, seen.odd)
            chosen = (-seen.look.probabilities).argsort(kind="stable")[:best_k].tolist()
            best = [(classifier.class_titles[i], float(seen.look.probabilities[i])) for i in chosen]
            source = escape_name(seen.source)
            if as_json:
                named = zip((classifier.class_names[i] for i in chosen), best, strict=True)
                listed = [
                    {"name": escape_name(name), "title": escape_name(title), "probability": value}
                    for name, (title, value) in named
                ]
                rows.append({"path": source, "frames": len(seen.times_s), "top": listed})
            elif one_line:
                terminal.print("\t".join([source, *(f"{escape_name(title)}\t{value:.4f}" for title, value in best)]))
            else:
                terminal.print(f"{source}, {counted(len(seen.times_s), 'frame')}")
                for title, value in best:
                    terminal.print(f"  {percent(value):>9}  {'█' * round(20 * value):<20}  {escape_name(title)}")
    if as_json:
        terminal.print_json({"model": escape_name(str(model)), "clips": rows, "left_out": left_out})
    tell_left_out(terminal, left_out)


def _refuse_others(accepted: set[str], why: str) -> None:
    if given := typed_besides(accepted):
        raise click.UsageError(f"{why} Leave out {', '.join(given)}.")


def clip_files(given: tuple[Path, ...]) -> list[Path]:
    """Files as they are; of folders, every clip in them."""
    from alexnet.data.sources.folders import has_clip_suffix, list_images
    from alexnet.errors import SourceError

    files: list[Path] = []
    for path in given:
        if not os.path.isdir(path):
            files.append(path)
            continue
        inside = list_images(path, has_clip_suffix)
        if not inside:
            raise SourceError(f"{path}: holds no clips. Give videos, animated GIF or WebP files, or a folder of them.")
        files += inside
    return files
