"""How verbs begin and end: set threads and memory up, open a model, tell what is unfinished or was left out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet.text.commands import command

if TYPE_CHECKING:
    from alexnet.console.terminal import Terminal
    from alexnet.distribution.world import World
    from alexnet.evaluation.classifier import Classifier
    from alexnet.evaluation.ensemble import Ensemble


def begin(threads: int | None) -> "Terminal":
    """Set threads and allocator; return a terminal."""
    from alexnet.console.terminal import Terminal
    from alexnet.system import set_threads, tune_allocator

    set_threads(threads)
    tune_allocator()
    return Terminal()


def begin_together(world: "World", threads: int | None, *models: Path) -> "Terminal":
    """Set up each of several processes, and tell once which of the models are unfinished; return a terminal."""
    terminal = begin(world.choose_threads(threads))
    world.run_on_all_ranks(lambda: tell_unfinished(terminal, *models) if world.is_main else None)
    return terminal


def open_model(
    path: Path, *, device: str, precision: str, threads: int | None
) -> "tuple[Terminal, Classifier | Ensemble]":
    """Return a terminal, and the model or ensemble of a path. Options are those of `options.compute_options`.

    Raises:
        WeightsError: there is none, or it is damaged.
    """
    from alexnet.evaluation.ensemble import open_model

    terminal = begin(threads)
    tell_unfinished(terminal, path)
    return terminal, open_model(path, device=device, precision=precision)


def open_classifier(path: Path, *, device: str, precision: str, threads: int | None) -> "tuple[Terminal, Classifier]":
    """Return a terminal and the model of a path, as `open_model` does; an ensemble is refused."""
    from alexnet.evaluation.classifier import load

    terminal = begin(threads)
    tell_unfinished(terminal, path)
    return terminal, load(path, device=device, precision=precision)


def tell_left_out(terminal: "Terminal", reasons: Sequence[object]) -> None:
    """Say of every image that was left out why, and exit with 1 if any was."""
    for reason in reasons:
        terminal.show_error("Left out", str(reason))
    if reasons:
        sys.exit(1)


def tell_unfinished(terminal: "Terminal", *paths: Path) -> None:
    """Say of every path that is the folder of an unfinished run which checkpoint of it is used."""
    from alexnet.network.model_file import find_checkpoint
    from alexnet.runs.folder import MODEL
    from alexnet.training.progress import read_progress

    for path in paths:
        found = None if (path / MODEL).exists() else find_checkpoint(path)
        if found is None:
            continue
        checkpoint, damaged = found
        progress = read_progress(checkpoint)
        epoch = progress.epoch + (progress.batch > 0)  # the newest epoch that it has learned from
        terminal.say(
            f"{path} is unfinished: its checkpoint of epoch {epoch} is used. {f'{damaged} ' if damaged else ''}"
            f"How to finish it: {command('info', path)}"
        )
