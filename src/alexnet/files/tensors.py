"""Safetensors files that appear whole or not at all, with JSON in their header.

Model files and checkpoints are both this. Never pickle: a file from a stranger is data. PyTorch is imported where
tensors are, so that headers are read at once.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors

from alexnet.errors import WeightsError
from alexnet.files.documents import find_misfit, parse_json
from alexnet.files.kinds import SAFETENSORS, FileKind, recognize
from alexnet.files.record import header_checksum, new_checksum
from alexnet.files.writing import clear_away, new_file_mode, stand_in, whole_file

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "alexnet"
"""The one entry of the safetensors header: a JSON document with `kind`, `format` and what the writer adds."""
_TENSORS, _CHECKSUM = "tensors", "checksum"
"""Fields of the document that are written and checked here: a record of each tensor, and the document's own checksum.
XXH3 of 245 MB takes 3 % of the time of loading them, so they are compared whenever they are read."""
_FIRST_CHECKED = 2
"""Documents of every kind have checksums since this format of theirs."""
_BEGINNING_BYTES = 100
_MARKS = (b'"alexnet":', rb"{\"kind\": \"")
"""Beginnings of a file, of which one survives when a byte is damaged."""


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", document: dict[str, Any]) -> None:
    """Write to a temporary name, flush, and rename.

    Args:
        tensors: Stored in the C order of their logical shape.
        document: JSON values, not named `tensors` or `checksum`; must hold `kind` and `format`.
    Raises:
        OSError: the disk is full or the folder not writable; it names this file, and nothing is left behind.
    """
    import safetensors.torch

    data = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = json.loads(json.dumps(document)) | {_TENSORS: {name: _record_tensor(data[name]) for name in sorted(data)}}
    header[_CHECKSUM] = header_checksum(header)
    with whole_file(path) as temporary:
        folder = stand_in(temporary)  # safetensors writes under a random name beside its file, and may be killed
        clear_away(folder)
        try:
            folder.mkdir()
            written = folder / path.name
            safetensors.torch.save_file(data, written, metadata={_KEY: json.dumps(header)})
            written.chmod(new_file_mode())  # safetensors makes files that only their owner may read
            written.replace(temporary)
        except safetensors.SafetensorError as problem:
            reason = str(problem).partition(" at path ")[0]  # what follows is a temporary name
            if os.name == "posix" and (number := re.search(r"\(os error (\d+)\)", reason)):
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
            raise OSError(f"{path}: cannot be written: {reason}") from None
        finally:
            clear_away(folder)


def is_own(path: Path) -> bool:
    """Whether alexnet wrote a file of tensors, damaged or not, as far as its beginning says."""
    try:
        with path.open("rb") as file:
            start = file.read(_BEGINNING_BYTES)
    except OSError:
        return False
    return any(mark in start for mark in _MARKS)


def read_document(path: Path, *, kinds: tuple[str, ...], newest_format: int) -> dict[str, Any]:
    """Return the JSON document of a file, without reading its tensors.

    Raises:
        WeightsError: the file is missing, damaged, of another kind, or newer than this version reads.
    """
    document, _ = _read(path, with_tensors=False)
    held = document.get("kind")
    if held not in kinds:
        raise WeightsError(f"{path}: holds a {held or 'document without a kind'}, not a {' or '.join(kinds)}.")
    if not isinstance(document.get("format"), int) or document["format"] > newest_format:
        raise WeightsError(
            f"{path}: has {held} format {document.get('format')!r:.40}; this version reads up to {newest_format}. "
            "Update alexnet."
        )
    return {name: value for name, value in document.items() if name not in (_TENSORS, _CHECKSUM)}


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Return all tensors of a file, on the CPU; every byte has been compared with its checksum.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    document, tensors = _read(path, with_tensors=True)
    recorded = document.get(_TENSORS)
    if recorded is not None:  # format 1 had no checksums
        for name in sorted({*recorded, *tensors}):
            if name not in tensors or recorded.get(name) != _record_tensor(tensors[name]):
                raise _damaged(path, f"its tensor {name} is not as it was written")
    return tensors


def _read(path: Path, *, with_tensors: bool) -> "tuple[dict[str, Any], dict[str, Tensor]]":
    """Return the document, checked against its own checksum, and the tensors if asked, not checked yet."""
    try:
        with safetensors.safe_open(path, framework="pt" if with_tensors else "np") as file:
            text = (file.metadata() or {}).get(_KEY)
            document = None if text is None else parse_json(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()} if with_tensors else {}  # noqa: SIM118
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file.") from None
    except (OSError, safetensors.SafetensorError, ValueError) as problem:
        if is_own(path):
            raise _damaged(path, str(problem)) from None
        kind = recognize(path)
        if kind is not None and not kind.is_damaged and kind is not SAFETENSORS:
            raise _foreign(path, kind) from None
        raise WeightsError(
            f"{path}: is damaged or not a safetensors file ({problem}). Obtain it again, or use another one."
        ) from None
    if document is None and not is_own(path):
        raise _foreign(path, SAFETENSORS)
    if not isinstance(document, dict):
        raise _damaged(path, "its header lacks what alexnet writes there")
    recorded, version = document.get(_CHECKSUM), document.get("format")
    is_older = recorded is None and isinstance(version, int) and version < _FIRST_CHECKED
    if not is_older and recorded != header_checksum(document):
        raise _damaged(path, "its header does not agree with its own checksum")
    if find_misfit(document, {f"{_TENSORS}?": {"*": {}}}) is not None:
        raise _damaged(path, "its header does not describe its tensors")
    return document, tensors


def _record_tensor(tensor: "Tensor") -> dict[str, Any]:
    """Return what the header says of a tensor: what it is made of, and the checksum of its bytes."""
    import torch

    checksum = new_checksum(tensor.reshape(-1).view(torch.uint8).numpy().data)
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"dtype": dtype, "shape": list(tensor.shape), "xxh3": checksum.hexdigest()}


def _damaged(path: Path, how: str) -> WeightsError:
    return WeightsError(f"{path}: is damaged ({how}). Obtain it again, or use another one.")


def _foreign(path: Path, kind: FileKind) -> WeightsError:
    return WeightsError(f"{path}: is {kind.what}, not a model of alexnet. {kind.advise(path)}")


def copy_into(
    path: Path, targets: "Mapping[str, Tensor]", sources: "Mapping[str, Tensor]", *, called: str = ""
) -> None:
    """Copy tensors into the targets of the same names.

    Args:
        called: What comes before the names in the file, for messages.

    Raises:
        WeightsError: one is missing, has another shape, or holds values that are not finite.
    """
    import torch

    with torch.no_grad():
        for name, target in targets.items():
            source = sources.get(name)
            if source is None:
                raise WeightsError(f"{path}: lacks the tensor {called + name}; it belongs to another network.")
            if source.shape != target.shape:
                raise WeightsError(
                    f"{path}: tensor {called + name} has shape {tuple(source.shape)}, this network needs "
                    f"{tuple(target.shape)}; it belongs to another network."
                )
            if not is_finite(source):
                raise WeightsError(f"{path}: tensor {called + name} holds values that are not finite.")
            target.copy_(source)


def is_finite(values: "Tensor") -> bool:
    """Whether no value is infinite or NaN.

    NaN is both extremes of what holds it, so one pass without a copy is enough: an eighth of the time of
    `torch.isfinite(values).all()`.
    """
    import torch

    return values.numel() == 0 or all(map(math.isfinite, map(float, torch.aminmax(values.detach()))))
