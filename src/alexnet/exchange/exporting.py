"""Models out: each file is compared with the model before it gets its name."""

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from alexnet import kernels
from alexnet.batches.preprocessing import Preprocessing
from alexnet.batches.views import evaluation_views
from alexnet.errors import ConfigError, ExportError
from alexnet.exchange.importing import DIVISOR, MEAN_IMAGE, TORCHVISION_DIVISOR, TORCHVISION_MEAN
from alexnet.exchange.onnx_graph import DISTANCE, build_graph, count_bytes, describe_use
from alexnet.exchange.programs import write_onnx_program, write_torch_program, write_torchvision_program
from alexnet.files.writing import write_bytes
from alexnet.network.alexnet import AlexNet
from alexnet.network.comparison import tabulate_differences
from alexnet.network.dialects import find_dialect
from alexnet.network.independent import to_probabilities
from alexnet.network.model_file import Model, save_model

Format = Literal["alexnet", "onnx", "torchvision", "program"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[Format, tuple[str, ...]] = {
    "alexnet": (".safetensors",),
    "onnx": (".onnx",),
    "torchvision": (".pth", ".safetensors"),
    "program": (".pt2",),
}
TOLERANCE = 1e-4
"""Largest difference between the logits of a file and of the model, as a share of the largest logit."""
ONNX_LIMIT = 2**31 - 2**20
"""Bytes of weights that one ONNX file holds."""
_BATCHES = (1, 3)
"""Numbers of images with which a file is compared; the number is free in it."""

_TORCHVISION_NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}


class Exported(NamedTuple):
    """What was written."""

    path: Path
    bytes: int
    largest_difference: float | None
    """Largest difference between the file's logits, or ten-view probabilities, and the model's, as a share of the
    largest; None where the file holds the weights themselves."""
    notes: tuple[str, ...] = ()
    program: str | None = None
    """Python that classifies a picture with the file; None for our own format, which the command line takes."""
    dialect: str = ""
    """Of the network; those of an ensemble joined by " + "."""
    members: int = 1
    """Networks in the file."""


