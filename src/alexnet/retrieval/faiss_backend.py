"""Approximate search of large collections with faiss (extra `search`), by any index that its factory makes.

The faiss index is kept beside the features, under the fingerprint of what it was made from, and made again when that
changes. It holds what its factory string says; "…,Flat" kinds hold all features in memory.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.files.writing import whole_file, write_text
from alexnet.retrieval.exact import Neighbors, rank_exactly
from alexnet.retrieval.index.reader import Index
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

DEFAULT = "HNSW32,Flat"
_CHUNK_ROWS = 8192
_TRAINING_ROWS = 50_000
_CANDIDATES = 4
"""Times k, that faiss is asked for; the best of them by exact distance are the answer."""


def find_nearest_with_faiss(
    index: Index, queries: NDArray[np.float32], k: int, factory: str, *, tick: Tick = untold
) -> Neighbors:
    """Return k neighbours of each query; where faiss finds fewer, the rest has row -1 and distance infinity.

    Args:
        factory: "Flat", "HNSW32,Flat", "IVF1024,Flat", "IVF4096,PQ64", … Lists of IVF are probed by a sixteenth.
    Raises:
        ConfigError: faiss is not installed, or does not accept the string for these features.
    """
    faiss = _import_faiss()
    searcher = _open(faiss, index, factory, tick)
    inner = faiss.downcast_index(searcher.index)
    if isinstance(inner, faiss.IndexIVF):
        inner.nprobe = max(1, inner.nlist // 16)
    if isinstance(inner, faiss.IndexHNSW):
        inner.hnsw.efSearch = max(64, 2 * _CANDIDATES * k)
    _, rows = searcher.search(np.ascontiguousarray(queries), min(_CANDIDATES * k, len(index)))
    distances = np.full((len(queries), k), np.inf, np.float32)
    found = np.full((len(queries), k), -1, np.int64)
    for q, listed in enumerate(rows):
        count = min(k, len(np.unique(listed[listed >= 0])))
        if count:
            nearest = rank_exactly(index.features, queries[q : q + 1], listed[None], count)
            distances[q, :count], found[q, :count] = nearest.distances[0], nearest.rows[0]
    return Neighbors(distances, found)


def _open(faiss: Any, index: Index, factory: str, tick: Tick) -> Any:
    slug = hashlib.sha256(factory.encode()).hexdigest()[:12]
    path, note = index.path / f"faiss-{slug}.index", index.path / f"faiss-{slug}.json"
    made_from: dict[str, Any] = {"factory": factory, "parts": [part["features"]["xxh3"] for part in index.parts]}
    made_from["removed"] = (index.header["removed"] or {}).get("xxh3")
    try:
        if json.loads(note.read_text(encoding="utf-8")) == made_from:
            return faiss.read_index(str(path))
    except (OSError, ValueError, RuntimeError):
        pass
    searcher = make_searcher(index, factory, tick)
    note.unlink(missing_ok=True)
    write_searcher(searcher, path)
    write_text(note, json.dumps(made_from))
    return searcher


def write_searcher(searcher: Any, path: Path) -> None:
    """Write what `make_searcher` made; the file appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with whole_file(path) as temporary:
            _import_faiss().write_index(searcher, str(temporary))
    except RuntimeError as problem:
        raise OSError(f"{path}: cannot be written ({problem})") from None


def make_searcher(index: Index, factory: str, tick: Tick, *, ids: NDArray[np.int64] | None = None) -> Any:
    """Return a faiss index of the images that can be found, under their rows, or under ids (N,) of all rows.

    Raises:
        ConfigError: faiss is not installed, or does not accept the factory string for these features.
    """
    faiss = _import_faiss()
    rows = index.rows()
    try:
        searcher = faiss.IndexIDMap(faiss.index_factory(index.dimensions, factory, faiss.METRIC_L2))
        if not searcher.is_trained:
            sample = np.sort(np.random.default_rng(0).permutation(rows)[:_TRAINING_ROWS])
            searcher.train(index.gather(sample))
        for start in range(0, len(rows), _CHUNK_ROWS):
            chunk = rows[start : start + _CHUNK_ROWS]
            searcher.add_with_ids(index.gather(chunk), chunk if ids is None else ids[chunk])
            tick(start + len(chunk), len(rows))
    except RuntimeError as problem:
        reason = str(problem).strip().rpartition(": ")[2]  # before it stand a C++ signature and a line
        raise ConfigError(
            f"--faiss {factory}: faiss does not accept it for {counted(len(rows), 'image')} of {index.dimensions:,} "
            f"features ({reason}). Usual are Flat, {DEFAULT} and IVF1024,Flat, with fewer lists than images."
        ) from None
    return searcher


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ConfigError(
            "faiss, which is asked for, is the package faiss-cpu. Install it: pip install 'alexnet[search]'; or leave "
            "faiss out."
        ) from None
    return faiss
