import os
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet.data.sources.kinds import KINDS, Source, find_images
from alexnet.errors import ConfigError, SourceError

Photos = Callable[..., Path]
TWO_SPLITS = ["train/cat/1.jpg", "train/cat/2.JPG", "train/dog/a.png", "val/dog/b.jpeg", "val/cat/3.webp"]


def message_of(source: Path, **options: object) -> str:
    with pytest.raises(SourceError) as caught:
        find_images(source, **options)  # type: ignore[arg-type]
    return str(caught.value)


def as_pairs(source: Source, split: str) -> list[tuple[str, int]]:
    return [tuple(entry) for entry in source.splits[split]]


def test_two_splits_are_read_and_labelled_by_name(photos: Photos) -> None:
    source = find_images(photos(TWO_SPLITS))
    assert source.class_names == ("cat", "dog")
    assert as_pairs(source, "train") == [("train/cat/1.jpg", 0), ("train/cat/2.JPG", 0), ("train/dog/a.png", 1)]
    assert as_pairs(source, "val") == [("val/cat/3.webp", 0), ("val/dog/b.jpeg", 1)]
    assert (dict(source.ignored), source.notes) == ({}, ())


def test_validation_labels_follow_names_even_where_a_class_has_no_validation_images(photos: Photos) -> None:
    source = find_images(photos([*TWO_SPLITS, "train/ant/1.png", "train/bee/1.png", "val/bee/1.png"]))
    assert source.class_names == ("ant", "bee", "cat", "dog")
    assert [label for _, label in as_pairs(source, "val")] == [1, 2, 3]
    assert source.notes == ("Without images in val: 1 class (ant).",)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_the_validation_folder_may_have_any_of_its_usual_names(photos: Photos, name: str) -> None:
    source = find_images(photos([path.replace("val/", f"{name}/") for path in TWO_SPLITS]))
    assert len(source.splits["val"]) == 2


def test_images_at_any_depth_count_for_their_class_folder(photos: Photos) -> None:
    source = find_images(photos([*TWO_SPLITS, "train/cat/2019/summer/x.png"]))
    assert ("train/cat/2019/summer/x.png", 0) in as_pairs(source, "train")


def test_what_is_no_photograph_is_passed_over_and_counted(photos: Photos) -> None:
    extra = ["Thumbs.db", "train/cat/.DS_Store", "train/cat/._1.jpg", "__MACOSX/cat/1.jpg", ".git/x.png"]
    extra += ["train/cat/notes.txt", "README", "train/.hidden/1.png", "val/dog/desktop.ini"]
    source = find_images(photos([*TWO_SPLITS, *extra]))
    assert len(source.splits["train"]) == 3
    assert dict(source.ignored) == {"hidden": 4, "not an image": 2, "system": 3}


def test_images_outside_a_class_folder_and_other_splits_are_noted(photos: Photos) -> None:
    source = find_images(photos([*TWO_SPLITS, "train/stray.png", "test/1.png"]))
    assert source.notes == (
        "Not read, since it lies in no class folder: 1 image directly in train.",
        "test holds 1 image and was not read.",
    )


def test_a_test_folder_with_classes_is_a_third_split(photos: Photos) -> None:
    root = photos([*TWO_SPLITS, "test/cat/1.png", "test/dog/2.png"])
    source = find_images(root)
    assert list(source.splits) == ["train", "val", "test"]
    assert as_pairs(source, "test") == [("test/cat/1.png", 0), ("test/dog/2.png", 1)]
    assert source.notes == ()
    with pytest.raises(SourceError) as caught:
        find_images(root, test_fraction=0.1)
    assert str(caught.value) == (f"{root} says itself which images are for testing. Leave out --test-fraction.")


def test_a_test_fraction_leaves_the_validation_images_as_they_are(photos: Photos) -> None:
    root = photos(
        [f"{name}/{number:02}.png" for name, count in (("a", 20), ("b", 10), ("c", 2)) for number in range(count)]
    )
    two, three = find_images(root, val_fraction=0.2), find_images(root, val_fraction=0.2, test_fraction=0.3)
    assert three.splits["val"] == two.splits["val"]
    labels = {split: [label for _, label in as_pairs(three, split)] for split in three.splits}
    assert [[labels[split].count(label) for label in range(3)] for split in ("train", "val", "test")] == [
        [10, 5, 1],
        [4, 2, 1],
        [6, 3, 0],
    ]
    together = [path for split in three.splits for path, _ in as_pairs(three, split)]
    assert sorted(together) == sorted(set(together))
    assert len(together) == 32
    assert three.splits == find_images(root, val_fraction=0.2, test_fraction=0.3).splits
    assert three.splits["test"] != find_images(root, val_fraction=0.2, test_fraction=0.3, seed=1).splits["test"]


