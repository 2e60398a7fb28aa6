"""A model as a folder for others: its weights, a graph, how to feed it, the names of its classes, and a card."""

import json
from dataclasses import replace
from pathlib import Path

from alexnet.batches.views import evaluation_views
from alexnet.errors import ConfigError
from alexnet.exchange.exporting import Exported, export_model
from alexnet.files.writing import clear_away, name_in_errors, put_in_place, stand_in, write_text
from alexnet.network.model_file import Model
from alexnet.runs.card import read_history, write_card

FILES = {
    "model.safetensors": "the weights, the mean image and all that alexnet needs to know",
    "model.onnx": "a graph from images (N, S, S, 3) of bytes to the classes, with its preprocessing inside",
    "preprocessing.json": "how a picture becomes the inputs of the network",
    "classes.json": "the classes in the order of the outputs",
    "use.py": "a program that classifies a picture with model.onnx",
}
CARD = "README.md"


def export_folder(path: Path, model: Model, out: Path, *, plain_normalization: bool = False) -> Exported:
    """Write a model with its card; the folder appears whole or not at all.

    Args:
        path: Where the model is from: a run folder, whose tests and store the card tells of, or a file.
        out: Folder to create.
        plain_normalization: See `onnx_graph.build_graph`.
    Returns:
        What is written, with the difference of the graph's outputs from the model's.
    Raises:
        ConfigError: `out` exists, or the packages of the extra export are missing.
        ExportError: the graph would not compute what the model does.
    """
    if out.exists():
        raise ConfigError(f"--out {out}: exists. Choose another, or delete it.")
    history = read_history(path)
    unfinished = stand_in(out)
    with name_in_errors(out):
        clear_away(unfinished)
        unfinished.mkdir(parents=True)
        try:
            graph = export_model(model, "onnx", unfinished / "model.onnx", plain_normalization=plain_normalization)
            export_model(_without_places(model), "alexnet", unfinished / "model.safetensors")
            program = (graph.program or "").replace(str(graph.path), "model.onnx")
            classes = [
                {"index": index, "name": name, "title": title}
                for index, (name, title) in enumerate(zip(model.class_names, model.class_titles, strict=True))
            ]
            for name, text in (
                ("use.py", program),
                ("classes.json", json.dumps(classes, indent=2, ensure_ascii=False) + "\n"),
                ("preprocessing.json", json.dumps(describe_preprocessing(model), indent=2) + "\n"),
                (CARD, write_card(model, history, FILES)),
            ):
                write_text(unfinished / name, text)
            size = sum(file.stat().st_size for file in unfinished.iterdir())
            put_in_place(unfinished, out)
        finally:
            clear_away(unfinished)
    note = f"What it is, and how to use it without alexnet: {out / CARD}"
    return graph._replace(path=out, bytes=size, notes=(*graph.notes, note), program=None)


def describe_preprocessing(model: Model) -> dict[str, object]:
    """Return how a picture becomes the inputs of the network, step by step, as JSON values."""
    preprocessing, crop_px = model.preprocessing, model.network.spec.input_px
    top, left, _ = evaluation_views(preprocessing.image_px, crop_px, 1)[0]
    divisor = preprocessing.divisor
    return {
        "image_px": preprocessing.image_px,
        "framing": preprocessing.framing,
        "crop": {"top": top, "left": left, "px": crop_px},
        "channels": "RGB",
        "scale": [0, 255],
        "mean_rgb": [round(float(value), 4) for value in preprocessing.mean_image.mean((0, 1))],
        "mean_image": "tensor mean_image of model.safetensors, (image_px, image_px, 3)",
        "mean_place": preprocessing.mean_place,
        "divisor": list(divisor) if isinstance(divisor, tuple) else divisor,
        "axes": "N, channel, row, column",
        "order": ["frame", "subtract mean_image", "crop", "divide by divisor", "put channels first"],
    }


def _without_places(model: Model) -> Model:
    """The model without the absolute paths of the machine that it was trained on."""
    environment = model.provenance.get("environment")
    if not isinstance(environment, dict):
        return model
    kept = {name: value for name, value in environment.items() if not name.endswith("_absolute")}
    return replace(model, provenance={**model.provenance, "environment": kept})
