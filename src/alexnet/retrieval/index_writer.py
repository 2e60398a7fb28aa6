"""Making and changing an index: features are computed and written batch by batch, in parts that appear whole.

A change is real when the header has been replaced, and only then; what a stopped writer leaves beside it is removed by
the next one. Given again, the same command skips what is there.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.distribution.team import ALONE, Team
from alexnet.errors import SearchError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble
from alexnet.exchange.importing import hash_file
from alexnet.file_record import record_file
from alexnet.files import lock_file
from alexnet.retrieval.codes import encode_part
from alexnet.retrieval.extractor import Extractor
from alexnet.retrieval.images import ImageFiles, StoreImages, list_known
from alexnet.retrieval.index import Index, read_index
from alexnet.retrieval.index_features import Row, compute_features
from alexnet.retrieval.index_format import (
    FORMAT,
    HEADER_NAME,
    LOCK,
    VERSION,
    WRITING,
    read_header,
    write_header,
)
from alexnet.retrieval.index_parts import NewPart, save_array

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
    model: Classifier | Ensemble,
    images: ImageFiles | StoreImages,
    out: Path,
    *,
    layer: str | None = None,
    dtype: str = "float32",
    batch_size: int = BATCH_IMAGES,
    tick: Tick | None = None,
    team: Team = ALONE,
) -> IndexReport:
    """Make an index of the centre views of images, or continue one that was interrupted.

    Args:
        layer: An activation of the network; the last hidden layer, rectified, where None. Maps are flattened.
        dtype: "float32" or "float16", for the file; distances are computed in float32.
        team: Processes that call this together and share the images; the leader writes, in a folder that all can read.
    Raises:
        SearchError: `out` is a finished index, an unfinished one of another model, or something else; no image could be
            read; or features are not finite.
        DistributionError: the processes have other models, images or options, or lost each other.
    """
    extractor = Extractor(model)
    layer = layer or extractor.choose_layer()
    shape, description = extractor.describe(layer)
    features = {"layer": layer, "shape": list(shape), "dimensions": int(np.prod(shape)), "dtype": dtype}
    _check_team(team, images, description, features, batch_size)
    created = not out.exists()
    with ExitStack() as stack:
        try:
            header = team.from_leader(lambda: _begin(stack, out, extractor, description, features))
            report, header = _extend(out, header, extractor, images, batch_size, tick, team)
            if not report.images:
                raise SearchError(
                    f"{out}: none of the {len(images):,} images could be read. " + " ".join(report.left_out[:1])
                )
            team.together(lambda: write_header(out, {**header, "finished": True}) if team.leads else None)
            return report
        except SearchError:
            stack.close()
            if team.leads and created and not (out / HEADER_NAME).exists():
                shutil.rmtree(out, ignore_errors=True)
            raise


def _check_team(
    team: Team, images: ImageFiles | StoreImages, description: dict[str, Any], features: dict[str, Any], batch: int
) -> None:
    """Refuse processes that would index other things; a team of one has nothing to compare."""
    if team.count > 1:
        own = {key: description[key] for key in ("weights_sha256", "precision")}
        team.check_same({**own, "images": images.fingerprint(), "features": features, "batch size": batch})


def _begin(
    stack: ExitStack, out: Path, extractor: Extractor, description: dict[str, Any], features: dict[str, Any]
) -> dict[str, Any]:
    """Create the folder, or find what was begun there; lock it until the stack closes, and return its header."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not {HEADER_NAME, LOCK} & _names(out))):
        raise SearchError(f"{out} exists and is not an index. Choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    stack.enter_context(sole_writer(out))
    if (out / HEADER_NAME).exists():
        header = read_header(out)
        if header["finished"]:
            raise SearchError(
                f"{out} is a finished index. Add images to it: alexnet search add {out} IMAGES; or choose another "
                "--out."
            )
        _check_same(out, header, description, features)
        return header
    return {
        "format": FORMAT,
        "version": VERSION,
        "finished": False,
        "features": features,
        "model": {
            "path": str(extractor.file.absolute()),
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


def add_images(
    index_path: Path,
    model: Classifier | Ensemble,
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
            header = _commit(index_path, _without(index, index.header, rows))
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
    extractor: Extractor,
    images: ImageFiles | StoreImages,
    batch_size: int,
    tick: Tick | None,
    team: Team = ALONE,
) -> tuple[IndexReport, dict[str, Any]]:
    """Add part after part; each is committed when it is whole. Only the leader of a team writes."""
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

    def write(rows: list[Row], values: NDArray[Any]) -> None:
        nonlocal known, part
        if team.leads:
            part = part or NewPart(folder, header, source)
            part.append(rows, values)
            if part.num_bytes >= PART_BYTES:
                finish()
                known = list_known(Index(folder, header)) if replaced else known  # rows may have moved

    try:
        for rows, values, unchanged, reasons in compute_features(
            extractor, images, header["features"], digests, batch_size, team
        ):
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
                team.together(partial(write, fresh, values[new]))
            done = min(done + batch_size, len(images))
            if tick:
                tick(done, len(images))
        team.together(lambda: finish() if part else None)
    finally:
        if part:
            part.discard()
    images_now = team.from_leader(lambda: len(Index(folder, header)))
    return IndexReport(images_now, added, kept, replaced, tuple(left_out)), header