def test_a_test_fraction_is_of_the_training_images_where_the_source_names_them(photos: Photos) -> None:
    paths = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in "ab" for number in range(10)]
    source = find_images(photos(paths), test_fraction=0.2)
    assert {split: len(entries) for split, entries in source.splits.items()} == {"train": 16, "val": 20, "test": 4}
    assert all(entry.path.startswith("train/") for entry in source.splits["test"])


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"test_fraction": 1.0}, "The test fraction is 1.0; it lies between 0 and 1, for example 0.1."),
        (
            {"val_fraction": 0.5, "test_fraction": 0.5},
            "Fractions of 0.5 and 0.5 leave nothing to train on. Give two whose sum is below 1.",
        ),
    ],
)
def test_fractions_leave_something_to_train_on(photos: Photos, fractions: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_images(photos(TWO_SPLITS), **fractions)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_links_are_followed_and_loops_end(photos: Photos) -> None:
    root = photos(TWO_SPLITS)
    (root / "train/cat/loop").symlink_to(root / "train")
    (root / "train/wolf").symlink_to(root / "train/dog")
    (root / "train/cat/gone.jpg").symlink_to(root / "nowhere.jpg")
    source = find_images(root)
    assert source.class_names == ("cat", "dog", "wolf")
    assert dict(source.ignored) == {"loop of links": 1}
    assert ("train/cat/gone.jpg", 0) in as_pairs(source, "train")
    assert ("train/cat/gone.jpg", -1, -1) in list(source.describe_files())


SINGLE_TREE = [f"{name}/{number}.png" for name, count in (("a", 20), ("b", 3), ("c", 1)) for number in range(count)]


def test_a_fraction_of_each_class_is_set_aside(photos: Photos) -> None:
    source = find_images(photos(SINGLE_TREE), val_fraction=0.1)
    counts = {split: [label for _, label in as_pairs(source, split)] for split in ("train", "val")}
    assert [counts["train"].count(label) for label in range(3)] == [18, 2, 1]
    assert [counts["val"].count(label) for label in range(3)] == [2, 1, 0]
    assert sorted(as_pairs(source, "train") + as_pairs(source, "val")) == sorted(
        (path, "abc".index(path[0])) for path in SINGLE_TREE
    )


def test_even_a_large_fraction_leaves_one_training_image(photos: Photos) -> None:
    source = find_images(photos(SINGLE_TREE), val_fraction=0.99)
    assert [sum(label == k for _, label in as_pairs(source, "train")) for k in range(3)] == [1, 1, 1]


def test_the_division_depends_on_seed_and_paths_only(photos: Photos) -> None:
    first = find_images(photos(SINGLE_TREE), val_fraction=0.3)
    moved = find_images(photos(SINGLE_TREE[::-1], name="ELSEWHERE"), val_fraction=0.3)
    other = find_images(photos(SINGLE_TREE), val_fraction=0.3, seed=1)
    assert first.splits == moved.splits
    assert first.splits != other.splits
    chosen = ["a/0.png", "a/11.png", "a/12.png", "a/13.png", "a/4.png", "a/8.png", "b/1.png"]
    assert [path for path, _ in as_pairs(first, "val")] == chosen


def test_a_train_folder_alone_is_divided_like_a_tree_of_classes(photos: Photos, tmp_path: Path) -> None:
    paths = [f"train/{path}" for path in SINGLE_TREE]
    root = photos([*paths, "train/stray.png", "test/1.png"])
    source = find_images(root, val_fraction=0.1)
    assert source.class_names == ("a", "b", "c")
    counts = {split: [label for _, label in as_pairs(source, split)] for split in ("train", "val")}
    assert [counts["train"].count(label) for label in range(3)] == [18, 2, 1]
    assert [counts["val"].count(label) for label in range(3)] == [2, 1, 0]
    assert sorted(path for split in source.splits.values() for path, _ in split) == sorted(paths)
    assert source.splits == find_images(root, val_fraction=0.1).splits
    assert source.notes == (
        f"{root} has no val folder, so 10 % of each class in train is set aside for validation: 3 of 24 images, always "
        "the same.",
        "Not read, since it lies in no class folder: 1 image directly in train.",
        "test holds 1 image and was not read.",
    )
    listed = tmp_path / "chosen.txt"
    listed.write_text("train/a/0.png\ntrain/b/1.png\n")
    source = find_images(root, val_list=listed)
    assert as_pairs(source, "val") == [("train/a/0.png", 0), ("train/b/1.png", 1)]
    assert source.notes[0] == (
        f"{root} has no val folder, so what {listed} names in train is set aside for validation: 2 of 24 images, always "
        "the same."
    )


def test_readable_names_come_from_a_table(photos: Photos, tmp_path: Path) -> None:
    root = photos(TWO_SPLITS)
    assert find_images(root).class_titles == ("cat", "dog")
    (root / "classes.tsv").write_text("index\tid\tname\n0\tcat\thouse cat\n1\tdog\tgood dog\n")
    assert find_images(root).class_titles == ("house cat", "good dog")
    table = tmp_path / "names.tsv"
    table.write_text("dog\tHund\n", encoding="utf-8")
    source = find_images(root, class_names_file=table)
    assert source.class_titles == ("cat", "Hund")
    assert source.notes == ("names.tsv has no readable name for 1 class: cat.",)


def test_a_table_that_cannot_be_used_is_an_error(photos: Photos, tmp_path: Path) -> None:
    root, table = photos(TWO_SPLITS), tmp_path / "names.tsv"
    table.write_text("cow\tKuh\n")
    assert message_of(root, class_names_file=table) == (
        f"{table} names none of the classes (cat, dog). Each line holds the name of a class folder, a tab and the "
        "readable name."
    )
    table.unlink()
    assert message_of(root, class_names_file=table) == (
        f"{table} cannot be read as a UTF-8 text ([Errno 2] No such file or directory: '{table}'). "
        "Give a tab-separated table."
    )


def test_a_source_that_is_no_folder_is_an_error(photos: Photos) -> None:
    root = photos(["a.zip"])
    assert message_of(root / "b") == f"{root}/b does not exist. Check the path, or whether the disk is mounted."
    (root / "a.zip").write_bytes(b"no archive")
    kinds = "; ".join(kind.summary for kind in KINDS)
    assert message_of(root / "a.zip") == (f"{root}/a.zip is no source of images that is known. Known are: {kinds}.")


def test_a_source_that_may_not_be_listed_is_an_error(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, accept: object) -> None:
        raise PermissionError(13, "Permission denied")

    root = photos(TWO_SPLITS)
    monkeypatch.setattr("alexnet.data.sources.class_folders.scan_folder", refuse)
    assert message_of(root) == f"{root} cannot be listed (Permission denied). Check its permissions."


def test_a_folder_without_images_is_an_error(photos: Photos) -> None:
    root = photos(["cat/a.txt", "dog/b.txt"])
    assert message_of(root, val_fraction=0.1) == (
        f"{root} holds no images. Check the path; names of images end in .jpg, .png, .webp, .gif, .bmp, .tif "
        "and the like."
    )


def test_one_class_is_an_error(photos: Photos) -> None:
    root = photos(["cat/1.png", "cat/2.png"])
    assert message_of(root, val_fraction=0.1) == (
        f"{root} has one class, cat; a classifier needs two or more. Add a folder for another class, even if it is "
        "only 'other'."
    )


def test_an_empty_class_is_named(photos: Photos) -> None:
    root = photos([*TWO_SPLITS, "train/ant/readme.txt"])
    (root / "train/bee").mkdir()
    assert message_of(root) == (f"{root}/train has class folders without images: ant, bee. Remove them, or add images.")


def test_a_folder_one_level_too_high_names_the_right_one(photos: Photos) -> None:
    root = photos([f"dataset/{path}" for path in TWO_SPLITS])
    assert message_of(root) == (
        f"{root} is not the folder with the classes; {root}/dataset looks like it. Pass {root}/dataset."
    )
    root = photos([f"my/set/{path}" for path in SINGLE_TREE], name="DEEP")
    assert message_of(root, val_fraction=0.1) == (
        f"{root} is not the folder with the classes; {root}/my/set looks like it. Pass {root}/my/set."
    )
    root = photos(["train/extra/cat/1.png", "train/extra/dog/1.png", "val/cat/1.png"], name="INNER")
    assert message_of(root) == (
        f"{root}/train has its class folders one level down, in extra. Move them up to {root}/train."
    )


def test_a_folder_one_level_too_low_names_the_right_one(photos: Photos) -> None:
    root = photos(TWO_SPLITS)
    assert message_of(root / "train" / "cat", val_fraction=0.1) == (
        f"{root}/train/cat holds 2 images but no class folders. Make one folder for each class and pass "
        f"{root}/train/cat, or pass the folder above ({root}/train) if cat is one class."
    )
    assert message_of(root / "train") == (
        f"{root}/train is the training split of {root}. Pass {root}, or add --val-fraction 0.1 to use "
        f"{root}/train alone."
    )


def test_a_missing_validation_split_suggests_a_fraction(photos: Photos) -> None:
    root = photos(SINGLE_TREE)
    assert message_of(root) == (
        f"{root} has 3 classes but no validation split. Add --val-fraction 0.1 to set a tenth of each class aside, or "
        "arrange the images as train/<class>/ and val/<class>/."
    )
    root = photos([path for path in TWO_SPLITS if path.startswith("train")], name="TRAIN")
    assert message_of(root) == (
        f"{root} has a train folder but no val folder. Add --val-fraction 0.1 to set a tenth of each class aside."
    )
    photos(["test/cat/1.png"], name="TRAIN")
    assert message_of(root) == (
        f"{root} has a train folder but no val folder. Add --val-fraction 0.1 to set a tenth of each class "
        "aside, or rename test to val if its images lie in class folders."
    )


def test_validation_without_training_is_an_error(photos: Photos) -> None:
    root = photos(["val/cat/1.png", "val/dog/1.png"])
    assert message_of(root) == (
        f"{root} has val but no train folder. Put the training images in {root}/train/<class>/."
    )


def test_a_fraction_beside_a_validation_split_is_an_error(photos: Photos) -> None:
    root = photos(TWO_SPLITS)
    assert message_of(root, val_fraction=0.1) == (
        f"{root} has a val folder, so a validation fraction has no meaning. Leave out --val-fraction, or pass "
        f"{root}/train to divide the training images only."
    )


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 10])
def test_a_fraction_outside_its_range_is_an_error(photos: Photos, fraction: float) -> None:
    with pytest.raises(ConfigError) as caught:
        find_images(photos(SINGLE_TREE), val_fraction=fraction)
    assert str(caught.value) == (f"The validation fraction is {fraction}; it lies between 0 and 1, for example 0.1.")


