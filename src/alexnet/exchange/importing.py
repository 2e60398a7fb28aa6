"""From another program's weights to a model: which network they are of, and what its inputs were."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.preprocessing import Preprocessing
from alexnet.errors import ConfigError, WeightsError
from alexnet.exchange.caffe import CaffeLayer, read_caffemodel, read_mean_file
from alexnet.exchange.state_dict import check_size, holds_what_it_claims, read_state_dict
from alexnet.files.record import hash_file
from alexnet.files.tensors import is_finite, is_own
from alexnet.files.writing import read_text, split_lines
from alexnet.network.alexnet import AlexNet, allocate
from alexnet.network.dialects import find_dialect
from alexnet.network.model_file import Model, find_model, load_model
from alexnet.network.rows import Normalize, Spec
from alexnet.text.class_names import find_repeat, normalize_name
from alexnet.text.wording import counted

TORCHVISION_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
TORCHVISION_DIVISOR = (0.229 * 255, 0.224 * 255, 0.225 * 255)
"""What torchvision's models subtract and divide by, on the 0-255 scale; R, G, B."""
CAFFE_MEAN = (122.6789, 116.6688, 104.0070)
"""Channel means of the mean file that Caffe's models come with; R, G, B."""
MEAN_IMAGE, DIVISOR = "mean_image", "divisor"
"""Tensors beside the weights in a state dict that alexnet exported: what is subtracted from inputs, and divides
them."""
STORED_PX, CIFAR_PX = 256, 32
"""Side of the images that views are cropped from, of ImageNet and of CIFAR."""

_LPIPS = re.compile(r"(.*\.)?lin\d+\.(model\.\d+\.)?weight")
"""Names of the layers that LPIPS puts on top of a network."""

CANDIDATES = (
    "one-tower-2014",
    "paper",
    "source-2012",
    "caffe",
    "caffenet",
    "one-tower",
    "paper+all-cross-links",
    "paper+conv6",
    "paper+separate-columns",
    "cifar-80sec",
    "cifar-19pct",
)
"""Dialects that weights are compared with. cuda-convnet2 has the shapes of the first; name it with --dialect."""


@dataclass(frozen=True, slots=True)
class ForeignLayer:
    """One layer of another program: what it is called there, and its numbers."""

    name: str
    weight: Tensor
    bias: Tensor


def open_model(
    path: Path,
    *,
    dialect: str | None = None,
    mean: str | None = None,
    class_names: Path | None = None,
) -> Model:
    """Return the model of a path: a run folder, a model file, or another program's weights.

    Args:
        dialect: Of another program's weights, where their shapes leave it open.
        mean: What was subtracted from their inputs: a Caffe mean file, or "R,G,B" on the 0-255 scale; None for the
            usual of the kind.
        class_names: A text file with one name per line; without, numbers.
    Raises:
        WeightsError: the file is damaged, unsafe, or of no known network.
        ConfigError: an option is wrong, or given for a model of our own.
    """
    if path.is_dir() or (path.is_file() and is_own(path)):
        given = [name for name, value in (("--dialect", dialect), ("--mean", mean), ("--class-names", class_names))
                 if value is not None]  # fmt: skip
        if given:
            raise ConfigError(f"{path} is a model of alexnet and knows its own; leave out {', '.join(given)}.")
        return load_model(find_model(path))
    check_size(path)
    beside: dict[str, Tensor] = {}
    divisor: float | tuple[float, float, float]
    if path.suffix == ".caffemodel":
        caffe_layers = read_caffemodel(path)
        spec_name = dialect or _dialect_of_caffe(path, caffe_layers)
        layers = _from_caffe(path, caffe_layers)
        kind, usual_mean, divisor, framing = "caffemodel", CAFFE_MEAN, 1.0, "caffe"
        network = _fill(path, layers, [spec_name])
        _check_normalization(path, caffe_layers, network.spec)
    else:
        tensors = read_state_dict(path)
        beside = {name: tensors.pop(name) for name in (MEAN_IMAGE, DIVISOR) if name in tensors}
        layers = _pair(path, tensors)
        network = _fill(path, layers, [dialect] if dialect else list(CANDIDATES))
        kind, usual_mean, divisor, framing = "state dict", CAFFE_MEAN, 1.0, "square"
        if network.spec.dialect == "one-tower-2014":
            usual_mean, divisor, framing = TORCHVISION_MEAN, TORCHVISION_DIVISOR, "torchvision"
        elif network.spec.dialect in ("caffe", "caffenet"):
            framing = "caffe"
    names = _read_names(class_names, network.spec.num_classes)
    mean_image = _mean_image(mean, usual_mean, network.spec)
    if beside:  # exported by us, so it was trained on what prepare makes
        exported, divisor = _read_preprocessing(path, beside, network.spec)
        mean_image, framing = exported if mean is None else mean_image, "square"
    preprocessing = Preprocessing(mean_image, divisor, framing=framing)  # type: ignore[arg-type]
    provenance = {"imported": {"file": path.name, "sha256": hash_file(path), "kind": kind}}
    return Model(network.eval(), names, names, preprocessing, provenance)


