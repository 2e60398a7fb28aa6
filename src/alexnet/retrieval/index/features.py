"""Features for an index, batch by batch in the order of the images; decoded ahead, and shared among processes."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.data.producer import produce_ahead
from alexnet.distribution.world import World
from alexnet.errors import ImageError, SearchError
from alexnet.retrieval.index.extractor import Extractor
from alexnet.retrieval.index.images import ImageFiles, Item, StoreImages, digest_pixels

_AHEAD = 2
"""Batches that are decoded while one is computed."""


class Row(NamedTuple):
    """An image whose features are computed; made of JSON values, which processes exchange."""

    key: tuple[Any, ...]
    line: dict[str, Any]
    label: str | None
    pixels: str
    """Digest of the decoded pixels, in hexadecimal."""


class Computed(NamedTuple):
    """What became of some consecutive images."""

    rows: list[Row]
    values: NDArray[Any]
    """(n, D) features of the rows, as they are kept."""
    kept: int
    """Images that the index has as they are."""
    left_out: list[str]
    """Why the others cannot be read."""


def compute_features(
    extractor: Extractor,
    images: ImageFiles | StoreImages,
    features: dict[str, Any],
    known: dict[tuple[Any, ...], Any],
    batch_size: int,
    world: World,
) -> Iterator[Computed]:
    """Yield the features of images, in their order.

    Processes take turns at whole batches, so that every feature is, to the last bit, what one process computes; each
    gets the batches of all.

    Args:
        features: Layer, dimensions and dtype, as in the header of an index.
        known: Key -> digest of what the index has; read as the images are, by a thread that is some batches ahead.
    Raises:
        SearchError: features are not finite.
    """
    total = len(images)
    turns = range(world.rank * batch_size, total, world.world_size * batch_size)
    own = (place for start in turns for place in range(start, min(start + batch_size, total)))
    items = images.items(extractor.image_px, known, own, extractor.framing)
    grouped = iter(lambda: list(islice(items, batch_size)), [])
    batches = produce_ahead(grouped, _AHEAD, name="alexnet-images")
    nothing = np.zeros((0, features["dimensions"]), features["dtype"])

    def compute_next() -> Computed:
        batch = next(batches, [])
        items = list({item.key: item for item in batch if isinstance(item, Item)}.values())  # not named twice
        values = _compute(extractor, features, items) if items else nothing
        rows = [Row(item.key, item.line, item.label, digest_pixels(item.pixels).tobytes().hex()) for item in items]
        reasons = [str(item) for item in batch if isinstance(item, ImageError)]
        return Computed(rows, values, sum(item is None for item in batch), reasons)

    try:
        for _ in range(0, total, world.world_size * batch_size):
            computed = world.run_on_all_ranks(compute_next)
            if world.world_size == 1:
                yield computed
                continue
            values = world.all_gather_rows(computed.values)
            done = 0
            for rows, kept, reasons in world.all_gather_objects([computed.rows, computed.kept, computed.left_out]):
                theirs = [Row(tuple(key), *rest) for key, *rest in rows]
                yield Computed(theirs, values[done : done + len(theirs)], kept, reasons)
                done += len(theirs)
    finally:
        batches.close()


def _compute(extractor: Extractor, features: dict[str, Any], items: list[Item]) -> NDArray[Any]:
    """Return (n, D) features, as they are kept."""
    values: NDArray[Any] = extractor.compute([item.pixels for item in items], features["layer"])
    if features["dtype"] == "float16":
        with np.errstate(over="ignore"):
            values = values.astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        advice = (
            "float16 holds numbers up to 65,504: index with --dtype float32"
            if features["dtype"] == "float16"
            else "The model is damaged or its training diverged: use another one"
        )
        raise SearchError(f"{items[bad[0]].line['path']}: its features are not finite. {advice}.")
    return values
