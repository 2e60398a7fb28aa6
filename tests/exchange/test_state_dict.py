"""State dicts from strangers: recognised by their shapes, equal to an independent network, never executed."""

import io
import itertools
import os
import pickle
import pickletools
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from alexnet.errors import ConfigError, WeightsError
from alexnet.exchange import importing
from alexnet.exchange.exporting import export_model
from alexnet.exchange.importing import TORCHVISION_DIVISOR, TORCHVISION_MEAN, open_model
from alexnet.exchange.state_dict import MAX_BYTES, read_state_dict
from alexnet.network import dialects
from alexnet.network.model_file import load_model
from alexnet.network.rows import Convolution, Dense, Pool, Rectify, Spec


def mini(num_classes: int) -> Spec:
    return Spec(
        dialect="mini",
        input_px=20,
        layers=(
            Convolution(name="conv1", kernels=4, window_px=5, stride_px=2, then=(Rectify(), Pool())),
            Convolution(name="conv2", kernels=6, window_px=3, sees="own tower", then=(Rectify(),)),
            Dense(name="fc6", units=8, then=(Rectify(),)),
            Dense(name="fc8", units=num_classes),
        ),
    )


SHAPES = {"conv1": (4, 3, 5, 5), "conv2": (6, 2, 3, 3), "fc6": (8, 24), "fc8": (5, 8)}


@pytest.fixture
def mini_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "mini", mini)
    monkeypatch.setattr(importing, "CANDIDATES", ("paper", "mini"))


def weights(names: dict[str, str] | None = None, dtype: torch.dtype = torch.float32) -> "OrderedDict[str, Tensor]":
    generator = torch.Generator().manual_seed(0)
    result: OrderedDict[str, Tensor] = OrderedDict()
    for layer, shape in SHAPES.items():
        stem = (names or {}).get(layer, layer)
        result[f"{stem}.weight"] = torch.randn(shape, generator=generator).to(dtype)
        result[f"{stem}.bias"] = torch.randn(shape[0], generator=generator).to(dtype)
    return result


TORCHVISION = {"conv1": "features.0", "conv2": "features.3", "fc6": "classifier.1", "fc8": "classifier.10"}
MMPRETRAIN = {layer: f"backbone.{name}" for layer, name in TORCHVISION.items()}
PARALLEL = {layer: f"module.{name}" for layer, name in TORCHVISION.items()}


@pytest.mark.parametrize("names", [TORCHVISION, MMPRETRAIN, PARALLEL, {}])
@pytest.mark.parametrize("container", ["pth", "legacy", "nested", "safetensors"])
def test_every_way_to_save_a_state_dict_is_read(
    mini_dialect: None, tmp_path: Path, names: dict[str, str], container: str
) -> None:
    given = weights(names)
    path = tmp_path / "weights.pth"
    if container == "safetensors":
        path = tmp_path / "weights.safetensors"
        safetensors.torch.save_file(dict(given), path)
    else:
        document: Any = {"state_dict": given, "meta": {"epoch": 90}} if container == "nested" else given
        torch.save(document, path, _use_new_zipfile_serialization=container != "legacy")
    model = open_model(path)
    assert model.network.spec == dialects.find_dialect("mini", 5)
    for layer in SHAPES:
        for what in ("weight", "bias"):
            own = model.network.state_dict()[f"layers.{layer}.{what}"]
            assert torch.equal(own, given[f"{names.get(layer, layer)}.{what}"])
    assert model.class_names == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert model.provenance["imported"]["file"] == path.name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(mini_dialect: None, tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save(weights(dtype=dtype), tmp_path / "w.pth")
    assert open_model(tmp_path / "w.pth").network.layers["fc8"].weight.dtype == torch.float32


def assert_read(path: Path, given: dict[str, Tensor], names: dict[str, str]) -> None:
    own = open_model(path).network.state_dict()
    for layer in SHAPES:
        for what in ("weight", "bias"):
            source = given[f"{names[layer]}.{what}"]
            assert torch.equal(own[f"layers.{layer}.{what}"].flatten(), source.flatten()), layer


EXAMPLES = {layer: name.replace("features.", "features.module.") for layer, name in TORCHVISION.items()}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"epoch": 3, "state_dict": state, "best_acc1": torch.tensor(56.5)},
        lambda state: {"best_acc1": torch.tensor(56.5), "rng": torch.zeros(8, dtype=torch.uint8), "model": state},
        lambda state: {"model": {"state_dict": state}, "optimizer": {"state": {0: {"buffer": torch.ones(2)}}}},
        lambda state: {"weights": state, "scheduler": {"milestones": Counter([30, 60])}, "mask": torch.ones(2) > 0},
        lambda state: {**state, "version": 2},
    ],
)
def test_what_training_programs_keep_beside_the_weights_is_left_out(
    mini_dialect: None, tmp_path: Path, wrap: Callable[[Any], Any], legacy: bool
) -> None:
    given = weights(EXAMPLES)
    torch.save(wrap(given), tmp_path / "w.pth.tar", _use_new_zipfile_serialization=not legacy)
    assert_read(tmp_path / "w.pth.tar", given, EXAMPLES)


