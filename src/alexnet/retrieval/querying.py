"""Questions to an index: an image file in, the nearest indexed images out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.data.decode import open_image
from alexnet.errors import ImageError, SearchError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble
from alexnet.retrieval.codes import load_codes
from alexnet.retrieval.exact import Neighbors, check_request, find_nearest
from alexnet.retrieval.extractor import Extractor
from alexnet.retrieval.hamming import find_nearest_by_codes
from alexnet.retrieval.images import Originals, digest_pixels
from alexnet.retrieval.index import Entry, Index
from alexnet.retrieval.index_writer import check_model

_BATCH = 32


class Hit(NamedTuple):
    """A neighbour of a query."""

    distance: float
    row: int
    entry: Entry
    problem: str | None
    """What happened to the image since it was indexed: "is gone", "has changed", …"""


class Answer(NamedTuple):
    """The neighbours of one query, nearest first."""

    query: str
    hits: list[Hit]


class Questions(NamedTuple):
    """Queries as features."""

    paths: list[str]
    features: NDArray[np.float32]
    left_out: list[str]
    """Why some files cannot be asked about."""


def read_queries(index: Index, model: Classifier | Ensemble, paths: Sequence[Path]) -> Questions:
    """Return the features of image files.

    An image that is in the index, by its decoded pixels, is asked about with the features that are kept of it: rounding
    differs with the batch it is computed in and with float16, and its nearest image is itself at distance 0.

    Raises:
        SearchError: the model is not the one of the index, or features are not finite.
    """
    extractor = Extractor(model)
    check_model(index, extractor)
    size = extractor.image_px
    alive = index.rows()
    stored = np.ascontiguousarray(index.pixels).view(np.uint64)[alive]
    names: list[str] = []
    left_out: list[str] = []
    rows: list[NDArray[np.float32]] = []
    for start in range(0, len(paths), _BATCH):
        pixels = []
        for path in paths[start : start + _BATCH]:
            try:
                pixels.append(open_image(path, size=size, framing=extractor.framing))
                names.append(str(path))
            except ImageError as problem:
                left_out.append(str(problem))
        if not pixels:
            continue
        found = extractor.compute(pixels, index.layer)
        for position, image in enumerate(pixels):
            same = np.flatnonzero((stored == digest_pixels(image).view(np.uint64)).all(1))
            rows.append(index.gather(alive[same[:1]])[0] if len(same) else found[position])
    features = np.stack(rows) if rows else np.zeros((0, index.dimensions), np.float32)
    for name, values in zip(names, features, strict=True):
        if not np.isfinite(values).all():
            raise SearchError(f"{name}: its features are not finite. The model is damaged or its training diverged.")
    return Questions(names, features, left_out)


def answer(
    index: Index,
    questions: Questions,
    k: int,
    *,
    bits: int | None = None,
    rerank: int | None = None,
    faiss: str | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Return the k nearest images of each query: exact, or what another way of searching finds.

    Args:
        bits: Search codes of this length, and rank the `rerank` nearest again by exact distance.
        rerank: At least k; the number of images where that is smaller.
        faiss: Search with faiss, an index of this factory string; what it finds is ranked by exact distance.
    Raises:
        ConfigError: k is outside what the index holds, there are no such codes, or faiss is not installed.
        SearchError: the index is damaged.
    """
    if not len(questions.features):
        return []
    check_request(index.features, questions.features, k, len(index))
    if faiss is not None:
        from alexnet.retrieval.faiss_backend import find_nearest_with_faiss

        found = find_nearest_with_faiss(index, questions.features, k, faiss, tick=tick)
    elif bits is not None:
        encoder, codes = load_codes(index, bits)
        most = min(max(k, rerank or k), len(index))
        own = encoder.encode(questions.features)
        found = find_nearest_by_codes(index.features, codes, questions.features, own, k, rerank=most, skip=index.skip)
    else:
        found = find_nearest(index.features, questions.features, k, skip=index.skip, tick=tick)
    return _explain(index, questions, found)


def _explain(index: Index, questions: Questions, found: Neighbors) -> list[Answer]:
    originals = Originals(index)
    problems: dict[int, Any] = {}
    answers = []
    for name, distances, rows in zip(questions.paths, found.distances, found.rows, strict=True):
        hits = []
        for distance, row in zip(distances.tolist(), rows.tolist(), strict=True):
            if row < 0:  # faiss found fewer
                continue
            entry = index.entry(row)
            if row not in problems:
                problems[row] = originals.explain(entry)
            hits.append(Hit(distance, row, entry, problems[row]))
        answers.append(Answer(name, hits))
    return answers
