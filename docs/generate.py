"""Writes the pages of docs/ that are generated from the code: make docs. A test compares them with what is there."""

import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import reference_page
import results_pages
import scaling_tables

from alexnet.errors import ConfigError
from alexnet.network.comparison import draw_taps, tabulate_differences
from alexnet.network.dialects import DIALECTS, find_dialect
from alexnet.network.modifiers import MODIFIERS, describe_modifier
from alexnet.network.shapes import measure
from alexnet.recipes.named import RECIPES

DOCS = Path(__file__).parent

IMAGENET = [name for name in DIALECTS if not name.startswith("cifar")]
CIFAR = [name for name in DIALECTS if name.startswith("cifar")]
DETAILED = [name for name, modifier in MODIFIERS.items() if "\n" in (modifier.apply.__doc__ or "")]
PICTURED = ("paper", "source-2012", "caffenet", "one-tower-2014")


def write_pages(folder: Path = DOCS) -> list[Path]:
    """Write every generated page and return their paths."""
    pages = {
        "dialects.md": dialects_page(),
        "results.md": answers_page(),
        "results/README.md": results_page(),
        "results/retrieval.md": retrieval_page(),
        "results/speed.md": speed_page(),
        "scaling.md": scaling_page(),
        "reference/command-line.md": reference_page.command_line_page(),
        "reference/python.md": reference_page.python_page(),
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


def scaling_page() -> str:
    """Return docs/scaling.md with its generated tables as they should be now; the rest is written by hand."""
    speed = "images/s (p20–p80)"
    tables = {
        "measured": _table(
            ["mesh", "MiB sent", speed, "of one process", "model", "measured / model"], scaling_tables.measured_rows()
        ),
        "limited": _table(
            ["Mbit/s", "mesh", "step, s", "model, nothing hidden", "model, hidden"], scaling_tables.limited_rows()
        ),
        "expected": _table(
            ["GPUs", "mesh", "batch", "step, ms", "1000 images/s", "efficiency", "epoch, s", "limit"],
            scaling_tables.expected_rows(),
        ),
        "full-size": _table(scaling_tables.full_size_columns(), scaling_tables.full_size_rows()),
        "engines": _table(
            [
                "rows",
                "engine",
                "GB",
                "write, s",
                "open, s",
                "one query, s",
                "32 queries, s",
                "by codes, s",
                "add 1 %, s",
                "remove 1 %, s",
                "peak MiB",
                "of it not mapped",
                "killed while adding",
                "a byte changed",
            ],
            scaling_tables.engine_rows(),
        ),
    }
    return results_pages.filled_page(DOCS / "scaling.md", tables)


def results_page() -> str:
    """Return docs/results/README.md."""
    return results_pages.experiments_page(_table)


def answers_page() -> str:
    """Return docs/results.md."""
    return results_pages.answers_page(_table)


def speed_page() -> str:
    """Return docs/results/speed.md with its generated table as it should be now."""
    return results_pages.speed_page(_table)


def retrieval_page() -> str:
    """Return docs/results/retrieval.md with its generated table as it should be now."""
    return results_pages.retrieval_page(_table)


def dialects_page() -> str:
    """Return docs/dialects.md."""
    return (
        "\n".join(
            [
                _INTRODUCTION,
                "## The dialects\n",
                _table(
                    ["dialect", "what it is", "parameters", "multiply-adds", "neurons"],
                    [_totals(name) for name in DIALECTS],
                ),
                "\n## Where they differ\n",
                _DIFFERENCES,
                _table(["", *IMAGENET], tabulate_differences([find_dialect(name, 1000) for name in IMAGENET])),
                _NOT_IN_THE_TABLE,
                "## The CIFAR-10 networks\n",
                _table(["", *CIFAR], tabulate_differences([find_dialect(name, 10) for name in CIFAR])),
                "\n## Modifiers\n",
                _MODIFIERS,
                _table(
                    ["modifier", "effect", "parameters of `paper` with it"], [_modifier(name) for name in MODIFIERS]
                ),
                "\nIn more detail:\n",
                *_entries({f"`{describe_modifier(name)}`": MODIFIERS[name].apply for name in DETAILED}),
                "### A layer less\n",
                "What is left of `paper`, after pooling, layer by layer:\n",
                _table(
                    ["without", "parameters", "shapes"],
                    [_without(layer.name) for layer in find_dialect("paper", 1000).layers[:-1]],
                ),
                "\n## Recipes\n",
                _RECIPES,
                _table(["", *RECIPES], _recipe_differences()),
                "\n### What each recipe is\n",
                *_entries({f"`{name}`": recipe for name, recipe in RECIPES.items()}),
                "## Activations and where they sit\n",
                _TAPS,
                *(f"`{name}`\n\n```text\n{draw_taps(find_dialect(name, 1000))}\n```\n" for name in PICTURED),
            ]
        ).rstrip("\n")
        + "\n"
    )


_INTRODUCTION = """# Dialects

<!-- Written by docs/generate.py from the tables in the code; change those, then: make docs -->

Ask for AlexNet in five places and five networks come back. Here each is a value of one table format
(`network/rows.py`, `network/dialects.py`), so that a result can say which of them it is about. The numbers below are
computed from the tables.

Sources:

- the paper
- the 2012 source (computerhistory/AlexNet-Source-Code)
- BVLC/caffe
- akrizhevsky/cuda-convnet2
- pytorch/vision
"""

_DIFFERENCES = """Rows in which all agree are left out. `alexnet info --compare DIALECT DIALECT …` prints the same for
any selection, with modifiers.
"""

_NOT_IN_THE_TABLE = """
### What the tables do not hold

These are not of the network:

- **Order of colours.** Caffe reads blue, green, red. Here every dialect reads red, green, blue. Weights from Caffe are
  converted when they are read, and its mean becomes the model's preprocessing.
- **Update rule.** Every dialect is trained by that of the paper and of the 2012 source: the rate is inside the
  velocity, biases are not decayed. PyTorch's SGD keeps the rate outside the velocity and decays biases.
- **A rate of 0** stops a layer at once. The recipe `caffe` lets it coast on, as Caffe does
  (`optimization.at_rate_zero`).
- **Equal values in a pooling window.** The first in reading order receives the gradient, as in Caffe and PyTorch. In
  the 2012 source every one of them does.
- **Adaptive mean.** torchvision has one over 6 x 6 before fc6, which at 224 px changes nothing.
"""

_MODIFIERS = """They follow the dialect's name, joined by plus signs, and apply from left to right:

- `alexnet info source-2012+no-norm`
- `--set network.dialect=paper+without=conv3`
- `alexnet.build("caffe+conv6")`
"""

_RECIPES = """A recipe fixes how a dialect is trained: `alexnet train STORE --recipe NAME`. Every field can be changed
with `--set`. Rows in which all agree are left out.
"""

_TAPS = """Each name in brackets can be asked for:

- `alexnet features MODEL IMAGES --layers conv1,conv5.pool,fc7.relu`
- in Python `alexnet.load(path).activations(images, ["conv1", "conv5.pool:a"])`

How to read names and shapes:

- The bare name is the layer's own output, before anything follows it.
- `:a` and `:b` behind a name select the half that belongs to one tower.
- A second pool in one row is `pool2`.
- Shapes are channels x height x width, of the layer and, behind the arrow, after pooling.
"""


def _totals(name: str) -> list[str]:
    shapes = measure(find_dialect(name, 1000 if name in IMAGENET else 10))
    counts = (sum(getattr(shape, what) for shape in shapes) for what in ("parameters", "multiply_adds", "neurons"))
    return [f"`{name}`", _first_line(DIALECTS[name]), *(f"{count:,}" for count in counts)]


def _modifier(name: str) -> list[str]:
    written = describe_modifier(name)
    try:
        shapes = measure(find_dialect(f"paper+{written}", 1000))
        effect = f"{sum(shape.parameters for shape in shapes):,}"
    except ConfigError:
        effect = "does not apply"
    return [f"`{written}`", _first_line(MODIFIERS[name].apply), effect]


def _without(layer: str) -> list[str]:
    shapes = measure(find_dialect(f"paper+without={layer}", 1000))
    sizes = ", ".join(f"{shape.name} {'x'.join(map(str, shape.final))}" for shape in shapes)
    return [layer, f"{sum(shape.parameters for shape in shapes):,}", sizes]


def _recipe_differences() -> list[list[str]]:
    recipes = [recipe().model_dump(mode="json") for recipe in RECIPES.values()]
    rows = []
    for group, fields in recipes[0].items():
        if isinstance(fields, dict):
            for field in fields:
                values = [_shown(recipe[group][field]) for recipe in recipes]
                if len(set(values)) > 1:
                    rows.append([f"{group}.{field}", *values])
    return rows


def _shown(value: object) -> str:
    if value is None or value in ([], {}):
        return "–"
    if isinstance(value, list) and isinstance(value[0], dict):
        return "; ".join(
            f"from epoch {change['epoch']} {change['layer']}: "
            + ", ".join(f"{what} {change[what]:g}" for what in ("weights", "biases") if change[what] is not None)
            for change in value
        )
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:g}" for name, number in value.items())
    if isinstance(value, list):
        return ", ".join(f"{item:,}" for item in value)
    return str(value)


def _first_line(function: Callable[..., object]) -> str:
    return (function.__doc__ or "").partition("\n")[0]


def _entries(described: dict[str, Callable[..., object]]) -> list[str]:
    """Return a paragraph for each: its name and the first line of its docstring; each further sentence is a point."""
    entries = []
    for name, function in described.items():
        details = " ".join((function.__doc__ or "").partition("\n")[2].split())
        points = [
            textwrap.fill(point, 120, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
            for point in re.split(r"(?<=\.) (?=[A-Z])", details)
            if point
        ]
        entries += [f"**{name}.** {_first_line(function)}\n", *points, *([""] if points else [])]
    return entries


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    for written in write_pages():
        print(written)
