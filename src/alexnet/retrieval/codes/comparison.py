"""How good codes are: recall against exact search and class precision, for each length and method, on held-out images.

Queries are the images of a held-out split where the index has one, else a random tenth; they take no part in fitting
and cannot be found. Pixel codes are the same autoencoder on 32 x 32 pixels instead of features.

Many images are equally far by a short code. Where only some of them have room among the nearest, each counts for the
same part, as if they were drawn at random. Images are taken in the order of their paths, so that the figures do not
depend on the order in which they were indexed.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from alexnet.errors import ConfigError
from alexnet.retrieval.codes.fitting import count_fit_operations, fit_encoder
from alexnet.retrieval.codes.hamming import Codes, as_words, measure_codes
from alexnet.retrieval.exact import Neighbors, find_nearest
from alexnet.retrieval.index.format import NO_LABEL
from alexnet.retrieval.index.images import Originals
from alexnet.retrieval.index.reader import Index
from alexnet.text.commands import command
from alexnet.text.progress import Tick
from alexnet.text.wording import counted

Report = Callable[..., None]
"""Called with (comparisons done, in all, words, work=(operations done, in all)), where these are estimates."""

QUERIES = 1000
FIT_ROWS = 20_000
"""Images that encoders are fitted to, at most."""
K = 6
"""Neighbours that recall asks for: the paper's figure 4 shows six."""
RERANKS = (6, 50, 100, 500, 1000)
"""Codes that are ranked again by exact distance."""
DEPTHS = (1, 6, 20, 50, 100, 200, 500)
"""Ranks up to which class precision is taken."""
_SPARE = 16
"""True neighbours beyond the deepest rank, so that the equally far are all known."""
PIXELS = "pixels"
PIXEL_SIDE = 32
EXACT = "exact"
READING = "reading pictures"
LOADING_OPERATIONS, READING_OPERATIONS, ENCODING_OPERATIONS, JUDGING_OPERATIONS = 1e11, 1e8, 250.0, 1e7
"""Operations that take as long as loading kernels, reading a picture, encoding a value, judging a query."""
HELD_OUT = ("val", "valid", "validation", "test")


class Result(NamedTuple):
    """One method at one length."""

    method: str
    bits: int | None
    """None for exact search."""
    recall: dict[int, float]
    """r -> share of the K nearest that are among the r nearest codes, and so are found after ranking r again."""
    precision: dict[int, float]
    """k -> share of the k nearest codes that are of the query's class; empty where classes are not known."""


class Comparison(NamedTuple):
    """What was compared, and how it went."""

    queries: int
    database: int
    held_out: str
    """Where the queries are from, in words."""
    results: list[Result]


def share_room(counts: NDArray[Any], k: int) -> NDArray[np.float64]:
    """Return which part of the images at each distance is among the k nearest: 1, 0, or what room there is.

    Args:
        counts: (D,) images at each distance, the nearest first.
    """
    before = np.cumsum(counts) - counts
    return np.asarray(np.clip((k - before) / np.maximum(counts, 1), 0, 1), np.float64)


