"""Files of features, written row by row: .npz for NumPy, .h5 for HDF5, .parquet for data frames.

All three hold one row per image: its path, and for each layer a float32 array of the layer's shape; and one JSON
document, the provenance. A file appears whole or not at all, also where the disk is full; memory holds one batch (of
.parquet, some 32 MiB).
"""

import contextlib
import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.files.writing import clear_away, name_in_errors, put_in_place, stand_in

Shapes = Mapping[str, tuple[int, ...]]
"""Layer -> shape of its activation for one image."""
Arrays = Mapping[str, NDArray[np.float32]]
"""Layer -> (rows, *shape)."""

PATHS, PROVENANCE = "paths", "provenance"
"""Names of the other two entries of a file; in .parquet the paths are the column "path"."""
_PARQUET_GROUP_BYTES = 32 * 2**20


def open_writer(path: Path, shapes: Shapes) -> "FeatureWriter":
    """Return a writer for a new file, by its suffix.

    Its `append` adds rows, their paths and arrays; `finish` adds the provenance and gives the file its name; `discard`
    leaves nothing behind and raises nothing, whatever the disk says.

    Raises:
        ConfigError: the file exists, its suffix is unknown, or the package that writes it is not installed.
    """
    if path.exists():
        clear_away(stand_in(path))  # of a process that was killed after the file had its name
        raise ConfigError(f"--out {path}: exists. Choose another, or delete it.")
    if path.suffix not in _WRITERS:
        raise ConfigError(f"--out {path}: accepted are files that end in {', '.join(_WRITERS)}.")
    with name_in_errors(path):
        try:
            return _WRITERS[path.suffix](path, shapes)
        except BaseException:
            clear_away(stand_in(path))
            raise


class _Npz:
    """Rows go to one raw file per layer beside `path`; the archive is put together at the end."""

    def __init__(self, path: Path, shapes: Shapes) -> None:
        self._path, self._shapes, self._paths = path, dict(shapes), list[str]()
        self._folder = stand_in(path)
        clear_away(self._folder)
        self._folder.mkdir()
        self._files: dict[str, IO[bytes]] = {
            name: (self._folder / f"{number}.raw").open("w+b") for number, name in enumerate(shapes)
        }

    def append(self, paths: Sequence[str], arrays: Arrays) -> None:
        self._paths += paths
        for name, file in self._files.items():
            file.write(np.ascontiguousarray(arrays[name], "<f4").data)

    def finish(self, provenance: Mapping[str, Any]) -> None:
        archive_path = self._folder / "archive"
        with zipfile.ZipFile(archive_path, "w", allowZip64=True) as archive:
            for name, file in self._files.items():
                header = {"descr": "<f4", "fortran_order": False, "shape": (len(self._paths), *self._shapes[name])}
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array_header_1_0(entry, header)
                    shutil.copyfileobj(file, entry, 2**20)
            for name, values in (
                (PATHS, np.array(self._paths, np.str_)),
                (PROVENANCE, np.array(json.dumps(provenance))),
            ):
                stream = io.BytesIO()
                np.save(stream, values, allow_pickle=False)
                # The time of an entry is left as it is: the same features are the same bytes.
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), stream.getvalue())
        put_in_place(archive_path, self._path)
        self.discard()

    def discard(self) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):  # the disk is full
                file.close()
        clear_away(self._folder)


class _LastingFile(io.FileIO):
    """A file that HDF5 can always write and close: the first error is kept, and nothing is written from then on.

    HDF5 does not survive a write that fails: what it cannot flush it tries again when Python ends, and crashes.
    """

    problem: OSError | None = None

    def write(self, data: Any, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self.problem is None:
                rest = rest[super().write(rest) :]
        except OSError as problem:
            self.problem = problem
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size) if self.problem is None else size or 0
        except OSError as problem:
            self.problem = problem
            return size or 0


