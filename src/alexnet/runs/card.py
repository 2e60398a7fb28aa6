"""The card of a model: what it is, which images it learned, which errors it makes, and where its limits are.

Every figure is read from the run and its store; what they do not tell is said to be unknown.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.console.terminal import percent
from alexnet.data.store.format import TEST, find_store
from alexnet.data.store.reader import open_store
from alexnet.errors import AlexNetError
from alexnet.evaluation.record import digest_weights, read_errors
from alexnet.network.model_file import Model
from alexnet.runs.folder import ENVIRONMENT, MODEL, read_environment, read_metrics
from alexnet.text.names import escape_name
from alexnet.text.wording import counted, say_unequal, say_views, shorten

LISTED_CLASSES = 40
"""Most classes that have a row with the number of their images."""
FEW_IMAGES = 30
"""A class with fewer training images than this is named as having few."""


@dataclass(frozen=True, slots=True)
class History:
    """What a run and its store tell of a model; empty for a model that is in no run folder."""

    environment: Mapping[str, Any]
    epochs: int
    counts: Mapping[str, Sequence[int]]
    """Split -> images of each class, where the store was found."""
    split: str | None
    """Split that the model was tested on."""
    tests: Sequence[Mapping[str, Any]]
    """Results for each number of views, see `Evaluation.to_json`."""


def read_history(path: Path) -> History:
    """Return the history of the model at path: a run folder, or a file in one.

    Tests of other weights, and a store that is gone or another one, are left out.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / MODEL if path.is_dir() else path
    if not (folder / ENVIRONMENT).is_file():
        return History({}, 0, {}, None, ())
    environment = read_environment(folder)
    tested = read_errors(folder, digest_weights(file)) if file.is_file() else None
    counts: dict[str, list[int]] = {}
    place = find_store(environment, folder)
    try:
        store = open_store(place) if isinstance(place, Path) else None
    except AlexNetError:
        store = None
    if store is not None and store.fingerprint == environment.get("store_fingerprint"):
        for split, part in store.splits.items():
            targets = part.targets
            per_class = targets.sum(0) if store.has_sets else np.bincount(targets, minlength=len(store.class_names))
            counts[split] = per_class.tolist()
    return History(
        environment,
        len(read_metrics(folder)),
        counts,
        tested["split"] if tested else None,
        tested["tests"] if tested else (),
    )


def write_card(model: Model, history: History, files: Mapping[str, str]) -> str:
    """Return the card as Markdown.

    Args:
        files: Name -> what it is, of the files beside the card.
    """
    titles = [_plain(title) for title in model.class_titles]
    spec = model.network.spec
    parameters = sum(each.numel() for each in model.network.parameters())
    sections = {
        "Files": [f"- `{name}`: {what}" for name, what in files.items()],
        "Use": [
            "`use.py` classifies a `picture.jpg` beside it, by onnxruntime alone:",
            "",
            "```sh",
            "pip install onnxruntime numpy pillow",
            "python use.py",
            "```",
            "",
            "With alexnet:",
            "",
            "```sh",
            "alexnet predict . picture.jpg",
            "```",
        ],
        "Images": _tell_images(titles, history),
        "Errors": _tell_errors(history),
        "Training": _tell_training(model, history),
        "Limits": [f"- {sentence}" for sentence in _list_limits(model, titles, history)],
    }
    head = [
        "---",
        "pipeline_tag: image-classification",
        "tags: [alexnet, image-classification, onnx]",
        "---",
        "",
        f"# A classifier of {counted(len(titles), 'class', 'classes')}: {shorten(titles, 5)}",
        "",
        f"A network of Krizhevsky, Sutskever and Hinton (2012), dialect `{spec.dialect}`, with {parameters:,} "
        f"parameters. It sees {spec.input_px} x {spec.input_px} pixels from the middle of an image of "
        f"{model.preprocessing.image_px} x {model.preprocessing.image_px}.",
    ]
    body = [line for name, lines in sections.items() for line in ("", f"## {name}", "", *lines)]
    return "\n".join([*head, *body]) + "\n"


