"""Weights of other programs: Caffe's, and state dicts as pickles and as safetensors."""

import contextlib
import io
import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from damage.family import Bomb, Samples

NETWORK = "cifar-80sec"
"""The smallest network whose weights are read."""


def make_caffe(folder: Path) -> Samples:
    from exchange.caffe_files import NORM, blob, field, layer

    ones = np.ones((2, 3, 3, 3), np.float32)
    found = []
    for generation in (0, 1, 2):
        blobs = [blob(ones, old=generation < 2), blob(np.ones(2, np.float32), old=generation < 2)]
        found.append(field(1, b"net") + layer("conv1", "Convolution", blobs, generation=generation)
                     + layer("norm1", "LRN", generation=generation, norm=NORM))  # fmt: skip
    nested = b"x"
    for _ in range(200):
        nested = field(2, field(1, nested))
    return Samples(found, [nested, found[2] + field(100, b"\xff" * 9), blob(ones, shape=(2**62, 4, 1, 1))])


def read_caffe(path: Path) -> None:
    """Layers and their numbers; and the network, which weights of these few bytes are never."""
    from alexnet.description.describe import describe
    from alexnet.errors import AlexNetError
    from alexnet.exchange.caffe import read_caffemodel
    from alexnet.exchange.importing import open_model

    for layer in read_caffemodel(path):
        assert all(values.dtype == np.float32 for values in layer.blobs)
    with contextlib.suppress(AlexNetError):
        describe(str(path))
    with contextlib.suppress(AlexNetError):
        open_model(path)


def make_mean_file(folder: Path) -> Samples:
    from exchange.caffe_files import blob, field

    mean = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)
    double = b"".join(field(number + 1, side) for number, side in enumerate(mean.shape))
    return Samples([blob(mean, old=True), blob(mean), double + field(8, mean.astype("<f8").tobytes())])


def read_mean_file(path: Path) -> None:
    from alexnet.exchange.caffe import read_mean_file

    assert read_mean_file(path).shape[2] == 3


def make_state() -> dict[str, Any]:
    """Weights of a whole network, in half the room: most bytes of a file are not to be numbers."""
    import torch

    from alexnet.network.alexnet import build

    net = build(NETWORK, num_classes=2)
    return {
        f"features.{number}.{name}": torch.zeros(values.shape, dtype=torch.float16)
        for number, (_, layer) in enumerate(net.named_layers())
        for name, values in layer.named_parameters()
    }


def make_pickles(folder: Path) -> Samples:
    import torch

    few = {"features.0.weight": torch.ones(2, 3), "classifier.1.bias": torch.zeros(2, dtype=torch.float64)}
    good, odd = [], []
    for old in (False, True):
        for values in (make_state(), OrderedDict(state_dict=make_state(), epoch=3)):
            good.append(save(values, old=old))
        for values in (few, {"x": Bomb()}, {"state_dict": few, "rng": np.zeros(3)}):
            odd.append(save(values, old=old))
    odd += [
        pickle.dumps(Bomb()),
        pickle.dumps({"a.weight": Bomb()}, 2),
        b"\x80\x02cos\nmkdir\nX\x01\x00\x00\x00a\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x08EXECUTED\x85R.",
        b"\x80\x02" + b"(" * 50_000 + b".",
    ]
    return Samples(good, odd)


def save(values: Any, *, old: bool) -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save(values, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def make_safetensors(folder: Path) -> Samples:
    import safetensors.torch

    good = safetensors.torch.save(make_state(), {"format": "pt"})
    header = {"a.weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}
    text = json.dumps(header).encode()
    return Samples([good], [len(text).to_bytes(8, "little") + text + bytes(8), b"\xff" * 8 + b"{}"])


def read_weights(path: Path) -> None:
    from alexnet.description.describe import describe
    from alexnet.errors import AlexNetError
    from alexnet.exchange.importing import open_model

    with contextlib.suppress(AlexNetError):  # it tells what they are, and how to import them
        describe(str(path))
    assert open_model(path).network.spec.num_classes > 1
