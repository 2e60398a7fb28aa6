"""The references: every command with its help and options, as click knows them, and every public name of Python.

The contracts of the latter are put in by mkdocstrings when the site is built.
"""

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import click

import alexnet
from alexnet.cli import cli

INTRODUCTION = """# The command line

<!-- Written by docs/generate.py from the commands themselves; change those, then: make docs -->

Every verb, in the order in which data flows. `alexnet VERB --help` says the same.
"""


def command_line_page() -> str:
    """Return docs/reference/command-line.md."""
    return "\n".join([INTRODUCTION, *_describe(cli, ["alexnet"], 2)]).rstrip("\n") + "\n"


PYTHON = """# Python

<!-- Written by docs/generate.py from the public names; change those, then: make docs -->

The site fills in the contract of each name from its docstring; `help(alexnet.train)` says the same.
"""

VERBS = ("prepare", "train", "train_longer", "cross_validate", "calibrate", "evaluate", "features", "index", "search",
         "report", "export")  # fmt: skip
"""Functions that are verbs too, in the order in which data flows."""


def python_page() -> str:
    """Return docs/reference/python.md."""
    others = [name for name in alexnet.__all__ if name not in (*VERBS, "__version__", "draw")]
    parts = {
        "What the verbs do": [_directive(f"alexnet.{name}", getattr(alexnet, name)) for name in VERBS],
        "Figures": [
            "::: alexnet.functions.draw\n    options: {show_root_heading: false, show_root_toc_entry: false}\n",
            *(
                _directive(f"alexnet.draw.{name}", getattr(alexnet.draw, name))
                for name in alexnet.draw.__all__
                if name[0].islower()
            ),
        ],
        "Opening and building": [
            _directive(f"alexnet.{name}", getattr(alexnet, name)) for name in others if name[0].islower()
        ],
        "What they return": [
            _directive(f"alexnet.{name}", getattr(alexnet, name)) for name in others if name[0].isupper()
        ],
    }
    return PYTHON + "".join(f"\n## {title}\n\n" + "\n".join(found) for title, found in parts.items())


def _directive(name: str, value: Any) -> str:
    return f"::: {value.__module__}.{value.__qualname__}\n    options: {{heading: {name}}}\n"


def _describe(group: click.Command, words: list[str], level: int) -> Iterator[str]:
    """Every command of a group: usage, help, options; groups recursively."""
    assert isinstance(group, click.Group)
    for name, command in group.commands.items():
        path = [*words, name]
        context = click.Context(command, info_name=" ".join(path))
        context.show_default = True
        usage = " ".join([*path, *command.collect_usage_pieces(context)])
        yield f"{'#' * level} {' '.join(path)}\n"
        yield f"```text\n{usage}\n```\n"
        yield from _paragraphs(command.help or "")
        if isinstance(command, click.Group):
            yield from _describe(command, path, level + 1)
            continue
        rows = [record for each in command.params if (record := each.get_help_record(context)) and record[1]]
        if rows:
            yield "| Option | What it does |\n| --- | --- |"
            yield (
                "\n".join(f"| `{_cell(option).replace('|', '/')}` | {_escape(_cell(what))} |" for option, what in rows)
                + "\n"
            )


def _paragraphs(text: str) -> Iterator[str]:
    """The help of a command: prose as prose; what click is told to leave as it is (\\b) as a block."""
    for paragraph in re.split(r"\n\s*\n", re.sub(r"\n[ ]*\x08", "\n\n\x08", text.strip())):
        if paragraph.strip("\x08\n "):
            body = textwrap.dedent(paragraph.replace("\x08", "").strip("\n"))
            yield f"```text\n{body}\n```\n" if "\x08" in paragraph else f"{_escape(' '.join(body.split()))}\n"


def _cell(text: str) -> str:
    return " ".join(text.split())


def _escape(text: str) -> str:
    """Keep what Markdown would take for a tag or emphasis."""
    return re.sub(r"[*_\[\]]", r"\\\g<0>", text).replace("<", "&lt;").replace("|", "&#124;")
