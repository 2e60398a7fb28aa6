"""What a folder holds: whether its files are whole, and whether two folders hold the same but for times."""

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from alexnet.files.tensors import read_document, read_tensors

VARYING = re.compile(r"second|waiting_share|date|started|memory|checksum|sha256|digest|xxh3|weights$")
"""Names of fields that differ from run to run: times, and checksums of what holds times."""
UNFINISHED = re.compile(r"(^|/)\.|\.partial(/|$)|\.log$|\.lock$")
"""Files that nobody reads but the program that wrote them, and logs, to which lines are added."""


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _steady(inner) for name, inner in value.items() if not VARYING.search(name)}
    return [_steady(inner) for inner in value] if isinstance(value, list) else value


def _text(data: bytes) -> str:
    text = data.decode()
    return re.sub(r"\d+([.,]\d+)*|[0-9a-f]{8,}", "0", text)


def _tensors(path: Path) -> Any:
    document = read_document(path, kinds=("model", "checkpoint", "test", "encoder"), newest_format=1000)
    return _steady(document), {name: _hash(tensor.numpy().tobytes()) for name, tensor in read_tensors(path).items()}


def _npz(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as archive:
        return {name: _hash(archive[name].tobytes()) for name in archive if name != "provenance"}


def _html(path: Path) -> str:
    data = path.read_bytes()
    if not data.rstrip().endswith(b"</html>"):
        raise ValueError("it does not end")
    return _text(re.sub(rb'src="data:[^"]*"|d="[^"]*"', b"", data))


def _png(path: Path) -> str:
    with Image.open(path) as image:
        return _hash(image.tobytes())


def _onnx(path: Path) -> str:
    import onnx

    onnx.load(path)
    return _hash(path.read_bytes())


def _h5(path: Path) -> Any:
    import h5py

    with h5py.File(path) as file:
        return {name: _hash(repr(file[name][()].tolist()).encode()) for name in file}


def _parquet(path: Path) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()


def _csv(path: Path) -> Any:
    text = path.read_text()
    if not text.endswith("\n"):
        raise ValueError("its last line does not end")
    return _steady(list(csv.DictReader(io.StringIO(text))))


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": lambda path: _steady(json.loads(path.read_bytes())),
    ".jsonl": lambda path: [_steady(json.loads(line)) for line in path.read_text().splitlines()],
    ".yaml": lambda path: yaml.safe_load(path.read_text()),
    ".csv": _csv,
    ".npy": lambda path: _hash(np.load(path, allow_pickle=False).tobytes()),
    ".npz": _npz,
    ".safetensors": _tensors,
    ".html": _html,
    ".png": _png,
    ".svg": lambda path: _html_end(path, b"</svg>"),
    ".onnx": _onnx,
    ".h5": _h5,
    ".parquet": _parquet,
    ".pth": lambda path: zipfile.ZipFile(path).testzip(),
    ".txt": lambda path: path.read_text(),
}
"""Suffix -> what a file says, without times; raises where it is not whole."""


def _html_end(path: Path, end: bytes) -> str:
    if not path.read_bytes().rstrip().endswith(end):
        raise ValueError("it does not end")
    return end.decode()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


_KNOWN: dict[tuple[str, str], str] = {}
"""What was found in files of this suffix and these bytes: most of them are the same in every case."""


def look(folder: Path) -> dict[str, str]:
    """Return for each file below a folder what it holds, without times; "broken: …" where it is not whole."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if UNFINISHED.search(name) or path.is_dir():
            continue
        key = path.suffix, _hash(path.read_bytes())
        if key not in _KNOWN:
            read = READERS.get(path.suffix, lambda path: _hash(path.read_bytes()))
            try:
                _KNOWN[key] = _hash(repr(read(path)).encode())
            except Exception as problem:
                _KNOWN[key] = f"broken: {type(problem).__name__}: {problem}"
        found[name] = _KNOWN[key]
    return found


def fingerprint(folder: Path, seen: dict[str, str]) -> str:
    """Return what tells apart two folders from which a command could go on differently; `seen` is what `look` found."""
    others = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name not in seen:
            others[name] = "" if path.is_dir() else _hash(path.read_bytes())
    return _hash(repr((seen, others)).encode())


def leftovers(folder: Path) -> list[str]:
    """Return the names of what should have gone when a command has ended well."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(name for name in names if re.search(r"\.writing(/|$)|\.partial(/|$)", name))
