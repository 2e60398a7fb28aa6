"""Sources that are neither folders nor archives of folders: tables, shards, Parquet, arrays, and the challenge sets."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.data.images.decode import decode_image
from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.kinds import KINDS, find_images
from alexnet.data.store.reader import open_store
from alexnet.errors import AlexNetError, ConfigError, SourceError
from alexnet.verbs import prepare as preparing

Photos = Callable[..., Path]
Draw = Callable[..., Any]
Encode = Callable[..., bytes]


def message_of(source: Path, error: type[AlexNetError] = SourceError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        find_images(source, **options)
    return str(caught.value)


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_the_command_line_knows_every_kind() -> None:
    assert [kind.name for kind in KINDS] == preparing.SOURCE_KINDS


def test_a_kind_that_is_named_must_fit(photos: Photos) -> None:
    root = photos(["train/a/1.png"])
    accepted = ", ".join(kind.name for kind in KINDS)
    assert message_of(root, ConfigError, kind="zip") == f"There is no source 'zip'; accepted are {accepted}."
    assert message_of(root, kind="numpy") == (
        f"{root} is not an .npz file with arrays of images and labels. Leave out --source to have the kind detected."
    )
    assert message_of(root, ConfigError, val_fraction=0.1, val_list=root) == (
        "Both a validation fraction and a validation list are given; use one of them."
    )


# Lists of validation images


def test_a_list_sets_images_of_one_tree_aside(photos: Photos, tmp_path: Path) -> None:
    root = photos([f"{name}/{number}.png" for name in "ab" for number in range(4)])
    listed = tmp_path / "val.txt"
    listed.write_text("a/1.png\nb/3.png\n")
    source = find_images(root, val_list=listed)
    assert [path for path, _ in source.splits["val"]] == ["a/1.png", "b/3.png"]
    assert len(source.splits["train"]) == 6
    listed.write_text("a/1.png\na/9.png\nc/1.png\n")
    assert message_of(root, val_list=listed) == (
        f"{listed} lists 2 images that the source does not have: a/9.png, c/1.png. Check that the list belongs to "
        "these images. Each line holds a path, or a path, a blank or a tab, and a class."
    )


def test_a_list_that_contradicts_the_folders_is_noted(photos: Photos, tmp_path: Path) -> None:
    images = [f"{name}/{number}.png" for name in "ab" for number in range(3)]
    listed = tmp_path / "val.txt"
    listed.write_text("a/1.png b\nb/1.png b\nb/2.png some remark\n")
    one = find_images(photos(images), val_list=listed)
    assert [tuple(entry) for entry in one.splits["val"]] == [("a/1.png", 0), ("b/1.png", 1), ("b/2.png", 1)]
    assert one.notes == (
        f"{listed} gives 1 image another class than the source, as a/1.png: b, not a; the source's was taken.",
    )
    listed.write_text("".join(f"val/{image} a\n" for image in images))
    both = [f"{part}/{image}" for part in ("train", "val") for image in images]
    two = find_images(photos(both, "TWO"), val_list=listed)
    assert {label for _, label in two.splits["val"]} == {0}
    assert two.notes == (
        f"{listed} gives 3 images another class than the source, as val/b/0.png: a, not b; the list's was taken.",
    )


@pytest.mark.parametrize(
    "text", ["1.png\tdog\n2.png\tcat\n", "1 dog\n2 cat\n", "ImageId,PredictionString\n1,dog 4 5 6 7\n2,cat 1 2 3 4\n"]
)
def test_a_flat_validation_folder_gets_its_classes_from_a_list(photos: Photos, tmp_path: Path, text: str) -> None:
    root = photos(["train/cat/a.png", "train/dog/b.png", "val/1.png", "val/2.png"])
    listed = tmp_path / "val.txt"
    listed.write_text(text)
    assert [tuple(entry) for entry in find_images(root, val_list=listed).splits["val"]] == [
        ("val/1.png", 1),
        ("val/2.png", 0),
    ]
    assert message_of(root) == (
        f"{root}/val holds no class folders with images. Name a list of their classes: --val-list FILE."
    )
    listed.write_text("1.png cat\n")
    assert message_of(root, val_list=listed) == (
        f"{listed} does not list 1 of 2 validation images: val/2.png. Check that the list belongs to these images."
    )
    listed.write_text("1.png cat\n2.png 7\n")
    assert message_of(root, val_list=listed) == (
        f"{listed} names classes that are not among the training classes: 7. Labels are names of class folders, never "
        "numbers."
    )


# Tables


def test_a_table_names_paths_labels_and_splits(photos: Photos, tmp_path: Path) -> None:
    root = photos(["x/1.png", "x/2.png", "y/3.png", "y/ü, 4.png"])
    table = root / "images.csv"
    table.write_text('Label,Split,Path\ndog,train,x/1.png\ncat,train,x/2.png\n\ncat,validation,"y/ü, 4.png"\n')
    source = find_images(table)
    assert (source.kind, source.class_names) == ("table", ("cat", "dog"))
    assert [tuple(entry) for entry in source.splits["train"]] == [("x/1.png", 1), ("x/2.png", 0)]
    assert [tuple(entry) for entry in source.splits["val"]] == [("y/ü, 4.png", 0)]
    prepare(table, tmp_path / "STORE", size=8)
    assert open_store(tmp_path / "STORE")["val"].paths[:] == ["y/ü, 4.png"]
    (root / "images.tsv").write_text("file\tclass\n" + "".join(f"x/{n}.png\t{n}\n" for n in (10, 2, 10, 9)).replace(
        "x/10.png\t10\nx/9", "x/11.png\t10\nx/9"))  # fmt: skip
    assert find_images(root / "images.tsv", val_fraction=0.5).class_names == ("2", "9", "10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty. Give a table with the columns path and label, and perhaps split."),
        ("a,b\n1,2\n", "has the columns a, b. Name one of them path and one label in the first row; a third may be split. For example: path,label in the first line and images/1.jpg,cat in the second."),
        ("path,label\n1.png\n", ", line 2: has no path or no label. Fill in the row, or remove it; with --labels several an empty label is a picture of none of the classes."),
        ("path,label,split\n1.png,a,later\n", ", line 2: 'later' is no split. Accepted are train, val and test."),
        ("path,label\n1.png,a\n1.png,b\n", "lists 1.png twice, in lines 2 and 3. Keep one of them."),
        ("path,label\n1.png,a\n2.png,b\n", "does not say which images are for validation. Add --val-fraction 0.1 to set a tenth of each class aside."),
        ("path,label,split\n1.png,a,train\n2.png,b,val\n", "has one class, a; a classifier needs two or more."),
        ("path,label,split\n1.png,a,val\n", "has no training images, only: val. Check the path."),
        ("path,label\n", "holds no images. Check the path."),
        ("path,label,split\n1.png,ant,train\n2.png,bee,train\n3.png,bees,val\n", "has classes without training images: bees (did you mean bee?). Rename, move or remove them."),
        ("path,label,split\n1.png,ant,train\n2.png,bee,train\n", "has no validation images. Add --val-fraction 0.1 to set a tenth of each class aside."),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(text)
    assert message_of(table) == f"{table}{'' if message.startswith(',') else ' '}{message}"


def test_test_images_serve_as_validation_where_there_are_no_others(photos: Photos) -> None:
    root = photos(["1.png", "2.png", "3.png"])
    (root / "t.csv").write_text("path,label,split\n1.png,a,train\n2.png,b,train\n3.png,b,test\n")
    source = find_images(root / "t.csv")
    assert list(source.splits) == ["train", "val"]
    assert source.notes == ("There are no validation images, so the test images are used for validation.",)
    assert message_of(root / "t.csv", val_fraction=0.5) == (
        f"{root}/t.csv says itself which images are for validation (test, train). Leave out --val-fraction and "
        "--val-list."
    )


# WebDataset


def test_webdataset_shards_are_read_in_their_order(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    pictures = [encode(draw(number), "PNG") for number in range(5)]
    shards = tmp_path / "shards"
    shards.mkdir()
    write_tar(shards / "train-000.tar", {
        "s/0.png": pictures[0], "s/0.cls": b"\xef\xbb\xbf10\n", "s/1.png": pictures[1], "s/1.json": b'{"label": "2"}',
        "s/2.png": pictures[2], "s/0.txt": b"a dog",
    })  # fmt: skip
    write_tar(shards / "val-000.tar", {"3.cls": b"2", "3.seg.png": pictures[3], "4.png": pictures[4], "4.cls": b"10"})
    source = find_images(shards)
    assert (source.kind, source.class_names) == ("webdataset", ("2", "10"))
    assert [tuple(entry) for entry in source.splits["train"]] == [
        ("train-000.tar/s/0.png", 1),
        ("train-000.tar/s/1.png", 0),
    ]
    assert [tuple(entry) for entry in source.splits["val"]] == [("val-000.tar/3.seg.png", 0), ("val-000.tar/4.png", 1)]
    assert dict(source.ignored) == {"image without a class": 1, "not an image": 1}
    prepare(shards, tmp_path / "STORE", size=8)
    store = open_store(tmp_path / "STORE")
    assert (store["val"].images[1] == decode_image(pictures[4], size=8)).all()
    write_tar(shards / "val-000.tar", {"3.cls": b"", "3.png": pictures[3]})
    assert message_of(shards) == (
        f"{shards}/val-000.tar: 3.cls does not tell a class (it is empty). Write the class into it."
    )
    write_tar(shards / "val-000.tar", {"3.json": b'{"id": 4}', "3.png": pictures[3]})
    assert message_of(shards) == (
        f"{shards}/val-000.tar: 3.json does not tell a class (it has none of the fields label, class, cls, class_name, "
        "wnid). Write the class into it."
    )


# Parquet


@pytest.mark.parametrize("embedded", [True, False])
def test_parquet_files_of_hugging_face_are_read(tmp_path: Path, draw: Draw, encode: Encode, embedded: bool) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pictures = [encode(draw(number), "PNG") for number in range(7)]
    info = {"info": {"features": {"label": {"names": ["cat", "dog", "never"], "_type": "ClassLabel"}}}}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if embedded else pa.binary()
    schema = pa.schema([("image", kind), ("label", pa.int64())], metadata={"huggingface": json.dumps(info)})

    def write(name: str, rows: list[int]) -> None:
        images = [{"bytes": pictures[row], "path": f"{row}.png"} if embedded else pictures[row] for row in rows]
        table = pa.table({"image": images, "label": [row % 2 for row in rows]}, schema=schema)
        (tmp_path / "set/data").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, tmp_path / "set/data" / name, row_group_size=2)

    write("train-00000-of-00001.parquet", [0, 1, 2, 3, 4])
    write("validation-00000-of-00001.parquet", [5, 6])
    source = find_images(tmp_path / "set")
    assert (source.kind, source.class_names) == ("parquet", ("cat", "dog", "never"))
    suffix = "/4.png" if embedded else ""
    assert source.splits["train"][4] == (f"data/train-00000-of-00001.parquet/4{suffix}", 0)
    for split, rows in (("train", [0, 1, 2, 3, 4]), ("val", [5, 6])):
        assert [source.read(path) for path, _ in source.splits[split]] == [pictures[row] for row in rows]
    assert len(list(source.describe_files())) == 7
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "set/data/train-00000-of-00001.parquet")
    assert message_of(tmp_path / "set") == (
        f"{tmp_path}/set/data/train-00000-of-00001.parquet has the columns text. It needs one with the bytes of images "
        "and one of label, labels, fine_label, class, target."
    )
    (tmp_path / "set/data/train-00000-of-00001.parquet").write_bytes(b"PAR1 no")
    assert message_of(tmp_path / "set").startswith(
        f"{tmp_path}/set/data/train-00000-of-00001.parquet is a damaged Parquet file ("
    )


# NumPy


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("x_train", "y_train", "x_test", "y_test"), {"train": 6, "val": 4}),
        (("train_images", "train_labels", "val_images", "val_labels"), {"train": 6, "val": 4}),
    ],
)
def test_arrays_are_read_by_their_usual_names(tmp_path: Path, names: tuple[str, ...], splits: dict[str, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 9, 9, 3), dtype=np.uint8)
    labels = np.arange(10) % 2
    values = dict(zip(names, (images[:6], labels[:6], images[6:], labels[6:, None]), strict=True))
    np.savez(tmp_path / "a.npz", **values, class_names=np.array(["odd", "even"]))
    prepare(tmp_path / "a.npz", tmp_path / "STORE", size=9)
    store = open_store(tmp_path / "STORE")
    assert {name: len(split) for name, split in store.splits.items()} == splits
    assert store.class_names == ("odd", "even")
    assert (store.images[:] == images[:6]).all()
    assert (store["val"].images[:] == images[6:]).all()
    assert store["val"].paths[0] == "val/00000" or store["val"].paths[0] == "test/00000"


@pytest.mark.parametrize("form", ["grey", "bool", "uint16", "float", "channels first", "alpha"])
def test_arrays_of_every_accepted_form_are_scaled_to_bytes(tmp_path: Path, form: str) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (6, 9, 9), dtype=np.uint8)
    color = np.repeat(gray[..., None], 3, 3)
    images = {
        "grey": gray,
        "bool": gray > 127,
        "uint16": gray.astype(np.uint16) * 257,
        "float": color / np.float32(255),
        "channels first": color.transpose(0, 3, 1, 2),
        "alpha": np.concatenate([color, np.full((6, 9, 9, 1), 255, np.uint8)], 3),
    }[form]
    np.savez(tmp_path / "a.npz", images=images, labels=np.array(["b", "a"] * 3))
    prepare(tmp_path / "a.npz", tmp_path / "STORE", size=9, val_fraction=0.3)
    store = open_store(tmp_path / "STORE")
    expected = (gray > 127) * np.uint8(255) if form == "bool" else gray
    for split in store.splits.values():
        for image, path in zip(split.images, split.paths, strict=True):
            assert (image == expected[int(path[-5:])][..., None]).all()


def test_arrays_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, one=np.zeros(3))
    assert message_of(path) == (
        f"{path} holds the arrays one. Name them images and labels, or x_train, y_train, x_test and y_test."
    )
    np.savez(path, images=np.zeros((2, 3, 3), np.int32), labels=np.zeros(2, int))
    assert message_of(path) == (
        f"{path}: images is int32 of shape (2, 3, 3). Accepted are (N, H, W), (N, H, W, C) and (N, C, H, W) with C of "
        "1, 3 or 4, of uint8, uint16, bool, or floats from 0 to 1."
    )
    np.savez(path, images=np.zeros((2, 3, 3), np.uint8), labels=np.zeros(2))
    assert message_of(path) == (
        f"{path}: labels is float64 of shape (2,). Give one whole number from 0 on, or one name, for each image."
    )
    np.savez(path, images=np.zeros((2, 3, 3), np.uint8), labels=np.zeros(3, int))
    assert message_of(path) == f"{path} has 2 images and 3 labels. Give one label for each image."
    np.savez(path, images=np.array([print], object), labels=np.zeros(1, int))
    assert message_of(path).startswith(f"{path} cannot be read as arrays of numbers (Object arrays cannot be loaded")


# ILSVRC


def make_ilsvrc(root: Path, encode: Encode, draw: Draw, year: str = "2012") -> None:
    ids = ["n02", "n01", "n03"]  # the kit numbers them 1, 2, 3; labels follow the sorted ids
    root.mkdir()
    parts = {}
    for number, name in enumerate(ids):
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w") as tar:
            for image in range(2):
                data = encode(draw(10 * number + image), "JPEG")
                member = tarfile.TarInfo(f"{name}_{image}.JPEG")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        parts[f"{name}.tar"] = inner.getvalue()
    middle = "img" if year == "2012" else "images"
    write_tar(root / f"ILSVRC{year}_{middle}_train.tar", parts)
    write_tar(root / f"ILSVRC{year}_{middle}_val.tar", {
        f"ILSVRC{year}_val_0000000{number}.JPEG": encode(draw(100 + number), "JPEG") for number in (1, 2, 3)
    })  # fmt: skip


@pytest.mark.parametrize("year", ["2012", "2010"])
def test_ilsvrc_is_labelled_by_wordnet_ids_through_its_kit(
    tmp_path: Path, encode: Encode, draw: Draw, year: str
) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    root = tmp_path / "IMAGENET"
    make_ilsvrc(root, encode, draw, year)
    synsets = np.array(
        [(number + 1, name, f"words of {name}") for number, name in enumerate(["n02", "n01", "n03"])],
        dtype=[(f"ILSVRC{year}_ID", object), ("WNID", object), ("words", object)],
    )
    table = io.BytesIO()
    scipy_io.savemat(table, {"synsets": synsets[:, None]})
    kit = root / f"ILSVRC{year}_devkit_t12.tar.gz"
    truth = f"ILSVRC{year}_devkit/data/ILSVRC{year}_validation_ground_truth.txt"
    write_tar(kit, {"ILSVRC_devkit/data/meta.mat": table.getvalue(), truth: b"3\n1\n2\n"})
    source = find_images(root)
    assert (source.kind, source.class_names) == ("ilsvrc", ("n01", "n02", "n03"))
    assert source.class_titles == ("words of n01", "words of n02", "words of n03")
    assert [label for _, label in source.splits["train"]] == [0, 0, 1, 1, 2, 2]
    assert source.splits["train"][0].path == "train/n01/n01_0.JPEG"
    assert {path[-6]: label for path, label in source.splits["val"]} == {"1": 2, "2": 1, "3": 0}
    prepare(root, tmp_path / "STORE", size=8)
    assert len(open_store(tmp_path / "STORE")["val"]) == 3
    write_tar(kit, {"ILSVRC_devkit/data/meta.mat": table.getvalue(), truth: b"3\n1\n"})
    assert message_of(root) == (
        f"{kit} tells the classes of 2 images; ILSVRC{year}_val_00000003.JPEG is none of them. Use the kit that belongs "
        "to these images."
    )


def test_ilsvrc_without_its_kit_takes_a_list_or_a_fraction(tmp_path: Path, encode: Encode, draw: Draw) -> None:
    root = tmp_path / "IMAGENET"
    make_ilsvrc(root, encode, draw)
    assert message_of(root) == (
        f"{root}/ILSVRC2012_img_val.tar does not tell the classes of its images. Put the development kit beside it "
        "(ILSVRC2012_devkit_t12.tar.gz), or name a list of images and WordNet ids: --val-list FILE."
    )
    listed = tmp_path / "val.csv"
    listed.write_text(
        "".join(f"ILSVRC2012_val_0000000{n},{name} 1 2 3 4\n" for n, name in ((1, "n01"), (2, "n03"), (3, "n03")))
    )
    source = find_images(root, val_list=listed)
    assert {path[-6]: label for path, label in source.splits["val"]} == {"1": 0, "2": 2, "3": 2}
    half = find_images(root, val_fraction=0.5)  # the split of Fall 2009, section 6
    assert {split: len(entries) for split, entries in half.splits.items()} == {"train": 3, "val": 3}
    assert half.splits == find_images(root, val_fraction=0.5).splits


def test_an_absolute_path_in_a_table_is_taken_as_it_is(photos: Photos, tmp_path: Path) -> None:
    root = photos(["1.png", "2.png", "3.png"])
    table = tmp_path / "elsewhere.csv"
    table.write_text(f"path,label,split\n{root}/1.png,a,train\n{root}/2.png,b,train\n{root}/3.png,b,val\n")
    report = prepare(table, tmp_path / "STORE", size=8)
    assert (report.num_images, report.skipped) == (3, [])


def test_an_npz_that_begins_with_its_labels_is_recognised(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", labels=np.array([0, 1] * 3), images=np.zeros((6, 4, 4), np.uint8))
    assert find_images(tmp_path / "a.npz", val_fraction=0.3).kind == "numpy"