def test_weights_under_another_name_are_found_and_the_name_is_told(mini_dialect: None, tmp_path: Path) -> None:
    torch.save({"ema": weights(), "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as problem:
        open_model(tmp_path / "w.pth")
    assert str(problem.value) == (
        f"{tmp_path / 'w.pth'}: keeps weights under ema; read are those under state_dict, model_state_dict, model, "
        "model_state, net, network, weights, params, or at the top. Save them alone: "
        "torch.save(torch.load('w.pth')['ema'], path)."
    )


def as_python_2(data: bytes) -> bytes:
    """What torch.save wrote in Python 2: strings are bytes, of any encoding."""
    stream, result = io.BytesIO(data), b""
    for _ in range(5):
        places = [(opcode.name, text, place) for opcode, text, place in pickletools.genops(stream)]
        for (name, text, place), (_, _, following) in itertools.pairwise([*places, ("", None, stream.tell())]):
            raw = str(text).encode("latin-1")
            is_text = name in ("BINUNICODE", "SHORT_BINUNICODE")
            result += b"U" + bytes([len(raw)]) + raw if is_text else data[place:following]
    return result + data[stream.tell() :]


def test_pickles_of_python_2_with_strings_in_latin_1_are_read(mini_dialect: None, tmp_path: Path) -> None:
    given, stream = weights(TORCHVISION), io.BytesIO()
    torch.save({"author": "André", "state_dict": given}, stream, _use_new_zipfile_serialization=False)
    written = as_python_2(stream.getvalue())
    assert b"Andr\xe9" in written
    (tmp_path / "w.pth").write_bytes(written)
    assert_read(tmp_path / "w.pth", given, TORCHVISION)


def test_axes_of_length_one_do_not_matter_and_dense_layers_may_be_convolutions(
    mini_dialect: None, tmp_path: Path
) -> None:
    own = {layer: layer for layer in SHAPES}
    given = weights()
    for layer in SHAPES:
        given[f"{layer}.bias"] = given[f"{layer}.bias"].reshape(1, 1, 1, -1)
    given["fc6.weight"] = given["fc6.weight"].reshape(1, 1, 8, 24)
    given["fc8.weight"] = given["fc8.weight"].reshape(1, 1, 5, 8)
    torch.save(given, tmp_path / "caffe.pth")
    assert_read(tmp_path / "caffe.pth", given, own)
    given["fc6.weight"] = given["fc6.weight"].reshape(8, 6, 2, 2)
    given["fc8.weight"] = given["fc8.weight"].reshape(5, 8, 1, 1)
    torch.save(given, tmp_path / "convolutions.pth")
    assert_read(tmp_path / "convolutions.pth", given, own)


def test_a_bias_that_differs_is_shown_with_its_shape(mini_dialect: None, tmp_path: Path) -> None:
    torch.save(weights() | {"fc6.bias": torch.zeros(2, 4)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as problem:
        open_model(tmp_path / "w.pth")
    assert "  fc6    8x24, bias 8  fc6    8x24, bias 2x4  differs\n" in str(problem.value)
    torch.save(weights() | {"fc8.weight": torch.zeros(1, 8), "fc8.bias": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as problem:
        open_model(tmp_path / "w.pth")
    assert str(problem.value) == (
        f"{tmp_path / 'w.pth'}: its last layer, fc8, of shape 1x8, has 1 output; a classifier has 2 or more."
    )


@pytest.mark.parametrize("name", ["lin{}.model.1.weight", "module.lin{}.weight", "lpips.lin{}.model.1.weight"])
def test_layers_of_lpips_are_said_to_be_what_they_are(tmp_path: Path, name: str) -> None:
    layers = {name.format(number): torch.zeros(1, width, 1, 1) for number, width in enumerate((64, 192, 384))}
    torch.save(layers, tmp_path / "lpips.pth")
    with pytest.raises(WeightsError) as problem:
        open_model(tmp_path / "lpips.pth")
    assert str(problem.value) == (
        f"{tmp_path / 'lpips.pth'}: holds 3 layers of LPIPS ({name.format(0)}), which weigh differences of a network's "
        "features and are no classifier. Give the weights of the network itself: those of torchvision."
    )


def test_a_flipped_byte_in_anothers_weights_is_noticed_where_the_file_has_a_checksum(
    mini_dialect: None, tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    torch.save(weights(), path)
    whole = path.read_bytes()
    place = whole.index(weights()["fc6.weight"].numpy().tobytes())
    data = bytearray(whole)
    data[place + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"w\.pth: is damaged or no state dict \(Bad CRC-32 for file 'w/data/\d'\)"):
        open_model(path)
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(weights(), path)
    finally:
        torch.serialization.set_crc32_options(before)
    assert_read(path, weights(), {layer: layer for layer in SHAPES})


class TorchvisionAlexNet(nn.Module):
    """pytorch/vision torchvision/models/alexnet.py, built from its description."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        relu, pool = nn.ReLU(), nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), relu, pool, nn.Conv2d(64, 192, 5, padding=2), relu, pool,
            nn.Conv2d(192, 384, 3, padding=1), relu, nn.Conv2d(384, 256, 3, padding=1), relu,
            nn.Conv2d(256, 256, 3, padding=1), relu, pool,
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(9216, 4096), relu, nn.Dropout(), nn.Linear(4096, 4096), relu,
            nn.Linear(4096, num_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


def test_torchvisions_weights_give_torchvisions_logits_and_go_back_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = TorchvisionAlexNet(7).eval()
    torch.save(theirs.state_dict(), tmp_path / "alexnet.pth")
    model = open_model(tmp_path / "alexnet.pth")
    assert model.network.spec.dialect == "one-tower-2014"
    pixels = torch.randint(0, 256, (2, 224, 224, 3), generator=torch.Generator().manual_seed(1))
    standard = (pixels / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert model.preprocessing.framing == "torchvision"
    own = (pixels - torch.tensor(TORCHVISION_MEAN)) / torch.tensor(model.preprocessing.divisor)
    with torch.inference_mode():
        expected = theirs(standard.permute(0, 3, 1, 2))
        found = model.network(own.permute(0, 3, 1, 2))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    done = export_model(model, "torchvision", tmp_path / "back.pth")
    assert done.notes == ()
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert list(back) == list(theirs.state_dict())
    assert all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())


def test_torchvisions_preprocessing_becomes_the_models(tmp_path: Path) -> None:
    assert pytest.approx((123.675, 116.28, 103.53)) == TORCHVISION_MEAN
    assert pytest.approx((58.395, 57.12, 57.375)) == TORCHVISION_DIVISOR


def test_shapes_of_several_dialects_need_the_name_of_one(
    mini_dialect: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "maxi", mini)
    monkeypatch.setattr(importing, "CANDIDATES", ("mini", "maxi"))
    torch.save(weights(), tmp_path / "w.pth")
    with pytest.raises(WeightsError) as problem:
        open_model(tmp_path / "w.pth")
    assert str(problem.value) == (
        f"{tmp_path / 'w.pth'}: has the shapes of several dialects, which compute differently: mini, maxi. Say which it "
        "is: --dialect NAME."
    )
    assert open_model(tmp_path / "w.pth", dialect="maxi+no-norm").network.spec.dialect == "maxi+no-norm"


def test_another_networks_weights_are_refused_with_a_table_of_both(mini_dialect: None, tmp_path: Path) -> None:
    given = weights(TORCHVISION)
    given["features.3.weight"] = torch.zeros(6, 4, 3, 3)
    torch.save(given, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as problem:
        open_model(tmp_path / "w.pth")
    assert str(problem.value) == (
        f"{tmp_path / 'w.pth'}: is of no network that is known here. The nearest is dialect mini:\n"
        "         ours                    theirs\n"
        "  conv1  4x3x5x5  features.0     4x3x5x5\n"
        "  conv2  6x2x3x3  features.3     6x4x3x3  differs\n"
        "  fc6    8x24     classifier.1   8x24\n"
        "  fc8    5x8      classifier.10  5x8\n"
        "Give --dialect with the network that it is of, or obtain another file."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bn1.running_mean": torch.zeros(3)}, "holds 'bn1.running_mean' of shape 3, which is neither a weight nor a bias of a layer. AlexNet has only these; it belongs to another network."),
        ({"extra.weight": torch.zeros(3, 3)}, "lacks extra.bias beside extra.weight of shape 3x3; in AlexNet every layer has weights and biases."),
        ({"fc8.weight": torch.full((5, 8), torch.nan)}, "fc8.weight holds values that are not finite."),
        ({"fc6.bias": torch.tensor([1.0] * 7 + [torch.inf])}, "fc6.bias holds values that are not finite."),
        ({"fc6.bias": torch.zeros(8, dtype=torch.int64)}, "fc6.bias holds torch.int64, not floating-point numbers."),
        ({"fc8.weight": torch.zeros(1, 1).expand(5, 8)}, "fc8.weight repeats fewer numbers than its shape has. Not read."),
    ],
)  # fmt: skip
def test_damaged_weights_are_refused(
    mini_dialect: None, tmp_path: Path, change: dict[str, Tensor], message: str
) -> None:
    torch.save(weights() | change, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as problem:
        open_model(tmp_path / "w.pth")
    assert str(problem.value) == f"{tmp_path / 'w.pth'}: {message}"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB"],)


class Hoard:
    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (10**13,)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(("payload", "name"), [(Bomb, f"{os.name}.mkdir"), (Hoard, "__builtin__.bytearray")])
def test_a_pickle_with_code_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool, payload: type, name: str
) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    torch.save({"w.weight": payload()}, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError) as problem:
        read_state_dict(tmp_path / "w.pth")
    assert str(problem.value) == (
        f"{tmp_path / 'w.pth'}: its pickle would import {name}, which no state dict needs; nothing was run. If you trust "
        "its author, load it there and save the weights alone: torch.save(model.state_dict(), path)."
    )
    assert not (tmp_path / "exploded").exists()


def test_a_plain_pickle_of_a_newer_protocol_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"w": Bomb()}, protocol=4))
    with pytest.raises(WeightsError, match=r"its pickle would import \w+\.mkdir, which no state dict needs"):
        read_state_dict(tmp_path / "w.pth")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_every_truncation_is_refused(tmp_path: Path, legacy: bool) -> None:
    torch.save(weights(), tmp_path / "whole.pth", _use_new_zipfile_serialization=not legacy)
    data = (tmp_path / "whole.pth").read_bytes()
    for share in (0.001, 0.05, 0.3, 0.7, 0.99):
        (tmp_path / "w.pth").write_bytes(data[: max(1, int(share * len(data)))])
        with pytest.raises(WeightsError):
            read_state_dict(tmp_path / "w.pth")


def test_a_legacy_file_that_claims_more_numbers_than_it_has_bytes_is_refused(tmp_path: Path) -> None:
    torch.save(OrderedDict(w=torch.zeros(1000)), tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "w.pth").read_bytes()
    forged = data.replace(b"M\xe8\x03", b"J\x00\x00\x00\x7f")  # 1000 becomes two billion
    assert forged != data
    (tmp_path / "w.pth").write_bytes(forged)
    with pytest.raises(
        WeightsError, match=r"has [\d,]+ bytes, but claims 2,130,706,432 numbers\. It is truncated or forged"
    ):
        read_state_dict(tmp_path / "w.pth")


def test_an_archive_that_unpacks_to_more_than_its_size_is_refused(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as archive, zipfile.ZipFile(tmp_path / "z.pth", "w") as packed:
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry), zipfile.ZIP_DEFLATED)
        packed.writestr("w/data/99", bytes(10**7), zipfile.ZIP_DEFLATED)
    with pytest.raises(
        WeightsError, match=r"and its entry \w+/data\.pkl is compressed, which PyTorch never writes\. Not read\."
    ):
        read_state_dict(tmp_path / "z.pth")
    with zipfile.ZipFile(tmp_path / "empty.pth", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(WeightsError) as problem:
        read_state_dict(tmp_path / "empty.pth")
    assert (
        str(problem.value)
        == f"{tmp_path / 'empty.pth'}: is a zip archive, but not one that torch.save wrote. Not read."
    )


@pytest.mark.parametrize(("shape", "end"), [([10**12], 4 * 10**12), ([2**62, 2**62], 8), ([4], 16), ([-1], 4)], ids=str)
def test_a_safetensors_header_that_claims_what_is_not_there_is_refused(
    tmp_path: Path, shape: list[int], end: int
) -> None:
    header = f'{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}'.encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(WeightsError, match="is damaged or not a safetensors file"):
        read_state_dict(tmp_path / "w.safetensors")


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with pytest.raises(WeightsError) as problem:
        read_state_dict(path)
    assert str(problem.value) == f"{path}: there is no such file."
    path.write_bytes(b"")
    with pytest.raises(WeightsError) as problem:
        read_state_dict(path)
    assert str(problem.value) == f"{path}: is empty. Obtain it again."
    path.write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    with pytest.raises(WeightsError) as problem:
        read_state_dict(path)
    assert str(problem.value) == (
        f"{path}: is no weight file that alexnet reads. Accepted: its own model files, .safetensors, .pth with a state "
        "dict, .caffemodel."
    )
    torch.save([1, 2], path)
    with pytest.raises(WeightsError) as problem:
        read_state_dict(path)
    assert (
        str(problem.value) == f"{path}: holds no tensors by name. Save them with torch.save(model.state_dict(), path)."
    )
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole, not four gigabytes
    with pytest.raises(WeightsError) as problem:
        read_state_dict(path)
    assert str(problem.value) == (
        f"{path}: has 4,294,967,297 bytes; weight files of up to 4,294,967,296 are read. It is not an AlexNet."
    )


def test_random_bytes_never_get_further_than_a_refusal(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "whole.pth")
    whole = np.frombuffer((tmp_path / "whole.pth").read_bytes(), np.uint8)
    generator = np.random.default_rng(0)
    for _ in range(30):
        data = whole.copy()
        data[generator.integers(0, len(data), 20)] = generator.integers(0, 256, 20)
        (tmp_path / "w.pth").write_bytes(data.tobytes())
        try:
            tensors = read_state_dict(tmp_path / "w.pth")
        except WeightsError:
            continue
        assert all(isinstance(value, Tensor) for value in tensors.values())


def test_options_for_foreign_weights_are_checked(mini_dialect: None, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(weights(), path)
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\ndog\neel\n")
    model = open_model(path, mean="10,20,30.5", class_names=tmp_path / "names.txt")
    assert model.class_names == ("ant", "bee", "cat", "dog", "eel")
    assert model.preprocessing.mean_image[3, 4].tolist() == [10, 20, 30.5]
    with pytest.raises(ConfigError) as problem:
        open_model(path, mean="10,20")
    assert str(problem.value) == (
        "--mean 10,20: accepted is a Caffe mean file, or three numbers R,G,B from 0 to 255, for example 123,117,104."
    )
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    with pytest.raises(ConfigError) as problem:
        open_model(path, class_names=tmp_path / "names.txt")
    assert str(problem.value) == (
        f"--class-names {tmp_path / 'names.txt'}: has 2 lines for 5 classes. Give one name per line."
    )
    (tmp_path / "names.txt").write_text("ant\n\ncrane\ncat\ncrane\neel\n", encoding="utf-8-sig")
    with pytest.raises(ConfigError) as problem:
        open_model(path, class_names=tmp_path / "names.txt")
    assert str(problem.value) == (
        f"--class-names {tmp_path / 'names.txt'}: lines 3 and 5 are both 'crane'. Give each class a name of its own, "
        "for example its WordNet id."
    )
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "names.txt").write_text("cafe\u0301\r\nbee\r\ncat\r\ndog\r\neel\r\n", encoding=encoding)
        assert open_model(path, class_names=tmp_path / "names.txt").class_names[:2] == ("caf\u00e9", "bee")


def test_a_reader_of_bytes_is_not_fooled_by_lengths(tmp_path: Path) -> None:
    # BINUNICODE that claims four gigabytes, inside the pickle of a zip archive and of a stream
    program = b"\x80\x02X\xff\xff\xff\xff"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("w/data.pkl", program)
    for data in (stream.getvalue(), program):
        (tmp_path / "w.pth").write_bytes(data)
        with pytest.raises(WeightsError, match="is damaged or no state dict"):
            read_state_dict(tmp_path / "w.pth")


def test_a_foreign_file_in_the_place_of_a_model_is_told_the_way_in(tmp_path: Path) -> None:
    safetensors.torch.save_file(dict(weights()), tmp_path / "w.safetensors")
    torch.save(weights(), tmp_path / "w.pth")
    hint = "not a model of alexnet. To use its weights: alexnet export {} --to alexnet --out model.safetensors"
    with pytest.raises(WeightsError) as problem:
        load_model(tmp_path / "w.safetensors")
    path = tmp_path / "w.safetensors"
    assert str(problem.value) == f"{path}: is a file of tensors of another program (safetensors), {hint.format(path)}"
    with pytest.raises(WeightsError) as problem:
        load_model(tmp_path / "w.pth")
    path = tmp_path / "w.pth"
    assert str(problem.value) == f"{path}: is a file of PyTorch, as torch.save writes it, {hint.format(path)}"
