"""Data sets that Hugging Face's save_to_disk wrote; Parquet is in test_kinds.py.

tests/data/written/save_to_disk was written by datasets 5.2.0: DatasetDict of train (4 rows) and test (2 rows), columns
image (Image) and label (ClassLabel of cat, dog).
"""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data.sources.kinds import find_images
from alexnet.errors import ImageError, SourceError

WRITTEN = Path(__file__).parent / "written" / "save_to_disk"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    pytest.importorskip("pyarrow")
    return Path(shutil.copytree(WRITTEN, tmp_path / "saved"))


def message_of(root: Path) -> str:
    with pytest.raises(SourceError) as problem:
        find_images(root)
    return str(problem.value)


def pixels(number: int) -> np.ndarray:
    """What was saved as row number, counted through both splits."""
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def test_splits_classes_and_pictures_are_those_that_were_saved(saved: Path) -> None:
    source = find_images(saved)
    assert (source.kind, source.class_names) == ("arrow", ("cat", "dog"))
    assert {split: [label for _, label in rows] for split, rows in source.splits.items()} == {
        "train": [0, 1, 0, 1],
        "val": [0, 1],
    }
    assert source.splits["train"][2].path == "train/data-00000-of-00001.arrow/2"
    entries = [*source.splits["train"], *source.splits["val"]]
    for number, (path, _) in enumerate(entries):
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(source.read(path)))), pixels(number))
    assert {size for _, size, _ in source.describe_files()} == {4, 2}


def test_one_split_alone_is_divided(saved: Path) -> None:
    source = find_images(saved / "train", val_fraction=0.5)
    assert {split: len(rows) for split, rows in source.splits.items()} == {"train": 2, "val": 2}


def test_what_programs_left_beside_the_rows_is_no_row(saved: Path) -> None:
    """Once loaded, a data set gets files of its caches beside its own."""
    shutil.copy(saved / "train/data-00000-of-00001.arrow", saved / "train/cache-0123456789abcdef.arrow")
    assert len(find_images(saved).splits["train"]) == 4


def test_several_shards_are_read_in_the_order_of_the_state(saved: Path) -> None:
    state = json.loads((saved / "train/state.json").read_text())
    (saved / "train/data-00000-of-00001.arrow").rename(saved / "train/data-00001-of-00002.arrow")
    shutil.copy(saved / "test/data-00000-of-00001.arrow", saved / "train/data-00000-of-00002.arrow")
    state["_data_files"] = [{"filename": f"data-0000{shard}-of-00002.arrow"} for shard in (0, 1)]
    (saved / "train/state.json").write_text(json.dumps(state))
    source = find_images(saved)
    paths = [path for path, _ in source.splits["train"]]
    assert [path.rpartition("/")[2] for path in paths] == ["0", "1", "0", "1", "2", "3"]
    for path, number in zip(paths, (4, 5, 0, 1, 2, 3), strict=True):
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(source.read(path)))), pixels(number))


def test_what_cannot_be_read_is_told(saved: Path) -> None:
    whole = (saved / "train/data-00000-of-00001.arrow").read_bytes()
    for damaged in (b"", whole[:700], whole[:-600], b"no Arrow"):
        (saved / "train/data-00000-of-00001.arrow").write_bytes(damaged)
        assert message_of(saved).startswith(f"{saved}/train/data-00000-of-00001.arrow is a damaged Arrow file (")
    (saved / "train/data-00000-of-00001.arrow").unlink()
    assert message_of(saved) == (
        f"{saved}/train/data-00000-of-00001.arrow is missing, and state.json names it. Copy it again."
    )
    for state in ("{}", "[]", '{"_data_files": 3}', "{"):
        (saved / "train/state.json").write_text(state)
        assert (
            message_of(saved)
            == f"{saved}/train/state.json does not name the files of a data set. Save it to disk again."
        )
    for state in ({"_data_files": [{"filename": "../x.arrow"}]},
                  {"_data_files": [{"filename": "x.arrow"}], "_indices_data_files": [{"filename": "i.arrow"}]}):  # fmt: skip
        (saved / "train/state.json").write_text(json.dumps(state))
        assert message_of(saved) == (
            f"{saved}/train/state.json chooses rows of its files, or names others than Arrow files beside it. Save the "
            "data set again by a newer version of datasets."
        )


def test_a_split_that_is_named_and_missing_is_told(saved: Path) -> None:
    (saved / "old").mkdir()
    shutil.copytree(saved / "test", saved / "old", dirs_exist_ok=True)
    assert {split: len(rows) for split, rows in find_images(saved).splits.items()} == {"train": 4, "val": 2}
    shutil.rmtree(saved / "test")
    assert message_of(saved) == (
        f"{saved}/test/state.json is missing, and dataset_dict.json names the split test. Copy the folder test again; "
        "or, to do without it, take its name out of dataset_dict.json."
    )
    (saved / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert len(find_images(saved, val_fraction=0.5).splits["train"]) == 2
    for named in ("{", "[]", "{}", '{"splits": []}', '{"splits": 3}', '{"splits": [3]}', '{"splits": ["../saved"]}'):
        (saved / "dataset_dict.json").write_text(named)
        assert message_of(saved) == (
            f"{saved}/dataset_dict.json does not name the splits of a data set. Save it to disk again."
        )


def test_no_byte_of_a_damaged_file_ends_the_program(saved: Path) -> None:
    """Lengths and places in the file are checked before they are followed."""
    path = saved / "train/data-00000-of-00001.arrow"
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    read = refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 3):
            damaged[place] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            source = find_images(saved)
            for entry in source.splits["train"]:
                source.read(entry.path)
            read += 1
        except (SourceError, ImageError):
            refused += 1
    assert read > 20
    assert refused > 20


def test_pictures_that_are_only_named_are_left_out_with_the_remedy(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    rows = pa.table({"image": [{"bytes": None, "path": "/a.png"}] * 4, "label": ["cat", "dog"] * 2})
    with pa.ipc.new_stream(str(tmp_path / "rows.arrow"), rows.schema) as stream:
        stream.write_table(rows)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "rows.arrow"}]}')
    source = find_images(tmp_path, val_fraction=0.5)
    with pytest.raises(
        ImageError, match=r"has no bytes, only a path\. Write the data set again with its images embedded"
    ):
        source.read(source.splits["train"][0].path)
