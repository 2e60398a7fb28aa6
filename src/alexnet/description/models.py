"""The pages of model files and ensembles."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet.batches.preprocessing import Preprocessing
from alexnet.console.terminal import percent
from alexnet.description.dialects import tabulate_layers, values_of
from alexnet.description.page import Description, Facts, Table, command, count_towers, name_classes
from alexnet.network.model_file import by_views, describe, find_model, load_model
from alexnet.text.wording import counted, shorten


def describe_model(path: Path, *, every: bool = False) -> Description:
    """Return what a model file holds.

    Args:
        every: Name all classes, and list what each layer costs.
    Raises:
        WeightsError: it is no model file, or damaged.
    """
    model = load_model(find_model(path))
    found = describe(model)
    spec, values = model.network.spec, values_of(model.network.spec)
    facts = [
        ("what", f"a model file, {counted(path.stat().st_size, 'byte')}"),
        ("network", f"{spec.dialect}: {count_towers(spec.towers)}, {values['parameters']:,} parameters"),
        ("classes", name_classes(model.class_titles, every=every)),
        ("images", f"of any size; {_FRAMED[model.preprocessing.framing]} {_square(model.preprocessing.image_px)}, "
                   f"views of it {_square(spec.input_px)}"),
        ("inputs", _describe_inputs(model.preprocessing)),
        *list_confidence(found, model.class_titles),
        ("origin", _describe_origin(model.provenance)),
        ("next", command("predict", path, "picture.jpg")),
        ("", command("evaluate", path, "STORE")),
    ]  # fmt: skip
    document: dict[str, Any] = {
        "kind": "model",
        "path": str(path),
        "class_names": list(model.class_names),
        **values,
        **{name: found[name] for name in ("temperatures", "rejection", "independent") if name in found},
        "provenance": model.provenance,
    }
    return Description(document, [Facts(facts, str(path)), *tabulate_layers(spec, every=every)])


def describe_temporal(path: Path, *, every: bool = False) -> Description:
    """Return what the file of a model of clips holds.

    Args:
        every: Name all classes.
    Raises:
        WeightsError: it is damaged.
    """
    from alexnet.temporal.clip_model import load_temporal

    model = load_temporal(path)
    image_model, provenance = model.image_model, model.provenance
    learned = [f"{name} {provenance[name]}" for name in ("clips", "frames", "seed") if name in provenance]
    facts = [
        ("what", f"a model of clips, {counted(path.stat().st_size, 'byte')}"),
        (
            "head",
            f"{model.kind} over {_FRAMES_READ[model.kind]}; {counted(model.head.num_features, 'feature')} a frame",
        ),
        ("classes", name_classes(model.class_titles, every=every)),
        ("frames", f"one every {model.every_seconds:g} s"),
        ("image model", f"{image_model.network.spec.dialect}, {_describe_origin(image_model.provenance)}"),
        ("origin", f"trained on {', '.join(learned)}" if learned else "not recorded"),
        ("next", command("predict", path, "clip.mp4")),
        ("", command("evaluate", path, "CLIPSTORE")),
    ]
    values: dict[str, Any] = {
        "kind": "temporal",
        "path": str(path),
        "head": model.kind,
        "class_names": list(model.class_names),
        "every_seconds": model.every_seconds,
        "dialect": image_model.network.spec.dialect,
        "provenance": provenance,
    }
    return Description(values, [Facts(facts, str(path))])


_FRAMES_READ = {"pooling": "all frames, weighted", "convolution": "frames in a row, and what stands still"}
"""Head of a model of clips -> what it reads."""


def list_confidence(document: Mapping[str, Any], titles: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return temperatures and thresholds from the document of a model file or ensemble; empty if not calibrated."""
    facts = []
    if temperatures := document.get("temperatures"):
        facts.append(("temperature", f"{_by_views(temperatures)}; used with --calibrated"))
    if rejection := document.get("rejection"):
        facts.append((
            "unknown",
            f"what is farther from all it learned than {_by_views(rejection['thresholds'])}; of the validation images "
            f"{percent(rejection['share'])} are",
        ))  # fmt: skip
    if (independent := document.get("independent")) is not None:
        facts.append(("labels", "any number of classes in a picture"))
        thresholds = independent["thresholds"].get("10")
        named = [f"{title} {percent(value)}" for title, value in zip(titles, thresholds or (), strict=False)]
        said = f"{shorten(named)}, in ten views" if named else "one half, as none were found on validation images"
        facts.append(("said from", said))
    return facts


def describe_ensemble(path: Path, *, every: bool = False) -> Description:
    """Return what an ensemble file names.

    Args:
        every: Name all classes.
    Raises:
        WeightsError: it is damaged, or a member is missing or has changed.
    """
    from alexnet.evaluation.ensemble import load_ensemble

    ensemble = load_ensemble(path)
    rows = [
        [str(member.path), f"{weight:.3f}", member.model.network.spec.dialect]
        for member, weight in zip(ensemble.members, ensemble.weights, strict=True)
    ]
    facts = [
        ("what", f"an ensemble of {counted(len(rows), 'model')}, whose probabilities are averaged with these weights"),
        ("classes", name_classes(ensemble.members[0].model.class_titles, every=every)),
        *list_confidence({"temperatures": by_views(ensemble.temperatures)}),
        *([("labels", "any number of classes in a picture")] if ensemble.independent is not None else []),
        ("next", command("predict", path, "picture.jpg")),
        ("", command("evaluate", path, "STORE")),
    ]
    values = {"kind": "ensemble", "path": str(path), "members": rows, "class_names": list(ensemble.class_names)}
    return Description(values, [Facts(facts, str(path)), Table(["member", "weight", "network"], rows)])


_FRAMED = {
    "square": "the centre becomes",
    "torchvision": "as torchvision resizes and crops them, the centre becomes",
    "caffe": "as Caffe's tool resizes them, the whole becomes",
}
"""Framing -> how `info` says it."""


def _by_views(values: Mapping[str, float]) -> str:
    return f"{values['1']:.3f} in one view, {values['10']:.3f} in ten"


def _square(side: int) -> str:
    return f"{side} x {side}"


def _describe_inputs(preprocessing: Preprocessing) -> str:
    divisor = preprocessing.divisor
    words = "RGB of 0 to 255 less the mean image" + (
        ", always its centre" if preprocessing.mean_place == "central" else ""
    )
    if isinstance(divisor, tuple):
        return f"{words}, divided by {', '.join(f'{part:g}' for part in divisor)}"
    return words + (f", divided by {divisor:g}" if divisor != 1 else "")


def _describe_origin(provenance: dict[str, Any]) -> str:
    """Where the weights came from, as far as the file says."""
    imported, recipe, environment = (provenance.get(name) for name in ("imported", "recipe", "environment"))
    if isinstance(imported, dict):
        return f"imported from {imported.get('file', 'an unknown file')} ({imported.get('kind', 'unknown kind')})"
    if not isinstance(recipe, dict):
        return "not recorded"
    words = [f"trained with recipe {recipe.get('name', 'unknown')}"]
    if isinstance(environment, dict):
        words += [f"{name} {environment[name]}" for name in ("seed", "store") if name in environment]
        words += [f"by alexnet {environment['alexnet']}"] if "alexnet" in environment else []
    return ", ".join(words)
