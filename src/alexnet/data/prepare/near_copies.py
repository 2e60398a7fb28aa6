"""Validation images that have almost the same picture among the training images: series, frames of a film, patients.

data/store/duplicates.py finds files of equal bytes; `search duplicates` finds what a trained network sees as alike.
Here, without a network, a sample of the images is compared as thumbnails within seconds, for a note.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.text.names import escape_name
from alexnet.text.wording import counted

THUMBNAIL_PX = 12
SAMPLED_PX = 64
"""Rows and columns of an image that are looked at, about; all 256 would take four times as long."""
NEAR_LEVELS = 7.0
"""Root mean square difference of thumbnails, in grey levels, below which two images are almost the same."""
NEAR_SHARE = 0.2
"""Share of the median difference between the compared images, since dark or plain ones all differ by little."""
MOST_QUERIES = 500
MOST_CANDIDATES = 4000
"""Training images that are compared, at most: else evenly spaced ones, and the neighbours by path of each query."""
NEIGHBORS = 4

Read = Callable[[int], NDArray[np.uint8]]


class NearCopies(NamedTuple):
    """What was found."""

    num_compared: int
    """Validation images that were looked at."""
    pairs: list[tuple[int, int]]
    """Validation image and the training image that is almost the same."""


def find_near_copies(
    read: tuple[Read, Read], paths: tuple[Sequence[str], Sequence[str]], digests: tuple[Sequence[str], Sequence[str]]
) -> NearCopies:
    """Compare a sample of the validation images with training images; the same images give the same result.

    Args:
        read: Training and validation images by row, (size, size, 3) uint8.
        paths: Paths of these images.
        digests: Digests of their files. Equal files are duplicates and do not count.
    """
    train_paths, val_paths = paths
    queries = _spread(len(val_paths), MOST_QUERIES)
    candidates = _choose_candidates(train_paths, [val_paths[row] for row in queries])
    if len(queries) == 0 or len(candidates) < 2:
        return NearCopies(0, [])
    theirs = _read_thumbnails(read[0], candidates)
    own = _read_thumbnails(read[1], queries)
    # Whole numbers in float64: exact, so that every machine finds the same.
    squares = (own**2).sum(1)[:, None] + (theirs**2).sum(1)[None] - 2 * own @ theirs.T
    differences = np.sqrt(np.maximum(squares, 0) / own.shape[1])
    limit = min(NEAR_LEVELS, NEAR_SHARE * float(np.median(differences)))
    own_digests = np.array([digests[1][row] for row in queries])
    differences[own_digests[:, None] == np.array([digests[0][row] for row in candidates])] = np.inf
    nearest = differences.argmin(1)
    return NearCopies(
        len(queries),
        [
            (row, candidates[place])
            for row, place, difference in zip(queries, nearest.tolist(), differences.min(1).tolist(), strict=True)
            if difference < limit
        ],
    )


def describe_near_copies(
    found: NearCopies,
    train_paths: Sequence[str],
    paths: Sequence[str],
    *,
    split: str = "val",
    called: str = "validation",
) -> list[str]:
    """A sentence for people; none where there are no near copies."""
    if not found.pairs:
        return []
    row, other = found.pairs[0]
    num_compared, verb = counted(found.num_compared, f"{called} image"), "is" if len(found.pairs) == 1 else "are"
    return [
        f"Leakage is likely: of {num_compared} compared, {len(found.pairs):,} {verb} "
        f"nearly the same as a training image, so the error measured on {called} images is too low. The first: "
        f"{split}: {escape_name(paths[row])} and train: {escape_name(train_paths[other])}. Keep the pictures of one "
        "series on one side: --group RULE."
    ]


def _spread(count: int, most: int) -> list[int]:
    """At most so many rows of count, evenly apart."""
    return (
        [int(row) for row in np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))] if count else []
    )


def _choose_candidates(paths: Sequence[str], queries: Sequence[str]) -> list[int]:
    if len(paths) <= MOST_CANDIDATES:
        return list(range(len(paths)))
    order = sorted(range(len(paths)), key=paths.__getitem__)
    ordered = [paths[row] for row in order]
    chosen = set(_spread(len(paths), MOST_CANDIDATES - 2 * NEIGHBORS * min(len(queries), MOST_CANDIDATES // 20)))
    for path in queries:
        place = bisect_left(ordered, path)
        chosen.update(order[max(0, place - NEIGHBORS) : place + NEIGHBORS])
    return sorted(chosen)


def _read_thumbnails(read: Read, rows: Sequence[int]) -> NDArray[np.float64]:
    """(N, 12 x 12 x 3) whole numbers."""
    thumbnails = np.empty((len(rows), THUMBNAIL_PX * THUMBNAIL_PX * 3))
    for place, row in enumerate(rows):
        thumbnails[place] = make_thumbnail(read(row))
    return thumbnails


def make_thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The (12 x 12 x 3,) means of the parts of an image, whole numbers."""
    step = max(1, len(image) // SAMPLED_PX)
    small = Image.fromarray(np.ascontiguousarray(image[::step, ::step]))
    return np.asarray(small.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)).ravel().astype(np.float64)
