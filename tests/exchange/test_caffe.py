"""Caffe's files, written by the test byte by byte: every generation, converted to red-green-blue, equal logits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from alexnet.errors import WeightsError
from alexnet.exchange.caffe import read_caffemodel, read_mean_file
from alexnet.exchange.importing import CAFFE_MEAN, open_model
from exchange.caffe_files import NORM, blob, field, layer, varint

Array = NDArray[np.float32]
ROWS = {
    "conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "conv3": (384, 256, 3, 3), "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3), "fc6": (4096, 9216), "fc7": (4096, 4096), "fc8": (6, 4096),
}  # fmt: skip


@pytest.fixture(scope="module")
def weights() -> dict[str, tuple[Array, Array]]:
    generator = np.random.default_rng(0)
    return {
        name: (
            generator.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:]))),
            generator.standard_normal(shape[0], np.float32),
        )
        for name, shape in ROWS.items()
    }


def write_net(path: Path, weights: dict[str, tuple[Array, Array]], order: tuple[str, ...], generation: int) -> None:
    """A .caffemodel of the published networks: `order` is what follows conv1 and conv2."""
    with path.open("wb") as file:
        file.write(field(1, b"AlexNet") + layer("data", "Data" if generation == 1 else "Input", generation=generation))
        for name, parts in weights.items():
            blobs = [blob(part, old=generation < 2) for part in parts]
            kind = "Convolution" if name.startswith("conv") else "InnerProduct"
            file.write(layer(name, kind, blobs, generation=generation))
            if name in ("conv1", "conv2"):
                for step in order:
                    norm = NORM if step == "LRN" else b""
                    file.write(layer(f"{step}{name[-1]}", step, generation=generation, norm=norm))
            elif name == "conv5":
                file.write(layer("pool5", "Pooling", generation=generation))


def caffe_forward(weights: dict[str, tuple[Array, Array]], inputs_bgr: Tensor, order: tuple[str, ...]) -> Tensor:
    """BVLC/caffe models/bvlc_alexnet and bvlc_reference_caffenet in stock operations, on blue, green, red."""
    tensors = {name: tuple(map(torch.from_numpy, parts)) for name, parts in weights.items()}
    steps: dict[str, Any] = {
        "ReLU": F.relu,
        "LRN": lambda x: F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0),
        "Pooling": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    }
    x = F.conv2d(inputs_bgr, *tensors["conv1"], stride=4)
    for step in order:
        x = steps[step](x)
    x = F.conv2d(x, *tensors["conv2"], padding=2, groups=2)
    for step in order:
        x = steps[step](x)
    x = F.relu(F.conv2d(x, *tensors["conv3"], padding=1))
    x = F.relu(F.conv2d(x, *tensors["conv4"], padding=1, groups=2))
    x = F.max_pool2d(F.relu(F.conv2d(x, *tensors["conv5"], padding=1, groups=2)), 3, 2).flatten(1)
    x = F.relu(F.linear(x, *tensors["fc6"]))
    x = F.relu(F.linear(x, *tensors["fc7"]))
    return F.linear(x, *tensors["fc8"])


@pytest.mark.parametrize(
    ("dialect", "order", "generation"),
    [("caffe", ("ReLU", "LRN", "Pooling"), 2), ("caffenet", ("ReLU", "Pooling", "LRN"), 1)],
)
def test_a_caffemodel_gives_caffes_logits(
    weights: dict[str, tuple[Array, Array]], tmp_path: Path, dialect: str, order: tuple[str, ...], generation: int
) -> None:
    path = tmp_path / "net.caffemodel"
    write_net(path, weights, order, generation)
    model = open_model(path)
    if generation == 2:  # a mean file: its pixels, turned around, take the place of the channel means
        mean = np.random.default_rng(1).uniform(90, 130, (1, 3, 256, 256)).astype(np.float32)
        (tmp_path / "mean.binaryproto").write_bytes(blob(mean, old=True))
        other = open_model(path, mean=str(tmp_path / "mean.binaryproto"))
        assert np.array_equal(other.preprocessing.mean_image[7, 9], mean[0, ::-1, 7, 9])
    path.unlink()
    assert model.network.spec.dialect == dialect
    assert model.preprocessing.divisor == 1
    assert model.preprocessing.framing == "caffe"
    assert model.preprocessing.mean_image[0, 0].tolist() == pytest.approx(CAFFE_MEAN)
    pixels = torch.randint(0, 256, (1, 3, 227, 227), generator=torch.Generator().manual_seed(1)).float()
    inputs = pixels - torch.tensor(CAFFE_MEAN)[:, None, None]
    with torch.inference_mode():
        expected = caffe_forward(weights, inputs.flip(1), order)
        found = model.network(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def small(generation: int) -> bytes:
    parts = (np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), np.array([5, 6], np.float32))
    dense = (np.arange(8, dtype=np.float32).reshape(4, 2), np.arange(4, dtype=np.float32))
    return (
        field(1, b"net")
        + layer("conv1", "Convolution", [blob(part, old=generation < 2) for part in parts], generation=generation)
        + layer("norm1", "LRN", generation=generation, norm=NORM if generation else b"")
        + layer("ip", "InnerProduct", [blob(part, old=generation < 2) for part in dense], generation=generation)
    )


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_layers_of_every_generation_are_read(tmp_path: Path, generation: int) -> None:
    (tmp_path / "n.caffemodel").write_bytes(small(generation))
    conv, norm, dense = read_caffemodel(tmp_path / "n.caffemodel")
    assert (conv.name, conv.type, norm.type, dense.type) == ("conv1", "Convolution", "LRN", "InnerProduct")
    assert conv.blobs[0].shape == (2, 3, 2, 2)
    assert conv.blobs[0].ravel().tolist() == list(range(24))
    assert dense.blobs[0].size == 8
    assert norm.normalization == (None if generation == 0 else (5, pytest.approx(1e-4), 0.75, 1.0))


def test_double_precision_and_split_fields_are_read(tmp_path: Path) -> None:
    double = field(7, field(1, varint(2))) + field(8, np.array([1.5, -2.5]).tobytes())
    halves = field(7, field(1, varint(2))) + field(5, np.float32(3).tobytes()) + field(5, np.float32(4).tobytes())
    (tmp_path / "n.caffemodel").write_bytes(layer("a", "Convolution", [double, halves]))
    (read,) = read_caffemodel(tmp_path / "n.caffemodel")
    assert [part.tolist() for part in read.blobs] == [[1.5, -2.5], [3.0, 4.0]]


def test_a_mean_file_becomes_an_image_in_red_green_blue(tmp_path: Path) -> None:
    mean = np.arange(3 * 4 * 4, dtype=np.float32).reshape(1, 3, 4, 4)
    (tmp_path / "mean.binaryproto").write_bytes(blob(mean, old=True))
    image = read_mean_file(tmp_path / "mean.binaryproto")
    assert image.shape == (4, 4, 3)
    assert np.array_equal(image[1, 2], mean[0, ::-1, 1, 2])
    (tmp_path / "mean.binaryproto").write_bytes(blob(mean[:, :2], old=True))
    with pytest.raises(WeightsError) as problem:
        read_mean_file(tmp_path / "mean.binaryproto")
    assert str(problem.value) == f"{tmp_path / 'mean.binaryproto'}: has shape (2, 4, 4); a mean image is 1 x 3 x S x S."


def test_truncated_and_forged_files_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "n.caffemodel"
    data = small(2)
    for length in range(1, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            read_caffemodel(path) and open_model(path)
    path.write_bytes(varint(100 << 3 | 2) + varint(2**40) + b"abc")  # a layer of a terabyte
    with pytest.raises(WeightsError, match="is damaged or not a Caffe file"):
        read_caffemodel(path)
    path.write_bytes(layer("a", "Convolution", [blob(np.zeros(2, np.float32), shape=(2**40, 2**20))]))
    with pytest.raises(WeightsError) as problem:
        read_caffemodel(path)
    assert str(problem.value) == (
        f"{path}: layer a claims the shape 1099511627776 x 1048576, which takes 4,611,686,018,427,387,904 bytes, and holds "
        "8. It is truncated or forged; obtain it again."
    )
    path.write_bytes(field(1, b"name only"))
    with pytest.raises(WeightsError) as problem:
        read_caffemodel(path)
    assert str(problem.value) == f"{path}: holds no layers with weights. Is it a .caffemodel, not a .prototxt?"


def test_other_layers_and_constants_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.caffemodel"
    one = blob(np.ones(3, np.float32))
    path.write_bytes(layer("n", "LRN") + layer("p", "Pooling") + layer("bn", "BatchNorm", [one, one, one]))
    with pytest.raises(WeightsError) as problem:
        open_model(path)
    assert str(problem.value) == (
        f"{path}: layer bn (BatchNorm) has 3 blobs. Read are convolutions and inner products with weights and biases; it "
        "belongs to another network."
    )
    path.write_bytes(layer("c", "Convolution", [one, one]))
    with pytest.raises(WeightsError) as problem:
        open_model(path)
    assert str(problem.value) == (
        f"{path}: does not tell the order of its normalisation and pooling. Say which network it is: --dialect caffe "
        "(bvlc_alexnet) or --dialect caffenet."
    )
