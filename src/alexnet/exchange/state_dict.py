"""Reading PyTorch state dicts (.pth, .safetensors) from strangers: as data, in bounded memory, executing nothing.

A .pth file is a pickle, and a pickle is a program. Before PyTorch's restricted reader sees one, every name it would
import is compared with the few that tensors need, and every length it claims with the size of the file. That reader
alone is not enough: of an older .pth of 4 KB that claims 2**31 numbers, it allocates 8 GB before it looks for them.
"""

import io
import math
import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from alexnet.errors import WeightsError

MAX_BYTES = 4 * 2**30
"""Larger files are refused; the largest AlexNet known (4 GPUs, 10,184 classes) has a ninth of it."""
MAX_PICKLE_BYTES = 16 * 2**20
"""Pickles larger than this are refused: that of a state dict takes a few kilobytes."""

_TENSOR_NAMES = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections Counter",
    "torch BFloat16Storage",
    "torch BoolStorage",
    "torch ByteStorage",
    "torch CharStorage",
    "torch DoubleStorage",
    "torch FloatStorage",
    "torch HalfStorage",
    "torch IntStorage",
    "torch LongStorage",
    "torch ShortStorage",
    "torch Size",
}
"""Everything that the pickle of a state dict, and of what training programs keep beside one, may import."""
_NESTS = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "weights", "params")
"""Entries in which training programs keep the state dict, beside epoch, optimizer and best accuracy."""
_CHUNK_BYTES = 2**20


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict by name, on the CPU, as they are: shapes and values are not checked yet.

    Raises:
        WeightsError: the file is missing, too large, damaged, no state dict, or its pickle would import anything else.
    """
    check_size(path)
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"PK\x03\x04"):
        _check_archive(path)
    elif start.startswith(b"\x80"):
        _check_stream(path)
    elif len(start) == 9 and start[8:] == b"{":
        return _read_safetensors(path)
    else:
        raise WeightsError(
            f"{path}: is no weight file that alexnet reads. Accepted: its own model files, .safetensors, .pth with a "
            "state dict, .caffemodel."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning that the encoding is not used, though it is
            # Strings of Python 2 are bytes: every byte is a letter of Latin-1, and names of layers are ASCII.
            loaded = torch.load(path, map_location="cpu", weights_only=True, encoding="latin-1")
    except Exception as problem:  # a damaged file makes the reader fail in any of a dozen ways
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise WeightsError(f"{path}: is damaged or no state dict ({reason}). Obtain it again.") from None
    return _find_tensors(path, loaded)


def check_size(path: Path) -> None:
    """Raise WeightsError for what is not a file, is empty, or is larger than any AlexNet."""
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file.")
    size = path.stat().st_size
    if size == 0:
        raise WeightsError(f"{path}: is empty. Obtain it again.")
    if size > MAX_BYTES:
        raise WeightsError(
            f"{path}: has {size:,} bytes; weight files of up to {MAX_BYTES:,} are read. It is not an AlexNet."
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as problem:
        raise WeightsError(
            f"{path}: is damaged or not a safetensors file ({problem}). Obtain it again, or use another one."
        ) from None


def _check_archive(path: Path) -> None:
    """Check a .pth of PyTorch 1.6 and later: a zip archive whose entries are stored as they are."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
            claimed = sum(entry.file_size for entry in entries)
            pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
            if packed or claimed > size:
                what = f"its entry {packed[0]} is compressed" if packed else f"its entries claim {claimed:,} bytes"
                raise WeightsError(f"{path}: has {size:,} bytes, and {what}, which PyTorch never writes. Not read.")
            if len(pickles) != 1:
                raise WeightsError(f"{path}: is a zip archive, but not one that torch.save wrote. Not read.")
            if pickles[0].file_size > MAX_PICKLE_BYTES:
                raise WeightsError(f"{path}: its pickle has {pickles[0].file_size:,} bytes; a state dict needs a few "
                                   "thousand. Not read.")  # fmt: skip
            for entry in entries:
                if entry.CRC == 0:  # torch.serialization.set_crc32_options(False) leaves it out
                    entry.CRC = None  # type: ignore[assignment]
                with archive.open(entry) as stream:  # PyTorch does not compare checksums; this reader does
                    while stream.read(_CHUNK_BYTES):
                        pass
            program = archive.read(pickles[0])
    except WeightsError:
        raise
    except Exception as problem:  # a damaged directory makes zipfile fail in any of a dozen ways
        raise WeightsError(f"{path}: is damaged or no state dict ({problem}). Obtain it again.") from None
    _check_pickle(path, io.BytesIO(program), size)