def _pair(path: Path, tensors: dict[str, Tensor]) -> list[ForeignLayer]:
    """Return the layers of a state dict: weights of four axes before those of two, each in the order of their names."""
    lpips = [name for name in tensors if _LPIPS.fullmatch(name)]
    if lpips:
        raise WeightsError(
            f"{path}: holds {counted(len(lpips), 'layer')} of LPIPS ({lpips[0]}), which weigh differences of a "
            "network's features and are no classifier. Give the weights of the network itself: those of torchvision."
        )
    stems: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        stem, _, what = name.rpartition(".")
        if what not in ("weight", "bias"):
            raise WeightsError(
                f"{path}: holds {name!r} of shape {_shape(tensor.shape)}, which is neither a weight nor a bias of a "
                "layer. AlexNet has only these; it belongs to another network."
            )
        stems.setdefault(stem, {})[what] = tensor
    for stem, parts in stems.items():
        if len(parts) != 2:
            there, lacking = ("weight", "bias") if "weight" in parts else ("bias", "weight")
            raise WeightsError(
                f"{path}: lacks {stem}.{lacking} beside {stem}.{there} of shape {_shape(parts[there].shape)}; in "
                "AlexNet every layer has weights and biases."
            )
    layers = [_squeeze(ForeignLayer(stem, parts["weight"], parts["bias"])) for stem, parts in stems.items()]
    return sorted(layers, key=lambda layer: (-layer.weight.ndim, _natural(layer.name)))


def _squeeze(layer: ForeignLayer) -> ForeignLayer:
    """Return a layer without the axes of length one that old Caffe puts before, and 1 x 1 convolutions behind."""
    weight, bias = layer.weight, layer.bias
    if weight.ndim == 4 and weight.shape[:2] == (1, 1):
        weight = weight[0, 0]
    elif weight.ndim == 4 and weight.shape[2:] == (1, 1):
        weight = weight[:, :, 0, 0]
    if bias.ndim > 1 and max(bias.shape) == bias.numel():
        bias = bias.reshape(-1)
    return ForeignLayer(layer.name, weight, bias)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key in which 10 follows 8."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _from_caffe(path: Path, layers: Sequence[CaffeLayer]) -> list[ForeignLayer]:
    """Return the layers with weights; the first reads red, green, blue afterwards, dense ones have two axes."""
    result: list[ForeignLayer] = []
    for layer in layers:
        if not layer.blobs:
            continue
        if len(layer.blobs) != 2 or layer.type not in ("Convolution", "InnerProduct"):
            raise WeightsError(
                f"{path}: layer {layer.name} ({layer.type}) has {counted(len(layer.blobs), 'blob')}. Read are "
                "convolutions and inner products with weights and biases; it belongs to another network."
            )
        weight, bias = layer.blobs
        if not result and weight.ndim == 4 and weight.shape[1] == 3:
            weight = np.ascontiguousarray(weight[:, ::-1])
        result.append(_squeeze(ForeignLayer(layer.name, torch.from_numpy(weight), torch.from_numpy(bias))))
    return result


