"""CIFAR as distributed, and pickles that try to be more than numbers."""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.cifar import CIFAR10
from alexnet.data.sources.kinds import find_images
from alexnet.data.store.reader import open_store
from alexnet.errors import SourceError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
LABELS = [number % 10 for number in range(24)]


def rows(part: slice) -> np.ndarray:
    return np.ascontiguousarray(PIXELS[part].transpose(0, 3, 1, 2)).reshape(-1, 3072)


def python_batches(*, fine: bool = False) -> dict[str, bytes]:
    def batch(part: slice, name: str) -> bytes:
        count = len(PIXELS[part])
        labels: dict[bytes, Any] = {b"fine_labels" if fine else b"labels": LABELS[part]}
        files = [f"{name}_{number}.png".encode() for number in range(count)]
        return pickle.dumps({b"data": rows(part), **labels, b"filenames": files}, protocol=2)

    if fine:
        names = {b"fine_label_names": [f"class{number:02d}".encode() for number in range(100)]}
        return {"train": batch(slice(0, 20), "t"), "test": batch(slice(20, 24), "v"), "meta": pickle.dumps(names, 2)}
    names = {b"label_names": [name.encode() for name in CIFAR10]}
    return {
        "data_batch_1": batch(slice(0, 10), "a"),
        "data_batch_2": batch(slice(10, 20), "b"),
        "test_batch": batch(slice(20, 24), "v"),
        "batches.meta": pickle.dumps(names, 2),
    }


def binary_batches(*, fine: bool = False) -> dict[str, bytes]:
    def batch(part: slice) -> bytes:
        labels = np.array(LABELS[part], np.uint8)[:, None]
        coarse = [labels * 0] if fine else []
        return np.concatenate([*coarse, labels, rows(part)], axis=1).tobytes()

    if fine:
        names = "\n".join(f"class{number:02d}" for number in range(100)).encode()
        return {"train.bin": batch(slice(0, 20)), "test.bin": batch(slice(20, 24)), "fine_label_names.txt": names}
    return {
        "data_batch_1.bin": batch(slice(0, 10)),
        "data_batch_2.bin": batch(slice(10, 20)),
        "test_batch.bin": batch(slice(20, 24)),
        "batches.meta.txt": "\n".join(CIFAR10).encode() + b"\n\n",
    }


def lay_out(files: dict[str, bytes], target: Path) -> Path:
    if target.suffix != ".gz":
        target.mkdir()
        for name, data in files.items():
            (target / name).write_bytes(data)
        return target
    with tarfile.open(target, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target


@pytest.mark.parametrize("target", ["cifar-10.tar.gz", "unpacked"])
@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("batches", [python_batches, binary_batches])
def test_every_distributed_form_gives_the_same_images(
    tmp_path: Path, batches: Callable[..., dict[str, bytes]], fine: bool, target: str
) -> None:
    root = lay_out(batches(fine=fine), tmp_path / target)
    prepare(root, tmp_path / "STORE", size=32)
    store = open_store(tmp_path / "STORE")
    assert store.provenance["kind"] == "cifar"
    assert store.class_names == (tuple(f"class{number:02d}" for number in range(100)) if fine else CIFAR10)
    assert (store.images[:] == PIXELS[:20]).all()
    assert (store["val"].images[:] == PIXELS[20:]).all()
    assert store.labels.tolist() == LABELS[:20]
    if batches is python_batches:
        assert store["val"].paths[3] == ("test/v_3.png" if fine else "test_batch/v_3.png")


class Hostile:
    """Unpickled by an ordinary unpickler, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "executed")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, protocol: int) -> None:
    files = python_batches()
    files["data_batch_2"] = pickle.dumps({b"data": Hostile(tmp_path / "proof"), b"labels": []}, protocol=protocol)
    root = lay_out(files, tmp_path / "unpacked")
    with pytest.raises(SourceError) as caught:
        find_images(root)
    text = str(caught.value)
    assert text.startswith(f"{root}: data_batch_2 is not a batch of CIFAR (it asks for ")
    assert text.endswith("). Copy it again from where it came.")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'touch proof'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"c_codecs\nlookup\n(S'x'\ntR.",
        b"Ptext\n.",
        b"\x80\x04\x95",
        b"not a pickle",
        b"",
    ],
)
def test_no_stream_of_pickle_code_gets_beyond_numbers(tmp_path: Path, code: bytes) -> None:
    root = lay_out({**python_batches(), "data_batch_1": code}, tmp_path / "unpacked")
    with pytest.raises(SourceError, match="data_batch_1 is not a batch of CIFAR"):
        find_images(root)


def test_batches_that_are_not_whole_are_named(tmp_path: Path) -> None:
    root = lay_out({**binary_batches(), "data_batch_2.bin": bytes(3000)}, tmp_path / "a")
    with pytest.raises(SourceError) as caught:
        find_images(root)
    assert str(caught.value) == (
        f"{root}: data_batch_2.bin has 3,000 bytes, no whole number of images. Copy it again from where it came."
    )
    root = lay_out({**python_batches(), "data_batch_2": pickle.dumps({b"data": [1]}, 2)}, tmp_path / "b")
    with pytest.raises(SourceError) as caught:
        find_images(root)
    assert str(caught.value) == (
        f"{root}: data_batch_2 does not hold images of 32 x 32 with a label each. Copy it again from where it came."
    )
