"""What a test predicted, image by image, as files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.evaluation.evaluate import Evaluation
from alexnet.files import write_bytes, write_text

LISTED = 5
"""Classes that are listed for an image, or all where there are fewer; the challenge took as many."""


def write_predictions(path: Path, evaluation: Evaluation, image_paths: Sequence[str]) -> None:
    """Write a row per image: path, label, the five best classes and their probabilities; CSV, or Parquet by suffix.

    Raises:
        ConfigError: the suffix is .parquet and pyarrow is not installed, or another suffix than these two.
    """
    columns = _columns(evaluation, image_paths)
    if path.suffix == ".parquet":
        _write_parquet(path, columns)
        return
    if path.suffix not in (".csv", ""):
        raise ConfigError(f"--predictions {path}: accepted are files named .csv and .parquet.")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([f"{value:.6f}" if isinstance(value, float) else value for value in row])
    write_text(path, text.getvalue())


def write_submission(path: Path, probabilities: NDArray[np.float32]) -> None:
    """Write a line per image with its five best classes, best first, numbered from 1 (2012 source, txt-preds.py)."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :LISTED] + 1
    write_text(path, "".join(" ".join(map(str, row)) + "\n" for row in order.tolist()))


def _columns(evaluation: Evaluation, image_paths: Sequence[str]) -> dict[str, list[Any]]:
    best = np.argsort(-evaluation.probabilities, axis=1, kind="stable")[:, :LISTED]
    names = evaluation.class_names
    columns: dict[str, list[Any]] = {"path": list(image_paths), "label": [names[label] for label in evaluation.labels]}
    rows = np.arange(len(best))
    for rank in range(best.shape[1]):
        columns[f"class_{rank + 1}"] = [names[place] for place in best[:, rank]]
        columns[f"probability_{rank + 1}"] = evaluation.probabilities[rows, best[:, rank]].astype(float).tolist()
    return columns


def _write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            f"--predictions {path}: Parquet needs pyarrow. Install it with: pip install 'alexnet[parquet]', or name a "
            ".csv file."
        ) from None
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    write_bytes(path, buffer.getvalue())
