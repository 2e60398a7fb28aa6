"""What a path or a name is, in one screen: the tables of `alexnet info`."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from alexnet.errors import ConfigError
from alexnet.evaluation.ensemble import is_ensemble
from alexnet.network.comparison import tabulate_costs, tabulate_differences, tabulate_shapes
from alexnet.network.model_file import MODEL, Preprocessing, find_checkpoint, find_model, load_model
from alexnet.network.spec import DIALECTS, Spec, find_dialect, is_dialect, measure
from alexnet.recipes import RECIPES, Recipe, find_recipe, read_recipe
from alexnet.terminal import duration, percent
from alexnet.training.checkpoint import read_progress
from alexnet.training.journal import ENVIRONMENT, RECIPE, read_environment, read_metrics

REPORT = "report.html"

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
        return _describe_file(path)
    if is_dialect(what):
        table = _layer_table(find_dialect(what, _usual_classes(what)))
        if what not in RECIPES:
            return table
        recipe = _describe_recipe(what)
        return Description({"recipe": recipe.values, "dialect": table.values}, [*table.tables, *recipe.tables])
    if what in RECIPES:
        return _describe_recipe(what)
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, [*beside, *DIALECTS, *RECIPES], n=1)
    advice = f" Did you mean {path.parent / near[0] if near[0] in beside else near[0]}?" if near else ""
    raise ConfigError(
        f"{what}: there is no such file or folder, and no dialect ({', '.join(DIALECTS)}) or recipe "
        f"({', '.join(RECIPES)}) has this name.{advice}"
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
    recipe = read_recipe(path / RECIPE)
    store = environment.get("store", "STORE")
    facts = [
        ["kind", "finished run" if finished else "unfinished run"],
        ["network", f"dialect {recipe.network.dialect}, recipe {recipe.name}, seed {environment.get('seed', '–')}"],
        ["epochs", _describe_progress(path, len(history), recipe, finished)],
        ["time", duration(sum(row["seconds_with_validation"] for row in history))],
        ["store", f"{store}"],
        ["computed", _describe_computing(environment)],
    ]
    if environment.get("start"):
        facts.append(["started from", str(environment["start"])])
    if history:
        last = history[-1]
        facts.append(["training", f"loss {last['train_loss']:.4f}, error {percent(last['train_top1_error'])}"])
        tested = [row for row in history if "val_top1_error" in row]
        if tested:
            best = min(tested, key=lambda row: row["val_top1_error"])
            facts.append(
                [
                    "validation",
                    f"top-1 error {percent(tested[-1]['val_top1_error'])} (one view), lowest "
                    f"{percent(best['val_top1_error'])} in epoch {best['epoch']}",
                ]
            )
    if (path / REPORT).exists():
        facts.append(["report", str(path / REPORT)])
    if finished:
        facts += [["test it", f"alexnet evaluate {path} {store}"], ["use it", f"alexnet predict {path} picture.jpg"]]
    else:
        again = f"alexnet train {store} --recipe {path / RECIPE} --seed {environment.get('seed', 0)} --out {path}"
        facts.append(["continue it", again + (f" --from {environment['start']}" if environment.get("start") else "")])
    values = {"kind": "run", "path": str(path), "finished": finished, "environment": environment, "history": history}
    return Description(values, [(None, [str(path), ""], facts)])


def _describe_progress(path: Path, done: int, recipe: Recipe, finished: bool) -> str:
    most = "at most " if recipe.optimization.schedule == "plateau" else ""
    text = f"{done} of {most}{recipe.optimization.total_epochs}"
    found = None if finished else find_checkpoint(path)
    if found is None:
        return text
    progress = read_progress(found[0])
    return f"{text}; saved in epoch {progress.epoch + 1} after {progress.batch} batches"


def _describe_computing(environment: dict[str, Any]) -> str:
    precision, device, threads = (environment.get(name, "–") for name in ("precision", "device", "threads"))
    versions = f"torch {environment.get('torch', '–')}, alexnet {environment.get('alexnet', '–')}"
    return f"{precision} on {device}, {threads} threads, {environment.get('processor', '–')}, {versions}"


def _describe_file(path: Path) -> Description:
    """A model or an ensemble; of another kind of file, what it is and what to do with it.

    Raises:
        ConfigError: it is another kind of file.
    """
    if is_ensemble(path):
        return _describe_ensemble(path)
    with path.open("rb") as file:
        beginning = file.read(16)
    for begins, kind, advice in _OTHER_FILES:
        if path.suffix == begins if isinstance(begins, str) else beginning.startswith(begins):
            raise ConfigError(f"{path}: is {kind}. {advice.format(path=path)}")
    return _describe_model(path)


_EXPORT = "To use its weights: alexnet export {path} --to alexnet --out model.safetensors"
_PREDICT = "To see what a model says of it: alexnet predict RUN {path}"
_PREPARE = "To make a store of the images in it: alexnet prepare {path} --out STORE"
_OTHER_FILES: list[tuple[bytes | str, str, str]] = [
    (".onnx", "an ONNX network, for other programs", "The model it was made from is what info describes."),
    (".caffemodel", "a network of Caffe", _EXPORT),
    (".pth", "a file of PyTorch", _EXPORT),
    (".pt", "a file of PyTorch", _EXPORT),
    (b"\x89PNG", "an image", _PREDICT),
    (b"\xff\xd8\xff", "an image", _PREDICT),
    (b"GIF8", "an image", _PREDICT),
    (b"RIFF", "an image", _PREDICT),
    (b"PK\x03\x04", "a zip archive", _PREPARE),
    (b"\x1f\x8b", "a compressed archive", _PREPARE),
    (".tar", "an archive", _PREPARE),
    (".yaml", "a recipe or another text", "To train with it: alexnet train STORE --recipe {path} --out RUN"),
]
"""Beginning of a file, or its suffix -> what it is, and what to do with it."""


def _describe_ensemble(path: Path) -> Description:
    from alexnet.evaluation.ensemble import load_ensemble

    ensemble = load_ensemble(path)
    rows = [
        [str(member.path), f"{weight:.3f}", member.model.network.spec.dialect]
        for member, weight in zip(ensemble.members, ensemble.weights, strict=True)
    ]
    values = {"kind": "ensemble", "path": str(path), "members": rows, "class_names": list(ensemble.class_names)}
    facts = [["kind", f"ensemble of {len(rows)} models"], ["classes", f"{len(ensemble.class_names):,}"]]
    return Description(values, [(None, [str(path), ""], facts), (None, ["member", "weight", "dialect"], rows)])


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
        [f"{group}.{field}", _plain(value)]
        for group, fields in recipe.model_dump(mode="json").items()
        if isinstance(fields, dict)
        for field, value in fields.items()
    ]
    summary = " ".join((RECIPES[name].__doc__ or "").split())
    return Description(
        recipe.model_dump(mode="json"),
        [(None, [f"Recipe {name}"], [[summary]]), (None, ["field (for --set)", "value"], rows)],
    )


def _plain(value: Any) -> str:
    """A field's value as it is written in YAML, on one line; nothing is a dash."""
    if value in (None, [], {}):
        return "–"
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
