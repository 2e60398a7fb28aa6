import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet.data.store.existing import read_report
from alexnet.data.store.reader import Store, open_store
from alexnet.data.store.writer import rows_per_shard
from alexnet.errors import StoreError
from alexnet.files.record import header_checksum, record_file
from conftest import write_store


def random_images(count: int, size: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    splits = {"train": (random_images(10), [0, 1] * 5), "val": (random_images(3, seed=1), [1, 0, 1])}
    return write_store(tmp_path / "STORE", splits, ["cat", "dog"], shard_rows=4, provenance={"source": "made up"})


def rewrite_header(store: Store, **fields: object) -> None:
    header = {**store.header, **fields}
    header["checksum"] = header_checksum(header)
    (store.path / "store.json").write_text(json.dumps(header))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def message_of(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        open_store(path)
    return str(caught.value)


def test_everything_that_was_written_is_read_back(store: Store) -> None:
    assert len(store) == 10
    assert {name: len(split) for name, split in store.splits.items()} == {"train": 10, "val": 3}
    assert store.images.shape == (10, 6, 6, 3)
    assert (np.stack(list(store.images)) == random_images(10)).all()
    assert (np.stack(list(store["val"].images)) == random_images(3, seed=1)).all()
    assert store.labels.tolist() == [0, 1] * 5
    assert store.labels.dtype == np.int64
    assert store["val"].labels.tolist() == [1, 0, 1]
    assert store["val"].per_class_counts == (1, 2)
    assert store.paths[:2] == ["train/0", "train/1"]
    assert store["val"].paths[-1] == "val/2"
    assert (store.class_names, store.class_titles) == (("cat", "dog"), ("cat", "dog"))
    assert (store.size, store.provenance) == (6, {"source": "made up"})
    assert repr(store) == f"Store('{store.path}': train 10, val 3; 2 classes, 6 px)"
    store.verify()


def test_statistics_are_those_of_the_training_images(store: Store) -> None:
    images = random_images(10)
    pixels = images.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(store.mean_image, images.mean(0, dtype=np.float64), rtol=1e-7)
    assert (store.mean_image.shape, store.mean_image.dtype) == ((6, 6, 3), np.float32)
    np.testing.assert_allclose(store.color_mean, pixels.mean(0), rtol=1e-14)
    np.testing.assert_allclose(store.color_covariance, np.cov(pixels.T, bias=True), rtol=1e-11)
    np.testing.assert_allclose(store.color_axes @ store.color_axes.T, store.color_covariance, rtol=1e-10)
    np.testing.assert_allclose(
        store.color_covariance @ store.color_eigenvectors, store.color_eigenvectors * store.color_eigenvalues
    )


def test_an_image_and_a_selection_are_arrays_of_their_own(store: Store) -> None:
    image = store.images[4]
    assert image.flags.owndata
    assert not np.shares_memory(image, store.images[4])
    assert (store.images[-1] == random_images(10)[9]).all()
    assert (store.images[2:9:3] == random_images(10)[2:9:3]).all()
    assert (store.images[[7, 0, -2]] == random_images(10)[[7, 0, -2]]).all()
    assert store.images[5:5].shape == (0, 6, 6, 3)
    out = np.zeros((2, 6, 6, 3), np.uint8)
    assert store.images.take(np.array([3, 8]), out) is out
    assert (out == random_images(10)[[3, 8]]).all()
    for index in (10, -11):
        with pytest.raises(IndexError, match=f"^image {index} is outside this split of 10 images$"):
            store.images[index]


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 9),
    size=st.integers(1, 5),
    rows=st.integers(1, 4),
    paths=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=9, max_size=9),
)
def test_any_store_round_trips(
    tmp_path_factory: pytest.TempPathFactory, count: int, size: int, rows: int, paths: list[str]
) -> None:
    images = random_images(count, size)
    labels = np.arange(count) % 3
    folder = tmp_path_factory.mktemp("round") / "STORE"
    written = write_store(
        folder, {"train": (images, labels)}, ["a", "b", "c"], shard_rows=rows, paths={"train": paths[:count]}
    )
    assert (written.images[:] == images).all()
    assert (written.labels == labels).all()
    assert written.paths[:] == paths[:count]


def test_a_store_is_readable_with_numpy_alone(store: Store) -> None:
    header = json.loads((store.path / "store.json").read_text())
    shards = [np.load(store.path / shard["file"]) for shard in header["splits"]["train"]["shards"]]
    assert [len(shard) for shard in shards] == [4, 4, 2]
    assert (np.concatenate(shards) == random_images(10)).all()
    assert np.load(store.path / "train/labels.npy").tolist() == [0, 1] * 5
    assert json.loads((store.path / "train/paths.jsonl").read_text().splitlines()[3]) == "train/3"
    assert np.load(store.path / "mean_image.npy").shape == (6, 6, 3)
    assert list(header)[:3] == ["format", "version", "size"]


