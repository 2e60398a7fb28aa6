"""Several classifiers as one: the weighted mean of their probabilities (paper, section 6).

An ensemble file is JSON, data and no code: the paths of its members with their checksums, and a weight for each.
"""

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.errors import ConfigError, WeightsError
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.metrics import top_k_credit
from alexnet.evaluation.prediction import Answer, Predictor
from alexnet.files.addresses import local
from alexnet.files.documents import parse_json
from alexnet.files.record import hash_file, header_checksum
from alexnet.files.writing import write_text
from alexnet.network.confidence import MEASURED_VIEWS
from alexnet.network.independent import Independent
from alexnet.network.model_file import ENSEMBLE_KIND, by_views, find_model, read_by_views
from alexnet.text.commands import command
from alexnet.text.names import escape_name, unescape_name
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

FORMAT = 2
MOST_PATH = 4096
"""Characters of a path that systems take."""
WEIGHT_STEP = 0.05
"""Distance of the weights that are tried, from 0 to 1 (2012 source, avg-valid.py)."""


@dataclass(frozen=True, slots=True)
class FittedOn:
    """Which images weights or temperatures were found on: what is measured on these looks better than it is."""

    images: str
    """What messages call them."""
    store_fingerprint: str | None
    """Fingerprint of their store; None for a folder of pictures."""
    split: str | None


class Ensemble(Predictor):
    """Classifiers whose probabilities are averaged; used like one.

    Members may have other networks and crops, and their classes in another order; their images have the same size.
    Their features have no mean, so nothing is rejected.
    """

    def __init__(
        self,
        members: Sequence[Classifier],
        weights: Sequence[float] | None = None,
        *,
        fitted_on: FittedOn | None = None,
        temperatures: Mapping[int, float] | None = None,
        calibrated_on: FittedOn | None = None,
    ) -> None:
        """Hold members; without weights all count the same.

        Args:
            fitted_on: The images that the weights were found on; None for weights that were given.
            temperatures: Number of views -> temperature of the weighted mean; None where it was not calibrated.
            calibrated_on: The images that the temperatures were found on.
        Raises:
            WeightsError: members have other classes, or want images of other sizes.
            ConfigError: there is no member, or weights are not one for each, at least 0 and not all 0.
        """
        if not members:
            raise ConfigError("an ensemble needs at least one model.")
        self.members = tuple(members)
        values = [1.0] * len(members) if weights is None else list(map(float, weights))
        if len(values) != len(members) or not all(0 <= value < math.inf for value in values) or not sum(values):
            raise ConfigError(
                f"weights {values} do not fit {counted(len(members), 'model')}: give one for each, 0 or more."
            )
        self.weights = tuple(value / sum(values) for value in values)
        self.fitted_on = fitted_on
        self.temperatures = dict(temperatures or {})
        self.calibrated_on = calibrated_on
        first, framings = members[0], {member.framing for member in members}
        self.path, self.image_px = first.path, first.image_px
        self.class_names, self.class_titles = first.class_names, first.class_titles
        self.framing = framings.pop() if len(framings) == 1 else "square"  # as prepare does
        self._columns = [_match_columns(member, first) for member in members]
        for member in members:
            if member.image_px != self.image_px:
                raise WeightsError(
                    f"{member.path} reads images of {member.image_px} px, {first.path} of "
                    f"{self.image_px} px, so they cannot be compared or averaged. Test models that were trained on "
                    "stores of one size together, or one at a time."
                )
            if (member.independent is None) != (members[0].independent is None):
                one, other = (members[0], member) if member.independent else (member, members[0])
                raise WeightsError(
                    f"{one.path} names one class for a picture, {other.path} any number of them, so they cannot be "
                    "compared or averaged. Test models of one kind together, or one at a time."
                )

        if first.independent is not None:
            self.independent = Independent({n: tuple(self.mix_thresholds(self.weights, n)) for n in MEASURED_VIEWS})

    def mix_thresholds(self, weights: Sequence[float], views: int) -> list[float]:
        """Return the mean of the members' thresholds under these weights, one for each, in the order of the classes."""
        rows = [m.thresholds(views)[columns] for m, columns in zip(self.members, self._columns, strict=True)]
        return [float(value) for value in np.average(rows, 0, weights)]

    def __repr__(self) -> str:
        names = ", ".join(
            f"{member.path} x {weight:.2f}" for member, weight in zip(self.members, self.weights, strict=True)
        )
        return f"Ensemble({names})"

    def answer_members(self, images: Sequence[NDArray[np.uint8]], *, views: int) -> list[Answer]:
        """Return each member's answer on decoded images, its probabilities (N, K) in the order of `class_names`."""
        answers = [member.compute_answer(images, views=views) for member in self.members]
        return [
            answer._replace(probabilities=np.ascontiguousarray(answer.probabilities[:, columns]))
            for answer, columns in zip(answers, self._columns, strict=True)
        ]

    def compute_answer(self, images: Sequence[NDArray[np.uint8]], *, views: int) -> Answer:
        """Return the weighted mean of the members' probabilities of decoded images, (S, S, 3) uint8 RGB."""
        answers = self.answer_members(images, views=views)
        return Answer(weighted_mean([answer.probabilities for answer in answers], self.weights), None)


