"""Safetensors files that appear whole or not at all, with JSON in their header.

Model files and checkpoints are both this. Never pickle: a file from a stranger is data.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from alexnet.errors import WeightsError
from alexnet.file_kinds import SAFETENSORS, FileKind, recognise
from alexnet.files import new_file_mode, sync_folder

_KEY = "alexnet"
"""The one entry of the safetensors header: a JSON document with `kind`, `format` and what the writer adds."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], document: dict[str, Any]) -> None:
    """Write to a temporary name, flush to the disk, and rename.

    Args:
        tensors: Stored in the C order of their logical shape.
        document: JSON values; must hold `kind` and `format`.
    Raises:
        OSError: the disk is full or the folder not writable; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.writing")
    data = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        safetensors.torch.save_file(data, temporary, metadata={_KEY: json.dumps(document)})
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(new_file_mode())  # safetensors makes files that only their owner may read
        temporary.replace(path)
    except BaseException as problem:
        temporary.unlink(missing_ok=True)
        if isinstance(problem, safetensors.SafetensorError):
            reason = str(problem).partition(" at path ")[0]  # what follows is a temporary name
            raise OSError(f"{path}: cannot be written: {reason}") from None
        raise
    sync_folder(path.parent)


def is_own(path: Path) -> bool:
    """Whether a file is a safetensors file that alexnet wrote, as far as its header says."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        return False


def read_document(path: Path, *, kinds: tuple[str, ...], newest_format: int) -> dict[str, Any]:
    """Return the JSON document of a file, without reading its tensors.

    Raises:
        WeightsError: the file is missing, damaged, of another kind, or newer than this version reads.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        document = json.loads(metadata[_KEY])
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file.") from None
    except (OSError, safetensors.SafetensorError, json.JSONDecodeError) as problem:
        kind = recognise(path)
        if kind is not None and kind.name != "safetensors":
            raise _foreign(path, kind) from None
        raise WeightsError(
            f"{path}: is damaged or not a safetensors file ({problem}). Obtain it again, or use another one."
        ) from None
    except KeyError:
        raise _foreign(path, SAFETENSORS) from None
    held = document.get("kind") if isinstance(document, dict) else None
    if held not in kinds:
        raise WeightsError(f"{path}: holds a {held or 'document without a kind'}, not a {' or '.join(kinds)}.")
    if not isinstance(document.get("format"), int) or document["format"] > newest_format:
        raise WeightsError(
            f"{path}: has {held} format {document.get('format')}; this version reads up to {newest_format}. "
            "Update alexnet."
        )
    result: dict[str, Any] = document
    return result


def _foreign(path: Path, kind: FileKind) -> WeightsError:
    return WeightsError(f"{path}: is {kind.what}, not a model of alexnet. {kind.advise(path)}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a file, on the CPU.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as problem:
        raise WeightsError(
            f"{path}: is damaged or not a safetensors file ({problem}). Obtain it again, or use another one."
        ) from None


def copy_into(path: Path, targets: Mapping[str, Tensor], sources: Mapping[str, Tensor], *, called: str = "") -> None:
    """Copy tensors into the targets of the same names.

    Args:
        called: What comes before the names in the file, for messages.

    Raises:
        WeightsError: one is missing, has another shape, or holds values that are not finite.
    """
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
            if not bool(torch.isfinite(source).all()):
                raise WeightsError(f"{path}: tensor {called + name} holds values that are not finite.")
            target.copy_(source)
