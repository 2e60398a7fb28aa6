"""What a path or a name is, in one screen: the tables of `alexnet info`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet.errors import ConfigError
from alexnet.network.model_file import MODEL, find_model, load_model
from alexnet.network.spec import DIALECTS, Spec, find_dialect, measure
from alexnet.recipes import RECIPES, find_recipe
from alexnet.terminal import duration, percent
from alexnet.training.journal import ENVIRONMENT, read_environment, read_metrics

Table = tuple[str | None, list[str], list[list[str]]]
"""Title, columns, rows."""


@dataclass(frozen=True, slots=True)
class Description:
    """Tables for people and values for programs."""

    values: dict[str, Any]
    tables: list[Table] = field(default_factory=list)


def describe(what: str, *, verify: bool = False) -> Description:
    """Return what a store, run folder, model file, dialect or recipe holds.

    Args:
        verify: Read a whole store and compare its checksums.
    Raises:
        ConfigError: it is none of these.
        StoreError, WeightsError, RunError: it is one, but damaged.
    """
    path = Path(what)
    if path.is_dir():
        if (path / ENVIRONMENT).exists():
            return _describe_run(path)
        return _describe_store(path, verify)
    if path.is_file():
        return _describe_model(path)
    if what in DIALECTS:
        table = _layer_table(find_dialect(what, 1000))
        if what not in RECIPES:
            return table
        recipe = _describe_recipe(what)
        return Description({"recipe": recipe.values, "dialect": table.values}, [*table.tables, *recipe.tables])
    if what in RECIPES:
        return _describe_recipe(what)
    raise ConfigError(
        f"{what}: there is no such file or folder, and no dialect ({', '.join(DIALECTS)}) or recipe "
        f"({', '.join(RECIPES)}) has this name."
    )


def describe_system() -> Description:
    """Return what this machine is and what is chosen on it."""
    from alexnet import kernels, system

    values: dict[str, Any] = dict(system.describe_system())
    values["threads"] = system.set_threads()
    values["compute"] = system.choose_compute().explanation
    values["allocator"] = system.tune_allocator()
    chosen = kernels.report()
    tables: list[Table] = [(None, ["system", ""], [[name, str(value)] for name, value in values.items()])]
    tables.append(("Kernels", ["kernel", "device", "version", "reason"], [list(map(str, row)) for row in chosen]))
    return Description({**values, "kernels": [list(row) for row in chosen]}, tables)


def _describe_store(path: Path, verify: bool) -> Description:
    from alexnet.data.store import open_store

    store = open_store(path)
    if verify:
        store.verify()
    splits = {name: len(split) for name, split in store.splits.items()}
    spread = [f"{value:.1f}" for value in store.color_eigenvalues**0.5]
    mean = [f"{value:.1f}" for value in store.mean_image.mean((0, 1))]
    facts = [
        ["kind", "store" + (", checksums compared: good" if verify else "")],
        ["images", ", ".join(f"{count:,} {name}" for name, count in splits.items())],
        ["size", f"{store.size} x {store.size} RGB"],
        ["classes", f"{len(store.class_names):,}"],
        ["mean R, G, B", ", ".join(mean)],
        ["standard deviation along the RGB axes", ", ".join(spread)],
        ["fingerprint", store.fingerprint],
    ]
    counts = {name: _count_labels(split.labels, len(store.class_names)) for name, split in store.splits.items()}
    classes = [
        [name, *(f"{counts[split][index]:,}" for split in counts)] for index, name in enumerate(store.class_names)
    ]
    if len(classes) > 30:
        classes = [*classes[:30], [f"… and {len(classes) - 30} more", *("" for _ in counts)]]
    values = {
        "kind": "store",
        "path": str(path),
        "splits": splits,
        "size": store.size,
        "class_names": list(store.class_names),
        "color_eigenvalues": store.color_eigenvalues.tolist(),
        "fingerprint": store.fingerprint,
        "provenance": store.provenance,
    }
    return Description(values, [(None, [str(path), ""], facts), (None, ["class", *counts], classes)])


def _count_labels(labels: Any, num_classes: int) -> list[int]:
    import numpy as np

    return [int(count) for count in np.bincount(np.asarray(labels), minlength=num_classes)]


def _describe_run(path: Path) -> Description:
    environment, history = read_environment(path), read_metrics(path)
    finished = (path / MODEL).exists()
    facts = [
        ["kind", "finished run" if finished else "unfinished run; the same train command continues it"],
        ["epochs", str(len(history))],
        ["time", duration(sum(row["seconds_with_validation"] for row in history))],
        *(
            [name.replace("_", " "), str(environment.get(name, "–"))]
            for name in ("store", "seed", "precision", "threads", "processor", "torch", "alexnet")
        ),
    ]
    tables: list[Table] = [(None, [str(path), ""], facts)]
    if history:
        last = history[-1]
        rows = [[name.replace("_", " "), _shown(name, last[name])] for name in last if not isinstance(last[name], str)]
        tables.append(("Last epoch", ["", "value"], rows))
    return Description(
        {"kind": "run", "path": str(path), "finished": finished, "environment": environment, "history": history}, tables
    )


def _shown(name: str, value: Any) -> str:
    return percent(value) if name.endswith(("_error", "_share")) else f"{value:.4g}"


def _describe_model(path: Path) -> Description:
    model = load_model(find_model(path))
    names = ", ".join(model.class_names[:8]) + (", …" if len(model.class_names) > 8 else "")
    facts = [
        ["kind", "model file"],
        ["classes", f"{len(model.class_names):,}: {names}"],
        ["images", f"{model.preprocessing.image_px} px, crops of {model.network.spec.input_px} px"],
        [
            "inputs",
            "mean subtracted"
            + (f", divided by {model.preprocessing.divisor:g}" if model.preprocessing.divisor != 1 else ""),
        ],
        ["recipe", str(model.provenance.get("recipe", {}).get("name", "–"))],
    ]
    table = _layer_table(model.network.spec)
    values = {
        "kind": "model",
        "path": str(path),
        "class_names": list(model.class_names),
        **table.values,
        "provenance": model.provenance,
    }
    return Description(values, [(None, [str(path), ""], facts), *table.tables])


def _layer_table(spec: Spec) -> Description:
    shapes = measure(spec)
    rows = [
        [
            shape.name,
            " x ".join(map(str, shape.kernel)),
            " x ".join(map(str, shape.output)),
            ", ".join(step.kind for step in layer.then) or "–",
            f"{shape.neurons:,}",
            f"{shape.parameters:,}",
            f"{shape.multiply_adds:,}",
        ]
        for shape, layer in zip(shapes, spec.layers, strict=True)
    ]
    totals = [sum(getattr(shape, name) for shape in shapes) for name in ("neurons", "parameters", "multiply_adds")]
    rows.append(["total", "", "", "", *(f"{total:,}" for total in totals)])
    inputs = f"{spec.input_px} x {spec.input_px} inputs"
    title = f"Dialect {spec.dialect}: {inputs}, {spec.towers} towers, {spec.num_classes:,} classes"
    columns = ["layer", "weights", "output", "then", "neurons", "parameters", "multiply-adds"]
    values = {
        "spec": spec.model_dump(mode="json"),
        "parameters": totals[1],
        "neurons": totals[0],
        "multiply_adds": totals[2],
    }
    return Description(values, [(title, columns, rows)])


def _describe_recipe(name: str) -> Description:
    recipe = find_recipe(name)
    rows = [
        [f"{group}.{field}", str(value)]
        for group, fields in recipe.model_dump(mode="json").items()
        if isinstance(fields, dict)
        for field, value in fields.items()
    ]
    summary = " ".join((RECIPES[name].__doc__ or "").split())
    return Description(
        recipe.model_dump(mode="json"),
        [(f"Recipe {name}", ["field (for --set)", "value"], rows), (None, ["about it"], [[summary]])],
    )
