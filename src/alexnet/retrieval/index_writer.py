"""Making and changing an index: features are computed and written batch by batch, in parts that appear whole.

A change is real when the header has been replaced, and only then; what a stopped writer leaves beside it is removed by
the next one. Given again, the same command skips what is there.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ImageError, SearchError
from alexnet.evaluation.classifier import Classifier
from alexnet.exchange.features import describe_features
from alexnet.exchange.importing import hash_file
from alexnet.file_record import record_file
from alexnet.files import lock_file
from alexnet.network.model_file import find_model
from alexnet.retrieval.codes import encode_part
from alexnet.retrieval.images import ImageFiles, Item, StoreImages, list_known
from alexnet.retrieval.index import Index, read_index
from alexnet.retrieval.index_format import (
    FORMAT,
    HEADER_NAME,
    LOCK,
    VERSION,
    WRITING,
    read_header,
    write_header,
)
from alexnet.retrieval.index_parts import NewPart, collect_ahead, save_array

Tick = Callable[[int, int], None]

PART_BYTES = 256 * 2**20
"""Features in a part; an interruption loses at most the part under way."""
BATCH_IMAGES = 128
"""Images that are computed together."""


class IndexReport(NamedTuple):
    """What was done."""

    images: int
    """That the index holds now."""
    added: int
    kept: int
    """That were there already, unchanged."""
    replaced: int
    """Whose files had changed; counted in `added` too."""
    left_out: tuple[str, ...]
    """Why some images are not in the index."""


def make_index(
    classifier: Classifier,
    images: ImageFiles | StoreImages,
    out: Path,
    *,
    layer: str | None = None,
    dtype: str = "float32",
    batch_size: int = BATCH_IMAGES,
    tick: Tick | None = None,
) -> IndexReport:
    """Make an index of the centre views of images, or continue one that was interrupted.

    Args:
        layer: An activation of the network; the last hidden layer, rectified, where None. Maps are flattened.
        dtype: "float32" or "float16", for the file; distances are computed in float32.
    Raises:
        SearchError: `out` is a finished index, an unfinished one of another model, or something else; no image could be
            read; or features are not finite.
    """
    layer = layer or classifier.network.features_name()
    shape = classifier.network.measure_activation(layer)
    description = describe_features(classifier, {layer: shape})
    features = {"layer": layer, "shape": list(shape), "dimensions": int(np.prod(shape)), "dtype": dtype}
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not {HEADER_NAME, LOCK} & _names(out))):
        raise SearchError(f"{out} exists and is not an index. Choose another --out.")
    created = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with sole_writer(out):
            if (out / HEADER_NAME).exists():
                header = read_header(out)
                if header["finished"]:
                    raise SearchError(
                        f"{out} is a finished index. Add images to it: alexnet search add {out} IMAGES; or choose "
                        "another --out."
                    )
                _check_same(out, header, description, features)
            else:
                header = {
                    "format": FORMAT,
                    "version": VERSION,
                    "finished": False,
                    "features": features,
                    "model": {
                        "path": str(find_model(classifier.path).absolute()),
                        **{key: description[key] for key in ("weights_sha256", "dialect", "precision", "alexnet")},
                    },
                    "preprocessing": description["preprocessing"],
                    "class_names": [],
                    "sources": [],
                    "next_id": 0,
                    "next_part": 0,
                    "parts": [],
                    "removed": None,
                    "codes": {},
                }
            report, header = _extend(out, header, classifier, images, batch_size, tick)
            if not report.images:
                raise SearchError(
                    f"{out}: none of the {len(images):,} images could be read. " + " ".join(report.left_out[:1])
                )
            write_header(out, {**header, "finished": True})
            return report
    except SearchError:
        if created and not (out / HEADER_NAME).exists():
            shutil.rmtree(out, ignore_errors=True)
        raise


def add_images(
    index_path: Path,
    classifier: Classifier,
    images: ImageFiles | StoreImages,
    *,
    batch_size: int = BATCH_IMAGES,
    tick: Tick | None = None,
) -> IndexReport:
    """Add images to an index: new ones, and those whose files have changed in place of what they were.

    Codes of the index are extended with the encoder that it has.

    Raises:
        SearchError: the index is missing, damaged or unfinished, or of other weights; or features are not finite.
    """
    with sole_writer(index_path):
        header = read_header(index_path)
        if not header["finished"]:
            raise SearchError(
                f"{index_path} is an unfinished index. Give the same alexnet search index command again; it continues."
            )
        check_model(Index(index_path, header), classifier)
        return _extend(index_path, header, classifier, images, batch_size, tick)[0]


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
            header = _commit(index_path, _without(index, index.header, rows))
            index = Index(index_path, header)
        return len(rows), len(index)


def check_model(index: Index, classifier: Classifier) -> None:
    """Raise SearchError unless the index was made with the weights of this classifier."""
    file = find_model(classifier.path)
    expected, found = index.header["model"]["weights_sha256"], hash_file(file)
    if expected != found:
        raise SearchError(
            f"{index.path} was made with weights {expected[:12]}…, {file} holds {found[:12]}…: their features cannot "
            f"be compared. Name the model it was made with (then: {index.header['model']['path']}), or index the "
            "images again."
        )


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _check_same(out: Path, header: dict[str, Any], description: dict[str, Any], features: dict[str, Any]) -> None:
    if header["model"]["weights_sha256"] != description["weights_sha256"] or header["features"] != features:
        before = header["features"]
        raise SearchError(
            f"{out} is an unfinished index of other weights or features (layer {before['layer']}, {before['dtype']}). "
            "Give its own command again, or choose another --out."
        )


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the index's lock, and clear away what a stopped writer left."""
    if not folder.is_dir():
        read_header(folder)  # says what is wrong
    handle = lock_file(folder / LOCK)
    if handle is None:
        raise SearchError(f"{folder} is being changed by another process. Wait until it has ended.")
    with handle:
        try:
            if (folder / HEADER_NAME).exists():
                _clear(folder, read_header(folder))
            shutil.rmtree(folder / WRITING, ignore_errors=True)
            yield
        finally:
            shutil.rmtree(folder / WRITING, ignore_errors=True)


