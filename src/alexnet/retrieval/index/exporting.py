"""An index for other engines: a LanceDB table, a Parquet file or a faiss index, each image with the id it has here.

Tables have the columns id, path, split, class and vector, and one for each length of binary codes that the index has:
code_128, 16 bytes. Rows are read and written some at a time; what is written appears whole or not at all.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.files.writing import clear_away, name_in_errors, stand_in, sync_folder, whole_file
from alexnet.retrieval.codes.encoding import load_codes
from alexnet.retrieval.index.reader import Index
from alexnet.text.names import escape_name
from alexnet.text.progress import Tick, untold

Engine = Literal["lance", "parquet", "faiss"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
TABLE = "images"
"""Name of the table in a LanceDB database."""
_BATCH_ROWS = 4096
_EXTRAS = {"lancedb": "lance", "pyarrow": "parquet", "pyarrow.parquet": "parquet"}


def export_index(index: Index, engine: Engine, out: Path, *, factory: str = "Flat", tick: Tick = untold) -> None:
    """Write the images of an index, but removed ones, as another engine keeps them.

    Args:
        out: A folder for LanceDB, whose table is called TABLE; a file for the others. It must not exist.
        factory: Of faiss: what to make, as "Flat" or "HNSW32,Flat"; distances are squared Euclidean ones.
    Raises:
        ConfigError: out exists, a package is not installed, or faiss does not accept the factory string.
        OSError: out cannot be written.
    """
    if out.exists():
        raise ConfigError(f"--out {out}: exists. Choose another, or delete it.")
    if engine == "faiss":
        _write_faiss(index, out, factory, tick)
    elif engine == "parquet":
        _write_parquet(index, out, tick)
    else:
        _write_lance(index, out, tick)


def _write_faiss(index: Index, out: Path, factory: str, tick: Tick) -> None:
    from alexnet.retrieval.faiss_backend import make_searcher, write_searcher

    searcher = make_searcher(index, factory, tick, ids=index.ids)
    write_searcher(searcher, out)


def _write_parquet(index: Index, out: Path, tick: Tick) -> None:
    parquet = _need("pyarrow.parquet")
    schema = _describe(index)
    with whole_file(out) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for batch in _read_batches(index, schema, tick):
            writer.write_batch(batch)


def _write_lance(index: Index, out: Path, tick: Tick) -> None:
    lancedb = _need("lancedb")
    arrow = _need("pyarrow")
    schema = _describe(index)
    temporary = stand_in(out)
    clear_away(temporary)
    try:
        reader = arrow.RecordBatchReader.from_batches(schema, _read_batches(index, schema, tick))
        lancedb.connect(str(temporary)).create_table(TABLE, reader)
        with name_in_errors(out):
            temporary.rename(out)
            sync_folder(out.parent)
    except RuntimeError as problem:  # how Lance tells of a full disk
        raise OSError(f"{out}: cannot be written ({problem})") from None
    finally:
        clear_away(temporary)


def _describe(index: Index) -> Any:
    """The schema of the tables; its metadata says what made the features."""
    arrow = _need("pyarrow")
    text = arrow.string()
    codes = {f"code_{bits}": arrow.list_(arrow.uint8(), int(bits) // 8) for bits in index.header["codes"]}
    vector = arrow.list_(arrow.float32(), index.dimensions)
    made = {key: index.header[key] for key in ("features", "model", "preprocessing")}
    return arrow.schema(
        {"id": arrow.int64(), "path": text, "split": text, "class": text, "vector": vector, **codes},
        metadata={"alexnet": json.dumps(made)},
    )


def _read_batches(index: Index, schema: Any, tick: Tick) -> Iterator[Any]:
    arrow = _need("pyarrow")
    rows = index.rows()
    codes = [load_codes(index, int(bits))[1] for bits in index.header["codes"]]
    for start in range(0, len(rows), _BATCH_ROWS):
        own = rows[start : start + _BATCH_ROWS]
        entries = [index.entry(row) for row in own.tolist()]
        lists: list[NDArray[Any]] = [index.gather(own), *(each[own] for each in codes)]
        yield arrow.RecordBatch.from_arrays(
            [
                arrow.array(index.ids[own]),
                arrow.array([escape_name(entry.path) for entry in entries]),
                arrow.array([entry.split for entry in entries]),
                arrow.array([entry.label for entry in entries], arrow.string()),
                *(arrow.FixedSizeListArray.from_arrays(np.ascontiguousarray(v).reshape(-1), v.shape[1]) for v in lists),
            ],
            schema=schema,
        )
        tick(start + len(own), len(rows))


def _need(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        raise ConfigError(
            f"this export needs the package {package.partition('.')[0]}. Install it: "
            f"pip install 'alexnet[{_EXTRAS[package]}]'"
        ) from None
