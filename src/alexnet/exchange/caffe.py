"""Reading Caffe's .caffemodel and mean files without Caffe.

A minimal schema for the protobuf library: the fields that hold weights, in the three generations of layer messages
(BVLC/caffe, src/caffe/proto/caffe.proto). All others are passed over. Numbers are declared as bytes, which they are on
the wire, so that 60 million of them become one array instead of 60 million objects.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError, WeightsError
from alexnet.exchange.state_dict import check_size

Array = NDArray[np.float32]

_V1_TYPES = {4: "Convolution", 6: "Dropout", 14: "InnerProduct", 15: "LRN", 17: "Pooling", 18: "ReLU"}
_V0_TYPES = {
    "conv": "Convolution",
    "dropout": "Dropout",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "pool": "Pooling",
    "relu": "ReLU",
}
"""What the two older generations call the layer types of the newest."""

_SCHEMA = {
    "BlobShape": "dim 1 int64*",
    "Blob": "num 1 int64, channels 2 int64, height 3 int64, width 4 int64, data 5 bytes*, shape 7 BlobShape, "
    "double_data 8 bytes*",
    "Normalization": "local_size 1 int64, alpha 2 float, beta 3 float, k 5 float",
    "Layer": "name 1 bytes, type 2 bytes, blobs 7 Blob*, lrn_param 118 Normalization",
    "V0Layer": "name 1 bytes, type 2 bytes, blobs 50 Blob*",
    "V1Layer": "layer 1 V0Layer, name 4 bytes, type 5 int64, blobs 6 Blob*, lrn_param 18 Normalization",
    "Net": "name 1 bytes, layers 2 V1Layer*, layer 100 Layer*",
}
"""Message -> its fields: name, number and type; * stands for one that is repeated."""


@dataclass(frozen=True, slots=True)
class CaffeLayer:
    """A layer of a Caffe network."""

    name: str
    type: str
    """Type in the words of the newest generation."""
    blobs: tuple[Array, ...]
    """Weights, then biases."""
    normalization: tuple[int, float, float, float] | None = None
    """local_size, alpha, beta and k of an LRN layer, where the file says."""


def read_caffemodel(path: Path) -> list[CaffeLayer]:
    """Return the layers of a .caffemodel in order, of any generation.

    Raises:
        WeightsError: the file is missing, damaged, no .caffemodel, or its shapes and numbers do not agree.
        ConfigError: the protobuf library is not installed.
    """
    net = _parse(path, "Net")
    result = []
    for layer in [*net.layers, *net.layer]:
        if layer.DESCRIPTOR.name == "V1Layer" and layer.HasField("layer"):
            layer = layer.layer
            kind = _V0_TYPES.get(_text(layer.type), _text(layer.type))
        elif layer.DESCRIPTOR.name == "V1Layer":
            kind = _V1_TYPES.get(layer.type, f"type {layer.type}")
        else:
            kind = _text(layer.type)
        name = _text(layer.name)
        blobs = tuple(_array(blob, path, name) for blob in layer.blobs)
        result.append(CaffeLayer(name, kind, blobs, _normalization(layer)))
    if not any(layer.blobs for layer in result):
        raise WeightsError(f"{path}: holds no layers with weights. Is it a .caffemodel, not a .prototxt?")
    return result


def read_mean_file(path: Path) -> Array:
    """Return a Caffe mean file (.binaryproto) as an image (S, S, 3) in RGB order.

    Raises:
        WeightsError: the file is missing, damaged, or not of shape 1 x 3 x S x S.
        ConfigError: the protobuf library is not installed.
    """
    mean = _array(_parse(path, "Blob"), path, "mean")
    mean = mean.reshape(mean.shape[-3:]) if mean.ndim == 4 and mean.shape[0] == 1 else mean
    if mean.ndim != 3 or mean.shape[0] != 3 or mean.shape[1] != mean.shape[2]:
        raise WeightsError(f"{path}: has shape {mean.shape}; a mean image is 1 x 3 x S x S.")
    if not np.isfinite(mean).all():
        raise WeightsError(f"{path}: holds values that are not finite.")
    return np.ascontiguousarray(mean[::-1].transpose(1, 2, 0))


def _parse(path: Path, message: str) -> Any:
    check_size(path)
    parsed = _messages()[message]()
    try:
        parsed.ParseFromString(path.read_bytes())
    except Exception as problem:  # DecodeError, which versions of protobuf keep in different modules
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise WeightsError(f"{path}: is damaged or not a Caffe file ({reason}). Obtain it again.") from None
    return parsed


def _array(blob: Any, path: Path, name: str) -> Array:
    shape = tuple(int(side) for side in blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    single, double = b"".join(blob.data), b"".join(blob.double_data)
    size = 4 if single or not double else 8
    count = 1
    for side in shape:  # exact integers: a claim of 2**70 stays one, and is refused
        count *= int(side)
    if len(single or double) != count * size or min(shape) < 0:
        raise WeightsError(
            f"{path}: layer {name} claims the shape {' x '.join(map(str, shape))}, which takes {count * size:,} bytes, "
            f"and holds {len(single or double):,}. It is truncated or forged; obtain it again."
        )
    return np.frombuffer(single or double, "<f4" if size == 4 else "<f8").astype(np.float32).reshape(shape)


def _normalization(layer: Any) -> tuple[int, float, float, float] | None:
    if layer.DESCRIPTOR.name == "V0Layer" or not layer.HasField("lrn_param"):
        return None
    given, defaults = layer.lrn_param, {"local_size": 5, "alpha": 1.0, "beta": 0.75, "k": 1.0}
    values = {name: getattr(given, name) if given.HasField(name) else value for name, value in defaults.items()}
    return int(values["local_size"]), float(values["alpha"]), float(values["beta"]), float(values["k"])


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")


@functools.cache
def _messages() -> dict[str, Any]:
    """Build the message classes from the schema."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise ConfigError(
            "reading Caffe's files needs the package protobuf. Install it: pip install 'alexnet[export]'."
        ) from None
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {"int64": kinds.TYPE_INT64, "bytes": kinds.TYPE_BYTES, "float": kinds.TYPE_FLOAT}
    file = descriptor_pb2.FileDescriptorProto(name="alexnet_caffe.proto", package="alexnet_caffe", syntax="proto2")
    for message, fields in _SCHEMA.items():
        described = file.message_type.add(name=message)
        for name, number, kind in map(str.split, fields.split(", ")):
            label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            added = described.field.add(name=name, number=int(number), label=label)
            if kind in scalars:
                added.type = scalars[kind]
            else:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".alexnet_caffe.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"alexnet_caffe.{name}")) for name in _SCHEMA
    }
