"""Folders are tested by the rules by which they are prepared."""

import json
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from alexnet.cli import cli
from alexnet.data.sources.kinds import find_images
from alexnet.errors import ConfigError, SourceError
from alexnet.evaluation.labeled_images import list_splits, open_labeled_images
from conftest import write_store

from .test_ensemble import CLASSES, write_model

Lay = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """lay(paths): a folder with small pictures, and texts under names that no image has."""

    def make(paths: Iterable[str], name: str = "PHOTOS") -> Path:
        for number, path in enumerate(paths):
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix.lower() in (".png", ".jpg"):
                pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(file, "PNG")
            else:
                file.write_text("no image")
        return tmp_path / name

    return make


ODD = ["ant/1.png", "ant/2019/2.JPG", "bee/3.png", "bee/notes.txt", "bee/Thumbs.db", "bee/.hidden.png", "bee/.x/4.png",
       "__MACOSX/ant/1.png", "README", "stray.png"]  # fmt: skip


@pytest.mark.parametrize("folder", ["val", "Validation", "valid"])
def test_the_same_files_count_as_in_preparing(lay: Lay, folder: str) -> None:
    root = lay([f"train/{path}" for path in ODD] + [f"{folder}/{path}" for path in ODD])
    tested = open_labeled_images(root, split="val", image_px=8)
    prepared = find_images(root)
    assert [f"{folder}/{path}" for path in tested.paths] == [path for path, _ in prepared.splits["val"]]
    assert tested.labels.tolist() == [label for _, label in prepared.splits["val"]]
    assert tested.class_names == prepared.class_names == ("ant", "bee")
    assert tested.passed_over == {"hidden": 2, "not an image": 2, "system": 2}
    assert tested.split == "val"
    assert tested.read(range(3))[1][0].shape == (8, 8, 3)
    assert list_splits(root) == ["train", "val"]


def test_a_stray_text_file_does_not_fail_a_test(lay: Lay, tmp_path: Path) -> None:
    root = lay([*ODD, "cat/1.png"])
    model = write_model(tmp_path / "m.safetensors", seed=0, size=32)
    result = CliRunner().invoke(cli, ["evaluate", str(model), str(root), "--views", "1", "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert "Passed over: 2 hidden, 2 not an image, 2 system." in result.output
    result = CliRunner().invoke(cli, ["evaluate", str(model), str(root), "--views", "1", "--threads", "1", "--json"])
    document = json.loads(result.stdout)
    assert (document["images"], document["passed_over"]["system"]) == (4, 2)


def test_decomposed_names_of_folders_are_the_classes_of_the_model(lay: Lay, tmp_path: Path) -> None:
    names = [unicodedata.normalize("NFD", name) for name in ("café", "tée")]
    root = lay([f"{name}/{n}.png" for name in names for n in range(2)])
    model = write_model(tmp_path / "m.safetensors", seed=0, size=32, classes=("café", names[1]))
    result = CliRunner().invoke(cli, ["evaluate", str(model), str(root), "--views", "1", "--threads", "1"])
    assert result.exit_code == 0, result.output


def test_the_classes_of_a_model_tell_how_deep_their_folders_lie(lay: Lay) -> None:
    root = lay([f"val/{path}/1.png" for path in ("a/airfield", "a/alley", "b/bakery", "b/barn/indoor")])
    for known in (
        ("a", "b"),
        ("airfield", "alley", "bakery", "barn"),
        ("a/airfield", "a/alley", "b/bakery", "b/barn/indoor"),
    ):
        assert open_labeled_images(root, split="val", image_px=8, known=known).class_names == known


def refusal(root: Path, split: str = "val", known: tuple[str, ...] = CLASSES) -> str:
    with pytest.raises(SourceError) as caught:
        open_labeled_images(root, split=split, image_px=8, known=known)
    return str(caught.value)


def test_frames_are_not_taken_from_a_store(tmp_path: Path) -> None:
    write_store(tmp_path / "store", {"train": (np.zeros((2, 8, 8, 3), np.uint8), [0, 1])}, ["a", "b"])
    with pytest.raises(
        ConfigError, match=r"^--every 0\.5: .*store is a store, whose images are tested as they are\. Leave"
    ):
        open_labeled_images(tmp_path / "store", split="train", image_px=8, every_s=0.5)


def test_a_folder_too_high_or_too_low_names_the_right_one(lay: Lay) -> None:
    root = lay(["pictures/ant/1.png", "pictures/bee/1.png"])
    assert refusal(root) == (
        f"{root} is not the folder with the classes of the model; {root}/pictures looks like it. Give that."
    )
    root = lay(["train/ant/1.png", "val/bee/1.png"], name="SPLIT")
    assert refusal(root, "test") == (
        f"{root} is not the folder with the classes of the model; {root}/train, {root}/val look like it. Give that, as "
        "there is no folder for the split test."
    )
    assert refusal(root / "val/bee") == (
        f"{root}/val/bee: holds no class folders with images, and is no store. Give a store, or a folder like "
        f"{root}/val/bee/<class>/picture.jpg. Give the folder above, {root}/val, if bee is one class."
    )
    root = lay(["one/ant/1.png", "two/ant/1.png"], name="TWICE")
    assert refusal(root) == (
        f"{root} is not the folder with the classes of the model; {root}/one, {root}/two look like it. Give that."
    )


def test_readable_names_can_be_added_to_a_model_later(lay: Lay, tmp_path: Path) -> None:
    run = tmp_path / "RUN"
    run.mkdir()
    write_model(run / "model.safetensors", seed=0, size=32)
    picture = lay(["1.png"]) / "1.png"
    (run / "classes.tsv").write_text("ant\tAmeise\nbee\tBiene\ncat\tKatze\n")
    result = CliRunner().invoke(cli, ["predict", str(run), str(picture), "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert all(name in result.output for name in ("Ameise", "Biene", "Katze"))
    (run / "classes.tsv").write_text("ant\tAmeise\nant\tBiene\n")
    result = CliRunner().invoke(cli, ["predict", str(run), str(picture), "--threads", "1"])
    assert result.exit_code == 1
    assert "names the class ant twice: 'Ameise' in line 1, 'Biene' in line 2." in result.output + str(result.exception)
