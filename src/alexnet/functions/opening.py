"""How functions and verbs begin: paths, threads and memory, a model, and what is said of an unfinished one."""

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from alexnet.cluster.nodes import LOCAL, Cluster, join_cluster
from alexnet.console.terminal import Terminal
from alexnet.data.sources.folders import has_image_suffix, has_picture_suffix, list_images
from alexnet.distribution.world import World
from alexnet.errors import SourceError
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.ensemble import Ensemble
from alexnet.evaluation.ensemble import open_model as open_any
from alexnet.files.addresses import local, on_disk
from alexnet.network.model_file import find_checkpoint
from alexnet.runs.folder import MODEL
from alexnet.system import set_threads, tune_allocator
from alexnet.text.commands import command
from alexnet.training.progress import read_progress

Place = str | os.PathLike[str]
"""A path, or an address such as s3://bucket/store."""
Places = Place | Iterable[Place]
"""A path, or several."""


def as_paths(given: Places) -> list[Path]:
    """Return one path or several as a list; what addresses name is brought."""
    return list(map(local, [given] if isinstance(given, str | os.PathLike) else given))


def image_files(given: Places, *, clips: bool = False) -> list[Path]:
    """Return files as they are; of folders every image, and what cannot be opened, which reading it tells of.

    Args:
        clips: Whether clips in folders are wanted too.
    Raises:
        SourceError: a folder holds no images.
    """
    files: list[Path] = []
    for path in as_paths(given):
        if os.path.isdir(path):  # Path.is_dir raises where a folder above may not be entered
            inside = list_images(path, has_picture_suffix if clips else has_image_suffix)
            if not inside:
                raise SourceError(f"{path}: holds no images. Give image files, or a folder of them.")
            files += inside
        else:
            files.append(path)
    return files


def check_shared(cluster: str | None, *places: Places | None) -> None:
    """Refuse what is at an address where other machines are to read it: it is brought into a cache of this one.

    Raises:
        AddressError: one of these is, or was brought into the cache.
    """
    for given in places if cluster not in (None, LOCAL) else ():
        several = given if isinstance(given, Sequence) else ()  # what can be gone through once is read elsewhere
        for place in [given] if isinstance(given, str | os.PathLike) else several:
            on_disk(place, "--cluster, unless it is --cluster local,")


def share_work(cluster: str | None, *, threads: int | None, device: str) -> AbstractContextManager[Cluster | None]:
    """Join a cluster that shares the work, where one is named; else whoever calls does it alone."""
    return nullcontext() if cluster is None else join_cluster(cluster, threads=threads, device=device)


def begin(threads: int | None, *, quiet: bool = False) -> Terminal:
    """Set threads and allocator; return a terminal, one that says nothing where it is `quiet`."""
    set_threads(threads)
    tune_allocator()
    return Terminal(quiet=quiet)


def begin_together(world: World, threads: int | None, *models: Path, quiet: bool = False) -> Terminal:
    """Set up each of several processes, and tell once which of the models are unfinished; return a terminal.

    That of a process which is not the first says nothing.
    """
    terminal = begin(world.choose_threads(threads), quiet=quiet or not world.is_main)
    world.run_on_all_ranks(lambda: tell_unfinished(terminal, *models) if world.is_main else None)
    return terminal


def open_model(
    path: Path, *, device: str, precision: str, threads: int | None, quiet: bool = False
) -> tuple[Terminal, Classifier | Ensemble]:
    """Return a terminal, and the model or ensemble of a path. Options are those of `options.compute_options`.

    Raises:
        WeightsError: there is none, or it is damaged.
    """
    terminal = begin(threads, quiet=quiet)
    tell_unfinished(terminal, path)
    return terminal, open_any(path, device=device, precision=precision)


def open_classifier(
    path: Path, *, device: str, precision: str, threads: int | None, quiet: bool = False
) -> tuple[Terminal, Classifier]:
    """Return a terminal and the model of a path, as `open_model` does; an ensemble is refused."""
    terminal = begin(threads, quiet=quiet)
    tell_unfinished(terminal, path)
    return terminal, load(path, device=device, precision=precision)


def tell_unfinished(terminal: Terminal, *paths: Path) -> None:
    """Say of every path that is the folder of an unfinished run which checkpoint of it is used."""
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
