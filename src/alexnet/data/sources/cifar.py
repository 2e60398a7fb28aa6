"""CIFAR-10 and CIFAR-100 as they are distributed: batches for Python or in binary, packed or unpacked.

The Python batches are pickles. They are read by an unpickler that knows the few names an array of numbers needs and
refuses every other, so a file from a stranger can run nothing.
"""

import functools
import io
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.sources.archives import is_archive, open_archive
from alexnet.data.sources.arrays import ArrayFiles
from alexnet.data.sources.listing import collect
from alexnet.data.sources.source import Options, Record, Source
from alexnet.data.store.format import TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.text.wording import counted

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Names of the labels, where the batches come without batches.meta."""

_BATCH = re.compile(
    r"(?P<train>data_batch_\d|train)(?P<train_binary>\.bin)?|(?P<val>test_batch|test)(?P<val_binary>\.bin)?"
)
_META = ("batches.meta", "meta", "batches.meta.txt", "fine_label_names.txt")
_PIXELS = 3 * 32 * 32


def is_cifar(root: Path) -> bool:
    """Whether root is an archive or folder with batches of CIFAR."""
    names = {name.rsplit("/", 1)[-1] for name in _list_members(root)}
    return (
        bool(names & {"data_batch_1", "data_batch_1.bin"})
        or {"train", "test", "meta"} <= names
        or ({"train.bin", "test.bin"} <= names)
    )


def find_cifar(root: Path, options: Options) -> Source:
    """The images of CIFAR-10 or CIFAR-100 (its 100 fine classes); the test images serve as validation."""
    members = {name.rsplit("/", 1)[-1]: read for name, read in _list_members(root).items()}
    names = _read_names(root, members)
    arrays, paths, records = {}, {}, []
    for name in sorted(members):
        found = _BATCH.fullmatch(name)
        if found is None:
            continue
        binary = found["train_binary"] or found["val_binary"]
        pixels, labels, files = (_parse_binary if binary else _parse_pickle)(f"{root}: {name}", members[name]())
        names = names or (CIFAR10 if labels.max() < 10 else tuple(map(str, range(100))))
        if labels.min() < 0 or labels.max() >= len(names):
            raise SourceError(
                f"{root}: {name} has labels up to {labels.max()}, with {counted(len(names), 'class', 'classes')}."
            )
        arrays[name] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        paths[name] = [f"{name}/{file}" for file in files]
        split = TRAIN if found["train"] else VAL
        records += [Record(path, names[label], split) for path, label in zip(paths[name], labels, strict=True)]
    return collect(root, "cifar", ArrayFiles(arrays, paths), records, options, class_names=names)


def _list_members(root: Path) -> dict[str, Callable[[], bytes]]:
    """Name -> how to read it, of the files in a folder or an archive that is small enough for CIFAR."""
    if root.is_dir():
        return {path.name: path.read_bytes for path in root.iterdir() if path.is_file()}
    # Listing a compressed tar means decompressing it: only one named like CIFAR is looked into.
    if not (root.is_file() and root.name.lower().startswith("cifar") and is_archive(root)):
        return {}
    archive = open_archive(root)
    return {name: functools.partial(archive.read, name) for name in archive.names()}


def _read_names(root: Path, members: Mapping[str, Callable[[], bytes]]) -> tuple[str, ...]:
    found = next((name for name in _META if name in members), None)
    if found is None:
        return ()
    if found.endswith(".txt"):
        return tuple(members[found]().decode("ascii", "replace").split())
    meta = _unpickle(f"{root}: {found}", members[found]())
    names = meta.get("label_names", meta.get("fine_label_names"))
    if not isinstance(names, list):
        raise SourceError(f"{root}: {found} does not name the classes. Copy it again from where it came.")
    return tuple(_text(name) for name in names)


def _parse_binary(name: str, data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    num_labels = 2 if len(data) % (2 + _PIXELS) == 0 and name.endswith(("train.bin", "test.bin")) else 1
    if not data or len(data) % (num_labels + _PIXELS):
        raise SourceError(
            f"{name} has {len(data):,} bytes, no whole number of images. Copy it again from where it came."
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, num_labels + _PIXELS)
    labels = rows[:, num_labels - 1].astype(np.int64)  # CIFAR-100: coarse label, then fine label
    return rows[:, num_labels:], labels, [f"{index:05d}" for index in range(len(rows))]


def _parse_pickle(name: str, data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    batch = _unpickle(name, data)
    pixels, labels = batch.get("data"), batch.get("labels", batch.get("fine_labels"))
    if (
        not isinstance(pixels, np.ndarray)
        or (pixels.dtype, pixels.shape[1:]) != (np.uint8, (_PIXELS,))
        or not isinstance(labels, list)
        or len(labels) != len(pixels)
    ):
        raise SourceError(
            f"{name} does not hold images of 32 x 32 with a label each. Copy it again from where it came."
        )
    files = [_text(file) for file in batch.get("filenames", [])]
    if len(set(files)) != len(pixels):
        files = [f"{index:05d}" for index in range(len(pixels))]
    return pixels, np.array(labels, np.int64), files


class _ArraysOnly(pickle.Unpickler):
    """Rebuilds arrays of numbers out of dicts, lists, strings and numbers; any other name is refused."""

    _ALLOWED = frozenset(
        {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
        | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside")


def _unpickle(name: str, data: bytes) -> dict[str, Any]:
    try:
        value = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        # A damaged or hostile stream raises nearly anything; whatever it is, nothing was run and the file is no batch.
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"{name} is not a batch of CIFAR ({text}). Copy it again from where it came.") from None
    if not isinstance(value, dict):
        raise SourceError(f"{name} is not a batch of CIFAR (it holds no table). Copy it again from where it came.")
    return {_text(key): item for key, item in value.items()}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
