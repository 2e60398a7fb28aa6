"""What a test predicted, image by image, as files."""

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.sources.source import SEPARATOR
from alexnet.data.video.clip import parse_frame
from alexnet.errors import ConfigError
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.prediction import Prediction
from alexnet.evaluation.set_evaluation import SetEvaluation
from alexnet.files.writing import format_csv, write_bytes, write_text
from alexnet.text.names import escape_name

LISTED = 5
"""Classes that are listed for an image, or all where there are fewer; the challenge took as many."""


def check_prediction_file(path: Path) -> None:
    """Find out whether `write_predictions` can write this kind of file, before there is anything to write.

    Raises:
        ConfigError: the suffix is neither .csv nor .parquet, or is .parquet and pyarrow is not installed.
    """
    if path.suffix not in (".csv", ".parquet", ""):
        raise ConfigError(f"--predictions {path}: accepted are files named .csv and .parquet.")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ConfigError(
            f"--predictions {path}: Parquet needs pyarrow. Install it with: pip install 'alexnet[parquet]', or name a "
            ".csv file."
        )


def write_predictions(
    path: Path,
    evaluation: Evaluation,
    image_paths: Sequence[str],
    measured: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write a row per image: path, label, the five best classes and their probabilities; CSV, or Parquet by suffix.

    Args:
        measured: More columns (N,), which come last.
    Raises:
        ConfigError: see `check_prediction_file`.
    """
    columns = _columns(evaluation, image_paths)
    columns |= {name: values.tolist() for name, values in (measured or {}).items()}
    _write_table(path, columns)


def write_frames(path: Path, predictions: Sequence[Prediction], top: int) -> None:
    """Write a CSV row for each frame or image: path, time_s, the best classes and their probabilities.

    Args:
        predictions: Frames are named as by `name_frame`; the time of an image is empty.
    """
    count = min(top, len(predictions[0].class_names)) if predictions else top
    head = [
        "path",
        "time_s",
        *(f"{what}_{place}" for place in range(1, count + 1) for what in ("class", "probability")),
    ]
    rows: list[list[object]] = [list(head)]
    for each in predictions:
        clip, time_s = parse_frame(each.source) or (each.source, None)
        best = [cell for name, value in each.top(count) for cell in (escape_name(name), f"{value:.6f}")]
        rows.append([escape_name(clip), "" if time_s is None else f"{time_s:.12g}", *best])
    write_text(path, format_csv(rows))


def write_set_predictions(path: Path, evaluation: SetEvaluation, image_paths: Sequence[str]) -> None:
    """Write a row per image: path, its labels, those that were said, and the probability of each class.

    Labels stand with "|" between them, as tables give them to `prepare`; the column of a class is called "p:" and its
    name.

    Raises:
        ConfigError: see `check_prediction_file`.
    """
    names = list(map(escape_name, evaluation.class_names))

    def join(sets: NDArray[np.bool_]) -> list[str]:
        return [SEPARATOR.join(names[place] for place in np.flatnonzero(row)) for row in sets]

    columns: dict[str, list[Any]] = {
        "path": list(map(escape_name, image_paths)),
        "labels": join(evaluation.labels),
        "said": join(evaluation.said),
    }
    for name, own in zip(names, evaluation.probabilities.T, strict=True):
        columns[f"p:{name}"] = own.astype(float).tolist()
    _write_table(path, columns)


def _write_table(path: Path, columns: dict[str, list[Any]]) -> None:
    check_prediction_file(path)
    if path.suffix == ".parquet":
        _write_parquet(path, columns)
        return
    rows = (
        [f"{value:.6f}" if isinstance(value, float) else value for value in row]
        for row in zip(*columns.values(), strict=True)
    )
    write_text(path, format_csv([columns, *rows]))


def write_submission(path: Path, probabilities: NDArray[np.float32], image_paths: Sequence[str]) -> None:
    """Write a line per image with its five best classes, best first, numbered from 1 (2012 source, txt-preds.py).

    Lines follow the names of the image files, as the challenge numbers its images; files of one name follow their
    paths. Classes are numbered in the order of the model's class names.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :LISTED] + 1
    lines = sorted(range(len(image_paths)), key=lambda i: (image_paths[i].rsplit("/", 1)[-1], image_paths[i]))
    write_text(path, "".join(" ".join(map(str, order[line])) + "\n" for line in lines))


def _columns(evaluation: Evaluation, image_paths: Sequence[str]) -> dict[str, list[Any]]:
    best = np.argsort(-evaluation.probabilities, axis=1, kind="stable")[:, :LISTED]
    names = list(map(escape_name, evaluation.class_names))
    columns: dict[str, list[Any]] = {
        "path": list(map(escape_name, image_paths)),
        "label": [names[label] for label in evaluation.labels],
    }
    rows = np.arange(len(best))
    for rank in range(best.shape[1]):
        columns[f"class_{rank + 1}"] = [names[place] for place in best[:, rank]]
        columns[f"probability_{rank + 1}"] = evaluation.probabilities[rows, best[:, rank]].astype(float).tolist()
    return columns


def _write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    write_bytes(path, buffer.getvalue())
