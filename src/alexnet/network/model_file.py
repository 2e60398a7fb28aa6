"""The model file: weights, and everything that inference needs beside them, in one safetensors file.

PyTorch is imported where a network is made, so that finding a file and reading its header take no time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from alexnet.batches.preprocessing import FRAMINGS, Preprocessing
from alexnet.batches.views import MeanPlace
from alexnet.errors import WeightsError
from alexnet.files.tensors import copy_into, is_finite, read_document, read_tensors, write_tensors
from alexnet.files.writing import check_file
from alexnet.network.confidence import MEASURED_VIEWS, Rejection
from alexnet.network.independent import Independent, read_thresholds
from alexnet.network.rows import Spec
from alexnet.runs.folder import CHECKPOINTS, LATEST, MODEL, NEXT, PREVIOUS
from alexnet.text.class_names import apply_titles, normalize_name
from alexnet.text.commands import command
from alexnet.text.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from alexnet.network.alexnet import AlexNet

FORMAT = 3
"""Newest version of the document in the header of model files and checkpoints; older ones stay readable."""

_FORMAT_OF_ONE = 2
"""Version of a model that names one class for a picture, which older readers understand."""

ENSEMBLE_KIND = "alexnet ensemble"
"""What an ensemble file says it is; they are in `evaluation.ensemble`."""

TEMPORAL_KIND = "temporal model"
"""What the file of a model of clips says it is; they are in `temporal.clip_model`."""

FAR_MEAN = 16.0
"""Grey levels by which the mean colour of images may differ from `Model.color_mean` before it is worth a sentence."""

T = TypeVar("T")
_MEAN, _REFERENCES = "mean_image", "references"


@dataclass(frozen=True, slots=True)
class Model:
    """A network with its class names, its preprocessing and where it came from."""

    network: "AlexNet"
    class_names: tuple[str, ...]
    class_titles: tuple[str, ...]
    preprocessing: Preprocessing
    provenance: dict[str, Any]
    temperatures: Mapping[int, float] = field(default_factory=dict)
    """Number of views -> what its probabilities are scaled with on request; empty where it was not calibrated."""
    rejection: Rejection | None = None
    """When it answers "unknown"; None where it names a class for every picture."""
    independent: Independent | None = None
    """When it says that a class is there, where a picture may have any number of them; None where it has one."""

    @property
    def color_mean(self) -> NDArray[np.float64]:
        """Mean R, G and B of the images it was trained on, (3,), 0 to 255, as its training recorded it.

        Without a record it is that of the mean image, which a model that started from another inherits.
        """
        environment = self.provenance.get("environment")
        recorded = environment.get("color_mean") if isinstance(environment, dict) else None
        mean = np.asarray(self.preprocessing.mean_image.mean((0, 1), dtype=np.float64))
        try:
            known = np.array(recorded, np.float64)
        except (TypeError, ValueError, OverflowError):
            return mean
        return known if known.shape == (3,) and np.isfinite(known).all() else mean


def describe(model: Model) -> dict[str, Any]:
    """Return the document that accompanies the tensors of a model, as JSON values.

    What a model does not have is left out, as in older files.
    """
    rejection = model.rejection
    optional: dict[str, Any] = {"temperatures": by_views(model.temperatures)} if model.temperatures else {}
    if rejection is not None:
        optional["rejection"] = {"thresholds": by_views(rejection.thresholds), "share": rejection.share}
    if model.independent is not None:
        optional["independent"] = {"thresholds": by_views(model.independent.thresholds)}
    return {
        "spec": model.network.spec.model_dump_json(),
        "class_names": list(model.class_names),
        "class_titles": list(model.class_titles),
        "divisor": model.preprocessing.divisor,
        "mean_place": model.preprocessing.mean_place,
        "framing": model.preprocessing.framing,
        "provenance": model.provenance,
        **optional,
    }


def choose_format(model: Model) -> int:
    """Return the version of a model's document: the oldest that says all of it."""
    return _FORMAT_OF_ONE if model.independent is None else FORMAT


def by_views(values: Mapping[int, T]) -> dict[str, T]:
    """Return values for numbers of views as JSON has them, for `read_by_views`."""
    return {str(views): value for views, value in values.items()}


