"""The errors of trainings image by image, from which every number of an experiment is computed, and errors.json.

They take a kilobyte for each training and number of views, a hundredth of its probabilities.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.store.reader import open_store
from alexnet.errors import RunError
from alexnet.evaluation.evaluate import default_k
from alexnet.evaluation.metrics import find_errors
from alexnet.files.documents import parse_json
from alexnet.files.writing import write_text
from alexnet.reproduction.plan import PROBABILITIES, Job

ERRORS = "errors.json"
"""Name of the file beside results.json."""
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ImageErrors:
    """One test: a training with a number of views, or the average of several trainings."""

    trainings: tuple[str, ...]
    """Names of the trainings' folders."""
    seeds: tuple[int, ...]
    """Seed of each training."""
    views: int
    k: int
    top1: NDArray[np.float64]
    """(N,) errors on the validation images in the order of the store: 0 or 1, or between for ties."""
    topk: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VariantTests:
    """What was tested of a variant."""

    variant: str
    tests: tuple[ImageErrors, ...] = ()
    """The values of its row, one after another."""
    one_view: tuple[ImageErrors, ...] = ()
    """The same trainings with one view; empty where a row has none."""


def run_test(jobs: Sequence[Job], views: int) -> ImageErrors:
    """Return the errors of a tested job, or of the mean of several jobs' probabilities."""
    probabilities = np.stack([read_probabilities(job, views) for job in jobs])
    mean = probabilities.mean(axis=0) if len(jobs) > 1 else probabilities[0]
    labels, k = read_labels(jobs[0]), default_k(mean.shape[1])
    names, seeds = tuple(job.folder.name for job in jobs), tuple(job.seed for job in jobs)
    return ImageErrors(names, seeds, views, k, find_errors(mean, labels), find_errors(mean, labels, k))


def read_probabilities(job: Job, views: int) -> NDArray[np.float32]:
    """Return (N, K) the probabilities of a tested job."""
    probabilities: NDArray[np.float32] = np.load(job.folder / PROBABILITIES.format(views=views), allow_pickle=False)
    return probabilities


def read_labels(job: Job) -> NDArray[np.int64]:
    """Return (N,) labels of the images that a job was tested on."""
    return np.asarray(open_store(job.store)["val"].labels, np.int64)


def write_errors(folder: Path, found: Sequence[VariantTests], fingerprint: str) -> None:
    """Write errors.json (docs/formats.md) into a folder; the fingerprint is the store's."""
    tests: dict[tuple[Any, ...], dict[str, Any]] = {}

    def place(test: ImageErrors) -> int:
        key = (test.trainings, test.views)
        if key not in tests:
            tests[key] = {**asdict(test), "top1": pack(test.top1), "topk": pack(test.topk)}
        return list(tests).index(key)

    variants = [
        {"variant": each.variant, "tests": list(map(place, each.tests)), "one_view": list(map(place, each.one_view))}
        for each in found
    ]
    images = next((len(test.top1) for each in found for test in each.tests), 0)
    head = {"format": FORMAT, "store_fingerprint": fingerprint, "split": "val", "images": images, "variants": variants}
    write_text(folder / ERRORS, json.dumps({**head, "tests": list(tests.values())}, indent=1) + "\n")


def read_image_errors(folder: Path) -> list[VariantTests] | None:
    """Return what `write_errors` wrote, or None where there is no file.

    Raises:
        RunError: it is damaged, or of a newer format.
    """
    path = folder / ERRORS
    if not path.exists():
        return None
    try:
        document = parse_json(path.read_bytes())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}; known is {FORMAT}")
        images = document["images"]
        tests = [
            ImageErrors(
                tuple(each["trainings"]),
                tuple(each["seeds"]),
                each["views"],
                each["k"],
                unpack(each["top1"], images),
                unpack(each["topk"], images),
            )
            for each in document["tests"]
        ]
        return [
            VariantTests(
                each["variant"],
                tuple(tests[place] for place in each["tests"]),
                tuple(tests[place] for place in each["one_view"]),
            )
            for each in document["variants"]
        ]
    except (ValueError, KeyError, TypeError, IndexError) as problem:
        raise RunError(
            f"{path}: is no table of errors by image ({problem}). `alexnet reproduce` writes it again."
        ) from None


def pack(errors: NDArray[np.float64]) -> dict[str, Any]:
    """Return (N,) errors as text: a bit for each image, eight to a byte, the first highest, in base64.

    Errors between 0 and 1, of images whose best classes tie, are in "ties" by the image's place; their bit is 0.
    """
    wrong = errors == 1
    between = np.flatnonzero((errors > 0) & (errors < 1))
    return {
        "wrong": base64.b64encode(np.packbits(wrong).tobytes()).decode(),
        "ties": {str(place): float(errors[place]) for place in between},
    }


def unpack(packed: dict[str, Any], images: int) -> NDArray[np.float64]:
    """Return the (N,) errors that `pack` was given.

    Raises:
        ValueError: they are not of so many images.
    """
    try:
        bits = np.frombuffer(base64.b64decode(packed["wrong"], validate=True), np.uint8)
    except binascii.Error as problem:
        raise ValueError(str(problem)) from None
    if len(bits) != -(-images // 8) or np.unpackbits(bits)[images:].any():
        raise ValueError(f"{len(bits)} bytes of errors for {images} images")
    errors = np.unpackbits(bits, count=images).astype(np.float64)
    for place, value in packed["ties"].items():
        errors[int(place)] = value
    return errors
