"""The pages of dialects, alone and beside each other."""

from collections.abc import Sequence
from typing import Any

from alexnet.description.page import Description, Facts, Table, command, count_towers
from alexnet.errors import ConfigError
from alexnet.network.comparison import tabulate_costs, tabulate_differences, tabulate_shapes
from alexnet.network.dialects import find_dialect
from alexnet.network.rows import Spec
from alexnet.network.shapes import measure
from alexnet.text.wording import counted

_MEBIBYTE = 2**20


def describe_dialect(name: str, *, every: bool = False, is_alone: bool = True) -> Description:
    """Return the layers of a dialect and what they cost.

    Args:
        every: Also what each layer costs.
        is_alone: Tell how to see that, unless a recipe of the same name does.
    Raises:
        ConfigError: it is unknown, or a modifier does not fit.
    """
    spec = find_dialect(name, _usual_classes(name))
    values = values_of(spec)
    side, classes = f"{spec.input_px} x {spec.input_px}", counted(spec.num_classes, "class", "classes")
    facts = [
        ("parameters", f"{values['parameters']:,}, {values['weight_bytes'] / _MEBIBYTE:,.1f} MiB in float32"),
        ("per image", f"{values['neurons']:,} neurons, {values['multiply_adds']:,} multiply-adds, "
                      f"{values['activation_bytes_per_image'] / _MEBIBYTE:,.1f} MiB of activations in training"),
    ]  # fmt: skip
    if not every and is_alone:
        facts.append(("layer by layer", command("info", name, "--all")))
    title = f"Dialect {name}: {side} inputs, {count_towers(spec.towers)}, {classes}"
    first, *costs = tabulate_layers(spec, every=every)
    return Description(values, [Table(first.columns, first.rows, title), *costs, Facts(facts)])


def compare(dialects: Sequence[str]) -> Description:
    """Return where dialects differ, generated from their tables: one row per property, one column per dialect.

    Raises:
        ConfigError: fewer than two are given, or one is unknown.
    """
    if len(dialects) < 2:
        raise ConfigError(f"--compare needs two dialects or more; given was {', '.join(dialects)}.")
    rows = tabulate_differences([find_dialect(name, _usual_classes(name)) for name in dialects])
    values = {"dialects": list(dialects), "differences": {row[0]: row[1:] for row in rows}}
    return Description(values, [Table(["", *dialects], rows, "Where they differ")])


def tabulate_layers(spec: Spec, *, every: bool) -> list[Table]:
    """Return what the layers are and, for every detail, what they cost."""
    tables = [Table(*tabulate_shapes(spec))]
    return [*tables, Table(*tabulate_costs(spec))] if every else tables


def values_of(spec: Spec) -> dict[str, Any]:
    """Return a spec and what follows from it, for programs."""
    shapes = measure(spec)
    return {
        "spec": spec.model_dump(mode="json"),
        "parameters": sum(shape.parameters for shape in shapes),
        "neurons": sum(shape.neurons for shape in shapes),
        "multiply_adds": sum(shape.multiply_adds for shape in shapes),
        "weight_bytes": 4 * sum(shape.parameters for shape in shapes),
        "activation_bytes_per_image": 4 * sum(shape.activation_values for shape in shapes),
        "layers": [{**shape._asdict(), "neurons": shape.neurons} for shape in shapes],
    }


def _usual_classes(dialect: str) -> int:
    """Classes of the data set that a dialect was made for."""
    return 10 if dialect.startswith("cifar") else 1000