def read_by_views(document: Mapping[str, Any]) -> dict[int, float]:
    """Return the values for numbers of views, each above 0.

    Raises:
        ValueError: they are not one for each of MEASURED_VIEWS, or one is not accepted.
    """
    values = {views: float(document[str(views)]) for views in MEASURED_VIEWS}
    if len(document) != len(values) or not all(0 < value < math.inf for value in values.values()):
        raise ValueError(f"{dict(document)} by number of views")
    return values


def tensors_of(model: Model) -> "dict[str, Tensor]":
    """Return the tensors of a model by name: the weights, the mean image, and the references where it rejects."""
    import torch

    beside = {_MEAN: model.preprocessing.mean_image}
    if model.rejection is not None:
        beside[_REFERENCES] = model.rejection.references
    return {**model.network.state_dict(), **{name: torch.from_numpy(np.array(each)) for name, each in beside.items()}}


def save_model(path: Path, model: Model, tensors: "Mapping[str, Tensor] | None" = None) -> None:
    """Write a model file; it appears whole or not at all.

    Args:
        tensors: What `tensors_of` returns for the whole network, where the model holds a part of it.
    """
    write_tensors(
        path,
        tensors_of(model) if tensors is None else tensors,
        {"kind": "model", "format": choose_format(model), **describe(model)},
    )


def load_model(path: Path) -> Model:
    """Read a model file, or the model inside a checkpoint.

    Readable names of classes in a table classes.tsv beside the file, or in the run folder, come before its own.

    Raises:
        SourceError: that table cannot be used.
        WeightsError: the file is missing, damaged, or its parts do not fit together.
    """
    document = read_document(path, kinds=("model", "checkpoint"), newest_format=FORMAT)
    model = assemble_model(path, document, read_tensors(path))
    folder = path.parent.parent if path.parent.name == CHECKPOINTS else path.parent
    return replace(model, class_titles=apply_titles(folder, model.class_names, model.class_titles))


