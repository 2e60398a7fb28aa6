"""What an experiment is: variants of one training, what is measured of them, and what others measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Measure = Literal["error", "epochs"]
"""Top-1 error on the validation split, or epochs until the training error falls to `TARGET_ERROR`."""

TARGET_ERROR = 0.25
"""Training error that figure 1 measures the way to."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to train; everything that is not named here is the recipe's."""

    name: str
    """As in tables: "without normalisation"."""
    changes: tuple[str, ...] = ()
    """Fields of the recipe: "batches.reflections=false"."""
    modifiers: str = ""
    """Of the network, joined to the recipe's dialect: "+no-norm"."""
    views: int = 10
    """Views that its error is averaged over."""
    precision: str = "auto"
    """What it computes in."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What somebody else measured."""

    by: str
    """Whose: "paper, 3.3" or "2012 source, configs 145 and 148"."""
    figures: Mapping[str, str]
    """Variant -> what is recorded of it, as text."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A question, the variants that answer it, and the recorded answers."""

    name: str
    title: str
    question: str
    variants: tuple[Variant, ...]
    """The first is what the others are compared with."""
    recipe: str = "small-data"
    """Recipe that is varied, unless the user names another."""
    references: tuple[Reference, ...] = ()
    remark: str = ""
    """What to know when reading the result."""
    measure: Measure = "error"
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For measure "epochs": a recipe field and the values tried for every variant; the fastest counts."""