def weighted_mean(parts: Sequence[NDArray[np.float32]], weights: Iterable[float]) -> NDArray[np.float32]:
    """Return the (N, K) mean of the members' probabilities under weights, one for each, which sum to 1."""
    total = np.zeros_like(parts[0])
    for part, weight in zip(parts, weights, strict=True):
        if weight:
            total += weight * part
    return total


def _match_columns(member: Classifier, first: Classifier) -> list[int]:
    if set(member.class_names) != set(first.class_names):
        other = sorted(set(member.class_names) ^ set(first.class_names))
        shown = ", ".join(other[:5]) + (" …" if len(other) > 5 else "")
        raise WeightsError(
            f"{member.path} and {first.path} do not have the same classes (only one of them has {shown}), so they "
            "cannot be compared or averaged. Test models of one label set together, or one at a time."
        )
    return [member.class_names.index(name) for name in first.class_names]


def fit_weights(
    probabilities: Sequence[NDArray[np.float32]],
    labels: NDArray[np.int64],
    *,
    k: int,
    tick: Tick = untold,
) -> tuple[float, ...]:
    """Return weights that lower the top-k error on these images, by coordinate descent.

    All weights start at one half; one after the other is set to the best of 0, 0.05 ... 1, until a round changes
    nothing. Of equals, the weight that was there stays, else the smallest counts.

    Args:
        probabilities: (N, K) of each member.
        k: The top-k error is lowered; the 2012 tool lowered the top-5 error.
    Source: 2012 source, avg-valid.py.
    """
    stacked = torch.from_numpy(np.stack(probabilities))
    target = torch.from_numpy(labels)
    grid = [round(step * WEIGHT_STEP, 10) for step in range(round(1 / WEIGHT_STEP) + 1)]

    def error(weights: Sequence[float]) -> float:
        mean = torch.tensordot(torch.tensor(weights, dtype=torch.float32), stacked, dims=1)
        return float((1 - top_k_credit(mean, target, k)).sum())

    weights = [0.5] * len(stacked)
    best = error(weights)
    changed = True
    rounds = 0
    while changed and rounds < 20:
        changed, rounds = False, rounds + 1
        for member in range(len(weights)):
            for value in grid:
                tried = [*weights[:member], value, *weights[member + 1 :]]
                if not sum(tried):
                    continue
                found = error(tried)
                if found < best:
                    best, weights, changed = found, tried, True
            tick(member + 1, len(weights))
    return tuple(value / sum(weights) for value in weights)


