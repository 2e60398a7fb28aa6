"""Features for an index, by a classifier or by the members of an ensemble side by side.

They come batch by batch in the order of the images, which are decoded ahead. Processes can share the work.
"""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.decode import Framing
from alexnet.data.producer import produce_ahead
from alexnet.distribution.world import World
from alexnet.errors import ConfigError, ImageError, SearchError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble
from alexnet.exchange.features import describe_features
from alexnet.files.record import hash_file
from alexnet.network.model_file import find_model
from alexnet.retrieval.index.images import ImageFiles, Item, StoreImages, digest_pixels
from alexnet.text.wording import readable_names


class Extractor:
    """Features of decoded images.

    An ensemble has the features of its members one after another, each times the root of its weight. So squared
    distances are the members' squared distances, averaged by weight. Members of weight 0 are left out.
    """

    def __init__(self, model: Classifier | Ensemble) -> None:
        """Take a model as it was opened.

        Raises:
            SearchError: an ensemble has no file.
        """
        self.titles = readable_names(model.class_names, model.class_titles)
        """Readable names of the classes that the model has one for."""
        if isinstance(model, Classifier):
            self._members: tuple[Classifier, ...] = (model,)
            self._factors: tuple[float, ...] = (1.0,)
            self.file: Path = find_model(model.path)
            """The index knows the model by the bytes of this file."""
            return
        if model.file is None:
            raise SearchError("this ensemble has no file that an index could name. Save it, and load it from there.")
        weighted = [pair for pair in zip(model.members, model.weights, strict=True) if pair[1] > 0]
        self._members = tuple(member for member, _ in weighted)
        self._factors = tuple(math.sqrt(weight) for _, weight in weighted)
        self.file = model.file

    @property
    def image_px(self) -> int:
        """Side of the images that features are computed of."""
        return self._members[0].image_px

    @property
    def precision(self) -> str:
        """Type of numbers that the members compute with."""
        return self._members[0].compute.precision

    @property
    def framing(self) -> Framing:
        """How photographs become such images: as the members want it, where they agree, else as prepare does it."""
        wanted = {member.framing for member in self._members}
        return wanted.pop() if len(wanted) == 1 else "square"

    def choose_layer(self) -> str:
        """Return the last hidden layer, rectified.

        Raises:
            ConfigError: it has another name in each member.
        """
        names = sorted({member.network.features_name() for member in self._members})
        if len(names) > 1:
            raise ConfigError(
                f"the last hidden layers of the members are {', '.join(names)}. Name one that all have: --layer"
            )
        return names[0]

    def describe(self, layer: str) -> tuple[tuple[int, ...], dict[str, Any]]:
        """Return the shape of the features and where they come from, as `describe_features` gives it.

        Raises:
            ConfigError: a member has no such layer.
        """
        shapes = [member.network.measure_activation(layer) for member in self._members]
        each = [describe_features(member, {layer: shape}) for member, shape in zip(self._members, shapes, strict=True)]
        if len(each) == 1 and self._factors == (1.0,) and self.file == find_model(self._members[0].path):
            return shapes[0], each[0]
        description = {
            **each[0],
            "model": self.file.name,
            "weights_sha256": hash_file(self.file),
            "dialect": " + ".join(member["dialect"] for member in each),
            "preprocessing": {"members": [member["preprocessing"] for member in each]},
        }
        return (sum(math.prod(shape) for shape in shapes),), description

    def compute(self, pixels: Sequence[NDArray[np.uint8]], layer: str) -> NDArray[np.float32]:
        """Return (n, D) features of the centre views, computed together."""
        parts = []
        for member, factor in zip(self._members, self._factors, strict=True):
            values = member.activations(pixels, [layer], batch_size=len(pixels))[layer].reshape(len(pixels), -1)
            parts.append(values if factor == 1 else values * np.float32(factor))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


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
    computing = compute_batches(extractor, images, features, known, batch_size, own)
    nothing = Computed([], np.zeros((0, features["dimensions"]), features["dtype"]), 0, [])
    with closing(computing):
        for _ in range(0, total, world.world_size * batch_size):
            computed = world.run_on_all_ranks(lambda: next(computing, nothing))
            if world.world_size == 1:
                yield computed
                continue
            values = world.all_gather_rows(computed.values)
            done = 0
            for rows, kept, reasons in world.all_gather_objects([computed.rows, computed.kept, computed.left_out]):
                theirs = [Row(tuple(key), *rest) for key, *rest in rows]
                yield Computed(theirs, values[done : done + len(theirs)], kept, reasons)
                done += len(theirs)


def compute_batches(
    extractor: Extractor,
    images: ImageFiles | StoreImages,
    features: dict[str, Any],
    known: dict[tuple[Any, ...], Any],
    batch_size: int,
    own: Iterable[int],
) -> Generator[Computed, None, None]:
    """Yield the features of the images at these places, batch by batch; see `compute_features`."""
    items = images.items(extractor.image_px, known, own, extractor.framing)
    grouped = iter(lambda: list(islice(items, batch_size)), [])
    with closing(produce_ahead(grouped, _AHEAD, name="alexnet-images")) as batches:
        for batch in batches:
            fresh = list({item.key: item for item in batch if isinstance(item, Item)}.values())  # each once
            values = _compute(extractor, features, fresh)
            rows = [Row(item.key, item.line, item.label, digest_pixels(item.pixels).tobytes().hex()) for item in fresh]
            reasons = [str(item) for item in batch if isinstance(item, ImageError)]
            yield Computed(rows, values, sum(item is None for item in batch), reasons)


def _compute(extractor: Extractor, features: dict[str, Any], items: list[Item]) -> NDArray[Any]:
    """Return (n, D) features, as they are kept."""
    if not items:
        return np.zeros((0, features["dimensions"]), features["dtype"])
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