def _dialect_of_caffe(path: Path, layers: Sequence[CaffeLayer]) -> str:
    """Tell bvlc_alexnet from CaffeNet by what comes first, normalisation or pooling."""
    order = [layer.type for layer in layers if layer.type in ("LRN", "Pooling")]
    if "LRN" not in order or "Pooling" not in order:
        raise WeightsError(
            f"{path}: does not tell the order of its normalisation and pooling. Say which network it is: --dialect "
            "caffe (bvlc_alexnet) or --dialect caffenet."
        )
    return "caffe" if order[0] == "LRN" else "caffenet"


def _check_normalization(path: Path, layers: Sequence[CaffeLayer], spec: Spec) -> None:
    norms = [step for row in spec.layers for step in row.then if isinstance(step, Normalize)]
    found = [layer for layer in layers if layer.normalization is not None]
    for layer, norm in zip(found, norms, strict=False):
        assert layer.normalization is not None
        size, alpha, beta, k = layer.normalization
        ours = (norm.size, norm.alpha * norm.size, norm.beta, norm.k)
        if not all(math.isclose(a, b, rel_tol=1e-5) for a, b in zip((size, alpha, beta, k), ours, strict=True)):
            raise WeightsError(
                f"{path}: layer {layer.name} normalises with local_size {size}, alpha {alpha:g}, beta {beta:g}, "
                f"k {k:g}; dialect {spec.dialect} with {ours[0]}, {ours[1]:g}, {ours[2]:g}, {ours[3]:g}. It is of "
                "another network."
            )


def _fill(path: Path, layers: Sequence[ForeignLayer], names: Sequence[str]) -> AlexNet:
    """Return the network of the one dialect whose shapes are those of the layers, with their weights."""
    num_classes = int(layers[-1].weight.shape[0]) if layers and layers[-1].weight.ndim else 0
    if not 2 <= num_classes <= 10**6:
        shown = f", {layers[-1].name}, of shape {_shape(layers[-1].weight.shape)}," if layers else ""
        raise WeightsError(
            f"{path}: its last layer{shown} has {counted(num_classes, 'output')}; a classifier has 2 or more."
        )
    shapes = {name: _layer_shapes(find_dialect(name, num_classes)) for name in names}
    theirs = [(layer.name, tuple(layer.weight.shape), tuple(layer.bias.shape)) for layer in layers]
    fits = [name for name in names if len(shapes[name]) == len(theirs) and all(map(_agree, shapes[name], theirs))]
    if not fits:
        nearest = max(names, key=lambda name: sum(map(_agree, shapes[name], theirs)))
        raise WeightsError(
            f"{path}: is of no network that is known here. The nearest is dialect {nearest}:\n"
            + _mismatch(shapes[nearest], theirs)
            + "\nGive --dialect with the network that it is of, or obtain another file."
        )
    if len(fits) > 1:
        raise WeightsError(
            f"{path}: has the shapes of several dialects, which compute differently: {', '.join(fits)}. Say which it "
            "is: --dialect NAME."
        )
    for layer in layers:  # before memory is taken for them
        for what, source in (("weight", layer.weight), ("bias", layer.bias)):
            if not source.dtype.is_floating_point:
                raise WeightsError(f"{path}: {layer.name}.{what} holds {source.dtype}, not floating-point numbers.")
            if not holds_what_it_claims(source):
                raise WeightsError(f"{path}: {layer.name}.{what} repeats fewer numbers than its shape has. Not read.")
    network = allocate(find_dialect(fits[0], num_classes))
    with torch.no_grad():
        for (_, own), layer in zip(network.named_layers(), layers, strict=True):
            assert own.bias is not None
            for what, target, source in (("weight", own.weight, layer.weight), ("bias", own.bias, layer.bias)):
                target.copy_(source.reshape(target.shape))
                if not is_finite(target):
                    raise WeightsError(f"{path}: {layer.name}.{what} holds values that are not finite.")
    return network


_Row = tuple[str, tuple[int, ...], tuple[int, ...]]


def _layer_shapes(spec: Spec) -> list[_Row]:
    with torch.device("meta"):
        layers = AlexNet(spec).named_layers()
    return [(row.name, tuple(layer.weight.shape), tuple(layer.bias.shape)) for row, layer in layers]  # type: ignore[union-attr]


