"""Binary codes of an index: an encoder, the codes of every part, and their place in the header."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from alexnet.errors import ConfigError, SearchError, WeightsError
from alexnet.files.record import record_file
from alexnet.files.tensors import read_document, read_tensors, write_tensors
from alexnet.files.writing import save_array
from alexnet.retrieval.codes.hamming import Codes, pack
from alexnet.retrieval.exact import Features
from alexnet.retrieval.index.changes import commit
from alexnet.retrieval.index.format import load_array
from alexnet.retrieval.index.reader import Index
from alexnet.text.commands import command
from alexnet.text.progress import Tick, untold

ENCODER_FORMAT = 2
_CHUNK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Encoder:
    """From features to bits: affine layers with rectifiers between them; a bit says whether its sum is above 0."""

    method: str
    """"autoencoder", "random", "pca" or "itq"."""
    mean: Tensor
    """(D,) float32, subtracted first."""
    weights: tuple[Tensor, ...]
    """(out, in) each."""
    biases: tuple[Tensor, ...]
    """(out,) each."""

    @property
    def bits(self) -> int:
        """Length of its codes."""
        return len(self.biases[-1])

    def sums(self, features: Tensor) -> Tensor:
        """Return the sums (N, bits) whose signs are the bits."""
        x = features - self.mean
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = F.linear(x if number == 0 else x.relu(), weight, bias)
        return x

    def encode(self, features: Features, *, tick: Tick = untold) -> Codes:
        """Return the codes of features (N, D), in blocks."""
        codes = np.empty((len(features), self.bits // 8), np.uint8)
        with torch.inference_mode():
            for start in range(0, len(features), _CHUNK_ROWS):
                block = torch.from_numpy(np.array(features[start : start + _CHUNK_ROWS], np.float32))
                codes[start : start + _CHUNK_ROWS] = pack((self.sums(block) > 0).numpy())
                tick(start + len(block), len(features))
        return codes


def save_encoder(path: Path, encoder: Encoder, index: Index) -> None:
    """Write an encoder as safetensors; it appears whole or not at all."""
    tensors = {"mean": encoder.mean}
    for number, (weight, bias) in enumerate(zip(encoder.weights, encoder.biases, strict=True)):
        tensors |= {f"weight.{number}": weight, f"bias.{number}": bias}
    document = {
        "kind": "encoder",
        "format": ENCODER_FORMAT,
        "method": encoder.method,
        "layers": len(encoder.weights),
        "layer": index.layer,
        "weights_sha256": index.header["model"]["weights_sha256"],
    }
    write_tensors(path, tensors, document)


def load_encoder(folder: Path, bits: str, entry: dict[str, Any], *, dimensions: int) -> Encoder:
    """Read the encoder of an index's codes of one length, whose entry in the header is given.

    Raises:
        WeightsError: the file is missing, damaged, or its parts do not fit together.
    """
    path = folder / entry["encoder"]["file"]
    document = read_document(path, kinds=("encoder",), newest_format=ENCODER_FORMAT)
    tensors = read_tensors(path)
    try:
        count = int(document["layers"])
        weights = tuple(tensors[f"weight.{number}"] for number in range(count))
        biases = tuple(tensors[f"bias.{number}"] for number in range(count))
        encoder = Encoder(str(document["method"]), tensors["mean"], weights, biases)
        widths = [dimensions, *(len(bias) for bias in biases)]
        shapes = [tuple(weight.shape) for weight in weights]
        fits = shapes == list(zip(widths[1:], widths[:-1], strict=True)) and tuple(encoder.mean.shape) == (dimensions,)
    except (KeyError, TypeError, ValueError, IndexError):
        fits = False
    if not fits or not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise WeightsError(f"{path}: its parts do not fit together. {_make_again(folder, bits, entry)}")
    return encoder


def write_codes(index: Index, encoder: Encoder, *, tick: Tick = untold) -> dict[str, Any]:
    """Encode every part and name the codes in the header, in place of others of their length; return the new header.

    The caller holds the index's lock (`changes.sole_writer`).
    """
    key = str(encoder.bits)
    before = index.header["codes"].get(key)
    version = 0 if before is None else int(before["version"]) + 1
    name = f"codes-{key}-v{version}"
    save_encoder(index.path / f"{name}.safetensors", encoder, index)
    entry: dict[str, Any] = {
        "method": encoder.method,
        "version": version,
        "encoder": record_file(index.path, f"{name}.safetensors"),
        "parts": {},
    }
    done = 0
    for part, features in zip(index.parts, index.features, strict=True):

        def progress(rows: int, _: int, start: int = done) -> None:
            tick(start + rows, index.num_rows)

        entry["parts"][part["name"]] = _write_part(index.path, part["name"], name, encoder, features, progress)
        done += part["rows"]
    return commit(index.path, {**index.header, "codes": {**index.header["codes"], key: entry}})


def encode_part(folder: Path, header: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return the header with the codes of a new part, for each length that the index has codes of."""
    if not header["codes"]:
        return header
    dimensions, dtype = header["features"]["dimensions"], header["features"]["dtype"]
    features = load_array(folder, part["features"], (part["rows"], dimensions), dtype, mapped=True)
    codes = {}
    for key, entry in header["codes"].items():
        encoder = load_encoder(folder, key, entry, dimensions=dimensions)
        name = f"codes-{key}-v{entry['version']}"
        record = _write_part(folder, part["name"], name, encoder, features, untold)
        codes[key] = {**entry, "parts": {**entry["parts"], part["name"]: record}}
    return {**header, "codes": codes}


def load_codes(index: Index, bits: int | None) -> tuple[Encoder, Codes]:
    """Return the encoder and the codes (N, bits / 8) of all rows; the longest codes where `bits` is None.

    Raises:
        ConfigError: the index has no such codes.
        SearchError: their files are damaged.
    """
    known = index.header["codes"]
    if not known or (bits is not None and str(bits) not in known):
        has = f"It has codes of {', '.join(sorted(known, key=int))} bits." if known else "It has none."
        raise ConfigError(
            f"{index.path} has no codes{f' of {bits} bits' if bits else ''}. {has} Make them: "
            f"{command('search', 'codes', index.path, bits=bits or 128)}"
        )
    key = str(bits) if bits is not None else max(known, key=int)
    entry = known[key]
    encoder = load_encoder(index.path, key, entry, dimensions=index.dimensions)
    width = encoder.bits // 8
    try:
        parts = [
            load_array(index.path, entry["parts"][part["name"]], (part["rows"], width), np.uint8)
            for part in index.parts
        ]
    except KeyError as part_name:
        raise SearchError(
            f"{index.path}: part {part_name} has no codes of {key} bits. {_make_again(index.path, key, entry)}"
        ) from None
    return encoder, np.concatenate([np.zeros((0, width), np.uint8), *parts])


def _make_again(folder: Path, bits: str, entry: dict[str, Any]) -> str:
    return f"Make the codes again: {command('search', 'codes', folder, bits=bits, method=entry.get('method'))}"


def _write_part(
    folder: Path, part: str, name: str, encoder: Encoder, features: NDArray[Any], tick: Tick
) -> dict[str, Any]:
    file = f"{part}/{name}.npy"
    save_array(folder / file, encoder.encode(features, tick=tick))
    return record_file(folder, file)
