"""Every command line that the program prints: quoted as a shell needs it, and run by a test.

Words in capitals and picture.jpg stand for what only the user knows.
"""

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

COMMAND = "command.txt"
"""Name of the file in a folder of unfinished work that holds the command which began it."""


def command(*words: object, **options: object) -> str:
    """Return a command line of this program, as a shell takes it.

    Args:
        words: Verb and arguments in order. A path that begins with a dash is written as one, ./-NAME.
        options: Name -> value, with underscores for dashes and one behind a word of Python's own. None and False leave
            an option out, True is a flag, and a list repeats it.
    """
    line = [f".{os.sep}{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words]
    for name, given in options.items():
        for value in given if isinstance(given, list | tuple) else [given]:
            if value is not None and value is not False:
                line += [f"--{name.rstrip('_').replace('_', '-')}", *([] if value is True else [str(value)])]
    return _join(["alexnet", *line])


def _join(words: list[str]) -> str:
    """Join the words of a command line; a test watches it."""
    return shlex.join(words)


FITTING_RECIPES = ((224, None), (32, "cifar-18pct"), (24, "cifar-13pct"))
"""Least side of stored images, and a recipe whose network reads them; None is the default of training."""


def start_training(store: object, image_px: int) -> str | None:
    """Return the command that trains on a store of images of this side; None where no network reads so small ones."""
    fitting = [recipe for least, recipe in FITTING_RECIPES if image_px >= least]
    return command("train", store, recipe=fitting[0], out="RUN") if fitting else None


def train_again(
    environment: Mapping[str, Any], *, recipe: object, store: object, out: object, start: object = None
) -> str:
    """Return the command that trains as a run did, whose environment.json is given, into `out`.

    Args:
        recipe: Its recipe.yaml, or the name of its recipe.
        start: The model that it started from, if any.
    """
    processes, device = environment.get("processes", 1), environment.get("device")
    alone = processes == 1
    places = [device if device == "cpu" else f"cuda:{number}" for number in range(processes)]
    return command(
        "train",
        store,
        recipe=recipe,
        from_=start,
        seed=environment.get("seed"),
        device=device if alone else None,
        devices=None if alone else ",".join(map(str, places)),
        mesh=None if alone else environment.get("mesh"),
        precision=environment.get("precision"),
        threads=environment.get("threads"),
        out=out,
    )


def typed_command() -> str | None:
    """Return the command that is being carried out, its paths made absolute; None where the library is used alone.

    Options that were not given are left out.
    """
    import click

    context = click.get_current_context(silent=True)
    if context is None:
        return None
    words: list[object] = []
    while context.parent is not None:
        words.insert(0, context.info_name)
        context = context.parent
    context = click.get_current_context()
    arguments: list[object] = []
    options: dict[str, object] = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = context.params.get(name)
        values = list(value) if isinstance(value, tuple) and (parameter.multiple or parameter.nargs != 1) else [value]
        values = [_spell(each) for each in values]
        if isinstance(parameter, click.Argument):
            arguments += values
        else:
            longest = max(parameter.opts, key=len)
            options[longest.removeprefix("--")] = values if parameter.multiple else values[0]
    return command(*words, *arguments, **options)


def _spell(value: object) -> object:
    """Return what to type for a value: an absolute path, or a share of the work such as "1/4"."""
    if isinstance(value, tuple):
        return "/".join(map(str, value))
    from alexnet.files.origin import address_of

    if isinstance(value, Path) and (address := address_of(value)):
        return address
    is_file = isinstance(value, str) and value.endswith((".yaml", ".yml"))  # --recipe takes a file or a name
    return Path(value).absolute() if is_file or isinstance(value, Path) else value  # type: ignore[arg-type]


def record_command(folder: Path) -> None:
    """Keep the command that is being carried out in the folder of the work that it begins.

    Raises:
        OSError: the disk is full; it names the file, and no half command is left.
    """
    path = folder / COMMAND
    if typed := typed_command():
        try:
            path.write_bytes(os.fsencode(typed + "\n"))
        except OSError as problem:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise OSError(problem.errno, problem.strerror, str(path)) from None


def recall_command(folder: Path) -> str | None:
    """Return the command that began the work in a folder, where it is recorded.

    Each word is quoted again, so that a file from a stranger holds one command of this program or nothing.
    """
    try:
        line = os.fsdecode((folder / COMMAND).read_bytes()).strip()
        first, *words = shlex.split(line)
    except (OSError, ValueError):
        return None
    return command(*words) if first == "alexnet" and line.isprintable() else None