def _mismatch(ours: Sequence[_Row], theirs: Sequence[_Row]) -> str:
    """Return a table of both, layer by layer, with a mark where they differ."""
    rows = [("", "ours", "", "theirs", "")]
    for position in range(max(len(ours), len(theirs))):
        own = ours[position] if position < len(ours) else ("–", (), ())
        other = theirs[position] if position < len(theirs) else ("–", (), ())
        agree = _agree(own, other)
        shown = [_shape(each[1]) + ("" if agree or own[2] == other[2] else f", bias {_shape(each[2])}")
                 for each in (own, other)]  # fmt: skip
        rows.append((own[0], shown[0], other[0][:40], shown[1], "" if agree else "differs"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _agree(ours: _Row, theirs: _Row) -> bool:
    """Whether a layer has the shapes of ours, or is our dense layer written as a convolution of its whole input."""
    weight = theirs[1]
    if len(ours[1]) == 2 and len(weight) == 4:
        weight = (weight[0], math.prod(weight[1:]))
    return (weight, theirs[2]) == ours[1:]


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "–"


def _mean_image(given: str | None, usual: tuple[float, float, float], spec: Spec) -> NDArray[np.float32]:
    """Return the mean image that a file or three numbers stand for."""
    side = STORED_PX if spec.input_px > CIFAR_PX else CIFAR_PX
    if given is not None and Path(given).is_file():
        mean = read_mean_file(Path(given))
        if mean.shape[0] < spec.input_px:
            raise WeightsError(f"{given}: has {mean.shape[0]} px; dialect {spec.dialect} crops {spec.input_px} px.")
        return mean
    values: tuple[Any, ...] = usual
    if given is not None:
        try:
            values = tuple(float(part) for part in given.split(","))
        except ValueError:
            values = ()
        if len(values) != 3 or not all(0 <= value <= 255 for value in values):
            raise ConfigError(
                f"--mean {given}: accepted is a Caffe mean file, or three numbers R,G,B from 0 to 255, for example "
                "123,117,104."
            )
    return np.broadcast_to(np.array(values, np.float32), (side, side, 3)).copy()


def _read_preprocessing(
    path: Path, beside: dict[str, Tensor], spec: Spec
) -> tuple[NDArray[np.float32], float | tuple[float, float, float]]:
    """Return mean image and divisor that a state dict of our own holds beside the weights."""
    mean, divisor = beside.get(MEAN_IMAGE), beside.get(DIVISOR)
    side = 0 if mean is None or mean.ndim != 3 else mean.shape[0]
    parts = [] if divisor is None or divisor.numel() not in (1, 3) else divisor.reshape(-1).tolist()
    if (
        mean is None
        or side < spec.input_px
        or tuple(mean.shape) != (side, side, 3)
        or not (mean.dtype.is_floating_point and holds_what_it_claims(mean) and bool(torch.isfinite(mean).all()))
        or not parts
        or not all(0 < part < math.inf for part in parts)
    ):
        raise WeightsError(
            f"{path}: its {MEAN_IMAGE} and {DIVISOR} are not those of an alexnet export: a mean image of S x S x 3, S "
            f"at least {spec.input_px}, and one or three numbers above 0. Obtain it again."
        )
    return mean.float().numpy().copy(), parts[0] if len(parts) == 1 else (parts[0], parts[1], parts[2])


def _read_names(path: Path | None, num_classes: int) -> tuple[str, ...]:
    if path is None:
        return tuple(f"class {number:0{len(str(num_classes - 1))}d}" for number in range(num_classes))
    try:
        lines = [(number, line.strip()) for number, line in enumerate(split_lines(read_text(path)), 1) if line.strip()]
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(
            f"--class-names {path}: cannot be read ({problem}). Give a text file, one name per line."
        ) from None
    names = tuple(normalize_name(name) for _, name in lines)
    if len(names) != num_classes:
        raise ConfigError(
            f"--class-names {path}: has {counted(len(names), 'line')} for {counted(num_classes, 'class', 'classes')}. "
            "Give one name per line."
        )
    if repeat := find_repeat(names):
        first, second = (lines[position][0] for position in repeat)
        raise ConfigError(
            f"--class-names {path}: lines {first} and {second} are both {names[repeat[0]]!r}. Give each class a "
            "name of its own, for example its WordNet id."
        )
    return names
