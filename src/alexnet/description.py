"""What a path or a name is, in one screen: the tables of `alexnet info`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet.errors import ConfigError
from alexnet.network.comparison import tabulate_costs, tabulate_differences, tabulate_shapes
from alexnet.network.model_file import MODEL, Preprocessing, find_model, load_model
from alexnet.network.spec import DIALECTS, Spec, find_dialect, is_dialect, measure
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
    if is_dialect(what):
        table = _layer_table(find_dialect(what, _usual_classes(what)))
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


def list_images(what: str) -> Iterator[dict[str, str]]:
    """Yield split, class name, readable name and original path of every image of a store, in its order.

    Raises:
        StoreError: it is no store, or damaged.
    """
    from alexnet.data.decode import show_name
    from alexnet.data.store import open_store

    store = open_store(what)
    for name, split in store.splits.items():
        for label, path in zip(split.labels.tolist(), split.paths, strict=True):
            yield {
                "split": name,
                "class": store.class_names[label],
                "name": store.class_titles[label],
                "path": show_name(path),
            }


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
        ["size", f"{store.size} x {store.size} RGB, {store.header['codec']}"],
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
        ["inputs", _describe_inputs(model.preprocessing)],
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


def _describe_inputs(preprocessing: Preprocessing) -> str:
    divisor = preprocessing.divisor
    words = "mean subtracted" if preprocessing.mean_place == "aligned" else "central part of the mean subtracted"
    if isinstance(divisor, tuple):
        return f"{words}, divided by {', '.join(f'{part:g}' for part in divisor)}"
    return words + (f", divided by {divisor:g}" if divisor != 1 else "")


def compare(dialects: Sequence[str]) -> Description:
    """Return where dialects differ, generated from their tables: one row per property, one column per dialect.

    Raises:
        ConfigError: fewer than two are given, or one is unknown.
    """
    if len(dialects) < 2:
        raise ConfigError(f"--compare needs two dialects or more; given was {', '.join(dialects)}.")
    rows = tabulate_differences([find_dialect(name, _usual_classes(name)) for name in dialects])
    values = {"dialects": list(dialects), "differences": {row[0]: row[1:] for row in rows}}
    return Description(values, [("Where they differ", ["", *dialects], rows)])


def _usual_classes(dialect: str) -> int:
    """Classes of the data set that a dialect was made for."""
    return 10 if dialect.startswith("cifar") else 1000


def _layer_table(spec: Spec) -> Description:
    shapes = measure(spec)
    towers = f"{spec.towers} tower{'s' if spec.towers > 1 else ''}"
    title = f"Dialect {spec.dialect}: {spec.input_px} x {spec.input_px} inputs, {towers}, {spec.num_classes:,} classes"
    values = {
        "spec": spec.model_dump(mode="json"),
        "parameters": sum(shape.parameters for shape in shapes),
        "neurons": sum(shape.neurons for shape in shapes),
        "multiply_adds": sum(shape.multiply_adds for shape in shapes),
        "weight_bytes": 4 * sum(shape.parameters for shape in shapes),
        "activation_bytes_per_image": 4 * sum(shape.activation_values for shape in shapes),
        "layers": [{**shape._asdict(), "neurons": shape.neurons} for shape in shapes],
    }
    return Description(values, [(title, *tabulate_shapes(spec)), (None, *tabulate_costs(spec))])


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