class _Hdf5:
    """Growing data sets, chunked by rows; provenance is an attribute of the file."""

    def __init__(self, path: Path, shapes: Shapes) -> None:
        h5py = _need("h5py", path)
        self._path = path
        self._temporary = stand_in(path)
        self._disk = _LastingFile(self._temporary, "w+")
        self._file = h5py.File(self._disk, "w")
        self._paths = self._file.create_dataset(PATHS, (0,), h5py.string_dtype(), maxshape=(None,), chunks=(1024,))
        self._sets = {
            name: self._file.create_dataset(name, (0, *shape), "f4", maxshape=(None, *shape), chunks=(1, *shape))
            for name, shape in shapes.items()
        }

    def append(self, paths: Sequence[str], arrays: Arrays) -> None:
        rows = len(self._paths)
        for data, values in [(self._paths, list(paths)), *((self._sets[name], arrays[name]) for name in self._sets)]:
            data.resize(rows + len(paths), axis=0)
            data[rows:] = values
        self._check()

    def finish(self, provenance: Mapping[str, Any]) -> None:
        self._file.attrs[PROVENANCE] = json.dumps(provenance)
        self._file.close()
        self._check()
        self._disk.close()
        put_in_place(self._temporary, self._path)

    def _check(self) -> None:
        if self._disk.problem:
            raise self._disk.problem

    def discard(self) -> None:
        self._disk.problem = self._disk.problem or OSError("no longer wanted")
        self._file.close()
        self._disk.close()
        clear_away(self._temporary)


class _Parquet:
    """A column of fixed-size lists per layer; shapes and provenance are in the schema's metadata."""

    def __init__(self, path: Path, shapes: Shapes) -> None:
        self._arrow, self._parquet = _need("pyarrow", path), _need("pyarrow.parquet", path)
        self._path, self._shapes = path, dict(shapes)
        self._temporary = stand_in(path)
        fields = [("path", self._arrow.string())]
        for name, shape in shapes.items():
            fields.append((name, self._arrow.list_(self._arrow.float32(), int(np.prod(shape)))))
        metadata = {"shapes": json.dumps({name: list(shape) for name, shape in shapes.items()})}
        self._schema = self._arrow.schema(fields, metadata=metadata)
        self._writer = self._parquet.ParquetWriter(self._temporary, self._schema, compression="zstd")
        self._waiting: list[tuple[Sequence[str], Arrays]] = []
        self._waiting_bytes = 0

    def append(self, paths: Sequence[str], arrays: Arrays) -> None:
        self._waiting.append((paths, arrays))
        self._waiting_bytes += sum(array.nbytes for array in arrays.values())
        if self._waiting_bytes > _PARQUET_GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if not self._waiting:
            return
        columns = [self._arrow.array([path for paths, _ in self._waiting for path in paths], self._arrow.string())]
        for name, shape in self._shapes.items():
            values = np.concatenate([arrays[name].reshape(len(paths), -1) for paths, arrays in self._waiting])
            columns.append(self._arrow.FixedSizeListArray.from_arrays(values.reshape(-1), int(np.prod(shape))))
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))
        self._waiting, self._waiting_bytes = [], 0

    def finish(self, provenance: Mapping[str, Any]) -> None:
        self._write_group()
        self._writer.add_key_value_metadata({PROVENANCE: json.dumps(provenance)})
        self._writer.close()
        put_in_place(self._temporary, self._path)

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # closing writes the end of the file
            self._writer.close()
        clear_away(self._temporary)


FeatureWriter = _Npz | _Hdf5 | _Parquet
_WRITERS: dict[str, type[FeatureWriter]] = {".npz": _Npz, ".h5": _Hdf5, ".parquet": _Parquet}


def _need(package: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        raise ConfigError(
            f"--out {path}: writing {path.suffix} needs the package {package.partition('.')[0]}. Install it: "
            "pip install 'alexnet[export]', or choose a file that ends in .npz."
        ) from None
