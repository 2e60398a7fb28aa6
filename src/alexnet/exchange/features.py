"""Activations of many images into a file, for work outside this program."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.cluster.parts import Executor, Work, cut_into_stretches, ends
from alexnet.errors import ConfigError, ImageError, SourceError
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.given import Given
from alexnet.exchange.feature_files import open_writer
from alexnet.files.record import hash_file
from alexnet.files.writing import name_in_errors
from alexnet.network.model_file import find_model
from alexnet.system import set_threads, tune_allocator
from alexnet.text.names import escape_name
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted
from alexnet.version import __version__

BATCH_IMAGES = 16
"""Images that are computed together and held in memory at a time."""


Activations = tuple[list[str], list[ImageError], dict[str, NDArray[np.float32]]]
"""Of a batch: names of the images that could be decoded, why the others could not, layer -> rows of the former."""


class FeatureReport(NamedTuple):
    """What was written."""

    path: Path
    rows: int
    shapes: dict[str, tuple[int, ...]]
    left_out: tuple[str, ...]
    """Why some images have no row."""
    odd: tuple[str, ...] = ()
    """Notes on clips that have rows although something is odd about them."""


def write_features(
    classifier: Classifier,
    images: Iterable[Given],
    layers: Sequence[str],
    out: Path,
    *,
    batch_size: int = BATCH_IMAGES,
    total: int | None = None,
    tick: Tick = untold,
    executor: Executor | None = None,
) -> FeatureReport:
    """Write the activations of the centre view of each image; images that cannot be read have no row.

    Rows are in the order of the images and do not depend on `batch_size` beyond rounding.

    Args:
        layers: Names as `AlexNet.activation_names` lists them; ":a" or ":b" behind one selects a tower.
        total: How many images there are, for `tick`, where that cannot be counted; of clips nobody knows exactly.
        out: .npz, .h5 or .parquet; must not exist.
        executor: Who computes the rows, where it is not this process; images are paths then.
    Raises:
        ConfigError: a layer is unknown or named twice, or `out` is not accepted.
        SourceError: no image could be read.
        OSError: the disk is full; it names `out`, and nothing is left behind.
    """
    shapes = check_layers(classifier, layers)
    writer = open_writer(out, shapes)
    if total is None:
        images = list(images)
        total = len(images)
    left_out: list[str] = []
    rows = done = 0
    try:
        for sources, problems, arrays in (
            classifier.activations_each(images, layers, batch_size=batch_size)
            if executor is None
            else _compute_in_parts(executor, classifier, images, shapes, batch_size)
        ):
            if sources:
                with name_in_errors(out):
                    writer.append(list(map(escape_name, sources)), arrays)
            left_out += map(str, problems)
            rows += len(sources)
            done += len(sources) + len(problems)
            tick(done, max(done, total))
        if not rows:
            raise SourceError(
                f"{out}: {counted(len(left_out), 'image')}, none of which could be read. " + " ".join(left_out[:1])
            )
        with name_in_errors(out):
            writer.finish(describe_features(classifier, shapes))
    except BaseException:
        writer.discard()
        raise
    return FeatureReport(out, rows, shapes, tuple(left_out))


def _compute_in_parts(
    executor: Executor,
    classifier: Classifier,
    images: Iterable[Given],
    shapes: dict[str, tuple[int, ...]],
    batch_size: int,
) -> Iterator[Activations]:
    """Yield what `Classifier.activations_each` does, which processes elsewhere compute."""
    files = list(images)
    compute = classifier.compute.precision, executor.device, executor.threads
    given = (classifier.path, list(shapes), batch_size, *compute)
    stretches = cut_into_stretches(len(files), batch_size, bytes_each=4 * sum(map(math.prod, shapes.values())))
    reads = find_model(classifier.path), *ends(files)
    work: Work[list[Given], list[Activations]] = Work(begin_computing, given, reads)
    computed: Iterator[list[Activations]] = executor.run(work, [files[part.start : part.stop] for part in stretches])
    return chain.from_iterable(computed)


def begin_computing(
    path: Path, layers: list[str], batch_size: int, precision: str, device: str, threads: int
) -> Callable[[list[Given]], list[Activations]]:
    """Load the model, in another process, and return what computes a part of the images."""
    set_threads(threads)
    tune_allocator()
    classifier = load(path, device=device, precision=precision)
    return lambda files: list(classifier.activations_each(files, layers, batch_size=batch_size))


def check_layers(classifier: Classifier, layers: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shape that each layer's activation has for one image.

    Raises:
        ConfigError: a layer is unknown or named twice, or there is none.
    """
    if not layers or len(set(layers)) != len(layers):
        raise ConfigError(f"--layers {','.join(layers)}: name one layer or more, each once.")
    return {name: classifier.network.measure_activation(name) for name in layers}


def describe_features(classifier: Classifier, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return what a file of features says of where they come from: weights, dialect, preprocessing; JSON values."""
    model, preprocessing = classifier.model, classifier.model.preprocessing
    file = find_model(classifier.path)
    return {
        "alexnet": __version__,
        "model": file.name,
        "weights_sha256": hash_file(file),
        "dialect": model.network.spec.dialect,
        "layers": {name: list(shape) for name, shape in shapes.items()},
        "precision": classifier.compute.precision,
        "preprocessing": {
            "image_px": preprocessing.image_px,
            "framing": preprocessing.framing,
            "view": "centre",
            "crop_px": model.network.spec.input_px,
            "mean_rgb": [float(value) for value in preprocessing.mean_image.mean((0, 1))],
            "mean_place": preprocessing.mean_place,
            "divisor": preprocessing.divisor,
        },
        "trained_by": model.provenance,
    }