class _FromImages(torch.nn.Module):
    """Stored images (N, S, S, 3) uint8 RGB to the logits of their centre views: a network with its preprocessing."""

    def __init__(self, network: AlexNet, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.crop_px = network.spec.input_px
        self.top, self.left, _ = evaluation_views(preprocessing.image_px, self.crop_px, 1)[0]
        self.mean_image = torch.nn.Buffer(torch.from_numpy(np.array(preprocessing.mean_image)))
        self.divisor = torch.nn.Buffer(torch.tensor(preprocessing.divisor, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        rows, columns = (slice(first, first + self.crop_px) for first in (self.top, self.left))
        inputs = ((images.float() - self.mean_image) / self.divisor)[:, rows, columns]
        logits: Tensor = self.network(inputs.permute(0, 3, 1, 2))
        return logits


def export_model(
    model: Model, to: Format, out: Path, *, plain_normalization: bool = False, ten_views: bool = False
) -> Exported:
    """Write a model in another format. Nothing is left behind if the file disagrees with the model.

    Every file holds what the model needs: mean image, crop, divisor and names of the classes. A state dict for
    torchvision holds the weights alone where the rest is torchvision's own.

    Args:
        to: "alexnet", our model file; "onnx"; "torchvision", a state dict that torchvision's alexnet loads; "program",
            for torch.export.load.
        out: File to create, with the format's suffix; it must not exist.
        plain_normalization, ten_views: For ONNX; see `onnx_graph.build_graph`.
    Raises:
        ExportError: the file would not compute what the model does, or the format cannot express the dialect.
        ConfigError: an option does not go with the format, `out` exists or has another suffix, or a package is missing.
    """
    if to not in FORMATS:
        raise ConfigError(f"unknown format {to!r}. Known: {', '.join(FORMATS)}.")
    if (plain_normalization or ten_views) and to != "onnx":
        option = "--plain-norm" if plain_normalization else "--ten-views"
        raise ConfigError(f"{option} goes with --to onnx only; given was --to {to}.")
    check_out(out, to)
    if to == "alexnet":
        save_model(out, model)
        done = Exported(out, out.stat().st_size, None)
    elif to == "torchvision":
        done = _export_state_dict(model, out)
    elif to == "program":
        done = _export_program(model, out)
    else:
        done = _export_onnx(model, out, plain_normalization, ten_views)
    return done._replace(dialect=model.network.spec.dialect)


def check_out(out: Path, to: Format) -> None:
    """Raise ConfigError where a file of a format has another suffix, or exists."""
    if out.suffix not in SUFFIXES[to]:
        raise ConfigError(f"--out {out}: a file for --to {to} ends in {' or '.join(SUFFIXES[to])}.")
    if out.exists():
        raise ConfigError(f"--out {out}: exists. Choose another, or delete it.")


def _export_onnx(model: Model, out: Path, plain_normalization: bool, ten_views: bool) -> Exported:
    if count_bytes(model) > ONNX_LIMIT:
        raise ExportError(f"the weights take {count_bytes(model):,} bytes; one ONNX file holds {ONNX_LIMIT:,}. Use "
                          "--to program.")  # fmt: skip
    graph = build_graph(model, plain_normalization=plain_normalization, ten_views=ten_views)
    data = graph.SerializeToString()
    independent, rejects = model.independent is not None, model.rejection is not None
    difference = _compare(model, run_onnx(data), ten_views=ten_views, as_probabilities=independent)
    if rejects:
        difference = max(difference, _compare(model, run_onnx(data, DISTANCE), ten_views=ten_views, what=DISTANCE))
    write_bytes(out, data)
    image_px, framing = model.preprocessing.image_px, model.preprocessing.framing
    program = write_onnx_program(out, image_px, framing, ten_views=ten_views, rejects=rejects, independent=independent)
    return Exported(out, len(data), difference, say_operators(graph), program)


def say_operators(graph: Any) -> tuple[str, ...]:
    """Return a sentence where an ONNX graph has the operator LRN, which some programs lack."""
    has_norm = any(node.op_type == "LRN" for node in graph.graph.node)
    return (
        ("The graph has the operator LRN. For a program that lacks it, export with --plain-norm.",) if has_norm else ()
    )


def run_onnx(data: bytes, output: str | None = None) -> Callable[[Tensor], Tensor]:
    """Return a function that computes an output of an ONNX graph from its one input, by onnxruntime.

    Args:
        output: Its name; the first where it is None.
    Raises:
        ConfigError: the package onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(
            "exporting to ONNX needs the packages onnx and onnxruntime. Install them: pip install 'alexnet[export]'."
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(values: Tensor) -> Tensor:
        return torch.from_numpy(session.run(output and [output], {name: values.numpy()})[0])

    return run


def _export_program(model: Model, out: Path) -> Exported:
    """Write a torch.export program; its operators are PyTorch's own, so that it loads without this package."""
    network = copy_network(model)
    for weight in network.parameters():  # pt2 takes channels_last for a view of a larger storage
        weight.data = weight.data.contiguous()
    whole = _FromImages(network, model.preprocessing).eval()
    side = model.preprocessing.image_px
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    with kernels.using("plain"), torch.no_grad():
        program = torch.export.export(whole, (example,), dynamic_shapes={"images": {0: batch}})
    names = sorted({str(node.target) for node in program.graph.nodes if node.op == "call_function"})
    foreign = [name for name in names if not name.startswith(("aten.", "<built-in"))]
    if foreign:
        raise ExportError(f"the program would need operators that PyTorch does not have: {', '.join(foreign)}.")
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={"alexnet.json": json.dumps(describe_use(model))})
    stream.seek(0)
    loaded = torch.export.load(stream).module()
    difference = _compare(model, lambda images: loaded(images), ten_views=False)
    data = stream.getvalue()
    write_bytes(out, data)
    independent = model.independent is not None
    program_text = write_torch_program(out, side, model.preprocessing.framing, independent=independent)
    return Exported(out, len(data), difference, _say_without_unknown(model), program_text)


def _export_state_dict(model: Model, out: Path) -> Exported:
    """Write the weights under torchvision's names, where the dialect is torchvision's."""
    spec = model.network.spec
    theirs = find_dialect("one-tower-2014", spec.num_classes)
    if spec.layers != theirs.layers or (spec.input_px, spec.towers, spec.rounding) != (224, 1, "floor"):
        rows = tabulate_differences([spec, theirs])
        shown = "; ".join(f"{name}: {own} here, {other} there" for name, own, other in rows[:4])
        more = f"; and {len(rows) - 4} more" if len(rows) > 4 else ""
        raise ExportError(
            f"torchvision's alexnet cannot compute dialect {spec.dialect} ({shown}{more}). Train with --set "
            "network.dialect=one-tower-2014 for it, or export with --to onnx or --to program."
        )
    weights = {
        f"{_TORCHVISION_NAMES[row.name]}.{what}": tensor.detach().float().cpu().contiguous()
        for row, layer in model.network.named_layers()
        for what, tensor in layer.named_parameters()
    }
    is_usual, titles = _has_usual_inputs(model.preprocessing), list(model.class_titles)
    if not is_usual:
        weights[MEAN_IMAGE] = torch.from_numpy(np.array(model.preprocessing.mean_image))
        weights[DIVISOR] = torch.tensor(model.preprocessing.divisor, dtype=torch.float32)
    if out.suffix == ".safetensors":
        from safetensors.torch import save

        data = save(weights, {"class_titles": json.dumps(titles)})
    else:
        stream = io.BytesIO()
        torch.save(weights if is_usual else {**weights, "class_titles": titles}, stream)
        data = stream.getvalue()
    write_bytes(out, data)
    program = write_torchvision_program(
        out,
        model.preprocessing.image_px,
        model.preprocessing.framing,
        spec.input_px,
        spec.num_classes,
        (TORCHVISION_MEAN, TORCHVISION_DIVISOR) if is_usual else None,
        independent=model.independent is not None,
    )
    note = (
        "These weights do not expect torchvision's usual normalisation: the file holds mean_image and divisor beside "
        "them, which the program below takes out before the network reads the rest."
    )
    return Exported(out, len(data), None, (*(() if is_usual else (note,)), *_say_without_unknown(model)), program)


def _say_without_unknown(model: Model) -> tuple[str, ...]:
    """Sentences where a file lacks what the model has."""
    lost = "This format names a class for every picture: of the exports only --to onnx knows unknown ones."
    logits = "Classes are independent: the probability of each is the logistic of its logit, not a softmax over all."
    return (*(() if model.rejection is None else (lost,)), *(() if model.independent is None else (logits,)))


def _has_usual_inputs(preprocessing: Preprocessing) -> bool:
    """Whether inputs are those of torchvision's transforms."""
    return bool(
        isinstance(preprocessing.divisor, tuple)
        and np.allclose(preprocessing.divisor, TORCHVISION_DIVISOR, rtol=1e-5)
        and np.allclose(preprocessing.mean_image, TORCHVISION_MEAN, atol=1e-3)
    )


def copy_network(model: Model) -> AlexNet:
    """Return a copy of a model's network, in float32 on the CPU, in evaluation mode."""
    return copy.deepcopy(model.network).float().cpu().eval()


def compute_distances(model: Model, network: AlexNet, images: Tensor, *, ten_views: bool) -> Tensor:
    """Return the distances (N,) by which a model that rejects would judge stored images; see `compute_outputs`."""
    assert model.rejection is not None
    inputs = _make_views(network, model.preprocessing, images, ten_views)
    with torch.inference_mode():
        features = network.read_last_layer(0, inputs).flatten(1)
    means = features.unflatten(0, (len(images), -1)).mean(1)  # type: ignore[no-untyped-call]
    return torch.from_numpy(model.rejection.measure(means.numpy()))


def compute_outputs(
    network: AlexNet, preprocessing: Preprocessing, images: Tensor, *, ten_views: bool, independent: bool = False
) -> Tensor:
    """Return logits (N, K) of the centre views of stored images, or the mean probabilities of ten views.

    Of independent classes, probabilities of the centre view too.

    Args:
        network: As `copy_network` returns it.
        images: (N, S, S, 3) uint8 RGB.
    """
    with torch.inference_mode():
        outputs: Tensor = network(_make_views(network, preprocessing, images, ten_views))
    if not ten_views:
        return to_probabilities(outputs, independent=True) if independent else outputs
    return to_probabilities(outputs, independent=independent).view(len(images), 10, -1).mean(1)


def _make_views(network: AlexNet, preprocessing: Preprocessing, images: Tensor, ten_views: bool) -> Tensor:
    views = 10 if ten_views else 1
    return preprocessing.make_views(list(images.numpy()), network.spec.input_px, torch.float32, views=views).flatten(
        0, 1
    )


def _compare(
    model: Model,
    run: Callable[[Tensor], Tensor],
    *,
    ten_views: bool,
    what: str | None = None,
    as_probabilities: bool = False,
) -> float:
    """Return the largest difference of logits or probabilities on random images, or of distances where `what` says so.

    Args:
        as_probabilities: Whether the file ends in the logistic of independent classes.
    Raises:
        ExportError: it is larger than TOLERANCE.
    """
    network, side = copy_network(model), model.preprocessing.image_px
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for count in _BATCHES:
        images = torch.randint(0, 256, (count, side, side, 3), generator=generator, dtype=torch.uint8)
        if what == DISTANCE:
            ours = compute_distances(model, network, images, ten_views=ten_views)
        else:
            ours = compute_outputs(
                network, model.preprocessing, images, ten_views=ten_views, independent=as_probabilities
            )
        with torch.inference_mode():
            worst = max(worst, _difference(ours, run(images)))
    return _accept(worst, what or ("probabilities" if ten_views or as_probabilities else "logits"))


def _difference(ours: Tensor, theirs: Any) -> float:
    if ours.shape != theirs.shape:
        raise ExportError(f"the exported file returns shape {tuple(theirs.shape)}, the model {tuple(ours.shape)}.")
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-6))


def accept_difference(ours: Tensor, theirs: Tensor, what: str) -> float:
    """Return the largest difference as a share of the largest value.

    Raises:
        ExportError: it is larger than TOLERANCE.
    """
    return _accept(_difference(ours, theirs), what)


def _accept(difference: float, what: str) -> float:
    if not difference <= TOLERANCE:  # also for NaN
        raise ExportError(
            f"the exported file's {what} differ from the model's by {difference:.2g} of the largest; accepted is "
            f"{TOLERANCE:g}. It was not written. Please report this with the dialect's name."
        )
    return difference
