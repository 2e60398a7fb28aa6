"""Stores as WebDataset shards, read back by our own source and, where it is installed, by webdataset itself."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import alexnet
from alexnet.cli import cli
from alexnet.data.store.jpeg import JpegImages
from alexnet.data.store.shards import write_shards
from conftest import write_pictures


@pytest.fixture(params=["raw", "jpeg"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    for part, seed in (("train", 0), ("val", 1)):
        write_pictures(tmp_path / "photos" / part, per_class=5, classes=("ant", "bee"), seed=seed)
    report = alexnet.prepare(tmp_path / "photos", tmp_path / "store", size=32, codec=request.param)
    return alexnet.open_store(report.store)


def test_shards_hold_the_pictures_of_a_store_to_the_byte(store: Any, tmp_path: Path) -> None:
    done = write_shards(store, tmp_path / "shards", shard_bytes=8000)
    names = sorted(path.name for path in done.path.iterdir())
    assert names[0] == "train-00000.tar"
    assert done.images == 20
    assert len(names) == done.shards > 2
    members: dict[str, bytes] = {}
    for path in sorted(done.path.iterdir()):
        with tarfile.open(path) as tar:
            members |= {each.name: tar.extractfile(each).read() for each in tar}  # type: ignore[union-attr]
    suffix = "jpg" if isinstance(store.images, JpegImages) else "png"
    for number in range(10):
        key = f"train-{number:08d}"
        assert int(members[f"{key}.cls"]) == store.labels[number]
        assert json.loads(members[f"{key}.json"]) == {
            "label": int(store.labels[number]),
            "class_name": store.class_names[store.labels[number]],
            "class_title": store.class_titles[store.labels[number]],
            "path": store.paths[number],
        }
        data = members[f"{key}.{suffix}"]
        if isinstance(store.images, JpegImages):
            assert data == store.images.read_encoded(number)
        else:
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), store.images[number])
    write_shards(store, tmp_path / "again", shard_bytes=8000)
    assert all((tmp_path / "again" / name).read_bytes() == (done.path / name).read_bytes() for name in names)


def test_our_own_source_reads_them_back_with_the_same_pictures_labels_and_names(store: Any, tmp_path: Path) -> None:
    write_shards(store, tmp_path / "shards", shard_bytes=8000)
    again = alexnet.open_store(alexnet.prepare(tmp_path / "shards", tmp_path / "again", size=32).store)
    assert again.class_names == store.class_names
    for split in ("train", "val"):
        assert np.array_equal(again[split].labels, store[split].labels)
        assert np.array_equal(again[split].images.take(range(10)), store[split].images.take(range(10)))


def test_the_command_says_what_it_wrote_and_refuses_what_is_no_single_label(store: Any, tmp_path: Path) -> None:
    words = ["export", str(store.path), "--to", "webdataset", "--out", str(tmp_path / "shards")]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0
    assert f"{tmp_path / 'shards'}: 20 images in 2 shards, " in result.output
    with pytest.raises(alexnet.AlexNetError, match=r"shards: exists\. Choose another, or delete it\."):
        CliRunner().invoke(cli, words, catch_exceptions=False)
    result = CliRunner().invoke(cli, [*words, "--ten-views"])
    assert result.exit_code == 2
    assert "--ten-views: of models" in result.output
