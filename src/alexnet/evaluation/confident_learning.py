"""Which labels are doubtful: confident learning (Northcutt, Jiang and Chuang, 2021) on out-of-fold probabilities.

An image is believed to be of a class if the probability reaches the mean over images of that label (section 3.1). So a
class that the network is timid about needs less than one that it names often. The confident joint counts images by
label and by the most probable believed class; its rows tell the share of each label that is wrong. That many images of
the label are suspects, those with its lowest probabilities ("prune by class", section 3.2).

The plainer rule of the paper takes the images off the diagonal of the joint. It found fewer of the labels that were
changed on purpose (benchmarks/wrong_labels.py). cleanlab has both and brings pandas and scikit-learn; a test compares
with it where it is installed.

Out-of-fold probabilities are those of each training image by the one network that had not seen it.
"""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.data.store.reader import Store
from alexnet.errors import RunError
from alexnet.files.writing import format_csv, read_bytes, write_bytes, write_text
from alexnet.text.commands import command
from alexnet.text.names import escape_name, unescape_name

OUT_OF_FOLD = "out-of-fold.npz"
"""Name of the file in the folder of `train --folds`."""
MOST_BYTES = 2**36


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """One row for each of N training images of K classes, in the order of the store."""

    probabilities: NDArray[np.float32]
    """(N, K)."""
    labels: NDArray[np.int64]
    """(N,)."""
    folds: NDArray[np.int64]
    """(N,) fold of each image, from 0. The network of that fold made the row."""
    paths: Sequence[str]
    class_names: Sequence[str]
    store_fingerprint: str

    def write(self, folder: Path) -> Path:
        """Write the file; NumPy alone reads it, with names as `text.names` escapes them. Return its path."""
        stream = io.BytesIO()
        np.savez(
            stream,
            probabilities=self.probabilities,
            labels=self.labels,
            folds=self.folds,
            paths=np.array(list(map(escape_name, self.paths)), np.str_),
            class_names=np.array(list(map(escape_name, self.class_names)), np.str_),
            store_fingerprint=np.array(self.store_fingerprint),
        )
        write_bytes(folder / OUT_OF_FOLD, stream.getvalue())
        return folder / OUT_OF_FOLD


def read_out_of_fold(folder: Path) -> OutOfFold:
    """Return what `OutOfFold.write` wrote.

    Raises:
        RunError: there is none, or it is damaged.
    """
    path = folder / OUT_OF_FOLD
    try:
        arrays = np.load(io.BytesIO(read_bytes(path, MOST_BYTES)), allow_pickle=False)
        found = OutOfFold(
            probabilities=arrays["probabilities"],
            labels=arrays["labels"],
            folds=arrays["folds"],
            paths=[unescape_name(str(path)) for path in arrays["paths"]],
            class_names=[unescape_name(str(name)) for name in arrays["class_names"]],
            store_fingerprint=str(arrays["store_fingerprint"]),
        )
        rows, classes = found.probabilities.shape
        fits = (len(found.labels), len(found.folds), len(found.paths), len(found.class_names)) == (*[rows] * 3, classes)
        if not fits or np.any(found.labels < 0) or np.any(found.labels >= classes):
            raise ValueError("its rows do not fit together")
    except Exception as problem:  # zipfile and NumPy raise many types for a damaged file
        what = "is not there" if not path.exists() else f"is damaged ({problem})"
        again = command("train", "STORE", folds=4, out="FOLDS")
        raise RunError(f"{path}: {what}. Finished folds of a training make it: {again}") from None
    return found


@dataclass(frozen=True, slots=True)
class Doubts:
    """What confident learning says of N labels of K classes."""

    labels: NDArray[np.int64]
    """(N,) as given."""
    thresholds: NDArray[np.float64]
    """(K,) mean probability of each class over the images of that label; infinite for a class without images."""
    believed: NDArray[np.int64]
    """(N,) the most probable of the classes that reach their thresholds; -1 where none does."""
    scores: NDArray[np.float64]
    """(N,) probability of the label, 0 to 1: the lower, the more doubtful."""
    suggested: NDArray[np.int64]
    """(N,) the most probable other class."""
    is_suspect: NDArray[np.bool_]
    """(N,) whether the label is doubtful."""

    @property
    def joint(self) -> NDArray[np.int64]:
        """(K, K) images by label, in rows, and believed class: the confident joint."""
        return _count(self.labels, self.believed, len(self.thresholds))

    @property
    def ranking(self) -> NDArray[np.int64]:
        """(N,) the images from the most to the least doubtful: suspects before others, then by score."""
        return np.lexsort((self.scores, ~self.is_suspect))


def doubt_labels(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Doubts:
    """Compare (N,) labels with (N, K) probabilities by networks that have not learned from them."""
    rows, num_classes = np.arange(len(labels)), probabilities.shape[1]
    scores = probabilities[rows, labels].astype(np.float64)
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=scores, minlength=num_classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reaching = np.where(probabilities >= thresholds, probabilities, -1.0)
    believed = np.where(reaching.max(1) >= 0, reaching.argmax(1), -1)
    joint = _count(labels, believed, num_classes)
    share = 1 - joint.diagonal() / np.maximum(joint.sum(1), 1)
    is_suspect = np.zeros(len(labels), np.bool_)
    for label in np.flatnonzero(joint.sum(1)):
        own = np.flatnonzero(labels == label)
        wrong = round(float(share[label] * counts[label]))
        is_suspect[own[np.argsort(scores[own], kind="stable")[:wrong]]] = True
    others = probabilities.copy()
    others[rows, labels] = -1.0
    return Doubts(labels, thresholds, believed, scores, others.argmax(1), is_suspect)


def _count(labels: NDArray[np.int64], believed: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels[believed >= 0], believed[believed >= 0]), 1)
    return counts


COLUMNS = ("path", "label", "suggested", "score")


@dataclass(frozen=True, slots=True)
class Suspects:
    """The doubtful labels of a store's training images."""

    store: Store
    told: OutOfFold
    doubts: Doubts
    numbers: tuple[int, ...]
    """The training images that are suspects, the most doubtful first."""

    @property
    def confusions(self) -> list[tuple[int, int, int]]:
        """Label, suggested class and number of suspects, of each pair that there is, the most frequent first."""
        pairs = Counter((int(self.doubts.labels[i]), int(self.doubts.suggested[i])) for i in self.numbers)
        return [(*pair, count) for pair, count in pairs.most_common()]

    def write(self, path: Path) -> None:
        """Write a line per suspect with COLUMNS; the score is the probability of the label."""
        names, doubts = list(map(escape_name, self.told.class_names)), self.doubts
        rows = [
            (
                escape_name(self.told.paths[i]),
                names[doubts.labels[i]],
                names[doubts.suggested[i]],
                f"{doubts.scores[i]:.6f}",
            )
            for i in self.numbers
        ]
        write_text(path, format_csv([COLUMNS, *rows]))


def find_suspects(folder: Path, store: Store) -> Suspects:
    """Return the doubtful labels by the out-of-fold probabilities in the folder of `train --folds`.

    Raises:
        RunError: there are none, they are damaged, or of another store.
    """
    told = read_out_of_fold(folder)
    if told.store_fingerprint != store.fingerprint:
        raise RunError(
            f"{folder / OUT_OF_FOLD}: tells of the images of another store than {store.path}. Give the store that the "
            "folds were trained on, or train on this one with train --folds."
        )
    doubts = doubt_labels(told.probabilities, told.labels)
    return Suspects(store, told, doubts, tuple(doubts.ranking[: int(doubts.is_suspect.sum())].tolist()))