def test_a_store_and_its_images_survive_pickling_without_their_pixels(store: Store) -> None:
    assert len(pickle.dumps(store)) < 500
    assert len(pickle.dumps(store.images)) < 2000
    assert pickle.loads(pickle.dumps(store)).fingerprint == store.fingerprint
    assert (pickle.loads(pickle.dumps(store.images))[9] == random_images(10)[9]).all()


def test_the_fingerprint_depends_on_every_pixel(tmp_path: Path, store: Store) -> None:
    images = random_images(10)
    again = write_store(tmp_path / "SAME", {"train": (images, [0, 1] * 5)}, ["a", "b"])
    images[9, 5, 5, 2] ^= 1
    other = write_store(tmp_path / "OTHER", {"train": (images, [0, 1] * 5)}, ["a", "b"])
    assert len({store.fingerprint, again.fingerprint, other.fingerprint}) == 3
    assert len(store.fingerprint) == 64


def test_a_shard_holds_512_images_of_256_px_by_default() -> None:
    assert rows_per_shard(256) == 512
    assert rows_per_shard(32) == 32768
    assert rows_per_shard(10_000) == 1


def test_reading_holds_no_file_open(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
    store = write_store(tmp_path / "MANY", {"train": (images, [0] * 6 + [1] * 6)}, ["a", "b"], shard_rows=1)
    assert (store.images[:] == images).all()
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        assert not [link for link in descriptors.iterdir() if str(link.resolve()).startswith(str(tmp_path))]


def test_a_shard_that_vanishes_or_shrinks_while_it_is_used_is_an_error(store: Store) -> None:
    store.images[0]
    path = store.path / store.header["splits"]["train"]["shards"][0]["file"]
    path.write_bytes(path.read_bytes()[:-10])
    message = f"{path} ends early. The store is damaged: prepare the images again, or copy it again."
    rows = store.header["splits"]["train"]["shards"][0]["rows"]
    with pytest.raises(StoreError) as caught:
        store.images[rows - 1]
    assert str(caught.value) == message
    path.unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        store.images[0]


def test_a_split_that_is_not_there_is_named_with_those_that_are(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        store["test"]
    assert str(caught.value) == f"{store.path} has no split 'test'. It has: train, val."


def test_what_is_no_store_does_not_open(tmp_path: Path) -> None:
    path = tmp_path / "STORE"
    assert message_of(path) == f"{path} does not exist. Make a store: alexnet prepare PHOTOS --out {path}"
    path.mkdir()
    assert message_of(path) == (
        f"{path} is not a store: it has no store.json. Make one: alexnet prepare {path} --out STORE"
    )
    (path / "store.json").write_text('{"format": "recipe"}')
    assert message_of(path) == (
        f"{path}/store.json is not the header of a store. Make one: alexnet prepare PHOTOS --out STORE"
    )
    file = tmp_path / "file"
    file.write_text("")
    assert message_of(file) == f"{file} is a file; a store is a folder. Make one: alexnet prepare PHOTOS --out STORE"


def test_an_unfinished_store_says_how_to_finish_it(tmp_path: Path) -> None:
    partial = tmp_path / "STORE.partial"
    partial.mkdir()
    expected = f"{partial} is an unfinished store. Run the same prepare command again; it continues."
    assert message_of(partial) == expected
    assert message_of(tmp_path / "STORE") == expected


def test_a_store_of_a_newer_version_or_codec_does_not_open(store: Store) -> None:
    rewrite_header(store, version=5)
    assert message_of(store.path) == (
        f"{store.path} is a store of version 5; this alexnet reads versions 3 and 4. "
        "Update alexnet, or prepare the images again with this one."
    )
    rewrite_header(store, codec="png")
    assert message_of(store.path) == (
        f"{store.path} keeps its images as 'png'; this alexnet reads: raw, jpeg. "
        "Update alexnet, or prepare the images again with this one."
    )


ADVICE = "The store is damaged: prepare the images again, or copy it again."


def test_a_damaged_header_does_not_open(store: Store) -> None:
    header = store.path / "store.json"
    text = header.read_text()
    header.write_text(text.replace('"cat"', '"cow"'))
    assert message_of(store.path) == f"{header} does not agree with its own checksum. {ADVICE}"
    header.write_text(text[:-20])
    assert message_of(store.path) == f"{header} is not valid JSON. {ADVICE}"
    rewrite_header(store, size=None, splits={"train": {}})
    assert message_of(store.path) == (f"{header} lacks a field or has one of the wrong kind ('size'). {ADVICE}")
    rewrite_header(store, splits={"train": {}})
    assert message_of(store.path) == (
        f"{header} lacks a field or has one of the wrong kind ('splits.train.count'). {ADVICE}"
    )


def test_a_truncated_or_missing_file_is_named_on_opening(store: Store) -> None:
    shard = store.path / "train/images-00001.npy"
    shard.write_bytes(shard.read_bytes()[:100])
    assert message_of(store.path) == f"{shard} has 100 bytes instead of 560. {ADVICE}"
    shard.unlink()
    assert message_of(store.path) == f"{shard} is missing. {ADVICE}"


@pytest.mark.parametrize(
    "name", ["train/images-00002.npy", "val/images-00000.npy", "train/labels.npy", "mean_image.npy", "report.json"]
)
def test_one_changed_bit_anywhere_is_found_by_verify(store: Store, name: str) -> None:
    path = store.path / name
    flip(path, -1)
    with pytest.raises(StoreError) as caught:
        open_store(store.path).verify()
    assert str(caught.value) == f"{path} has other bytes than when it was written. {ADVICE}"


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("train/images-00001.checksums.npy", lambda store: store.images[4]),
        ("train/labels.npy", lambda store: store.labels),
        ("val/labels.npy", lambda store: store["val"].labels),
        ("train/paths.jsonl", lambda store: store.paths[0]),
        ("mean_image.npy", lambda store: store.mean_image),
        ("report.json", read_report),
    ],
)
def test_one_changed_bit_is_found_before_the_file_is_used(
    store: Store, name: str, use: Callable[[Store], object]
) -> None:
    flip(store.path / name, -2)
    with pytest.raises(StoreError) as caught:
        use(open_store(store.path))
    assert str(caught.value) == f"{store.path / name} has other bytes than when it was written. {ADVICE}"


