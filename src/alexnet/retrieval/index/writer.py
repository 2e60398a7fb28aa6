"""Making and changing an index: features are computed and written batch by batch, in parts that appear whole.

A change is real when the header has been replaced, and only then; what a stopped writer leaves beside it is removed by
the next one. Given again, the same command skips what is there.
"""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.cluster.parts import Executor
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import SearchError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble
from alexnet.files.record import hash_file
from alexnet.retrieval.codes.encoding import encode_part
from alexnet.retrieval.index.changes import NewPart, commit, sole_writer, without_rows
from alexnet.retrieval.index.existing import begin_index, find_unread
from alexnet.retrieval.index.features import Extractor, Row, compute_features
from alexnet.retrieval.index.format import HEADER_NAME, read_header, say_how_it_goes_on
from alexnet.retrieval.index.images import ImageFiles, StoreImages, list_known
from alexnet.retrieval.index.parts import compute_in_parts
from alexnet.retrieval.index.reader import Index, read_index
from alexnet.text.commands import command
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

PART_BYTES = 256 * 2**20
"""Features in a part; an interruption loses at most the part under way."""
BATCH_IMAGES = 128
"""Images that are computed together."""


class IndexReport(NamedTuple):
    """What was done."""

    images: int
    """Images that the index holds now."""
    added: int
    kept: int
    """Images that were there already, unchanged."""
    replaced: int
    """Images whose files had changed; they count in `added` too."""
    left_out: tuple[str, ...]
    """Why some images are not in the index."""
    was_complete: bool = False
    """Whether the index was there, made from these images with these options, and nothing was written."""
    odd: tuple[str, ...] = ()
    """Notes on clips that are in the index although something is odd about them."""


def make_index(
    model: Classifier | Ensemble,
    images: ImageFiles | StoreImages,
    out: Path,
    *,
    layer: str | None = None,
    dtype: str = "float32",
    batch_size: int = BATCH_IMAGES,
    tick: Tick = untold,
    world: World = SINGLE_PROCESS,
    executor: Executor | None = None,
) -> IndexReport:
    """Make an index of the centre views of images, or continue an interrupted one; a finished one is left as it is.

    Args:
        layer: An activation of the network; the last hidden layer, rectified, where None. Maps are flattened.
        dtype: "float32" or "float16", for the file; distances are computed in float32.
        world: Processes that call this together and share the images; rank 0 writes, in a folder that all can read.
        executor: Who computes the features, where it is not this process, which then only writes.
    Raises:
        SearchError: `out` is an index of another model, other options or, finished, of other images, or something else;
            no image could be read; or features are not finite.
        DistributionError: the processes have other models, images or options, or lost each other.
    """
    extractor = Extractor(model)
    layer = layer or extractor.choose_layer()
    shape, description = extractor.describe(layer)
    features = {"layer": layer, "shape": list(shape), "dimensions": int(np.prod(shape)), "dtype": dtype}
    _check_world(world, images, description, features, batch_size)
    created = not out.exists()
    with ExitStack() as stack:
        try:
            header = world.broadcast_result(lambda: begin_index(stack, out, extractor.file, description, features))
            if header["finished"]:
                num_images, unread = world.broadcast_result(
                    lambda: find_unread(Index(out, header), images, extractor.image_px)
                )
                return IndexReport(num_images, 0, num_images, 0, tuple(unread), was_complete=True)
            report, header = _extend(out, header, extractor, images, batch_size, tick, world, executor)
            if not report.images:
                raise SearchError(
                    f"{out}: {counted(len(images), 'image')}, none of which could be read. "
                    + " ".join(report.left_out[:1])
                )
            world.run_on_all_ranks(lambda: commit(out, {**header, "finished": True}) if world.is_main else None)
            return report
        except SearchError:
            stack.close()
            if world.is_main and created and not (out / HEADER_NAME).exists():
                shutil.rmtree(out, ignore_errors=True)
            raise


def _check_world(
    world: World, images: ImageFiles | StoreImages, description: dict[str, Any], features: dict[str, Any], batch: int
) -> None:
    """Refuse processes that would index other things; a single process has nothing to compare."""
    if world.world_size > 1:
        own = {key: description[key] for key in ("weights_sha256", "precision")}
        world.check_same({**own, "images": images.fingerprint(), "features": features, "batch size": batch})