def _plain(name: str) -> str:
    """A name that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", escape_name(name))


def _tell_images(titles: Sequence[str], history: History) -> list[str]:
    if not history.counts:
        return ["Unknown: the store of its training was not found when this card was written."]
    splits = list(history.counts)
    rows = [
        [title, *(f"{counts[label]:,}" for counts in history.counts.values())] for label, title in enumerate(titles)
    ]
    table = _table(["class", *splits], rows[:LISTED_CLASSES])
    if len(rows) > LISTED_CLASSES:
        spans = "; ".join(f"{split} {min(counts):,} to {max(counts):,}" for split, counts in history.counts.items())
        table += [
            "",
            f"And {counted(len(rows) - LISTED_CLASSES, 'more class', 'more classes')}. Images of a class: {spans}.",
        ]
    return table


def _tell_errors(history: History) -> list[str]:
    if not history.tests:
        return ["Unknown: no test of these weights was found when this card was written."]
    rows = []
    for test in history.tests:
        for name, value in test.items():
            interval = test.get(name.replace("_error", "_interval"))
            if name.endswith("_error") and value is not None and interval is not None:
                span = f"{percent(interval[0])} to {percent(interval[1])}"
                rows.append(
                    [
                        say_views(test["views"]),
                        re.sub(r"^top", "top-", name.removesuffix("_error")),
                        percent(value),
                        span,
                    ]
                )
            elif name == "mean_average_precision" and value is not None:
                rows.append([say_views(test["views"]), "mean average precision", f"{value:.3f}", "–"])
    first = history.tests[0]
    return [
        f"Of {counted(first['images'], 'image')} of split {history.split}, with intervals of 95 %.",
        "",
        *_table(["seen in", "error", "", "interval"], rows),
    ]


def _tell_training(model: Model, history: History) -> list[str]:
    recipe = model.provenance.get("recipe")
    environment = history.environment
    if not isinstance(recipe, dict) or not environment:
        return ["Unknown: the model comes without the folder of a run."]
    facts = {
        "recipe": recipe.get("name"),
        "epochs": history.epochs,
        "seed": environment.get("seed"),
        "computed in": f"{environment.get('precision')} on {environment.get('device')}",
        "versions": ", ".join(f"{name} {environment[name]}" for name in ("alexnet", "torch") if name in environment),
    }
    return [f"- {name}: {_plain(str(value))}" for name, value in facts.items()]


def _list_limits(model: Model, titles: Sequence[str], history: History) -> list[str]:
    limits = []
    if history.tests and history.split != TEST:
        limits.append(
            "The images of the test also served to choose during training; errors on new pictures are probably higher."
        )
    for test in history.tests[:1]:
        low, high = test.get("top1_interval") or test.get("set_interval") or (0, 0)
        if high - low > 0.05:
            known = f"{counted(test['images'], 'image')}, so its interval is {100 * (high - low):.0f} points wide"
            limits.append(f"The error is known from {known}.")
    train = history.counts.get("train", ())
    few = [title for title, count in zip(titles, train, strict=False) if count < FEW_IMAGES]
    if few:
        limits.append(f"Fewer than {FEW_IMAGES} training images have: {shorten(few, 5)}.")
    if train and (sentence := say_unequal(train, titles, "training images")):
        limits.append(sentence)
    if model.independent is not None:
        limits.append("A picture may have any number of the classes, or none; other things in it are not named.")
    elif model.rejection is None:
        limits.append(
            f"A picture of anything else is called one of these {counted(len(titles), 'class', 'classes')} too."
        )
    else:
        limits.append(
            'Pictures of anything else are called "unknown" as far as they look different; '
            f"{percent(model.rejection.share)} of the validation images are, too."
        )
    if not model.temperatures:
        limits.append("Its probabilities were not calibrated: they may be too sure of themselves.")
    limits += [
        "It was made for pictures like those that it learned; other cameras, places and times were not tried.",
        "It looks at the middle of a picture: what lies at the edges of a long one is not seen.",
    ]
    return limits


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (heading, ["---"] * len(heading), *rows)]