def compare_codes(
    index: Index, bits: Sequence[int], methods: Sequence[str], *, seed: int = 0, report: Report | None = None
) -> Comparison:
    """Return recall and precision of exact search and of every method at every length.

    Args:
        methods: Of `fitting.METHODS`, and PIXELS.
        report: Progress; see `Report`.
    Raises:
        ConfigError: there are too few images for the queries or for the bits.
    """
    rows = index.rows()
    rows = rows[index.order_rows(rows)]
    queries, database, held_out = _hold_out(index, rows, seed)
    if len(database) < max(*bits, K + 1):
        needed = max(*bits, K + 1)
        fewer = f"Name at most {len(database)} --bits, or a" if len(database) > K else "A"
        raise ConfigError(
            f"{index.path} holds {counted(len(rows), 'image')}, too few to compare codes of {max(bits)} bits: beside "
            f"queries there must be {needed:,}. {fewer}dd: "
            f"{command('search', 'add', index.path, 'IMAGES')}"
        )
    skip = np.ones(index.num_rows, bool)
    skip[database] = False
    fit_places = choose_rows(np.arange(len(database)), FIT_ROWS, seed)
    progress = _Progress(report, index, bits, methods, len(queries), len(database), len(fit_places))
    progress.begin(EXACT)
    asked = index.gather(queries)
    nearest = find_nearest(index.features, asked, _depth(database), skip=skip, tick=progress.tick)
    figures = _Figures(index, queries, database, nearest)
    results = [figures.of_exact_search()]
    progress.finish(EXACT)
    sample = torch.from_numpy(index.gather(database[fit_places]))
    pixels = None
    if PIXELS in methods:
        progress.begin(READING)
        pixels = _shrink(index, np.concatenate([database, queries]), progress.tick)
        progress.finish(READING)
    for length in bits:
        for method in methods:
            progress.begin(f"{method}, {length} bits")
            if method == PIXELS:
                assert pixels is not None
                encoder = fit_encoder(
                    torch.from_numpy(pixels[fit_places]), length, "autoencoder", seed=seed, report=progress.tick
                )
                codes, own = encoder.encode(pixels[: len(database)]), encoder.encode(pixels[len(database) :])
            else:
                encoder = fit_encoder(sample, length, method, seed=seed, report=progress.tick)
                codes = np.concatenate([encoder.encode(part) for part in index.features])[database]
                own = encoder.encode(asked)
            results.append(figures.of_codes(method, length, codes, own))
            progress.finish(f"{method}, {length} bits")
    return Comparison(len(queries), len(database), held_out, results)