def _commit(folder: Path, header: dict[str, Any]) -> dict[str, Any]:
    written = write_header(folder, header)
    _clear(folder, written)
    return written


def _clear(folder: Path, header: dict[str, Any]) -> None:
    """Delete parts and lists of removed ids that the header does not name: it was replaced, or never reached them."""
    named = {part["name"] for part in header["parts"]}
    for path in folder.glob("part-*"):
        if path.name not in named:
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("removed-*.npy"):
        if not header["removed"] or path.name != header["removed"]["file"]:
            path.unlink(missing_ok=True)


def _without(index: Index, header: dict[str, Any], rows: NDArray[np.int64]) -> dict[str, Any]:
    """Return a header in which these rows are removed; parts of which nothing is left are no longer named."""
    skip = index.skip.copy()
    skip[rows] = True
    parts, codes, kept_ids, start = (
        [],
        {bits: {**c, "parts": dict(c["parts"])} for bits, c in header["codes"].items()},
        [],
        0,
    )
    for part in header["parts"]:
        stop = start + part["rows"] if start < len(skip) else start
        own = skip[start:stop]
        if len(own) and own.all():
            for each in codes.values():
                each["parts"].pop(part["name"])
        else:
            parts.append(part)
            kept_ids.append(index.ids[start:stop][own])
        start = stop
    ids = np.concatenate([np.zeros(0, np.int64), *kept_ids])
    record = None
    if len(ids):
        name = f"removed-{header['next_id']:08d}-{len(ids):08d}.npy"
        save_array(index.path / name, ids)
        record = {**record_file(index.path, name), "count": len(ids)}
    return {**header, "parts": parts, "codes": codes, "removed": record}


def _extend(
    folder: Path,
    header: dict[str, Any],
    classifier: Classifier,
    images: ImageFiles | StoreImages,
    batch_size: int,
    tick: Tick | None,
) -> tuple[IndexReport, dict[str, Any]]:
    """Add part after part; each is committed when it is whole."""
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
            extended = _without(index, extended, np.array(obsolete, np.int64))
        header = _commit(folder, encode_part(folder, extended, extended["parts"][-1]))
        part, obsolete = None, []

    try:
        for batch in collect_ahead(images.items(classifier.model.preprocessing.image_px, digests), batch_size):
            fresh = [item for item in batch if isinstance(item, Item)]
            left_out += [str(item) for item in batch if isinstance(item, ImageError)]
            kept += sum(item is None for item in batch)
            fresh = list({item.key: item for item in fresh}.values())  # named twice in one batch
            if fresh:
                values = _compute(classifier, header["features"], fresh)
                part = part or NewPart(folder, header, source)
                part.append(fresh, values)
                for item in fresh:
                    digests[item.key] = item.line.get("digest")
                    if item.key in known:
                        obsolete.append(known.pop(item.key)[0])
                        replaced += 1
                added += len(fresh)
                if part.num_bytes >= PART_BYTES:
                    finish()
                    known = list_known(Index(folder, header)) if replaced else known  # rows may have moved
            done += len(batch)
            if tick:
                tick(done, len(images))
        if part:
            finish()
    finally:
        if part:
            part.discard()
    return IndexReport(len(Index(folder, header)), added, kept, replaced, tuple(left_out)), header


def _compute(classifier: Classifier, features: dict[str, Any], items: list[Item]) -> NDArray[np.float32]:
    """Return (n, D) features, as they are kept."""
    pixels = [item.pixels for item in items]
    ((_, _, found),) = classifier.activations_each(pixels, [features["layer"]], batch_size=len(items))
    values = found[features["layer"]].reshape(len(items), -1)
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