def test_one_changed_bit_of_an_image_is_found_whenever_that_image_is_read(store: Store) -> None:
    path = store.path / "train/images-00001.npy"
    opened = open_store(store.path)
    assert (opened.images[5] == random_images(10)[5]).all()
    flip(path, 128 + 108 + 50)  # while it is open: image 1 of this shard, which holds images 4 to 7
    for index in (4, 6, 7):
        assert (opened.images[index] == random_images(10)[index]).all()
    for read in (lambda: opened.images[5], lambda: opened.images[2:8], lambda: opened.images.take([0, 5])):
        with pytest.raises(StoreError) as caught:
            read()
        assert str(caught.value) == (
            f"{path} is damaged: its image 1 has other bytes than when it was written. {ADVICE}"
        )


def test_files_that_do_not_fit_the_header_are_refused_when_used(store: Store) -> None:
    shard, labels, paths = (store.path / "train" / name for name in ("images-00002.npy", "labels.npy", "paths.jsonl"))
    sums = store.path / "train/images-00001.checksums.npy"
    for path, wrong in ((shard, np.zeros((1, 6, 12, 3), np.uint8)), (labels, np.full(10, 2)), (sums, np.zeros(3))):
        np.save(path, wrong)
    paths.write_bytes(paths.read_bytes().replace(b"\n", b" ", 1))
    fields = store.header["splits"]  # the header vouches for them: another program wrote both
    for name in ("labels", "paths"):
        fields["train"][name] = record_file(store.path, fields["train"][name]["file"])
    fields["train"]["shards"][1]["checksums"] = record_file(store.path, "train/images-00001.checksums.npy")
    rewrite_header(store, splits=fields)
    opened = open_store(store.path)
    with pytest.raises(StoreError) as caught:
        opened.images[9]
    assert str(caught.value) == f"{shard} does not hold the images that the header lists. {ADVICE}"
    with pytest.raises(StoreError) as caught:
        _ = opened.labels
    assert str(caught.value) == f"{labels} does not hold one label for each image. {ADVICE}"
    with pytest.raises(StoreError) as caught:
        opened.paths[0]
    assert str(caught.value) == f"{paths} does not hold one line for each image. {ADVICE}"
    with pytest.raises(StoreError) as caught:
        opened.images[4]
    assert str(caught.value) == f"{sums} does not hold one checksum for each image. {ADVICE}"


def test_pickled_objects_in_an_array_file_are_never_loaded(store: Store) -> None:
    labels = store.path / "train/labels.npy"
    np.save(labels, np.array([{"a": 1}], object), allow_pickle=True)
    fields = store.header["splits"]
    fields["train"]["labels"] = record_file(store.path, "train/labels.npy")
    rewrite_header(store, splits=fields)
    with pytest.raises(StoreError, match="Object arrays cannot be loaded when allow_pickle=False"):
        _ = open_store(store.path).labels


def test_a_moved_store_still_opens(store: Store, tmp_path: Path) -> None:
    shutil.move(store.path, tmp_path / "MOVED")
    moved = open_store(tmp_path / "MOVED")
    moved.verify()
    assert moved.fingerprint == store.fingerprint


def test_the_example_and_the_fields_of_the_format_page_are_true(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
    example = (
        page.split("## The store\n")[1]
        .split("```python\n")[1]
        .split("```")[0]
        .replace('open("STORE/store.json")', "HEADER")
    )
    monkeypatch.chdir(tmp_path)
    with (store.path / "store.json").open() as header:
        names: dict[str, object] = {"HEADER": header}
        exec(example, names)
    assert names["names"] == ["cat", "dog"] * 5
    assert sum(map(len, names["shards"])) == 10  # type: ignore[call-overload]
    for field in [*store.header, *store.header["statistics"], *store.header["splits"]["train"]]:
        assert f"`{field}`" in page or f"{field}.npy" in page or f"`{field}.NAME`" in page, field