def _hold_out(index: Index, rows: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """Queries, database and where the queries are from; rows in the order given."""
    splits = np.array([index.entry(row).split for row in rows.tolist()])
    generator = np.random.default_rng(seed)
    outside = np.isin(splits, HELD_OUT)
    if outside.any() and not outside.all():
        names = ", ".join(sorted(set(splits[outside].tolist())))
        return choose_rows(rows[outside], QUERIES, generator), rows[~outside], f"images of split {names}"
    chosen = choose_rows(np.arange(len(rows)), min(QUERIES, max(1, len(rows) // 10)), generator)
    return rows[chosen], np.delete(rows, chosen), "random images"


def choose_rows(rows: NDArray[np.int64], most: int, seed: int | np.random.Generator) -> NDArray[np.int64]:
    """Return a random sample of rows, in their order."""
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])]


def _depth(database: NDArray[np.int64]) -> int:
    return min(max(DEPTHS) + _SPARE, len(database))


class _Figures:
    """What is measured of every method: the same queries, database and true neighbours."""

    def __init__(self, index: Index, queries: NDArray[np.int64], database: NDArray[np.int64], exact: Neighbors) -> None:
        self._reranks = [r for r in RERANKS if r <= len(database)]
        self._depths = [k for k in DEPTHS if k <= len(database)]
        self._query_labels, self._labels = index.labels[queries], index.labels[database]
        self._is_known = self._query_labels != NO_LABEL
        place = np.full(index.num_rows, -1, np.int64)
        place[database] = np.arange(len(database))
        self._nearest = place[exact.rows]
        """(Q, depth) places in the database."""
        self._distances = exact.distances

    def of_exact_search(self) -> Result:
        """Recall is 1 by definition."""
        precision = dict.fromkeys(self._depths, 0.0)
        for q in np.flatnonzero(self._is_known).tolist():
            far, which = np.unique(self._distances[q], return_inverse=True)
            same = self._labels[self._nearest[q]] == self._query_labels[q]
            counts, own = (np.bincount(which, weights, len(far)) for weights in (None, same))
            for k in self._depths:
                precision[k] += float(share_room(counts, k) @ own) / k
        return Result(EXACT, None, dict.fromkeys(self._reranks, 1.0), self._mean(precision))

    def of_codes(self, method: str, bits: int, codes: Codes, own: Codes) -> Result:
        """Figures of the codes of the database and of the queries."""
        recall, precision = dict.fromkeys(self._reranks, 0.0), dict.fromkeys(self._depths, 0.0)
        stored, asked = as_words(codes), as_words(own)
        for q in range(len(asked)):
            distances = measure_codes(stored, asked[q])
            counts = np.bincount(distances, minlength=bits + 1)
            far, which = np.unique(self._distances[q], return_inverse=True)
            truth = share_room(np.bincount(which, minlength=len(far)), K)[which]
            found = distances[self._nearest[q]]
            for r in self._reranks:
                recall[r] += float(truth @ share_room(counts, r)[found]) / K
            if self._is_known[q]:
                same = np.bincount(distances[self._labels == self._query_labels[q]], minlength=bits + 1)
                for k in self._depths:
                    precision[k] += float(share_room(counts, k) @ same) / k
        return Result(method, bits, {r: total / len(asked) for r, total in recall.items()}, self._mean(precision))

    def _mean(self, totals: dict[int, float]) -> dict[int, float]:
        known = int(self._is_known.sum())
        return {k: total / known for k, total in totals.items()} if known else {}


def _shrink(index: Index, rows: NDArray[np.int64], tick: Tick) -> NDArray[np.float32]:
    """Pixels (n, 3 * 32 * 32) of the images as they are now."""
    originals = Originals(index)
    out = np.empty((len(rows), 3 * PIXEL_SIDE * PIXEL_SIDE), np.float32)
    for number, row in enumerate(rows.tolist()):
        entry = index.entry(row)
        pixels = originals.read(entry, PIXEL_SIDE * 2)
        if pixels is None:
            raise ConfigError(
                f"{entry.path}: {originals.explain(entry) or 'cannot be read'}, so it has no pixel codes. Leave "
                f"--pixels out, or remove what is gone: {command('search', 'remove', index.path, missing=True)}"
            )
        if pixels.shape[0] != PIXEL_SIDE:
            pixels = np.asarray(Image.fromarray(pixels).resize((PIXEL_SIDE, PIXEL_SIDE), Image.Resampling.BOX))
        out[number] = pixels.reshape(-1)
        tick(number + 1, len(rows))
    return out


class _Progress:
    """How far a comparison is, in operations: its pieces take from milliseconds to minutes."""

    def __init__(
        self,
        report: Report | None,
        index: Index,
        bits: Sequence[int],
        methods: Sequence[str],
        queries: int,
        database: int,
        fitted: int,
    ) -> None:
        self._report = report
        self._work = {EXACT: LOADING_OPERATIONS + 2.0 * queries * database * index.dimensions}
        if PIXELS in methods:
            self._work[READING] = READING_OPERATIONS * (database + queries)
        for length in bits:
            for method in methods:
                own, width = ("autoencoder", 3 * PIXEL_SIDE**2) if method == PIXELS else (method, index.dimensions)
                self._work[f"{method}, {length} bits"] = (
                    count_fit_operations((fitted, width), length, own)
                    + (2.0 * length + ENCODING_OPERATIONS) * (database + queries) * width
                    + JUDGING_OPERATIONS * queries
                )
        self._total = sum(self._work.values())
        self._before, self._pieces, self._now = 0.0, 0, EXACT

    def begin(self, piece: str) -> None:
        """Tell what is done now."""
        self._now = piece
        self._say(0.0)

    def tick(self, done: int, total: int, words: str = "") -> None:
        """Tell how far the piece is."""
        self._say(self._work[self._now] * done / total)

    def finish(self, piece: str) -> None:
        """Count a piece as done."""
        self._before += self._work[piece]
        self._pieces += 1
        self._say(0.0)

    def _say(self, of_piece: float) -> None:
        if self._report:
            self._report(self._pieces, len(self._work), self._now, work=(self._before + of_piece, self._total))
