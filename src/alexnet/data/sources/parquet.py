"""Parquet files as Hugging Face writes image data sets; needs pyarrow, an extra."""

import functools
import json
import threading
from pathlib import Path
from typing import Any

from alexnet.data.sources.division import find_split_in_name
from alexnet.data.sources.listing import collect
from alexnet.data.sources.source import Options, Record, Source
from alexnet.errors import ImageError, SourceError

LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")
KEPT_GROUPS = 4
"""Row groups that are held in memory (Hugging Face writes 100 images in each)."""


def list_tables(root: Path) -> list[Path]:
    """The Parquet files of a folder and its data folder, or the one that root is."""
    if root.is_dir():
        return sorted([*root.glob("*.parquet"), *root.glob("data/*.parquet")])
    return [root] if root.is_file() and root.suffix == ".parquet" else []


def is_parquet(root: Path) -> bool:
    """Whether root is a Parquet file or a folder with some."""
    return bool(list_tables(root))


def find_in_parquet(root: Path, options: Options) -> Source:
    """The images of Parquet files, in their order.

    One column holds images, as {"bytes", "path"} or as bytes; another, of LABEL_COLUMNS, holds classes: names, or
    numbers that the metadata of Hugging Face's ClassLabel name. A file whose name begins with train, validation or
    test belongs to that split.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise SourceError(
            f"{root}: reading Parquet needs pyarrow. Install it: pip install 'alexnet[parquet]'"
        ) from None
    files = _ParquetFiles(root, list_tables(root))
    records: list[Record] = []
    names: list[str] | None = None
    for name, table in files.tables.items():
        try:
            image_column, label_column, known = _find_columns(root / name, table.schema_arrow)
            files.image_columns[name] = image_column
            names = names or known
            labels = table.read(columns=[label_column])[label_column].to_pylist()
            inner = _read_inner_paths(table, image_column)
        except (OSError, pyarrow.ArrowException) as error:
            raise SourceError(f"{root / name} is a damaged Parquet file ({error}). Copy it again.") from None
        split = find_split_in_name(name)
        for row, (label, inner_path) in enumerate(zip(labels, inner, strict=True)):
            if label is None or (known and not (isinstance(label, int) and 0 <= label < len(known))):
                raise SourceError(f"{root / name}, row {row}: {label} is no class. Remove the row.")
            path = f"{name}/{row}" + (f"/{inner_path}" if inner_path else "")
            records.append(Record(path, known[label] if known else str(label), split))
    return collect(root, "parquet", files, records, options, class_names=names)


class _ParquetFiles:
    """Rows of Parquet files as if each were a file: NAME/ROW, perhaps with the image's own path after it."""

    def __init__(self, root: Path, paths: list[Path]) -> None:
        import pyarrow
        from pyarrow import parquet

        base = root if root.is_dir() else root.parent
        self.tables: dict[str, Any] = {}
        self.image_columns: dict[str, str] = {}
        for path in paths:
            try:
                self.tables[path.relative_to(base).as_posix()] = parquet.ParquetFile(path)
            except (OSError, pyarrow.ArrowException) as error:
                raise SourceError(f"{path} is a damaged Parquet file ({error}). Copy it again.") from None
        self._lock = threading.Lock()
        self._load = functools.lru_cache(maxsize=KEPT_GROUPS)(self._load_group)

    def read(self, path: str) -> bytes:
        """The bytes of the image in one row."""
        name, row = self._find(path)
        group = 0
        while row >= self.tables[name].metadata.row_group(group).num_rows:
            row -= self.tables[name].metadata.row_group(group).num_rows
            group += 1
        with self._lock:  # so that two threads do not both read one group
            column = self._load(name, group)
        value = column[row].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise ImageError(f"{path}: has no bytes, only a path. Write the data set again with its images embedded.")
        return data

    def describe(self, path: str) -> tuple[int, int]:
        """Rows of the file and a number that changes with the file, as rows have no times of their own."""
        name, _ = self._find(path)
        return self.tables[name].metadata.num_rows, self.tables[name].metadata.serialized_size

    def _find(self, path: str) -> tuple[str, int]:
        name, _, rest = path.partition(".parquet/")
        return f"{name}.parquet", int(rest.split("/", 1)[0])

    def _load_group(self, name: str, group: int) -> Any:
        import pyarrow

        column = self.image_columns[name]
        try:
            return self.tables[name].read_row_group(group, columns=[column])[column]
        except (OSError, pyarrow.ArrowException) as error:
            raise ImageError(f"{name}: row group {group} is damaged ({error}). Copy the file again.") from None


def _find_columns(path: Path, schema: Any) -> tuple[str, str, list[str] | None]:
    """Names of the column with images and of that with classes, and the names of the classes if they are known."""
    import pyarrow

    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    image = next(
        (
            field.name
            for field in schema
            if pyarrow.types.is_binary(field.type)
            or pyarrow.types.is_large_binary(field.type)
            or (pyarrow.types.is_struct(field.type) and any(child.name == "bytes" for child in field.type))
        ),
        None,
    )
    if label is None or image is None:
        raise SourceError(
            f"{path} has the columns {', '.join(schema.names)}. It needs one with the bytes of images and one of "
            f"{', '.join(LABEL_COLUMNS)}."
        )
    names = features.get(label, {}).get("names")
    return image, label, names


def _read_inner_paths(table: Any, column: str) -> list[str | None]:
    """The image's own path in each row, where the column has one."""
    import pyarrow

    kind = table.schema_arrow.field(column).type
    if not pyarrow.types.is_struct(kind) or all(child.name != "path" for child in kind):
        return [None] * table.metadata.num_rows
    values = table.read(columns=[f"{column}.path"])[column].to_pylist()
    return [value and value.get("path") for value in values]
