"""Addresses, on storages of fsspec that need no network: memory:// and file://."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

import alexnet
from alexnet.cli import cli
from alexnet.data.store.reader import Store
from alexnet.errors import AddressError, ConfigError
from alexnet.evaluation.fairness import find_equal_files
from alexnet.files import addresses, cache
from alexnet.files.storage import is_address
from alexnet.files.writing import lock_file
from conftest import write_pictures, write_store

ADDRESS = "memory://bucket/store"


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty storage in memory, and an empty cache."""
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield memory
    for lock in cache._held.values():
        os.close(lock)
    cache._held.clear()


def make_store(folder: Path, seed: int = 0) -> Store:
    images = np.random.default_rng(seed).integers(0, 256, (50, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(50) % 3
    return write_store(
        folder, {"train": (images, labels), "val": (images[:9], labels[:9])}, ["a", "b", "c"], shard_rows=8
    )


def upload(memory: Any, folder: Path, address: str = ADDRESS) -> None:
    memory.put(str(folder), memory._strip_protocol(address).rsplit("/", 1)[0] + "/", recursive=True)


def stored_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("images-*.npy"))


def test_an_address_has_a_scheme_and_a_path_has_none() -> None:
    assert is_address("s3://bucket/store")
    assert is_address("file:///tmp/store")
    for path in ("store", "/home/store", "C://store", "s3:/bucket", Path("s3://bucket"), "://x", "s3://", 7):
        assert not is_address(path)


def test_a_store_at_an_address_is_the_store_and_only_what_is_read_is_brought(storage: Any, tmp_path: Path) -> None:
    own = make_store(tmp_path / "store")
    upload(storage, own.path)
    store = alexnet.open_store(ADDRESS)
    assert store.fingerprint == own.fingerprint
    assert not stored_bytes(store.path)
    order = [3, 49, 3, -1, 0]
    assert np.array_equal(store.images.take(order), own.images.take(order))
    assert len(list((store.path / "train").glob("images-*.npy"))) == 4  # two shards, and their checksums
    assert np.array_equal(store["train"].labels, own["train"].labels)
    assert list(store["val"].paths) == list(own["val"].paths)
    assert np.array_equal(store.mean_image, own.mean_image)
    assert np.array_equal(store["val"].images[8], own["val"].images[8])
    store.verify()
    storage.store.clear()  # what was read is in the cache
    assert np.array_equal(store.images.take([3, 49]), own.images.take([3, 49]))


def test_an_image_that_the_cache_has_lost_is_brought_again(storage: Any, tmp_path: Path) -> None:
    own = make_store(tmp_path / "store")
    upload(storage, own.path)
    store = alexnet.open_store(ADDRESS)
    assert np.array_equal(store.images[0], own.images[0])
    shard = store.path / "train" / "images-00000.npy"
    shard.write_bytes(bytes(shard.stat().st_size))
    labels = store.path / "train" / "labels.npy"
    labels.write_bytes(bytes((own.path / "train" / "labels.npy").stat().st_size))
    assert np.array_equal(store.images[0], own.images[0])
    assert np.array_equal(store.labels, own.labels)


def test_a_store_that_is_replaced_is_another_and_is_never_mixed(storage: Any, tmp_path: Path) -> None:
    upload(storage, make_store(tmp_path / "store").path)
    before = alexnet.open_store(ADDRESS)
    before.images[0]
    shutil.rmtree(tmp_path / "store")
    other = make_store(tmp_path / "store", seed=1)
    upload(storage, other.path)
    now = alexnet.open_store(ADDRESS)
    assert now.path != before.path
    assert np.array_equal(now.images[0], other.images[0])
    with pytest.raises(alexnet.AlexNetError) as problem:
        before.images[20]
    assert "was replaced meanwhile: give the same command again." in str(problem.value)
    assert str(problem.value).startswith(f"{ADDRESS}/train/images-00002")


def test_damage_at_the_address_is_found_by_reading_and_by_verifying(storage: Any, tmp_path: Path) -> None:
    upload(storage, make_store(tmp_path / "store").path)
    name = "/bucket/store/train/images-00001.npy"
    data = bytearray(storage.cat_file(name))
    data[-5] ^= 1
    storage.pipe_file(name, bytes(data))
    store = alexnet.open_store(ADDRESS)
    store.images[14]
    for read in (lambda: store.images[15], store.verify):
        with pytest.raises(
            alexnet.AlexNetError, match=r"memory://bucket/store/train/images-00001\.npy .*has other bytes"
        ):
            read()


def test_the_cache_keeps_its_bound_and_what_does_not_fit_is_read_all_the_same(
    storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_store(tmp_path / "store")
    upload(storage, own.path)
    upload(storage, own.path, "memory://other/store")
    first = alexnet.open_store("memory://other/store")
    first.images.take(range(50))
    monkeypatch.setenv(cache.SIZE_VARIABLE, "0.0001")
    store = alexnet.open_store(ADDRESS)
    assert cache.make_room(10**6) == 0  # another store is in use
    with pytest.raises(AddressError, match=r"more than the cache .* It may take 0\.0 GB; set ALEXNET_CACHE_GB to more"):
        store.images[0]
    os.close(cache._held.pop(first.path.parent))
    assert cache.make_room(10**4) >= 10**4
    assert not first.path.exists()
    monkeypatch.setenv(cache.SIZE_VARIABLE, "many")
    with pytest.raises(ConfigError, match="ALEXNET_CACHE_GB is 'many'; it is the gigabytes"):
        cache.most_bytes()


def test_pixels_that_find_no_room_are_read_from_the_address_each_time(
    storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_store(tmp_path / "store")
    upload(storage, own.path)
    store = alexnet.open_store(ADDRESS)
    store.images._load_beside(range(7))
    monkeypatch.setattr("alexnet.files.origin.make_room", lambda wanted: 0)
    assert np.array_equal(store.images.take(range(50)), own.images.take(range(50)))
    assert not list((store.path / "train").glob("images-?????.npy"))


def test_what_is_not_there_not_known_or_not_installed_is_told_in_a_sentence(storage: Any) -> None:
    storage.pipe_file("/bucket/notes", b"notes")
    storage.pipe_file("/bucket/photos/a.jpg", b"x")
    storage.pipe_file("/bucket/half/.sending", b"")
    for address, said in (
        ("memory://bucket/none", "there is nothing at this address. Look at its spelling."),
        ("s4://bucket/store", "s4:// is no kind of address that fsspec opens"),
        ("memory://bucket/photos", "is no store, index, run or model. Pictures at an address are made a store of by alexnet prepare, which brings them."),
        ("memory://bucket/half", "is being sent there, or its sending was interrupted."),
    ):  # fmt: skip
        with pytest.raises(AddressError) as problem:
            alexnet.open_store(address)
        assert said in str(problem.value)
        assert str(problem.value).startswith(address)
    with pytest.raises(alexnet.AlexNetError, match="memory://bucket/notes is a file; a store is a folder"):
        alexnet.open_store("memory://bucket/notes")


def test_what_is_written_in_place_is_refused_at_an_address() -> None:
    for words in (
        ["search", "add", "memory://b/index", "x.jpg"],
        ["calibrate", "memory://b/run", "STORE"],
        ["export", "RUN", "--to", "onnx", "--out", "memory://b/model.onnx"],
        ["reproduce", "dropout", "--store", "STORE", "--out", "memory://b/out"],
    ):
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 2
        assert "is written on a disk. Name a path" in " ".join(result.output.split())
    for refused in (
        lambda: alexnet.cross_validate("STORE", "memory://b/folds", folds=2),
        lambda: alexnet.calibrate("memory://b/run", "STORE"),
    ):
        with pytest.raises(AddressError, match=r"works on a disk\. Copy it there with the storage's own program"):
            refused()


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_prepare_sends_a_store_with_its_header_last(scheme: str, storage: Any, tmp_path: Path) -> None:
    for part, seed in (("train", 0), ("val", 1)):
        write_pictures(tmp_path / "photos" / part, per_class=4, classes=("x", "y"), seed=seed)
    address = ADDRESS if scheme == "memory" else f"file://{tmp_path}/far/store"
    files, root = fsspec.core.url_to_fs(address)
    sent: list[str] = []
    put = files.put_file
    files.put_file = lambda path, target, **options: (sent.append(Path(path).name), put(path, target, **options))
    try:
        report = alexnet.prepare(tmp_path / "photos", address, size=16, shard_rows=3)
    finally:
        del files.put_file
    assert sent[-1] == "store.json"
    assert not files.exists(f"{root}/.sending")
    here = alexnet.prepare(tmp_path / "photos", tmp_path / "here", size=16, shard_rows=3)
    assert alexnet.open_store(address).fingerprint == alexnet.open_store(here.store).fingerprint
    assert {name.rsplit("/", 1)[-1] for name in files.find(root)} == {each.name for each in here.store.rglob("*.*")}
    again = alexnet.prepare(tmp_path / "photos", address, size=16, shard_rows=3)
    assert again.was_complete
    assert not report.was_complete
    with pytest.raises(
        alexnet.AlexNetError, match=f"{address} exists and was made from other images or with other options"
    ):
        alexnet.prepare(tmp_path / "photos", address, size=24, shard_rows=3)


def test_an_interrupted_upload_goes_on_and_readers_are_told(storage: Any, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", per_class=6, classes=("x", "y"))
    sent: list[str] = []

    def put(path: str, target: str, **options: Any) -> None:
        if len(sent) == 4:
            raise ConnectionResetError("the line was cut")
        sent.append(target)
        storage.pipe_file(target, Path(path).read_bytes())

    options: dict[str, Any] = {"size": 16, "shard_rows": 3, "val_fraction": 0.5}
    storage.put_file = put
    try:
        with pytest.raises(AddressError, match=f"{ADDRESS}: cannot be written. It does not answer .the line was cut."):
            alexnet.prepare(tmp_path / "photos", ADDRESS, **options)
        with pytest.raises(AddressError, match="is being sent there, or its sending was interrupted"):
            alexnet.open_store(ADDRESS)
        before = list(sent)
        sent.clear()
        storage.put_file = lambda path, target, **rest: (
            sent.append(target),
            storage.pipe_file(target, Path(path).read_bytes()),
        )
        alexnet.prepare(tmp_path / "photos", ADDRESS, **options)
    finally:
        del storage.put_file
    assert not set(before) & set(sent)
    alexnet.open_store(ADDRESS).verify()


def test_an_upload_of_something_else_that_was_never_finished_is_written_over_and_nothing_is_deleted(
    storage: Any, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "photos", per_class=2, classes=("x", "y"))
    storage.pipe_file("/bucket/store/.sending", b"of another header")
    storage.pipe_file("/bucket/store/train/images-00099.npy", b"left over")
    storage.pipe_file("/bucket/store/train/labels.npy", bytes(144))
    alexnet.prepare(tmp_path / "photos", ADDRESS, size=16, val_fraction=0.5)
    assert storage.exists("/bucket/store/train/images-00099.npy")  # what is not its own, it leaves alone
    alexnet.open_store(ADDRESS).verify()
    storage.pipe_file("/bucket/notes/readme.txt", b"mine")
    with pytest.raises(AddressError, match="memory://bucket/notes: other files are there"):
        alexnet.prepare(tmp_path / "photos", "memory://bucket/notes", size=16, val_fraction=0.5)


def test_pictures_are_prepared_from_an_address(storage: Any, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", per_class=3, classes=("x", "y"))
    shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "photos")
    storage.put(str(tmp_path / "photos"), "/bucket/", recursive=True)
    storage.put_file(str(tmp_path / "archive.zip"), "/bucket/archive.zip")
    for source in ("photos", "archive.zip"):
        report = alexnet.prepare(f"memory://bucket/{source}", tmp_path / f"from-{source}", size=16, val_fraction=0.4)
        assert dict(report.kept) == {"train": 4, "val": 2}
    assert os.listdir(tmp_path / "cache")


def test_a_header_from_an_address_cannot_write_outside_the_cache(storage: Any, tmp_path: Path) -> None:
    record = {"file": "../../../evil", "bytes": 1, "xxh3": "0"}
    assert list(addresses._find_records({"a": [record, {**record, "file": "good"}]})) == [{**record, "file": "good"}]


def test_an_entry_in_use_is_not_removed(storage: Any, tmp_path: Path) -> None:
    place = cache.open_entry("memory://bucket/x", b"1")
    place.mkdir()
    assert place.name == "x"
    assert lock_file(place.parent / cache.IN_USE) is None
    assert cache.find_entry(place / "y") == place.parent
    assert cache.find_entry(tmp_path) is None


def test_a_damaged_report_of_a_store_at_an_address_is_a_doubt_and_no_end(storage: Any, tmp_path: Path) -> None:
    upload(storage, make_store(tmp_path / "store").path)
    store = alexnet.open_store(ADDRESS)
    assert find_equal_files(store) == []
    storage.pipe("/bucket/store/report.json", b"[]")
    for folder in (tmp_path / "cache").rglob("report.json"):
        folder.unlink()
    (doubt,) = find_equal_files(store)
    assert doubt.startswith("Whether splits share images is not known: ")
