"""Pictures of a store that the page offers to try."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.data.sources.source import SEPARATOR
from alexnet.data.store.reader import Store, open_store
from alexnet.errors import AlexNetError, ConfigError
from alexnet.files.storage import is_address
from alexnet.network.independent import NO_CLASS
from alexnet.runs.folder import read_environment

MOST_EXAMPLES = 12


class Example(NamedTuple):
    """A picture with its class, or all of its classes with "|" between."""

    name: str
    class_name: str
    title: str
    pixels: NDArray[np.uint8]


def choose_examples(store: Store, image_px: int, count: int = MOST_EXAMPLES) -> list[Example]:
    """Return some of a store's images that the model was not trained on, of as many classes as there are.

    Raises:
        ConfigError: its images have another size than the model takes, or it has none.
    """
    if store.size != image_px:
        raise ConfigError(
            f"{store.path} holds images of {store.size} px, the model takes {image_px} px. Name the store that it was "
            "trained on: --examples STORE"
        )
    splits = [name for name in ("test", "val", *store.splits) if name in store.splits and len(store[name])]
    if not splits:
        raise ConfigError(f"{store.path} has no images. Name another store: --examples STORE")
    split = store[splits[0]]
    if split.has_sets:
        places = _spread(np.unique(split.label_sets, axis=0, return_inverse=True)[1].ravel(), count)
        sets = [np.flatnonzero(split.label_sets[at]) for at in places]
    else:
        places = _spread(split.labels, count)
        sets = [split.labels[at : at + 1] for at in places]
    return [
        Example(
            Path(split.paths[at]).name,
            SEPARATOR.join(store.class_names[label] for label in own),
            ", ".join(store.class_titles[label] for label in own) or NO_CLASS,
            np.array(split.images[at]),
        )
        for at, own in zip(places, sets, strict=True)
    ]


def _spread(labels: NDArray[np.int64], count: int) -> Sequence[int]:
    """Positions of the first image of evenly spaced classes, then of their second, …"""
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    step = max(1.0, len(places) / count)
    chosen = [places[int(at * step)] for at in range(min(count, len(places)))]
    rounds = max(map(len, chosen))
    in_turns = [int(each[turn]) for turn in range(rounds) for each in chosen if turn < len(each)]
    return in_turns[:count]


def find_examples(run: Path, image_px: int) -> list[Example]:
    """Return examples from the store that a run was trained on; none where it cannot be found or read."""
    try:
        recorded = str(read_environment(run)["store"])
        if is_address(recorded):  # a page that is opened connects to nothing
            return []
        store = open_store(recorded)
        return choose_examples(store, image_px)
    except (AlexNetError, OSError, KeyError):
        return []
