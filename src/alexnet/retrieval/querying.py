"""Questions to an index: an image file in, the nearest indexed images out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.decode import open_image
from alexnet.errors import ImageError, SearchError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble
from alexnet.retrieval.codes.encoding import load_codes
from alexnet.retrieval.codes.hamming import find_nearest_by_codes
from alexnet.retrieval.exact import Neighbors, check_request, find_nearest
from alexnet.retrieval.index.features import Extractor
from alexnet.retrieval.index.images import Originals, digest_pixels
from alexnet.retrieval.index.reader import Entry, Index
from alexnet.retrieval.index.writer import check_model
from alexnet.text.progress import Tick, untold

_BATCH = 32
_SPARE = 16
"""Neighbours beyond those asked for, among which the equally near are put in order."""


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
    label: str | None
    """Class of the query, where it is in the index with one; else None."""
    hits: list[Hit]


class Questions(NamedTuple):
    """Queries as features."""

    paths: list[str]
    features: NDArray[np.float32]
    left_out: list[str]
    """Why some files cannot be asked about."""
    selves: list[NDArray[np.int64]]
    """Rows of the index that hold each query itself: the same decoded pixels."""


def read_queries(index: Index, model: Classifier | Ensemble, paths: Sequence[Path]) -> Questions:
    """Return the features of image files, as `describe_images` gives them.

    Raises:
        SearchError: the model is not the one of the index, or features are not finite.
    """
    extractor = Extractor(model)
    check_model(index, extractor)
    names: list[str] = []
    left_out: list[str] = []
    rows: list[NDArray[np.float32]] = []
    selves: list[NDArray[np.int64]] = []
    for start in range(0, len(paths), _BATCH):
        pixels = []
        for path in paths[start : start + _BATCH]:
            try:
                pixels.append(open_image(path, size=extractor.image_px, framing=extractor.framing))
                names.append(str(path))
            except ImageError as problem:
                left_out.append(str(problem))
        if pixels:
            asked = describe_images(index, extractor, pixels)
            rows += asked.features
            selves += asked.selves
    features = np.stack(rows) if rows else np.zeros((0, index.dimensions), np.float32)
    for name, values in zip(names, features, strict=True):
        if not np.isfinite(values).all():
            raise SearchError(f"{name}: its features are not finite. The model is damaged or its training diverged.")
    return Questions(names, features, left_out, selves)


class Described(NamedTuple):
    """Images as features."""

    features: list[NDArray[np.float32]]
    """(D,) features of each image."""
    selves: list[NDArray[np.int64]]
    """Rows of the index that hold each image itself: the same decoded pixels."""


def describe_images(index: Index, extractor: Extractor, pixels: Sequence[NDArray[np.uint8]]) -> Described:
    """Return the features of decoded images.

    An image that is in the index, by its decoded pixels, is asked about with the features that are kept of it: rounding
    differs with the batch it is computed in and with float16, and its nearest image is itself at distance 0.
    """
    alive = index.rows()
    stored = np.ascontiguousarray(index.pixels).view(np.uint64)[alive]
    found = extractor.compute(pixels, index.layer)
    selves = [alive[(stored == digest_pixels(image).view(np.uint64)).all(1)] for image in pixels]
    features = [index.gather(same[:1])[0] if len(same) else values for same, values in zip(selves, found, strict=True)]
    return Described(features, selves)


def answer(
    index: Index,
    questions: Questions,
    k: int,
    *,
    bits: int | None = None,
    rerank: int | None = None,
    faiss: str | None = None,
    exclude_self: bool = False,
    tick: Tick = untold,
) -> list[Answer]:
    """Return the k nearest images of each query: exact, or what another way of searching finds.

    Equally near images stand in the order of their paths, also where only some of them have room.

    Args:
        bits: Search codes of this length, and rank the `rerank` nearest again by exact distance.
        rerank: At least k; the number of images where that is smaller.
        faiss: Search with faiss, an index of this factory string; what it finds is ranked by exact distance.
        exclude_self: Whether a query that is in the index, and copies of it with the same pixels, are left out.
    Raises:
        ConfigError: k is outside what the index holds, there are no such codes, or faiss is not installed.
        SearchError: the index is damaged.
    """
    if not len(questions.features):
        return []
    features, available = questions.features, len(index)
    check_request(index.features, features, k, available)
    needed = k + (max(map(len, questions.selves)) if exclude_self else 0)
    wanted = min(needed + _SPARE, available)
    if faiss is not None:
        from alexnet.retrieval.faiss_backend import find_nearest_with_faiss

        found = find_nearest_with_faiss(index, features, wanted, faiss, tick=tick)
    elif bits is not None:
        encoder, codes = load_codes(index, bits)
        most = min(max(needed, rerank or k), available)
        own = encoder.encode(features)
        found = find_nearest_by_codes(
            index.features,
            codes,
            features,
            own,
            most,
            rerank=most,
            skip=index.skip,
            order=index.order_rows,
        )
    else:
        found = find_nearest(index.features, features, wanted, skip=index.skip, tick=tick)
        while wanted < available and _is_cut_in_ties(found, needed):
            wanted = min(4 * wanted, available)
            found = find_nearest(index.features, features, wanted, skip=index.skip, tick=tick)
    return _explain(index, questions, found, k, exclude_self)


def _is_cut_in_ties(found: Neighbors, k: int) -> bool:
    """Whether images that were not found are as near to a query as its k-th."""
    return bool((found.distances[:, -1] == found.distances[:, min(k, found.distances.shape[1]) - 1]).any())


def _explain(index: Index, questions: Questions, found: Neighbors, k: int, exclude_self: bool) -> list[Answer]:
    """The k nearest of each query with what is known of them; the equally near in the order of their paths."""
    originals = Originals(index)
    problems: dict[int, Any] = {}
    answers = []
    for name, selves, distances, rows in zip(
        questions.paths, questions.selves, found.distances, found.rows, strict=True
    ):
        is_wanted = rows >= 0  # faiss may have found fewer
        if exclude_self:
            is_wanted &= ~np.isin(rows, selves)
        distances, rows = distances[is_wanted], rows[is_wanted]
        among = index.order_rows(rows)
        places = among[np.argsort(distances[among], kind="stable")][:k]
        hits = []
        for distance, row in zip(distances[places].tolist(), rows[places].tolist(), strict=True):
            entry = index.entry(row)
            if row not in problems:
                problems[row] = originals.explain(entry)
            hits.append(Hit(distance, row, entry, problems[row]))
        label = index.entry(int(selves[0])).label if len(selves) else None
        answers.append(Answer(name, label, hits))
    return answers
