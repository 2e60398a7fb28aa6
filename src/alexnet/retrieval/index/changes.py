"""What every change of an index shares: its lock, the header that makes the change real, and rows that are left out."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import SearchError
from alexnet.files.record import record_file
from alexnet.files.writing import lock_file
from alexnet.retrieval.index.format import HEADER_NAME, LOCK, WRITING, read_header, write_header
from alexnet.retrieval.index.parts import save_array
from alexnet.retrieval.index.reader import Index


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


def commit(folder: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Make a change real by its header, delete what this no longer names, and return it with its checksum."""
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


def without_rows(index: Index, header: dict[str, Any], rows: NDArray[np.int64]) -> dict[str, Any]:
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
