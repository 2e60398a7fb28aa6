"""The parts of a page of `alexnet info`, and the page of this machine."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet.console.terminal import Facts, Prose, Table
from alexnet.text.commands import command
from alexnet.text.names import escape_name
from alexnet.text.wording import counted, shorten

__all__ = ["Description", "Facts", "Prose", "Table", "command", "count_towers", "describe_path", "name_classes"]

LISTED_CLASSES = 8
"""Classes that a page names; `--all` names them all."""


@dataclass(frozen=True, slots=True)
class Description:
    """What to show to people, and values for programs."""

    values: dict[str, Any]
    parts: Sequence[Facts | Table | Prose] = field(default_factory=tuple)


def describe_path(path: Path, kind: str, facts: Sequence[tuple[str, str]], **values: Any) -> Description:
    """Return the page of a path: its facts, and for programs values that begin with kind and path."""
    return Description({"kind": kind, "path": escape_name(str(path)), **values}, [Facts(facts, str(path))])


def name_classes(titles: Sequence[str], *, every: bool) -> str:
    """Return how many classes there are, and the names of the first."""
    return f"{len(titles):,}: {shorten(titles, len(titles) if every else LISTED_CLASSES)}"


def count_towers(towers: int) -> str:
    """Return "one tower" in the words of a page."""
    return counted(towers, "tower")


def describe_system() -> Description:
    """Return what this machine is and what is chosen on it."""
    import torch

    from alexnet import kernels, system

    values: dict[str, Any] = dict(system.describe_system())
    values["threads"] = system.set_threads()
    values["compute"] = system.choose_compute().explanation
    values["allocator"] = system.tune_allocator()
    if torch.cuda.is_available():
        values["CUDA products"] = system.set_product_precision()
    chosen = kernels.report()
    return Description(
        {**values, "kernels": [list(row) for row in chosen]},
        [
            Facts([(name, str(value)) for name, value in values.items()], "This machine"),
            Table(["kernel", "device", "version", "reason"], [list(map(str, row)) for row in chosen], "Kernels"),
        ],
    )
