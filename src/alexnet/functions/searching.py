"""Searching a collection: an index of features, and the images in it that are nearest to others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alexnet.console.terminal import Terminal
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import ConfigError, SearchError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.clips import EVERY_S
from alexnet.evaluation.ensemble import Ensemble, open_model
from alexnet.files.addresses import local, on_disk, send, working
from alexnet.functions.opening import (
    Place,
    Places,
    as_paths,
    begin,
    begin_together,
    check_shared,
    image_files,
    share_work,
    tell_unfinished,
)
from alexnet.retrieval.index.format import HEADER_NAME
from alexnet.retrieval.index.images import choose_images
from alexnet.retrieval.index.reader import Index, open_index
from alexnet.retrieval.index.writer import BATCH_IMAGES, IndexReport, make_index
from alexnet.retrieval.querying import Answer, answer, read_queries
from alexnet.text.names import unescape_name

NEAREST = 6
"""Images that the paper's figure 4 lists for a query."""
RERANKED = 500
"""Nearest codes that are ranked again by exact distance."""


def index(
    model: Place,
    images: Places,
    out: Place,
    *,
    layer: str | None = None,
    dtype: str = "float32",
    splits: Sequence[str] = (),
    batch_size: int = BATCH_IMAGES,
    every: float = EVERY_S,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    show: bool = False,
    world: World = SINGLE_PROCESS,
    cluster: str | None = None,
) -> IndexReport:
    """Write features of images into a new index (paper, section 6.1): `alexnet search index`.

    Interrupted, the same call continues; a finished index is left as it is.

    Args:
        model: Run folder, model file or ensemble file.
        images: A store, or files and folders; in folders, the folder that holds an image names its class, and train,
            val or test at the top its split.
        out: Index to create: a folder, or an address to which it is sent when it is finished.
        layer: Activation to keep, as "conv5.pool"; the last hidden layer, rectified, where None.
        dtype: Of the features on the disk: "float32", or "float16" in half the room.
        splits: Those of a store; all where empty.
        batch_size: Images computed together.
        every: Seconds between the frames of clips; each has an entry, called clip.mp4@12.5s.
        device, precision, threads, show, world: As for `train`.
        cluster: As for `evaluate`.
    Returns:
        How many images the index holds, how many were added, and `left_out`: why some are not in it.
    Raises:
        SearchError: `out` is something else, no image could be read, or features are not finite.
        SourceError, StoreError, WeightsError, ConfigError: images, model or layer cannot be used.
    """
    check_shared(cluster, model, images)
    if cluster is not None:
        on_disk(out, "--cluster")
    path = local(model)
    terminal = begin_together(world, threads, path, quiet=not show)
    chosen = world.run_on_all_ranks(lambda: choose_images(as_paths(images), splits, every))
    opened = world.run_on_all_ranks(lambda: open_model(path, device=device, precision=precision))
    folder = Path(world.broadcast_result(lambda: str(working(out, claim=True))))
    options: Any = {"layer": layer, "dtype": dtype, "batch_size": batch_size, "world": world}
    with (
        share_work(cluster, threads=threads, device=device) as executor,
        terminal.progress("indexing", "images") as meter,
    ):
        report = make_index(opened, chosen, folder, tick=meter, executor=executor, **options)
    world.run_on_all_ranks(lambda: send(folder, last=HEADER_NAME) if world.is_main else None)
    return report


class Nearest(NamedTuple):
    """What a search found."""

    answers: list[Answer]
    """One for each image that could be read, in the order given; `hits` are its neighbours, nearest first, each with
    its `distance` and its `entry`: path, class and split."""
    left_out: list[str]
    """Why the others cannot be asked about."""


def search(
    index: Place | Index,
    images: Places,
    *,
    k: int | None = None,
    bits: int | None = None,
    rerank: int = RERANKED,
    faiss: str | None = None,
    exclude_self: bool = False,
    model: Place | None = None,
    device: str = "auto",
    threads: int | None = None,
    show: bool = False,
) -> Nearest:
    """Return the images of an index that are nearest to others: `alexnet search query`.

    Distances are Euclidean, of features, and the search is exact, unless `bits` or `faiss` is given. An image that is
    indexed itself is its own nearest, at distance 0. Equally near images stand in the order of their paths.

    Args:
        index: The folder of an index, or what `open_index` made of it.
        images: Image files, and folders with every image in them.
        k: Nearest images of each; 6, or all if there are fewer, where None.
        bits: Search the index's codes of this length.
        rerank: So many nearest codes are ranked again by exact distance.
        faiss: Search approximately, by what faiss makes of this factory string, as "HNSW32,Flat" (extra `search`).
        exclude_self: Whether an image that is indexed, and its copies, are left out of its own neighbours.
        model: What the index was made with, where it is not there any more.
        device, threads, show: As for `train`; the precision is that of the index.
    Raises:
        SearchError: the index is missing or damaged, or was made with another model.
        ConfigError: k is outside what the index holds, there are no such codes, or faiss is not installed.
    """
    if bits is not None and faiss is not None:
        raise ConfigError("bits and faiss are two ways of searching. Give one of them.")
    terminal = begin(threads, quiet=not show)
    opened = index if isinstance(index, Index) else open_index(index)
    classifier = open_indexed_model(terminal, opened, model, device)
    questions = read_queries(opened, classifier, image_files(images))
    with terminal.progress("searching", "images") as meter:
        answers = answer(
            opened,
            questions,
            min(NEAREST, len(opened)) if k is None else k,
            bits=bits,
            rerank=rerank,
            faiss=faiss,
            exclude_self=exclude_self,
            tick=meter,
        )
    return Nearest(answers, questions.left_out)


def open_indexed_model(
    terminal: Terminal, index: Index, model: Place | None, device: str = "auto"
) -> Classifier | Ensemble:
    """Return the model of an index, in the precision that its features were computed in.

    Raises:
        SearchError: it is not where it was, and none is named.
    """
    place = local(unescape_name(index.header["model"]["path"]) if model is None else model)
    if model is None and not place.exists():
        raise SearchError(f"{index.path} was made with {place}, which is not there. Say where it is: --model MODEL")
    tell_unfinished(terminal, place)
    return open_model(place, device=device, precision=index.header["model"]["precision"])
