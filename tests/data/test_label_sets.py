"""Any number of labels an image: tables, COCO's JSON, and the store that comes of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.kinds import find_images
from alexnet.data.sources.label_sets import divide_labels
from alexnet.data.sources.source import Record
from alexnet.data.store.label_sets import list_sets, mark_sets, pack_sets, unpack_sets
from alexnet.data.store.reader import open_store
from alexnet.errors import AlexNetError, SourceError, StoreError

Photos = Callable[..., Path]
NAMES = [f"{number}.png" for number in range(10)]
TABLE = """path,labels,split
0.png,dog|cat,train
1.png,cat,train
2.png,,train
3.png,owl | dog,train
4.png,cat,val
5.png,,val
"""


def write_table(photos: Photos, text: str, name: str = "t.csv") -> Path:
    table = photos(NAMES) / name
    table.write_text(text)
    return table


def message_of(source: Path, **options: Any) -> str:
    with pytest.raises(AlexNetError) as caught:
        find_images(source, **options)
    return str(caught.value)


@pytest.mark.parametrize("num_classes", [1, 7, 8, 9, 20])
def test_sets_are_packed_and_unpacked(num_classes: int) -> None:
    marked = np.random.default_rng(num_classes).random((13, num_classes)) < 0.3
    packed = pack_sets(marked)
    assert packed.shape == (13, (num_classes + 7) // 8)
    assert [bool(packed[4, k // 8] >> (7 - k % 8) & 1) for k in range(num_classes)] == marked[4].tolist()
    assert np.array_equal(unpack_sets(packed, num_classes), marked)
    assert np.array_equal(mark_sets(list_sets(marked), num_classes), marked)
    if num_classes % 8:
        with pytest.raises(ValueError, match="a class that there is not"):
            unpack_sets(packed | 1, num_classes)
    with pytest.raises(ValueError, match="another shape"):
        unpack_sets(packed.astype(np.int64), num_classes)


def test_a_table_of_sets_becomes_a_store_that_says_so(photos: Photos, tmp_path: Path) -> None:
    table = write_table(photos, TABLE)
    report = prepare(table, tmp_path / "S", labels="several", size=16)
    assert report.kept == {"train": 4, "val": 2}
    assert report.per_class["train"] == {"cat": 2, "dog": 2, "owl": 1}
    assert report.notes[:2] == [
        "Any number of classes in a picture: 2 images with several, 2 with one, 2 with none.",
        "Without images in val: 2 classes (dog, owl).",
    ]
    store = open_store(tmp_path / "S")
    store.verify()
    assert store.has_sets
    assert store.class_names == ("cat", "dog", "owl")
    assert store["train"].label_sets.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert store["val"].per_class_counts == (1, 0, 0)
    header = json.loads((tmp_path / "S" / "store.json").read_bytes())
    assert (header["version"], header["labels"]) == (4, "sets")
    packed = np.load(tmp_path / "S" / header["splits"]["train"]["label_sets"]["file"])
    assert packed.tolist() == [[0b11000000], [0b10000000], [0], [0b01100000]]
    with pytest.raises(StoreError) as caught:
        _ = store["train"].labels
    assert str(caught.value) == (
        f"{tmp_path / 'S'} holds any number of labels for an image; this needs one for each. Prepare the images with "
        "one label each."
    )
    assert prepare(table, tmp_path / "S", labels="several", size=16).was_complete


def test_damaged_sets_are_named(photos: Photos, tmp_path: Path) -> None:
    prepare(write_table(photos, TABLE), tmp_path / "S", labels="several", size=16)
    file = tmp_path / "S" / "val" / "label-sets.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 0x40
    file.write_bytes(data)
    with pytest.raises(StoreError) as caught:
        _ = open_store(tmp_path / "S")["val"].label_sets
    assert str(caught.value).startswith(f"{file} has other bytes than when it was written.")


def test_a_store_of_one_label_is_what_it_was(photos: Photos, tmp_path: Path) -> None:
    table = write_table(photos, "path,label,split\n0.png,a,train\n1.png,b,train\n2.png,a,val\n")
    prepare(table, tmp_path / "S", size=16)
    header = json.loads((tmp_path / "S" / "store.json").read_bytes())
    assert header["version"] == 3
    assert "labels" not in header
    assert "labels" not in header["provenance"]["options"]
    store = open_store(tmp_path / "S")
    assert not store.has_sets
    assert store["train"].targets.tolist() == [0, 1]
    with pytest.raises(StoreError) as caught:
        _ = store["train"].label_sets
    assert str(caught.value) == (
        f"{tmp_path / 'S'} holds one label for each image; this needs one with any number of them. Prepare a table "
        "with --labels several."
    )


def test_a_bar_in_a_label_is_never_guessed(photos: Photos) -> None:
    table = write_table(photos, "path,label,split\n0.png,a|b,train\n1.png,b,train\n2.png,b,val\n")
    assert message_of(table) == (
        f"{table}: 1 label with |, the first 'a|b' in line 2. Say what it is: several classes of a picture, --labels "
        "several, or a part of the name of one, --labels one."
    )
    assert find_images(table, labels="one").class_names == ("a|b", "b")
    several = find_images(table, labels="several")
    assert several.class_names == ("a", "b")
    assert several.splits["train"][0].classes == (0, 1)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("a||b", ", line 2: 'a||b' has an empty class. Write the classes with one | between two, and nothing for none of them."),
        ("a|b|a", ", line 2: 'a|b|a' names a twice. Name it once."),
    ],
)  # fmt: skip
def test_a_label_that_is_no_set_names_its_line(photos: Photos, label: str, message: str) -> None:
    table = write_table(photos, f"path,label,split\n0.png,{label},train\n1.png,b,train\n2.png,b,val\n")
    assert message_of(table, labels="several") == f"{table}{message}"


def test_other_separators_are_refused_and_tables_without_classes() -> None:
    root = Path("t.csv")
    with pytest.raises(SourceError) as caught:
        divide_labels(root, [Record("0.png", "a;b", None)], [2], "several")
    assert str(caught.value) == (
        "t.csv, line 2: 'a;b' has ;, and no label has |, which parts the classes of a picture. Write a|b."
    )


def test_nothing_but_empty_labels_is_refused(photos: Photos) -> None:
    table = write_table(photos, "path,label,split\n0.png,,train\n1.png,,val\n")
    assert message_of(table, labels="several") == (
        f"{table} names no class for any training image. Label at least some of them."
    )
    assert message_of(table.parent, labels="several", kind="folders") == (
        f"{table.parent} is train/<class>/... with val/<class>/..., or <class>/...; it has one label for each image. "
        "Leave out --labels, or give a table or COCO's JSON."
    )


def test_a_fraction_of_each_class_is_set_aside(photos: Photos) -> None:
    generator = np.random.default_rng(0)
    sets = [[name for name in "abcde" if generator.random() < 0.3] for _ in range(400)]
    rows = "".join(f"{number}.png,{'|'.join(classes)}\n" for number, classes in enumerate(sets))
    table = write_table(photos, f"path,label\n{rows}")
    found = find_images(table, labels="several", val_fraction=0.2, test_fraction=0.1)
    counts = {split: np.zeros(6) for split in found.splits}
    for split, entries in found.splits.items():
        for entry in entries:
            counts[split][list(entry.classes) or [5]] += 1
    totals = sum(counts.values())
    assert np.abs(counts["val"] / totals - 0.2).max() < 0.02
    assert np.abs(counts["test"] / totals - 0.1).max() < 0.05
    again = find_images(table, labels="several", val_fraction=0.2)
    assert again.splits["val"] == found.splits["val"]


def coco(**changes: Any) -> dict[str, Any]:
    document = {
        "images": [{"id": 7 + number, "file_name": f"{number}.png"} for number in range(4)],
        "categories": [{"id": 3, "name": "owl"}, {"id": 1, "name": "dog"}, {"id": 9, "name": "yak"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]},
            {"image_id": 7, "category_id": 3},
            {"image_id": 7, "category_id": 1},
            {"image_id": 8, "category_id": 3},
            {"image_id": 10, "category_id": 1},
        ],
    }
    return {**document, **changes}


def test_coco_with_several_categories_a_picture(photos: Photos, tmp_path: Path) -> None:
    root = photos(NAMES)
    (root / "set.json").write_text(json.dumps(coco()))
    found = find_images(root / "set.json", val_fraction=0.3)
    assert (found.kind, found.has_sets, found.class_names) == ("coco", True, ("dog", "owl"))
    entries = {entry.path: entry.classes for entries in found.splits.values() for entry in entries}
    assert entries == {"0.png": (0, 1), "1.png": (1,), "2.png": (), "3.png": (0,)}
    assert found.notes[-1] == "Without pictures, so no classes: 1 category (yak)."
    assert message_of(root / "set.json", val_fraction=0.3, labels="one") == (
        f"{root / 'set.json'}: 0.png has 2 categories, and --labels one needs one for each picture. Leave it out, so "
        "that a picture may have any number."
    )
    prepare(root / "set.json", tmp_path / "S", val_fraction=0.3, size=16)
    assert open_store(tmp_path / "S").has_sets


def test_coco_in_its_own_folders(photos: Photos) -> None:
    root = photos(["train2017/0.png", "train2017/1.png", "train2017/2.png", "train2017/3.png", "val2017/9.png"])
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(coco()))
    held = coco(images=[{"id": 1, "file_name": "9.png"}], annotations=[{"image_id": 1, "category_id": 3}])
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(held))
    found = find_images(root)
    assert [entry.path for entry in found.splits["train"]] == [f"train2017/{number}.png" for number in range(4)]
    assert found.splits["val"] == [("val2017/9.png", (1,))]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"images": []}, " cannot be read as COCO's instances (it lacks 'annotations'). It needs images with id and file_name, categories with id and name, and annotations with image_id and category_id."),
        (coco(annotations=[{"image_id": 1, "category_id": 1}]), ": annotation 0 is of image 1, which is not listed. Add it, or remove its annotations."),
        (coco(annotations=[{"image_id": 7, "category_id": 2}]), ": annotation 0 is of category 2, which is not listed. Add it, or remove its annotations."),
        (coco(images=[{"id": 7, "file_name": "0.png"}] * 2), ": the image 7 is listed twice. Give each an id of its own."),
        (coco(categories=[{"id": 1, "name": "a"}, {"id": 3, "name": "a"}]), ": name a stands twice. Give each category one of its own."),
        (coco(annotations=[]), " names no class for any training image. Label at least some of them."),
    ],
)  # fmt: skip
def test_coco_that_cannot_be_used_says_why(photos: Photos, document: dict[str, Any], message: str) -> None:
    root = photos(NAMES)
    (root / "set.json").write_text(json.dumps(document))
    where = root if "names no class" in message else root / "set.json"
    assert message_of(root / "set.json", val_fraction=0.3) == f"{where}{message}"


def test_corrections_of_sets_are_refused(photos: Photos, tmp_path: Path) -> None:
    table = write_table(photos, TABLE)
    (tmp_path / "c.csv").write_text("path,choice,class\n0.png,drop,\n")
    assert message_of(table, labels="several", corrections=tmp_path / "c.csv") == (
        f"{tmp_path / 'c.csv'}: corrects one label for each image, and those of {table} have any number. Put them right "
        f"in {table} itself, and leave --corrections out."
    )
