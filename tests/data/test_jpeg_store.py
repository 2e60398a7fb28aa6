"""A store that keeps JPEG bytes: small, checked whenever it is read, and otherwise like any other."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet.data.images.decode import decode_image
from alexnet.data.prepare.prepare import prepare
from alexnet.data.store.reader import Store, open_store
from alexnet.errors import ConfigError, StoreError

Photos = Callable[..., Path]
PATHS = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in ("cat", "dog") for number in range(4)]


@pytest.fixture
def store(photos: Photos, tmp_path: Path) -> Store:
    prepare(photos({**dict.fromkeys(PATHS), "train/cat/x.png": b"bad"}), tmp_path / "STORE", size=64, codec="jpeg",
            shard_rows=3)  # fmt: skip
    return open_store(tmp_path / "STORE")


def test_images_are_those_of_the_source_but_for_compression(store: Store, tmp_path: Path) -> None:
    store.verify()
    assert store.header["codec"] == "jpeg"
    assert store.provenance["options"]["quality"] == 90
    assert len(store) == 8
    for image, path in zip(store.images, store.paths, strict=True):
        original = decode_image((tmp_path / "PHOTOS" / path).read_bytes(), size=64)
        assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
        assert 0 < np.abs(image.astype(int) - original).mean() < 6
    assert (store.images[[7, 0]][1] == store.images[0]).all()
    assert (store.images[-1] == store.images[7]).all()
    first, second = store.images[0], store.images[1]
    assert not np.shares_memory(first, second)


def test_statistics_are_those_of_what_is_read_back(store: Store) -> None:
    pixels = store.images[:].astype(np.float64)
    np.testing.assert_allclose(store.mean_image, pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(store.color_covariance, np.cov(pixels.reshape(-1, 3).T, bias=True), rtol=1e-9)


def test_bytes_depend_neither_on_threads_nor_on_the_run(store: Store, tmp_path: Path) -> None:
    prepare(tmp_path / "PHOTOS", tmp_path / "AGAIN", size=64, codec="jpeg", shard_rows=3, workers=4)
    assert open_store(tmp_path / "AGAIN").fingerprint == store.fingerprint


def test_it_survives_pickling(store: Store) -> None:
    images = pickle.loads(pickle.dumps(store["val"].images))
    assert (images[3] == store["val"].images[3]).all()


def test_one_changed_bit_is_found_when_the_image_is_read(store: Store) -> None:
    record = store.header["splits"]["train"]["shards"][0]
    path = store.path / record["file"]
    data = bytearray(path.read_bytes())
    data[len(data) - 20] ^= 1
    path.write_bytes(data)
    damaged = open_store(store.path)
    assert damaged.images[0].shape == (64, 64, 3)
    with pytest.raises(StoreError) as caught:
        damaged.images[2]
    assert str(caught.value) == (
        f"{path} is damaged: its image 2 has other bytes than when it was written. The store is damaged: prepare the "
        "images again, or copy it again."
    )
    with pytest.raises(StoreError, match="has other bytes than when it was written"):
        damaged.verify()


def test_an_index_that_is_missing_or_wrong_is_named(store: Store) -> None:
    record = store.header["splits"]["train"]["shards"][0]
    path = store.path / record["index"]["file"]
    np.save(path, np.load(path).astype(np.float64))
    with pytest.raises(StoreError) as caught:
        open_store(store.path).images[0]
    assert str(caught.value) == (
        f"{path} has other bytes than when it was written. The store is damaged: prepare the images again, or copy it "
        "again."
    )
    path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        open_store(store.path)


def test_the_bytes_are_readable_without_this_package(store: Store) -> None:
    import io

    from PIL import Image

    shard = store.header["splits"]["train"]["shards"][1]
    index = np.load(store.path / shard["index"]["file"])
    offset, length, _ = index[1].tolist()
    data = (store.path / shard["file"]).read_bytes()[offset : offset + length]
    before = store.header["splits"]["train"]["shards"][0]["rows"]
    assert (np.asarray(Image.open(io.BytesIO(data))) == store.images[before + 1]).all()


def test_options_outside_their_range_are_refused(photos: Photos, tmp_path: Path) -> None:
    root = photos(PATHS)
    for options, message in (
        ({"codec": "png"}, "codec is 'png'; accepted are 'raw' and 'jpeg'."),
        ({"quality": 0}, "quality is 0; it lies between 1 and 100."),
        ({"max_bad": 1.5}, "max_bad is 1.5; it is a share, between 0 and 1."),
    ):
        with pytest.raises(ConfigError) as caught:
            prepare(root, tmp_path / "OTHER", **options)  # type: ignore[arg-type]
        assert str(caught.value) == message


def test_photographs_take_at_most_a_sixth_of_the_raw_size(shared_data: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(shared_data / "imagenet-samples-300.tar") as archive:
        members = [member for member in archive if member.name.endswith("JPEG")][:40]
        for number, member in enumerate(members):
            file = tmp_path / "PHOTOS" / f"class{number % 2}" / Path(member.name).name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr]
    prepare(tmp_path / "PHOTOS", tmp_path / "STORE", val_fraction=0.1, codec="jpeg")
    store = open_store(tmp_path / "STORE")
    packed = sum(shard["bytes"] + shard["index"]["bytes"] for shard in store.header["splits"]["train"]["shards"])
    assert packed < len(store) * 256 * 256 * 3 / 6
