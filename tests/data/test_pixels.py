"""Data sets that are published as pixels, in small: the bytes are laid as in the originals."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.kinds import find_images
from alexnet.data.store.reader import open_store
from alexnet.errors import SourceError

LABELS = {"train": [3, 0, 3, 0, 1, 1], "test": [1, 0, 3]}


def draw(split: str, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(len(split)).integers(0, 256, (len(LABELS[split]), *shape), dtype=np.uint8)


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, prefix: str = "", suffix: str = "", dot: str = "-") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, word in (("train", "train"), ("test", "test" if prefix else "t10k")):
        images, labels = idx(draw(split, 28, 28)), idx(np.array(LABELS[split], np.uint8))
        for name, data in ((f"images{dot}idx3", images), (f"labels{dot}idx1", labels)):
            path = folder / f"{prefix}{word}-{name}-ubyte{suffix}"
            path.write_bytes(gzip.compress(data) if suffix else data)


def stored(root: Path, out: Path, size: int) -> dict[str, NDArray[np.uint8]]:
    """The images of both splits as they come out of a store, and the labels compared on the way."""
    prepare(root, out, size=size)
    store = open_store(out)
    for split, name in (("train", "train"), ("test", "val")):
        assert [int(store.class_names[label]) for label in store[name].labels] == LABELS[split]
    return {split: store[name].images[:] for split, name in (("train", "train"), ("test", "val"))}


@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw", "FashionMNIST/raw"])
@pytest.mark.parametrize("form", [{}, {"suffix": ".gz"}, {"dot": "."}])
def test_the_files_of_mnist_are_found_where_they_are_kept(tmp_path: Path, place: str, form: dict[str, str]) -> None:
    write_idx(tmp_path / "set" / place, **form)
    source = find_images(tmp_path / "set")
    assert (source.kind, source.class_names) == ("pixels", ("0", "1", "3"))
    assert [label for _, label in source.splits["train"]] == [2, 0, 2, 0, 1, 1]
    assert source.splits["val"][0] == ("test/00000", 1)


def test_the_pixels_of_mnist_are_those_of_the_store(tmp_path: Path) -> None:
    write_idx(tmp_path / "set")
    write_idx(tmp_path / "set", suffix=".gz")  # torchvision keeps both
    for split, images in stored(tmp_path / "set", tmp_path / "store", 28).items():
        np.testing.assert_array_equal(images, np.repeat(draw(split, 28, 28)[..., None], 3, -1))


def test_emnist_is_turned_upright_and_its_sets_are_told_apart(tmp_path: Path) -> None:
    write_idx(tmp_path / "set", prefix="emnist-balanced-")
    for split, images in stored(tmp_path / "set", tmp_path / "store", 28).items():
        np.testing.assert_array_equal(images[..., 0], draw(split, 28, 28).transpose(0, 2, 1))
    write_idx(tmp_path / "set", prefix="emnist-letters-")
    with pytest.raises(SourceError) as problem:
        find_images(tmp_path / "set")
    assert str(problem.value) == (
        f"{tmp_path}/set holds several sets of images (emnist-balanced-train-images-idx3-ubyte, "
        "emnist-letters-train-images-idx3-ubyte). Move the files of one into a folder of their own."
    )


def test_svhn_is_read_with_ten_as_zero(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    (tmp_path / "set").mkdir()
    for split, labels in LABELS.items():
        kept = np.array(labels, np.uint8)[:, None]
        pixels = draw(split, 32, 32, 3).transpose(1, 2, 3, 0)
        savemat(tmp_path / f"set/{split}_32x32.mat", {"X": pixels, "y": np.where(kept == 0, 10, kept)})
    for split, images in stored(tmp_path / "set", tmp_path / "store", 32).items():
        np.testing.assert_array_equal(images, draw(split, 32, 32, 3))


def test_stl_is_read_column_by_column_with_its_names(tmp_path: Path) -> None:
    folder = tmp_path / "set/stl10_binary"
    folder.mkdir(parents=True)
    (folder / "class_names.txt").write_text("airplane\nbird\ncar\ncat\n")
    for split, labels in LABELS.items():
        draw(split, 3, 96, 96).tofile(folder / f"{split}_X.bin")
        (np.array(labels, np.uint8) + 1).tofile(folder / f"{split}_y.bin")
    source = find_images(tmp_path / "set")
    assert source.class_names == ("airplane", "bird", "car", "cat")
    assert [label for _, label in source.splits["train"]] == LABELS["train"]
    prepare(tmp_path / "set", tmp_path / "store", size=96)
    np.testing.assert_array_equal(open_store(tmp_path / "store")["train"].images[:],
                                  draw("train", 3, 96, 96).transpose(0, 3, 2, 1))  # fmt: skip
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    with pytest.raises(SourceError, match=r"names 2 classes, and train_y\.bin has more\. Copy both again"):
        find_images(tmp_path / "set")
    with (folder / "train_X.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(SourceError, match="has 165,889 bytes, no whole number of images"):
        find_images(tmp_path / "set")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:9],
        lambda data: b"",
        lambda data: b"\0\0\x0d" + data[3:],
        lambda data: data[:4] + b"\xff" * 12 + data[16:],
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_files_are_refused(tmp_path: Path, damage: Callable[[bytes], bytes], suffix: str) -> None:
    write_idx(tmp_path, suffix=suffix)
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    whole = gzip.decompress(path.read_bytes()) if suffix else path.read_bytes()
    path.write_bytes(gzip.compress(damage(whole)) if suffix else damage(whole))
    with pytest.raises(SourceError) as problem:
        find_images(tmp_path)
    assert str(problem.value) == f"{path} does not hold what its first bytes say. Copy it again from where it came."
    path.write_bytes(b"\x1f\x8b" + path.read_bytes()[2:40])
    with pytest.raises(SourceError, match=r"cannot be read|first bytes"):
        find_images(tmp_path)


def test_images_and_labels_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, np.uint8)))
    with pytest.raises(SourceError) as problem:
        find_images(tmp_path)
    assert str(problem.value) == (
        f"{tmp_path}: train-images-idx3-ubyte has 6 images, and train-labels-idx1-ubyte 2 labels. Copy both again."
    )