def assemble_model(path: Path, document: Mapping[str, Any], tensors: "Mapping[str, Tensor]") -> Model:
    """Return the model that `describe` and `tensors_of` took apart.

    Args:
        path: Of the file that they were read from, for messages.
    Raises:
        WeightsError: they do not fit together.
    """
    import torch

    from alexnet.network.alexnet import allocate

    try:
        spec = Spec.from_json(document["spec"], where=str(path))
        names = tuple(normalize_name(str(name)) for name in document["class_names"])
        titles = tuple(map(str, document["class_titles"]))
        divisor, provenance = _read_divisor(document["divisor"]), dict(document["provenance"])
        mean_place, framing = document.get("mean_place", "aligned"), document.get("framing", "square")
        temperatures = read_by_views(document["temperatures"]) if "temperatures" in document else {}
        rejection = document.get("rejection")
        thresholds = read_by_views(rejection["thresholds"]) if rejection is not None else {}
        share = float(rejection["share"]) if rejection is not None else 0.0
        independent = document.get("independent")
        if independent is not None:
            independent = Independent(read_thresholds(independent["thresholds"], len(names)))
    except (KeyError, TypeError, ValueError, OverflowError) as problem:
        if isinstance(problem, WeightsError):
            raise
        raise WeightsError(
            f"{path}: its header is incomplete or malformed ({str(problem)[:200]}). Obtain the file again."
        ) from None
    for name, value, known in (("mean_place", mean_place, get_args(MeanPlace)), ("framing", framing, FRAMINGS)):
        if value not in known:
            raise WeightsError(
                f"{path}: its {name} is {str(value)[:40]!r}; known are {', '.join(known)}. Update alexnet."
            )
    if not len(names) == len(titles) == spec.num_classes:
        raise WeightsError(
            f"{path}: names {counted(len(names), 'class', 'classes')} for a network with {spec.num_classes}. Obtain "
            "the file again."
        )
    network = allocate(spec)
    copy_into(path, network.state_dict(), tensors)
    mean = tensors.get(_MEAN)
    if (
        mean is None
        or mean.dtype != torch.float32
        or mean.ndim != 3
        or mean.shape[0] != mean.shape[1]
        or (mean.shape[2] != 3 or mean.shape[0] < spec.input_px or not bool(torch.isfinite(mean).all()))
    ):
        raise WeightsError(f"{path}: lacks a usable mean image. Obtain the file again.")
    references = tensors.get(_REFERENCES)
    if thresholds and (
        references is None
        or references.dtype != torch.float32
        or (references.ndim != 2 or not len(references) or references.shape[1] != network.num_features)
        or not is_finite(references)
        or not 0 < share < 1
    ):
        raise WeightsError(
            f"{path}: has thresholds for unknown pictures without usable features to measure distances from. Obtain "
            "the file again, or train or export the model again and calibrate that: "
            f"{command('calibrate', 'MODEL', 'STORE', reject=0.05)}"
        )
    return Model(
        network.eval(),
        names,
        titles,
        Preprocessing(mean.numpy(), divisor, mean_place, framing),
        provenance,
        temperatures,
        Rejection(references.numpy(), thresholds, share) if thresholds and references is not None else None,
        independent,
    )


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the class names of a model file or checkpoint, without reading its tensors.

    Raises:
        WeightsError: the file is missing, damaged, or names no classes.
    """
    names = read_document(path, kinds=("model", "checkpoint"), newest_format=FORMAT).get("class_names")
    if not isinstance(names, list):
        raise WeightsError(f"{path}: its header is incomplete or malformed (class_names). Obtain the file again.")
    return tuple(map(str, names))


def _read_divisor(value: Any) -> float | tuple[float, float, float]:
    parts = tuple(float(part) for part in value) if isinstance(value, list) else (float(value),)
    if len(parts) not in (1, 3) or not all(0 < part < math.inf for part in parts):
        raise ValueError(f"divisor {value}")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else parts[0]


def find_checkpoint(folder: Path, *, every_byte: bool = True) -> tuple[Path, str | None] | None:
    """Return the newest readable checkpoint of a run folder and a sentence about newer damaged ones; None without any.

    Args:
        every_byte: Compare the checksums of its tensors as well, not of its header alone.
    Raises:
        WeightsError: there are checkpoints, but none is readable.
    """
    problems = []
    for name in (NEXT, LATEST, PREVIOUS):
        path = folder / CHECKPOINTS / name
        if path.exists():
            try:
                read_document(path, kinds=("checkpoint",), newest_format=FORMAT)
                if every_byte:
                    read_tensors(path)
            except WeightsError as problem:
                problems.append(str(problem))
            else:
                return path, " ".join(problems) or None
    if problems:
        raise WeightsError(f"{folder}: no readable checkpoint. {' '.join(problems)} Start again with another --out.")
    return None


def is_temporal(path: Path) -> bool:
    """Whether a file is a model of clips, as far as its beginning says."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return TEMPORAL_KIND.encode() in file.read(200)


def find_model(path: Path) -> Path:
    """Return the file that holds the model of `path`: itself, or the finished model or newest checkpoint of a run.

    Raises:
        WeightsError: there is none.
    """
    if not path.exists():
        raise WeightsError(f"{path}: there is no such file or folder. Give a model file or a run folder.")
    if not path.is_dir():
        try:
            check_file(path)
        except OSError as problem:
            raise WeightsError(
                f"{path}: cannot be read ({problem.strerror}). Give a model file or a run folder."
            ) from None
        with path.open("rb") as file:
            start = file.read(200)
        if ENSEMBLE_KIND.encode() in start:
            raise WeightsError(
                f"{path}: is an ensemble, which evaluate and predict take. Here name one of its members; the file "
                "lists them."
            )
        if is_temporal(path):
            raise WeightsError(
                f"{path}: is a model of clips, which evaluate, predict and draw timeline take, for clips alone. Here "
                "name the image model that it was made from."
            )
        return path
    if (path / MODEL).exists():
        return path / MODEL
    found = find_checkpoint(path)
    if found is None:
        raise WeightsError(
            f"{path}: holds neither {MODEL} nor a checkpoint. Train it first: {command('train', 'STORE', out=path)}"
        )
    return found[0]
