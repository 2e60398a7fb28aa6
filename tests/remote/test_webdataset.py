"""Shards of a store, read by webdataset itself."""

from pathlib import Path

import numpy as np
import pytest

import alexnet
from alexnet.data.store.shards import write_shards
from conftest import write_pictures

webdataset = pytest.importorskip("webdataset", reason="needs webdataset: make test-extras")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files to the collector
@pytest.mark.parametrize(("codec", "suffix", "most"), [("raw", "png", 0), ("jpeg", "jpg", 3)])
def test_webdataset_reads_the_pictures_labels_and_records_of_a_store(
    codec: str, suffix: str, most: int, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "photos", per_class=10, classes=("ant", "bee"))
    made = alexnet.prepare(tmp_path / "photos", tmp_path / "store", size=32, codec=codec, val_fraction=0.5)
    store = alexnet.open_store(made.store)
    done = write_shards(store, tmp_path / "shards", shard_bytes=8000)
    shards = sorted(map(str, done.path.glob("train-*.tar")))
    assert len(shards) > 1
    found = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple(suffix, "cls", "json"))
    assert [label for _, label, _ in found] == store.labels.tolist()
    assert [record["path"] for _, _, record in found] == list(store.paths)
    difference = np.abs(np.stack([pixels for pixels, _, _ in found]).astype(int) - store.images.take(range(10)))
    assert difference.max() <= most  # another decoder of JPEG rounds otherwise