def _check_stream(path: Path) -> None:
    """Check a .pth of earlier versions: five pickles, then the numbers."""
    with path.open("rb") as file:
        program = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    for _ in range(5):
        _check_pickle(path, program, path.stat().st_size)


def _check_pickle(path: Path, program: BinaryIO, file_bytes: int) -> None:
    """Walk through a pickle without running it.

    Raises:
        WeightsError: it imports what a state dict does not need, or claims more numbers than the file has bytes.
    """
    claimed: dict[Any, int] = {}
    number = 0
    words: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(program):
            name = opcode.name
            if name == "GLOBAL":
                _check_name(path, str(argument))
            elif name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER"):
                _check_name(path, " ".join(words[-2:]) if name == "STACK_GLOBAL" else f"opcode {name}")
            elif isinstance(argument, int) and name not in ("PROTO", "MEMOIZE") and not name.endswith(("PUT", "GET")):
                number = argument
            elif isinstance(argument, str):
                words = [*words[-2:], argument]
            elif name == "BINPERSID":  # a tensor's numbers: type, key, place, count
                claimed[words[-2] if len(words) > 1 else ""] = number
    except WeightsError:
        raise
    except (ValueError, EOFError, IndexError, OverflowError) as problem:
        raise WeightsError(f"{path}: is damaged or no state dict ({problem}). Obtain it again.") from None
    if sum(claimed.values()) > file_bytes or min(claimed.values(), default=0) < 0:
        raise WeightsError(
            f"{path}: has {file_bytes:,} bytes, but claims {sum(claimed.values()):,} numbers. It is truncated or "
            "forged; obtain it again."
        )


def _check_name(path: Path, name: str) -> None:
    if name not in _TENSOR_NAMES:
        raise WeightsError(
            f"{path}: its pickle would import {name.replace(' ', '.')}, which no state dict needs; nothing was run. If "
            "you trust its author, load it there and save the weights alone: torch.save(model.state_dict(), path)."
        )


def _find_tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    """Return the state dict inside what was loaded: itself, or the entry of it that training programs use.

    What lies beside that entry, such as the best accuracy as a tensor, is no weight.
    """
    while isinstance(loaded, dict) and not _holds_weights(loaded):
        inner = next((loaded[name] for name in _NESTS if isinstance(loaded.get(name), dict)), None)
        if inner is None:
            break
        loaded = inner
    named = loaded.items() if isinstance(loaded, dict) else ()
    tensors = {str(name): value.detach() for name, value in named if isinstance(value, Tensor)}
    if tensors:
        return tensors
    others = [str(name) for name, value in named if isinstance(value, dict) and _holds_weights(value)]
    if others:
        raise WeightsError(
            f"{path}: keeps weights under {', '.join(others)}; read are those under {', '.join(_NESTS)}, or at the "
            f"top. Save them alone: torch.save(torch.load({path.name!r})[{others[0]!r}], path)."
        )
    raise WeightsError(f"{path}: holds no tensors by name. Save them with torch.save(model.state_dict(), path).")


def _holds_weights(values: dict[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) and str(name).endswith(".weight") for name, value in values.items())


def holds_what_it_claims(tensor: Tensor) -> bool:
    """Whether a tensor's shape is no larger than its storage: an expanded one could stand for terabytes."""
    return math.prod(tensor.shape) * tensor.element_size() <= tensor.untyped_storage().nbytes()