def test_validation_classes_unknown_to_training_are_listed_with_near_names(photos: Photos) -> None:
    root = photos([*TWO_SPLITS, "val/dogs/1.png", "val/zebra/1.png"])
    assert message_of(root) == (
        f"{root}/val has classes that are not among the training classes: dogs (did you mean dog?), zebra. "
        "Rename, move or remove them."
    )


def test_an_empty_validation_folder_is_an_error(photos: Photos) -> None:
    root = photos([*TWO_SPLITS[:3], "val/cat/readme.txt"])
    assert message_of(root) == (
        f"{root}/val holds no class folders with images. Fill it, or remove it and use --val-fraction."
    )


def test_two_validation_folders_are_an_error(photos: Photos) -> None:
    root = photos([*TWO_SPLITS, "valid/cat/1.png"])
    assert message_of(root) == f"{root} has val and valid; only one of them can be read. Rename or remove the other."


def test_a_folder_that_may_not_be_listed_is_counted(photos: Photos) -> None:
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("needs a user whom permissions bind")
    root = photos([*TWO_SPLITS, "train/cat/closed/1.png"])
    (root / "train/cat/closed").chmod(0)
    try:
        assert dict(find_images(root).ignored) == {"unreadable folder": 1}
    finally:
        (root / "train/cat/closed").chmod(0o755)
