"""What was measured of a run, beside it: errors.json in its folder, and the probabilities until the report is written.

Both name the weights that they belong to, which change when a run is trained on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.errors import AlexNetError
from alexnet.files.documents import parse_json
from alexnet.files.record import record_file
from alexnet.files.writing import write_text
from alexnet.runs.folder import ERRORS, REPORT, TESTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from alexnet.evaluation.evaluate import Evaluation
    from alexnet.evaluation.set_evaluation import SetEvaluation

FORMAT, TEST_FORMAT = 2, 2


def digest_weights(file: Path) -> str:
    """Return what tells the weights in a model file or checkpoint from all others: XXH3 of its bytes."""
    digest: str = record_file(file.parent, file.name)["xxh3"]
    return digest


def write_errors(
    folder: Path,
    evaluations: Sequence["Evaluation | SetEvaluation"],
    *,
    weights: str,
    split: str,
    store_fingerprint: str,
) -> None:
    """Write the errors of a run's model, one entry for each number of views; it appears whole or not at all.

    Args:
        weights: Digest of the model's file from before it was loaded.
        evaluations: Empty where there were no images to test on.
    """
    tests = [
        {name: value for name, value in evaluation.to_json().items() if name != "classes"} for evaluation in evaluations
    ]
    document = {
        "format": FORMAT,
        "weights": weights,
        "split": split,
        "store_fingerprint": store_fingerprint,
        "tests": tests,
    }
    write_text(folder / ERRORS, json.dumps(document, indent=2) + "\n")


def read_errors(folder: Path, weights: str) -> dict[str, Any] | None:
    """Return what `write_errors` wrote; None where it is missing, damaged, of another format or of other weights."""
    try:
        document = parse_json((folder / ERRORS).read_bytes())
        known: dict[str, Any] = document
        is_whole = known["format"] == FORMAT and isinstance(known["tests"], list) and isinstance(known["split"], str)
        return known if is_whole and known["weights"] == weights else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_errors(folder: Path, before: str, after: str) -> None:
    """Keep the errors of a run whose model file changed but for its weights, by its digests before and after."""
    document = read_errors(folder, before)
    if document is not None:
        write_text(folder / ERRORS, json.dumps({**document, "weights": after}, indent=2) + "\n")


def is_reported(folder: Path, file: Path) -> bool:
    """Whether a run folder holds a test and a report of the weights in this file."""
    return (folder / REPORT).exists() and read_errors(folder, digest_weights(file)) is not None


def forget_others(folder: Path, weights: str) -> None:
    """Remove test and report from a run folder if they are of other weights than these."""
    if read_errors(folder, weights) is None:
        for name in (REPORT, ERRORS):
            (folder / name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class KeptTests:
    """Tests of some weights on a split of a store, kept in their run folder so that none is made twice.

    They are files of probabilities in `tests/`; large where images and classes are many, so they go when the report is
    written.
    """

    folder: Path
    """Run folder."""
    weights: str
    """See `digest_weights`."""
    store_fingerprint: str
    split: str
    precision: str

    def keep(self, evaluation: "Evaluation | SetEvaluation") -> None:
        """Write a test down; it appears whole or not at all."""
        import torch

        from alexnet.files.tensors import write_tensors

        path = self._path(evaluation.num_views)
        path.parent.mkdir(exist_ok=True)
        tensors = {
            "probabilities": torch.from_numpy(evaluation.probabilities),
            "labels": torch.from_numpy(evaluation.labels),
        }
        write_tensors(path, tensors, self._describe())

    def find(self, num_views: int, class_names: tuple[str, ...]) -> "Evaluation | None":
        """Return a test that was kept; None where there is none of these weights and images."""
        from alexnet.evaluation.evaluate import measure_errors

        found = self._read(num_views)
        if found is None:
            return None
        try:
            return measure_errors(found[0], found[1].numpy(), class_names=class_names, num_views=num_views)
        except AlexNetError:  # damaged: it is made again
            return None

    def find_sets(
        self, num_views: int, class_names: tuple[str, ...], thresholds: "NDArray[np.float64]"
    ) -> "SetEvaluation | None":
        """Return a test of independent classes that was kept; None where there is none of these weights and images."""
        from alexnet.evaluation.set_evaluation import measure_sets

        found = self._read(num_views)
        if found is None:
            return None
        probabilities, labels = found[0].numpy(), found[1].numpy()
        return measure_sets(probabilities, labels, thresholds, class_names=class_names, num_views=num_views)

    def _read(self, num_views: int) -> "tuple[Tensor, Tensor] | None":
        """The probabilities and labels of a test that was kept."""
        from alexnet.files.tensors import read_document, read_tensors

        path = self._path(num_views)
        try:
            if not path.exists():
                return None
            held = read_document(path, kinds=("test",), newest_format=TEST_FORMAT)
            if not self._describe().items() <= held.items():
                return None
            tensors = read_tensors(path)
            return tensors["probabilities"], tensors["labels"]
        except (AlexNetError, KeyError):  # damaged: it is made again
            return None

    def drop(self) -> None:
        """Remove every test that was kept in the run folder."""
        place = self.folder / TESTS
        for file in place.glob("*.safetensors"):
            file.unlink()
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()

    def _path(self, num_views: int) -> Path:
        return self.folder / TESTS / f"{num_views}-views.safetensors"

    def _describe(self) -> dict[str, Any]:
        return {
            "kind": "test",
            "format": TEST_FORMAT,
            "weights": self.weights,
            "store_fingerprint": self.store_fingerprint,
            "split": self.split,
            "precision": self.precision,
        }
