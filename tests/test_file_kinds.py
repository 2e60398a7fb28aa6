"""Files are recognised by what is in them, whatever they are called."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

from alexnet.errors import WeightsError
from alexnet.files.kinds import recognize, recognize_bytes
from alexnet.files.tensors import read_document


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def packed(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def saved(write: object, *values: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    write(*[buffer if value is Ellipsis else value for value in values], **options)  # type: ignore[operator]
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a/1.jpg"))
    return buffer.getvalue()


PICTURE = Image.new("RGB", (20, 20), (200, 10, 10))
GRAPH = field(1, b"node") * 40
LAYER = field(1, b"conv1") + field(2, b"Convolution") + field(7, field(5, bytes(4000)))
CONTENT = {
    "empty": b"",
    "safetensors": safetensors.numpy.save({"w": np.ones(3, np.float32)}),
    "pytorch": saved(torch.save, {"w": torch.ones(2)}, ...),
    "pickle": pickle.dumps({"w": 1}),
    "program": packed({"model/archive_format": b"pt2", "model/models/model.json": b"{}"}),
    "npz": saved(np.savez, ..., x=np.ones(3)),
    "zip": packed({"a/1.jpg": b""}),
    "tar": tarred(),
    "compressed": b"\x1f\x8b\x08\x00rest",
    "parquet": b"PAR1rest",
    "hdf5": b"\x89HDF\r\n\x1a\nrest",
    "npy": saved(np.save, ..., np.ones(3)),
    "onnx": field(1, 10) + field(2, b"pytorch") + field(7, GRAPH) + field(8, field(2, 20)),
    "caffemodel": field(1, b"AlexNet") + field(100, LAYER) * 3,
    "caffe-mean": field(1, 1) + field(2, 3) + field(3, 8) + field(4, 8) + field(5, bytes(4 * 3 * 64)),
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "jxl": b"\0\0\0\x0cJXL \r\n\x87\n",
    "avif": b"\0\0\0\x1cftypavif\0\0\0\0",
    "raw": b"II*\0\x10\0\0\0CR\2\0",
    "video": b"\0\0\0\x18ftypmp42" + bytes(100),
    "pdf": b"%PDF-1.7\n",
    "psd": b"8BPS\0\1",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "svg": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "html": b"\n<!DOCTYPE html><html><title>404</title>",
    "predictions": b"path,label,class_1,probability_1\nx.jpg,a,a,1.000000\n",
    "answers": b"name,error,class_1,title_1,probability_1\nx.jpg,,a,A,1.000000\n",
    "suspects": b"path,label,suggested,score\nx.jpg,a,b,0.500000\n",
    "label-corrections": b'"path","choice","class"\n"x.jpg","change","b"\n',
    "corrections": b"path,label,predicted,probability,name\nx-pictures/1.png,a,b,0.5000,x.jpg\n",
    "results": b"variant,seeds,planned,values\nmaxout,0,1,0.5\n",
    "table": b"\xef\xbb\xbfPath,Label,split\r\nx.jpg,a,train\r\n",
}
UNKNOWN = {
    "another table": b"path,labels\nx.jpg,a\n",
    "noise": bytes(np.random.default_rng(0).integers(0, 256, 500, dtype=np.uint8)),
    "text": b"just some words, and then more of them\n" * 300,
    "cut onnx": CONTENT["onnx"][:-3],
    "zeros": bytes(100),
}


@pytest.mark.parametrize("name", CONTENT)
def test_content_tells_the_kind(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(CONTENT[name])
    kind = recognize(path)
    assert kind is not None
    assert kind.name == name
    assert "{" not in kind.advise(path)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x14ftypqt  ", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"\x1a\x45\xdf\xa3webm", "video"),
        (b"\xff\x0a\0\0", "jxl"),
        (b"\0\0\0\x18ftypcrx ", "raw"),
        (b"FUJIFILMCCD-RAW 0201", "raw"),
        (b"IIU\0\x18\0\0\0", "raw"),
        (b"II\x1a\0\0\0HEAPCCDR", "raw"),
    ],
)
def test_the_beginning_tells_the_kind(start: bytes, name: str) -> None:
    kind = recognize_bytes(start)
    assert kind is not None
    assert kind.name == name


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_images_are_images(form: str, tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "x.bin", form)
    kind = recognize(tmp_path / "x.bin")
    assert kind is not None
    assert kind.name == "image"
    assert kind.advise(Path("x.bin")) == "To see what a model makes of it: alexnet predict RUN x.bin"


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_none_of_them_stays_unknown(name: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(UNKNOWN[name])
    assert recognize(tmp_path / "x") is None
    assert recognize(tmp_path / "missing") is None


@pytest.mark.parametrize("name", ["safetensors", "pytorch", "npz", "zip", "program"])
@pytest.mark.parametrize("cut", [-1, -30, 40])
def test_what_lost_its_end_is_damaged(name: str, cut: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(CONTENT[name][:cut])
    kind = recognize(path)
    assert kind is not None
    assert (kind.name, kind.is_damaged) == ("damaged", True)
    path.write_bytes(CONTENT["safetensors"] + b"more")
    grown = recognize(path)
    assert grown is not None
    assert grown.is_damaged


def test_an_older_caffe_network_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(field(1, b"AlexNet") + field(2, LAYER) * 3)
    kind = recognize(tmp_path / "x")
    assert kind is not None
    assert kind.name == "caffemodel"


def test_a_file_of_another_kind_in_the_place_of_a_model_is_told_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(CONTENT["onnx"])
    with pytest.raises(WeightsError) as problem:
        read_document(path, kinds=("model",), newest_format=1)
    assert str(problem.value) == (
        f"{path}: is an ONNX model, not a model of alexnet. To run it: onnxruntime. alexnet writes ONNX and does not read "
        "it; give it the run or model file that this was exported from."
    )