def save_ensemble(path: Path, ensemble: Ensemble) -> None:
    """Write an ensemble file; members are named relative to it."""
    members = []
    for member, weight in zip(ensemble.members, ensemble.weights, strict=True):
        file = find_model(member.path)
        name = os.path.relpath(file.resolve(), path.resolve().parent)
        members.append({"path": escape_name(name), "sha256": hash_file(file), "weight": weight})
    document = {
        "kind": ENSEMBLE_KIND,
        "format": FORMAT,
        "members": members,
        "class_names": list(map(escape_name, ensemble.class_names)),
        "fitted_on": asdict(ensemble.fitted_on) if ensemble.fitted_on else None,
        **({"temperatures": by_views(ensemble.temperatures)} if ensemble.temperatures else {}),
        **({"calibrated_on": asdict(ensemble.calibrated_on)} if ensemble.calibrated_on else {}),
    }
    document["checksum"] = header_checksum(document)
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def is_ensemble(path: Path) -> bool:
    """Whether a file is an ensemble file, as far as its beginning says."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return ENSEMBLE_KIND.encode() in file.read(200)


def load_ensemble(path: str | Path, *, device: str = "auto", precision: str = "auto") -> Ensemble:
    """Return the ensemble of a file.

    Args:
        path: An ensemble file, as `evaluate` keeps one by `save_ensemble`.
        device, precision: As for `load`.
    Raises:
        WeightsError: the file is damaged; a member is missing, or is not the file it was.
    """
    path = local(path)
    try:
        document: dict[str, Any] = parse_json(path.read_bytes())
        entries = [_read_member(each) for each in document["members"]]
        version = int(document["format"])
        if version <= FORMAT and not any(weight for _, _, weight in entries):
            raise ValueError("no member has a weight above 0")
        is_recorded = version == FORMAT or "checksum" in document
        if is_recorded and document.get("checksum") != header_checksum(document):
            raise ValueError("it does not agree with its own checksum")
        fitted_on, calibrated_on = (
            FittedOn(**document[name]) if document.get(name) else None for name in ("fitted_on", "calibrated_on")
        )
        temperatures = read_by_views(document["temperatures"]) if "temperatures" in document else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as problem:
        reason = f"{problem} is missing" if isinstance(problem, KeyError) else problem
        raise WeightsError(
            f"{path}: cannot be read as an ensemble ({str(reason)[:200]}). Make it again: "
            f"{command('evaluate', 'A', 'B', 'STORE', average=True, save_ensemble=path)}"
        ) from None
    if version > FORMAT:
        raise WeightsError(f"{path}: has format {version}, newer than this program's {FORMAT}. Update alexnet.")
    members, weights = [], []
    for name, sha256, weight in entries:
        file = path.parent / name
        if not file.is_file():
            raise WeightsError(f"{path}: its member {file} is missing. Put it back, or make the ensemble again.")
        if hash_file(file) != sha256:
            raise WeightsError(
                f"{path}: its member {file} is not the file it was (another SHA-256). Put that one back, or make the "
                "ensemble again."
            )
        members.append(load(file, device=device, precision=precision))
        weights.append(weight)
    ensemble = Ensemble(members, weights, fitted_on=fitted_on, temperatures=temperatures, calibrated_on=calibrated_on)
    ensemble.file = path
    return ensemble


def _read_member(fields: dict[str, Any]) -> tuple[str, str, float]:
    """Return path, SHA-256 and weight as a file names them."""
    path, sha256, weight = fields["path"], fields["sha256"], fields["weight"]
    if not isinstance(path, str) or not 0 < len(path) <= MOST_PATH or "\0" in path:
        raise ValueError("a member's path is no path")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= sys.float_info.max:
        raise ValueError("a weight is not a number of 0 or more")
    return unescape_name(path), str(sha256), float(weight)


def open_model(path: Path, *, device: str = "auto", precision: str = "auto") -> Classifier | Ensemble:
    """Return what a path holds: one model, or an ensemble; both predict.

    Raises:
        WeightsError: the file is neither, or damaged.
    """
    if is_ensemble(path):
        return load_ensemble(path, device=device, precision=precision)
    return load(path, device=device, precision=precision)
