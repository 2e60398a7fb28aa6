"""Images in tables as Hugging Face writes them: Parquet files, and the Arrow files of save_to_disk; needs pyarrow."""

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from alexnet.data.sources.division import find_split, find_split_in_name
from alexnet.data.sources.listing import collect
from alexnet.data.sources.source import Options, Record, Source
from alexnet.errors import ImageError, SourceError
from alexnet.files.documents import parse_json

LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")
KEPT_GROUPS = 4
"""Row groups of Parquet files that are held in memory (Hugging Face writes 100 images in each)."""
STATE = "state.json"
"""File beside the Arrow files of a split that names those with its rows."""
SPLITS = "dataset_dict.json"
"""File beside the folders of the splits, where there are several."""


def is_parquet(root: Path) -> bool:
    """Whether root is a Parquet file or a folder with some."""
    return bool(_list_parquet(root))


def is_arrow(root: Path) -> bool:
    """Whether root is a folder that save_to_disk wrote, of one split or of several."""
    return (root / SPLITS).is_file() or ((root / STATE).is_file() and any(root.glob("*.arrow")))


def find_in_parquet(root: Path, options: Options) -> Source:
    """The images of Parquet files, in their order.

    One column holds images, as {"bytes", "path"} or as bytes; another holds classes: names, or numbers that the
    metadata of Hugging Face's ClassLabel name. It is one of LABEL_COLUMNS, else the first ClassLabel. A file whose name
    begins with train, validation or test belongs to that split.
    """
    return _find(root, options, "parquet", _list_parquet(root), _ParquetTable)


def find_in_arrow(root: Path, options: Options) -> Source:
    """The images of a data set that save_to_disk wrote, with the columns of `find_in_parquet`.

    A folder that SPLITS names is a split: train, validation or test by its name. Files are mapped, not read.
    """
    folders = _list_splits(root) if (root / SPLITS).is_file() else [root]
    return _find(root, options, "arrow", [path for folder in folders for path in _list_arrow(folder)], _ArrowTable)


class _Table(Protocol):
    """Rows of one file, in groups that are loaded together."""

    schema: Any
    num_rows: int
    fingerprint: int
    """Number that changes with the content of the file."""

    def __init__(self, path: Path) -> None: ...

    def values(self, *names: str) -> list[Any]:
        """A column, or a field of it, as Python's own values."""

    def locate(self, row: int) -> tuple[int, int]:
        """The group that a row is in, and the place of the row in the group."""

    def load(self, column: str, group: int) -> Any:
        """The values of a column in one group."""


class _ParquetTable:
    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self._file = parquet.ParquetFile(path)
        self.schema, self.num_rows = self._file.schema_arrow, self._file.metadata.num_rows
        self.fingerprint = self._file.metadata.serialized_size

    def values(self, *names: str) -> list[Any]:
        rows = self._file.read(columns=[".".join(names)])[names[0]].to_pylist()
        return [row and row.get(names[1]) for row in rows] if names[1:] else rows

    def locate(self, row: int) -> tuple[int, int]:
        group = 0
        while row >= self._file.metadata.row_group(group).num_rows:
            row -= self._file.metadata.row_group(group).num_rows
            group += 1
        return group, row

    def load(self, column: str, group: int) -> Any:
        return self._file.read_row_group(group, columns=[column])[column]


class _ArrowTable:
    def __init__(self, path: Path) -> None:
        import pyarrow

        self._rows = pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
        self._rows.validate(full=True)  # else pyarrow would follow lengths beyond the end of the file
        self.schema, self.num_rows = self._rows.schema, self._rows.num_rows
        self.fingerprint = path.stat().st_size

    def values(self, *names: str) -> list[Any]:
        import pyarrow.compute

        column = self._rows[names[0]]
        return list((pyarrow.compute.struct_field(column, names[1]) if names[1:] else column).to_pylist())

    def locate(self, row: int) -> tuple[int, int]:
        return 0, row

    def load(self, column: str, group: int) -> Any:
        return self._rows[column]


class _TableFiles:
    """Rows of tables as if each were a file: NAME/ROW, perhaps with the image's own path after it."""

    def __init__(self, tables: Mapping[str, _Table], image_columns: Mapping[str, str]) -> None:
        self._tables, self._image_columns = tables, image_columns
        self._suffix = Path(next(iter(tables), "")).suffix  # the same for all tables
        self._lock = threading.Lock()
        self._load = functools.lru_cache(maxsize=KEPT_GROUPS)(self._load_group)

    def read(self, path: str) -> bytes:
        """The bytes of the image in one row."""
        name, row = self._find(path)
        group, row = self._tables[name].locate(row)
        with self._lock:  # so that two threads do not both read one group
            column = self._load(name, group)
        value = column[row].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise ImageError(f"{path}: has no bytes, only a path. Write the data set again with its images embedded.")
        return data

    def describe(self, path: str) -> tuple[int, int]:
        """Rows of the file and a number that changes with the file, as rows have no times of their own."""
        table = self._tables[self._find(path)[0]]
        return table.num_rows, table.fingerprint

    def _find(self, path: str) -> tuple[str, int]:
        name, _, rest = path.partition(f"{self._suffix}/")
        return name + self._suffix, int(rest.split("/", 1)[0])

    def _load_group(self, name: str, group: int) -> Any:
        import pyarrow

        try:
            return self._tables[name].load(self._image_columns[name], group)
        except (OSError, pyarrow.ArrowException) as error:
            raise ImageError(f"{name}: row group {group} is damaged ({error}). Copy the file again.") from None


