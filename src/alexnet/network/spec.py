"""The network as a table, by name: a dialect, and modifiers joined to it with plus signs.

The rows are in `network.rows`, the tables in `network.dialects`, the changes in `network.modifiers`, and what follows
by arithmetic in `network.shapes`; the names that the rest of the package needs are here.
"""

from alexnet.errors import ConfigError
from alexnet.network.dialects import DIALECTS
from alexnet.network.modifiers import MODIFIERS, apply_modifier
from alexnet.network.rows import (
    Bend,
    Convolution,
    Dense,
    Dropout,
    Layer,
    Local,
    Normalize,
    NormalizeMap,
    Operation,
    Pool,
    Rectify,
    Rounding,
    Row,
    Spec,
)
from alexnet.network.shapes import (
    Shape,
    count_groups,
    count_pooled,
    count_training_operations,
    count_windows,
    measure,
    name_steps,
    shape_after,
)

__all__ = [
    "DIALECTS",
    "MODIFIERS",
    "Bend",
    "Convolution",
    "Dense",
    "Dropout",
    "Layer",
    "Local",
    "Normalize",
    "NormalizeMap",
    "Operation",
    "Pool",
    "Rectify",
    "Rounding",
    "Row",
    "Shape",
    "Spec",
    "count_groups",
    "count_pooled",
    "count_training_operations",
    "count_windows",
    "find_dialect",
    "is_dialect",
    "measure",
    "name_steps",
    "shape_after",
]


def is_dialect(name: str) -> bool:
    """Whether a name begins with a known dialect; its modifiers may still be unknown."""
    return name.partition("+")[0] in DIALECTS


def find_dialect(name: str, num_classes: int) -> Spec:
    """Return the table of a dialect, with modifiers applied from left to right: "paper", "paper+no-norm+conv6".

    Raises:
        ConfigError: no dialect or modifier has this name, a modifier does not fit, or there are fewer than two classes.
    """
    base, *modifiers = name.split("+")
    if base not in DIALECTS:
        raise ConfigError(f"unknown dialect {base!r}. Known: {', '.join(DIALECTS)}.")
    if num_classes < 2:
        raise ConfigError(f"num_classes is {num_classes}; a classifier needs at least 2.")
    spec = DIALECTS[base](num_classes)
    for modifier in modifiers:
        spec = apply_modifier(spec, modifier)
    if modifiers:
        spec = spec.model_copy(update={"dialect": name})
        measure(spec)  # a combination that cannot be computed is refused here, not at the first batch
    return spec
