"""Data sets as they are published: small ones of the same layout, which torchvision 0.28 reads alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.data.sources.kinds import find_images
from alexnet.data.sources.published import PUBLISHED
from alexnet.errors import SourceError

from .conftest import draw_picture, encode_picture

CLASSES = ("apple", "bee pie")


def write(root: Path, files: dict[str, str]) -> None:
    """Write texts, and a picture under each name of one."""
    for number, (name, text) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".ppm"):
            kind = "JPEG" if path.suffix == ".jpg" else "PPM"
            path.write_bytes(encode_picture(draw_picture(number), kind))
        else:
            path.write_text(text)


def write_food(root: Path) -> None:
    names = {split: [f"{name}/{split}{n}" for name in CLASSES for n in range(2)] for split in ("train", "test")}
    write(root / "food-101", {f"meta/{split}.txt": "\n".join(listed) + "\n" for split, listed in names.items()})
    write(root / "food-101", {f"images/{name}.jpg": "" for listed in names.values() for name in listed})


def write_pets(root: Path) -> None:
    names = {split: [f"{name}_{first + n}" for name in ("Abyssinian", "great_dane") for n in range(2)]
             for split, first in (("trainval", 1), ("test", 100))}  # fmt: skip
    lists = {
        f"annotations/{split}.txt": "".join(f"{name} {1 + ('dane' in name)} 1 1\n" for name in listed)
        for split, listed in names.items()
    }
    write(root / "oxford-iiit-pet", lists | {f"images/{name}.jpg": "" for listed in names.values() for name in listed})


def write_textures(root: Path) -> None:
    names = {split: [f"{name}/{name}_{split}{n}.jpg" for name in ("banded", "dotted") for n in range(2)]
             for split in ("train", "val", "test")}  # fmt: skip
    lists = {f"labels/{split}1.txt": "\n".join(listed) + "\n" for split, listed in names.items()}
    write(root / "dtd/dtd", lists | {f"images/{name}": "" for listed in names.values() for name in listed})


def write_signs(root: Path) -> None:
    training = {f"GTSRB/Training/{label:05d}/00000_{n:05d}.ppm": "" for label in (0, 14) for n in range(2)}
    tests = {f"GTSRB/Final_Test/Images/{n:05d}.ppm": "" for n in range(4)}
    rows = "".join(f"{n:05d}.ppm;53;54;6;5;48;49;{(0, 14)[n // 2]}\n" for n in range(4))
    heading = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"
    per_class = {f"GTSRB/Training/{label:05d}/GT-{label:05d}.csv": "Filename;Width\n" for label in (0, 14)}
    write(root / "gtsrb", {**training, **per_class, **tests, "GT-final_test.csv": heading + rows})


def write_aircraft(root: Path) -> None:
    names = {split: [(f"{first + n:07d}", ("707-320", "Boeing 717")[n // 2]) for n in range(4)]
             for split, first in (("train", 10), ("val", 20), ("test", 30))}  # fmt: skip
    lists = {f"data/images_variant_{split}.txt": "".join(f"{image} {name}\n" for image, name in listed)
             for split, listed in names.items()}  # fmt: skip
    pictures = {f"data/images/{image}.jpg": "" for listed in names.values() for image, _ in listed}
    write(root / "fgvc-aircraft-2013b", lists | pictures | {"data/variants.txt": "707-320\nBoeing 717\n"})


def write_flowers(root: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    folder = root / "flowers-102"
    write(folder, {f"jpg/image_{number:05d}.jpg": "" for number in range(1, 13)})
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 1, 77, 77] * 3], np.uint8)})
    savemat(folder / "setid.mat", {"tstid": np.arange(1, 5)[None], "trnid": np.arange(5, 9)[None],
                                   "valid": np.arange(9, 13)[None]})  # fmt: skip


def write_cars(root: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    folder = root / "stanford_cars"
    write(folder, {f"cars_{split}/{n:05d}.jpg": "" for split in ("train", "test") for n in range(1, 5)})
    (folder / "devkit").mkdir()
    fields = [("bbox_x1", object), ("class", object), ("fname", object)]
    for name in ("devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat"):
        rows = [(39, (1, 1, 2, 2)[n], f"{n + 1:05d}.jpg") for n in range(4)]
        savemat(folder / name, {"annotations": np.array([rows], fields).squeeze(0)[None]})
    names = np.array([["AM General Hummer SUV 2000", "Audi V8 Sedan 1994"]], object)
    savemat(folder / "devkit/cars_meta.mat", {"class_names": names})


WRITERS: dict[str, tuple[Callable[[Path], None], tuple[str, str], str, int]] = {
    "Food-101": (write_food, CLASSES, "images/apple/train0.jpg", 2),
    "Oxford-IIIT Pet": (write_pets, ("Abyssinian", "great_dane"), "images/Abyssinian_1.jpg", 2),
    "102 Flowers": (write_flowers, ("1", "77"), "jpg/image_00005.jpg", 3),
    "Describable Textures": (write_textures, ("banded", "dotted"), "images/banded/banded_train0.jpg", 3),
    "German Traffic Signs": (write_signs, ("00000", "00014"), "GTSRB/Training/00000/00000_00000.ppm", 2),
    "FGVC Aircraft": (write_aircraft, ("707-320", "Boeing 717"), "data/images/0000010.jpg", 3),
    "Stanford Cars": (write_cars, ("AM General Hummer SUV 2000", "Audi V8 Sedan 1994"), "cars_train/00001.jpg", 2),
}
"""Name -> how a small one is written, its classes, its first training image, and its splits."""


def test_every_set_of_the_table_is_tried() -> None:
    assert set(WRITERS) == {each.name for each in PUBLISHED}


@pytest.mark.parametrize("name", WRITERS)
def test_classes_and_splits_are_those_of_its_lists(name: str, tmp_path: Path) -> None:
    write_set, classes, first, num_splits = WRITERS[name]
    write_set(tmp_path)
    folder = next(each.folder for each in PUBLISHED if each.name == name)
    for root in (tmp_path, tmp_path / folder):
        source = find_images(root)
        assert (source.kind, source.class_names) == ("published", classes)
        assert list(source.splits) == ["train", "val", "test"][:num_splits]
        for entries in source.splits.values():
            assert [label for _, label in entries] == [0, 0, 1, 1]
            for path, _ in entries:
                assert source.read(path) == (tmp_path / folder / path).read_bytes()
        assert source.splits["train"][0].path == first


def test_damaged_lists_are_named_with_the_line(tmp_path: Path) -> None:
    write_food(tmp_path)
    path = tmp_path / "food-101/meta/train.txt"
    path.write_text("apple/train0\nno path\n")
    with pytest.raises(SourceError) as problem:
        find_images(tmp_path)
    assert str(problem.value) == f"{path}, line 2: 'no path' is no line of such a list. Copy it again."
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="a list of Food-101 cannot be read"):
        find_images(tmp_path)


def test_tables_of_matlab_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    write_flowers(tmp_path)
    savemat: Any = pytest.importorskip("scipy.io").savemat
    savemat(tmp_path / "flowers-102/imagelabels.mat", {"labels": np.array([[1, 2]], np.uint8)})
    with pytest.raises(SourceError) as problem:
        find_images(tmp_path)
    assert str(problem.value) == (
        f"{tmp_path}/flowers-102: imagelabels.mat and setid.mat do not go together (list index out of range). Copy both "
        "again."
    )
    (tmp_path / "flowers-102/setid.mat").write_bytes(b"MATLAB 5.0 no")
    with pytest.raises(SourceError, match=r"setid\.mat cannot be read \(.*\)\. Copy it again from where it came"):
        find_images(tmp_path)