def _find(root: Path, options: Options, kind: str, paths: list[Path], form: Callable[[Path], _Table]) -> Source:
    tables: dict[str, _Table] = {}
    columns: dict[str, str] = {}
    records: list[Record] = []
    names: list[str] | None = None
    base = root if root.is_dir() else root.parent
    for path in paths:
        name = path.relative_to(base).as_posix()
        with _explain_damage(path, kind):
            table = tables[name] = form(path)
            columns[name], label_column, known = _find_columns(path, table.schema)
            labels = table.values(label_column)
            inner = _read_inner_paths(table, columns[name])
        names = names or known
        split = find_split_in_name(name) or find_split(path.relative_to(base).parent.name)
        for row, (label, inner_path) in enumerate(zip(labels, inner, strict=True)):
            if label is None or (known and not (isinstance(label, int) and 0 <= label < len(known))):
                raise SourceError(f"{path}, row {row}: {label} is no class. Remove the row.")
            own = f"{name}/{row}" + (f"/{inner_path}" if inner_path else "")
            records.append(Record(own, known[label] if known else str(label), split))
    return collect(root, kind, _TableFiles(tables, columns), records, options, class_names=names)


@contextmanager
def _explain_damage(path: Path, kind: str) -> Iterator[None]:
    try:
        import pyarrow
    except ImportError:
        raise SourceError(
            f"{path}: reading {kind.capitalize()} needs pyarrow. Install it: pip install 'alexnet[parquet]'"
        ) from None
    try:
        yield
    except SourceError:
        raise
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # ValueError: the metadata are no JSON
        raise SourceError(f"{path} is a damaged {kind.capitalize()} file ({error}). Copy it again.") from None


def _list_parquet(root: Path) -> list[Path]:
    """The Parquet files of a folder and its data folder, or the one that root is."""
    if root.is_dir():
        return sorted([*root.glob("*.parquet"), *root.glob("data/*.parquet")])
    return [root] if root.is_file() and root.suffix == ".parquet" else []


def _list_splits(root: Path) -> list[Path]:
    """The folders of the splits that SPLITS names; others beside them are not of the data set."""
    try:
        names = parse_json((root / SPLITS).read_bytes())["splits"]
        folders = [root / name for name in sorted(names) if Path(name).name == name]
    except (OSError, ValueError, KeyError, TypeError):
        folders = names = []
    if not folders or len(folders) < len(names):
        raise SourceError(f"{root / SPLITS} does not name the splits of a data set. Save it to disk again.")
    for folder in folders:
        if not (folder / STATE).is_file():
            raise SourceError(
                f"{folder / STATE} is missing, and {SPLITS} names the split {folder.name}. Copy the folder "
                f"{folder.name} again; or, to do without it, take its name out of {SPLITS}."
            )
    return folders


def _list_arrow(folder: Path) -> list[Path]:
    """The Arrow files of one split by its STATE; other files there are what programs made of it since."""
    try:
        state = parse_json((folder / STATE).read_bytes())
        names = [str(each["filename"]) for each in state["_data_files"]]
        chosen = state.get("_indices_data_files")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(f"{folder / STATE} does not name the files of a data set. Save it to disk again.") from None
    if chosen or any(Path(name).name != name or Path(name).suffix != ".arrow" for name in names):
        raise SourceError(
            f"{folder / STATE} chooses rows of its files, or names others than Arrow files beside it. Save the data "
            "set again by a newer version of datasets."
        )
    for name in names:
        if not (folder / name).is_file():
            raise SourceError(f"{folder / name} is missing, and {STATE} names it. Copy it again.")
    return [folder / name for name in names]


def _find_columns(path: Path, schema: Any) -> tuple[str, str, list[str] | None]:
    """Names of the column with images and of that with classes, and the names of the classes if they are known."""
    import pyarrow

    features = _read_features(schema)
    named = (name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel")
    label = next((name for name in LABEL_COLUMNS if name in schema.names), next(named, None))
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
    return image, label, list(map(str, names)) if isinstance(names, list) else None


def _read_features(schema: Any) -> dict[str, dict[str, Any]]:
    """What the metadata of Hugging Face say of columns; nothing where they say it in another way."""
    found = parse_json((schema.metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features"):
        found = found.get(key) if isinstance(found, dict) else None
    named = found.items() if isinstance(found, dict) else ()
    return {name: feature for name, feature in named if isinstance(feature, dict)}


def _read_inner_paths(table: _Table, column: str) -> list[str | None]:
    """The image's own path in each row, where the column has one."""
    import pyarrow

    kind = table.schema.field(column).type
    if not pyarrow.types.is_struct(kind) or all(child.name != "path" for child in kind):
        return [None] * table.num_rows
    return table.values(column, "path")
