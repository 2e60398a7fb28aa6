"""How deep the folders lie that are the classes, and which folder is meant."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.data.sources.kinds import find_images
from alexnet.errors import ConfigError, SourceError

Photos = Callable[..., Path]
NESTED = [
    f"{split}/{folder}/{n}.png"
    for split in ("train", "val")
    for folder in ("a/airfield", "a/alley", "b/bakery", "b/barn/indoor")
    for n in range(2)
]


def message_of(source: Path, **options: object) -> str:
    with pytest.raises(SourceError) as caught:
        find_images(source, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_class_folders_that_hold_only_folders_are_refused_with_every_reading(photos: Photos) -> None:
    root = photos(NESTED)
    assert message_of(root) == (
        f"{root}/train has folders that hold only folders, so which are the classes is open. Add the option of what you "
        "mean. --classes-at 1: 2 classes (a, b); --classes-at 2: 4 classes (airfield, alley, bakery, barn); --classes-at "
        "path: 4 classes (a/airfield, a/alley, b/bakery, b/barn/indoor). If one of its folders is the data set, pass that."
    )


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (1, ("a", "b")),
        (2, ("airfield", "alley", "bakery", "barn")),
        ("path", ("a/airfield", "a/alley", "b/bakery", "b/barn/indoor")),
    ],
)
@pytest.mark.parametrize("split", [True, False])
def test_the_depth_of_class_folders_can_be_given(
    photos: Photos, depth: int | str, names: tuple[str, ...], split: bool
) -> None:
    root = photos(NESTED)
    source = find_images(root, classes_at=depth) if split else find_images(
        root / "train", classes_at=depth, val_fraction=0.5
    )  # fmt: skip
    assert source.class_names == names
    for entries in source.splits.values():
        for path, label in entries:
            assert names[label] in path


def test_the_command_line_takes_the_depth(photos: Photos, tmp_path: Path) -> None:
    words = ["prepare", str(photos(NESTED)), "--out", str(tmp_path / "S"), "--size", "8", "--classes-at"]
    result = CliRunner().invoke(cli, [*words, "path"])
    assert result.exit_code == 0, result.output
    for wrong in ("0", "deep", "-1", "1.5"):
        result = CliRunner().invoke(cli, [*words, wrong])
        assert result.exit_code == 2
        assert f"'{wrong}' is no depth of folders. Accepted: 1, 2 and so on, or path." in result.output


def test_folders_of_one_name_are_one_class_and_stray_images_are_noted(photos: Photos) -> None:
    root = photos(["2019/cat/1.png", "2020/cat/2.png", "2020/dog/3.png", "2019/dog/4.png", "2020/stray.png"])
    source = find_images(root, val_fraction=0.5, classes_at=2)
    assert source.class_names == ("cat", "dog")
    assert source.notes == (
        "Read as one class, cat: 2019/cat and 2020/cat.",
        "Read as one class, dog: 2019/dog and 2020/dog.",
        "Not read, since it lies in no class folder: 1 image directly in 2020.",
    )


@pytest.mark.parametrize(
    "paths",
    [
        ["cat/images/1.png", "cat/images/2.png", "dog/images/1.png"],  # as in Tiny ImageNet
        ["cat/1.png", "cat/2019/2.png", "cat/2020/3.png", "dog/2019/1.png"],  # folders that order the images of a class
        ["cat/of-cats/1.png", "cat/of-cats/2.png", "dog/dogs/1.png"],
    ],
)
def test_folders_that_can_be_meant_in_one_way_only_are_not_asked_about(photos: Photos, paths: list[str]) -> None:
    assert find_images(photos(paths), val_fraction=0.4).class_names == ("cat", "dog")


def test_a_depth_that_is_impossible_is_refused(photos: Photos) -> None:
    root = photos(NESTED)
    assert message_of(root, classes_at=4) == (
        f"{root}/train has no folders with images at depth 4. Give --classes-at a smaller number."
    )
    (root / "t.csv").write_text("path,label\n")
    for source, depth, message in (
        (root, 0, "The depth of class folders is 0; accepted are 1, 2 and so on, and 'path'."),
        (root / "t.csv", 2, f"{root}/t.csv is a .csv or .tsv file with the columns path, label and perhaps split; it has "
                            "no class folders. Leave out --classes-at."),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            find_images(source, classes_at=depth)
        assert str(caught.value) == message


def test_the_parent_of_data_sets_names_them(photos: Photos) -> None:
    sets = [
        f"{name}/{path}" for name in ("one", "two") for path in ("train/cat/1.png", "train/dog/1.png", "val/cat/2.png")
    ]
    root = photos([*sets, "screenshots/1.png"])
    assert message_of(root, val_fraction=0.1) == (
        f"{root} is not the folder with the classes; {root}/one, {root}/two look like it. Pass one of them."
    )
    root = photos([f"a/b/{path}" for path in sets[:3]] + ["c/1.png"], name="DEEP")
    assert message_of(root, val_fraction=0.1) == (
        f"{root} is not the folder with the classes; {root}/a/b/one looks like it. Pass {root}/a/b/one."
    )