def add_images(
    index_path: Path,
    model: Classifier | Ensemble,
    images: ImageFiles | StoreImages,
    *,
    batch_size: int = BATCH_IMAGES,
    tick: Tick = untold,
) -> IndexReport:
    """Add images to an index: new ones, and those whose files have changed in place of what they were.

    Codes of the index are extended with the encoder that it has.

    Raises:
        SearchError: the index is missing, damaged or unfinished, or of other weights; or features are not finite.
    """
    with sole_writer(index_path):
        header = read_header(index_path)
        if not header["finished"]:
            raise SearchError(f"{index_path} is an unfinished index. {say_how_it_goes_on(index_path)}")
        extractor = Extractor(model)
        check_model(Index(index_path, header), extractor)
        return _extend(index_path, header, extractor, images, batch_size, tick)[0]


def remove_rows(index_path: Path, choose: Callable[[Index], NDArray[np.int64]]) -> tuple[int, int]:
    """Remove the rows that `choose` names; return how many were removed and how many images are left.

    Raises:
        SearchError: the index is missing or damaged, or nothing would be left.
    """
    with sole_writer(index_path):
        index = read_index(index_path)
        rows = np.unique(choose(index))
        rows = rows[~index.skip[rows]]
        if len(rows) == len(index):
            raise SearchError(f"{index_path}: nothing would be left. Delete the folder instead.")
        if len(rows):
            header = commit(index_path, without_rows(index, index.header, rows))
            index = Index(index_path, header)
        return len(rows), len(index)


def check_model(index: Index, extractor: Extractor) -> None:
    """Raise SearchError unless the index was made with the weights of this model."""
    file = extractor.file
    expected, found = index.header["model"]["weights_sha256"], hash_file(file)
    if expected != found:
        raise SearchError(
            f"{index.path} was made with weights {expected[:12]}…, {file} holds {found[:12]}…: their features cannot "
            f"be compared. Name the model it was made with (then: {index.header['model']['path']}), or index the "
            f"images with this one: {command('search', 'index', file, 'IMAGES', out='OTHER')}"
        )


def _extend(
    folder: Path,
    header: dict[str, Any],
    extractor: Extractor,
    images: ImageFiles | StoreImages,
    batch_size: int,
    tick: Tick,
    world: World = SINGLE_PROCESS,
    executor: Executor | None = None,
) -> tuple[IndexReport, dict[str, Any]]:
    """Add part after part; each is committed when it is whole. Only rank 0 writes."""
    known = list_known(Index(folder, header))
    digests = {key: digest for key, (_, digest) in known.items()}
    if images.source not in header["sources"]:
        header = {**header, "sources": [*header["sources"], images.source]}
    source = header["sources"].index(images.source)
    left_out: list[str] = []
    part: NewPart | None = None
    added = kept = replaced = done = 0
    obsolete: list[int] = []

    def finish() -> None:
        nonlocal header, part, obsolete
        assert part is not None
        index = Index(folder, header)
        extended = part.finish(header)
        if obsolete:
            extended = without_rows(index, extended, np.array(obsolete, np.int64))
        header = commit(folder, encode_part(folder, extended, extended["parts"][-1]))
        part, obsolete = None, []

    def write_titles() -> None:
        nonlocal header
        titles = {**header.get("class_titles", {}), **extractor.titles, **images.titles}
        named = {name: titles[name] for name in header["class_names"] if name in titles}
        if world.is_main and named != header.get("class_titles", {}):
            header = commit(folder, {**header, "class_titles": named})

    def write(rows: list[Row], values: NDArray[Any]) -> None:
        nonlocal known, part
        if world.is_main:
            part = part or NewPart(folder, header, source)
            part.append(rows, values)
            if part.num_bytes >= PART_BYTES:
                finish()
                known = list_known(Index(folder, header)) if replaced else known  # rows may have moved

    try:
        work = (extractor, images, header["features"], digests, batch_size)
        computed = compute_features(*work, world) if executor is None else compute_in_parts(executor, *work)
        for rows, values, unchanged, reasons in computed:
            # A file that is named twice may have been decoded again before its first row was known.
            new = [place for place, row in enumerate(rows) if digests.get(row.key, "") != row.line.get("digest")]
            fresh = [rows[place] for place in new]
            left_out += reasons
            kept += unchanged + len(rows) - len(fresh)
            added += len(fresh)
            for row in fresh:
                digests[row.key] = row.line.get("digest")
                if row.key in known:
                    obsolete.append(known.pop(row.key)[0])
                    replaced += 1
            if fresh:
                world.run_on_all_ranks(partial(write, fresh, values[new]))
            done = min(done + batch_size, len(images))
            tick(done, len(images))
        world.run_on_all_ranks(lambda: finish() if part else None)
        world.run_on_all_ranks(write_titles)
    finally:
        if part:
            part.discard()
    images_now = world.broadcast_result(lambda: len(Index(folder, header)))
    return IndexReport(images_now, added, kept, replaced, tuple(left_out), odd=tuple(images.odd)), header
