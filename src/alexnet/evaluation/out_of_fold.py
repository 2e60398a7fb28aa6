"""Out-of-fold probabilities: what each training image was taken for by the one network that had not seen it."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import RunError
from alexnet.files.writing import read_bytes, write_bytes
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
    """(N,) the fold that the image is in, and whose network made the row; from 0."""
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
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as problem:
        what = "is not there" if not path.exists() else f"is damaged ({problem})"
        again = command("train", "STORE", folds=4, out="FOLDS")
        raise RunError(f"{path}: {what}. Finished folds of a training make it: {again}") from None
    return found
