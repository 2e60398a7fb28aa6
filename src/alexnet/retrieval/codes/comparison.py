"""How good codes are: recall against exact search and class precision, for each length and method, on held-out images.

Queries are the images of a held-out split where the index has one, else a random tenth; they take no part in fitting
and cannot be found. Pixel codes are the same autoencoder on 32 x 32 pixels instead of features.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from alexnet.errors import ConfigError
from alexnet.retrieval.codes.autoencoder import fit_encoder
from alexnet.retrieval.codes.hamming import find_nearest_codes
from alexnet.retrieval.exact import find_nearest
from alexnet.retrieval.index.format import NO_LABEL
from alexnet.retrieval.index.images import Originals
from alexnet.retrieval.index.reader import Index
from alexnet.text.wording import counted

Report = Callable[[int, int, str], None]

QUERIES = 1000
FIT_ROWS = 20_000
"""Images that encoders are fitted to, at most."""
K = 6
"""Neighbours that recall asks for: the paper's figure 4 shows six."""
RERANKS = (6, 50, 100, 500, 1000)
"""Codes that are ranked again by exact distance."""
DEPTHS = (1, 6, 20, 50, 100, 200, 500)
"""Ranks up to which class precision is taken."""
PIXELS = "pixels"
PIXEL_SIDE = 32
EXACT = "exact"
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


def choose_fit_rows(rows: NDArray[np.int64], *, seed: int = 0, most: int = FIT_ROWS) -> NDArray[np.int64]:
    """Return a random sample of rows, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most])


def compare_codes(
    index: Index, bits: Sequence[int], methods: Sequence[str], *, seed: int = 0, report: Report | None = None
) -> Comparison:
    """Return recall and precision of exact search and of every method at every length.

    Args:
        methods: Of `autoencoder.METHODS`, and PIXELS.
        report: Progress; called with (comparisons done, in all, words).
    Raises:
        ConfigError: there are too few images for the queries or for the bits.
    """
    rows = index.rows()
    queries, database, held_out = _hold_out(index, rows, seed)
    if len(database) < max(*bits, K + 1):
        needed = max(*bits, K + 1)
        raise ConfigError(
            f"{index.path} holds {counted(len(rows), 'image')}, too few to compare codes of {max(bits)} bits: beside "
            f"queries there must be {needed:,}. Name fewer --bits, or add: alexnet search add {index.path} IMAGES"
        )
    skip = np.ones(index.num_rows, bool)
    skip[database] = False
    total = 1 + len(bits) * len(methods)
    _say(report, 0, total, EXACT)
    asked = index.gather(queries)
    depth = min(max(DEPTHS), len(database))
    exact = find_nearest(index.features, asked, depth, skip=skip).rows
    results = [Result(EXACT, None, dict.fromkeys(_reranks(len(database)), 1.0), _precision(index, queries, exact))]
    fit_rows = choose_fit_rows(database, seed=seed)
    sample = torch.from_numpy(index.gather(fit_rows))
    pixels = _shrink(index, np.concatenate([database, queries])) if PIXELS in methods else None
    for length in bits:
        for method in methods:
            _say(report, len(results), total, f"{method}, {length} bits")
            if method == PIXELS:
                assert pixels is not None
                places = np.searchsorted(database, fit_rows)
                encoder = fit_encoder(torch.from_numpy(pixels[places]), length, "autoencoder", seed=seed)
                codes, own = encoder.encode(pixels[: len(database)]), encoder.encode(pixels[len(database) :])
            else:
                encoder = fit_encoder(sample, length, method, seed=seed)
                codes = np.concatenate([encoder.encode(part) for part in index.features])[database]
                own = encoder.encode(asked)
            _, places = find_nearest_codes(codes, own, min(max(*RERANKS, depth), len(database)))
            found = database[places]
            recall = {
                r: float(np.mean([np.isin(exact[q, :K], found[q, :r]).mean() for q in range(len(queries))]))
                for r in _reranks(len(database))
            }
            results.append(Result(method, length, recall, _precision(index, queries, found[:, :depth])))
    _say(report, total, total, "")
    return Comparison(len(queries), len(database), held_out, results)


def _hold_out(index: Index, rows: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    splits = np.array([index.entry(row).split for row in rows.tolist()])
    generator = np.random.default_rng(seed)
    outside = np.isin(splits, HELD_OUT)
    if outside.any() and not outside.all():
        chosen = np.sort(generator.permutation(rows[outside])[:QUERIES])
        names = ", ".join(sorted(set(splits[outside].tolist())))
        return chosen, rows[~outside], f"images of split {names}"
    order = generator.permutation(rows)
    count = min(QUERIES, max(1, len(rows) // 10))
    return np.sort(order[:count]), np.sort(order[count:]), "random images"


def _reranks(database: int) -> list[int]:
    return [r for r in RERANKS if r <= database]


def _precision(index: Index, queries: NDArray[np.int64], found: NDArray[np.int64]) -> dict[int, float]:
    known = np.flatnonzero(index.labels[queries] != NO_LABEL)
    if not len(known):
        return {}
    same = index.labels[found[known]] == index.labels[queries[known], None]
    return {k: float(same[:, :k].mean()) for k in DEPTHS if k <= found.shape[1]}


def _shrink(index: Index, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Pixels (n, 3 * 32 * 32) of the images as they are now."""
    originals = Originals(index)
    out = np.empty((len(rows), 3 * PIXEL_SIDE * PIXEL_SIDE), np.float32)
    for number, row in enumerate(rows.tolist()):
        entry = index.entry(row)
        pixels = originals.read(entry, PIXEL_SIDE * 2)
        if pixels is None:
            raise ConfigError(
                f"{entry.path}: {originals.explain(entry) or 'cannot be read'}, so it has no pixel codes. Leave "
                f"--pixels out, or remove what is gone: alexnet search remove {index.path} --missing"
            )
        if pixels.shape[0] != PIXEL_SIDE:
            pixels = np.asarray(Image.fromarray(pixels).resize((PIXEL_SIDE, PIXEL_SIDE), Image.Resampling.BOX))
        out[number] = pixels.reshape(-1)
    return out


def _say(report: Report | None, done: int, total: int, words: str) -> None:
    if report:
        report(done, total, words)
