"""Images that belong together, and those that look as if they did."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.data.folds import Fold, divide_into_folds
from alexnet.data.prepare.near_copies import describe_near_copies, find_near_copies
from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.kinds import Source, find_images
from alexnet.data.store.reader import open_store
from alexnet.errors import ConfigError, SourceError, StoreError

Photos = Callable[..., Path]
PATIENTS = [f"{'ill' if p % 2 else 'well'}/p{p:02d}_{frame}.png" for p in range(10) for frame in range(4 + p)]


def patients_of(source: Source, split: str) -> set[str]:
    return {path.split("/")[1][:3] for path, _ in source.splits[split]}


def test_a_group_stands_on_one_side_and_every_class_on_both(photos: Photos) -> None:
    source = find_images(photos(PATIENTS), val_fraction=0.2, group=r"(p\d+)_")
    assert patients_of(source, "train") | patients_of(source, "val") == {f"p{p:02d}" for p in range(10)}
    assert not patients_of(source, "train") & patients_of(source, "val")
    assert {label for _, label in source.splits["val"]} == {0, 1}
    count = len(source.splits["val"])
    assert 0.1 < count / len(PATIENTS) < 0.3
    assert source.notes == (
        rf"By --group (p\d+)_: {len(patients_of(source, 'val'))} of 10 groups set aside for validation, {count} of "
        f"{len(PATIENTS)} images ({100 * count / len(PATIENTS):.0f} %).",
    )


def test_groups_stay_whole_in_three_splits(photos: Photos) -> None:
    source = find_images(photos(PATIENTS), val_fraction=0.2, test_fraction=0.2, group=r"(p\d+)_")
    sides = [patients_of(source, split) for split in ("train", "val", "test")]
    assert set.union(*sides) == {f"p{p:02d}" for p in range(10)}
    assert sum(map(len, sides)) == 10
    assert min(map(len, sides)) >= 2
    assert source.splits["val"] == find_images(source.root, val_fraction=0.2, group=r"(p\d+)_").splits["val"]
    assert "groups set aside for testing" in source.notes[1]


def test_the_division_by_groups_depends_on_seed_and_names_only(photos: Photos) -> None:
    options = {"val_fraction": 0.3, "group": r"p\d+"}
    first = find_images(photos(PATIENTS), **options)  # type: ignore[arg-type]
    other = find_images(photos(PATIENTS[::-1], name="ELSEWHERE"), **options)  # type: ignore[arg-type]
    assert first.splits == other.splits
    divisions = {frozenset(patients_of(find_images(first.root, **options, seed=s), "val")) for s in range(5)}  # type: ignore[arg-type]
    assert len(divisions) > 1


def test_a_group_of_two_classes_stays_whole_and_the_last_of_a_class_stays_in_training(photos: Photos) -> None:
    paths = [f"{name}/{patient}/{n}.png" for name in "ab" for patient in ("p1", "p2", "p3") for n in range(3)]
    source = find_images(photos([*paths, "c/p4/1.png", "c/p4/2.png"]), val_fraction=0.3, group="folder")
    (patient,) = {path.split("/")[1] for path, _ in source.splits["val"]}
    assert sorted(path for path, _ in source.splits["val"]) == [path for path in paths if f"/{patient}/" in path]
    assert source.notes[1] == ("Without validation images, as no group of theirs can be spared: 1 class (c).")


def test_a_column_of_a_table_tells_the_group(photos: Photos) -> None:
    root = photos([f"{n}.png" for n in range(12)])
    rows = "".join(f"{n}.png,{'xy'[n % 2]},{'ABC'[n // 4]}\n" for n in range(12))
    (root / "t.csv").write_text("path,label,Patient\n" + rows)
    source = find_images(root / "t.csv", val_fraction=0.3, group="patient")
    chosen = sorted(int(path[:-4]) // 4 for path, _ in source.splits["val"])
    assert chosen == [chosen[0]] * 4


def test_a_store_holds_the_groups_and_folds_keep_them_whole(photos: Photos, tmp_path: Path) -> None:
    """Of a column too, which no path tells."""
    root = photos([f"{n}.png" for n in range(24)])
    rows = "".join(f"{n}.png,{'xy'[n % 2]},Ü{n // 4}\n" for n in range(24))
    (root / "t.csv").write_text("path,label,Patient\n" + rows)
    made = prepare(root / "t.csv", tmp_path / "STORE", size=16, val_fraction=0.3, group="patient")
    store = open_store(made.store)
    for split in store.splits.values():
        assert split.groups is not None
        assert list(split.groups) == [f"Ü{int(path[:-4]) // 4}" for path in split.paths]
    folds, note = divide_into_folds(store, 2, seed=0)
    assert note is None
    assert (folds.reshape(-1, 4) == folds.reshape(-1, 4)[:, :1]).all()
    held = Fold(store, folds == 0)
    assert set(held["test"].groups or ()) == {f"Ü{int(path[:-4]) // 4}" for path in held["test"].paths}
    assert not set(held["test"].groups or ()) & set(held["train"].groups or ())
    store.verify()
    listed = {record["file"] for record in store.file_records()}
    assert {"train/groups.jsonl", "val/groups.jsonl"} <= listed


def test_a_store_of_other_groups_is_another_store(photos: Photos, tmp_path: Path) -> None:
    root = photos([f"{n}.png" for n in range(12)])
    for shift in (0, 1):
        rows = "".join(f"{n}.png,{'xy'[n % 2]},{'train' if n < 8 else 'val'},{(n + shift) // 4}\n" for n in range(12))
        (root / "t.csv").write_text(
            "path,label,split,film\n" + (rows if not shift else rows.replace("train,2", "train,9"))
        )
        if not shift:
            prepare(root / "t.csv", tmp_path / "STORE", size=16, group="film")
            assert prepare(root / "t.csv", tmp_path / "STORE", size=16, group="film").was_complete
            continue
        with pytest.raises(
            StoreError, match="made from other images or with other options: the images are not the same"
        ):
            prepare(root / "t.csv", tmp_path / "STORE", size=16, group="film")


def test_without_a_rule_a_store_has_no_groups(photos: Photos, tmp_path: Path) -> None:
    made = prepare(photos(PATIENTS), tmp_path / "STORE", size=16, val_fraction=0.3)
    assert open_store(made.store)["train"].groups is None
    assert not (made.store / "train/groups.jsonl").exists()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("p99", "--group p99: is not found in ill/p01_0.png. Every image needs a group; give an expression that fits all paths."),
        ("folder", "{root}: --group folder makes 2 groups of 85 images (ill, well), and without any of them a class would have no training images. Give an expression that tells more groups apart."),
    ],
)  # fmt: skip
def test_groups_that_cannot_be_divided_are_refused(photos: Photos, rule: str, message: str) -> None:
    root = photos(PATIENTS)
    with pytest.raises(SourceError) as caught:
        find_images(root, val_fraction=0.2, group=rule)
    assert str(caught.value) == message.format(root=root)


def test_a_rule_that_is_no_expression_is_refused(photos: Photos) -> None:
    with pytest.raises(ConfigError) as caught:
        find_images(photos(PATIENTS), val_fraction=0.2, group="p(")
    assert str(caught.value) == (
        "--group p(: is no regular expression (missing ), unterminated subpattern at position 1). Accepted are a regular "
        "expression such as '(p[0-9]+)_', folder, or a column of the table."
    )


def test_splits_that_a_source_or_list_makes_must_not_share_a_group(photos: Photos, tmp_path: Path) -> None:
    root = photos(["train/a/p1_1.png", "train/b/p2_1.png", "val/a/p1_2.png", "val/b/p3_1.png"])
    expected = (
        r"--group p\d: 1 group in more than one split. The first is p1: train: train/a/p1_1.png and val: "
        "val/a/p1_2.png. Move the images of a group to one side, or divide with --val-fraction."
    )
    with pytest.raises(SourceError) as caught:
        find_images(root, group=r"p\d")
    assert str(caught.value) == expected
    (root / "val/a/p1_2.png").rename(root / "val/a/p4_2.png")
    assert len(find_images(root, group=r"p\d").splits["val"]) == 2
    listed = tmp_path / "l.txt"
    listed.write_text("a/p1_1.png\n")
    tree = photos(["a/p1_1.png", "a/p1_2.png", "b/p2_1.png"], name="TREE")
    with pytest.raises(SourceError, match=r"1 group in more than one split\. The first is p1"):
        find_images(tree, val_list=listed, group=r"p\d")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Twelve frames each of four patients."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for patient in range(4):
        folder = tmp_path / "SERIES" / ("ill" if patient % 2 else "well")
        folder.mkdir(parents=True, exist_ok=True)
        one = rng.integers(0, 255, (32, 32, 3)).astype(int)
        for frame in range(12):
            pixels = np.clip(one + rng.normal(0, 3, one.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"p{patient}_{frame:02d}.png")
    return tmp_path / "SERIES"


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_division_image_by_image_that_parts_a_series_is_noted(series: Path, tmp_path: Path, codec: str) -> None:
    report = prepare(series, tmp_path / "S", size=32, val_fraction=0.25, codec=codec)  # type: ignore[arg-type]
    (note,) = report.notes
    assert note.startswith(
        "Leakage is likely: of 12 validation images compared, 12 are nearly the same as a training image, so the error "
        "measured on validation images is too low. The first: val: ill/p"
    )
    assert note.endswith("Keep the pictures of one series on one side: --group RULE.")
    grouped = CliRunner().invoke(
        cli,
        [
            "prepare",
            str(series),
            "--out",
            str(tmp_path / "G"),
            "--size",
            "32",
            "--val-fraction",
            "0.25",
            "--group",
            "p.",
        ],
    )
    assert "By --group p.: 2 of 4 groups set aside for validation, 24 of 48 images (50 %)." in grouped.output
    assert "Leakage" not in grouped.output


def test_other_pictures_and_plain_ones_are_no_near_copies(photos: Photos, tmp_path: Path) -> None:
    report = prepare(
        photos([f"{name}/{n}.png" for name in "ab" for n in range(30)]), tmp_path / "S", size=32, val_fraction=0.2
    )
    assert report.notes == []
    rng = np.random.default_rng(1)
    dark = rng.integers(0, 6, (40, 32, 32, 3), dtype=np.uint8)  # all differ by little, and none by less than usual
    names = [str(n) for n in range(40)]
    found = find_near_copies(
        (dark[:30].__getitem__, dark[30:].__getitem__), (names[:30], names[30:]), (names[:30], names[30:])
    )
    assert (found.num_compared, found.pairs, describe_near_copies(found, names, names)) == (10, [], [])


def test_of_many_training_images_the_neighbours_by_path_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet.data.prepare.near_copies.MOST_CANDIDATES", 60)
    rng = np.random.default_rng(2)
    train = rng.integers(0, 256, (500, 12, 12, 3), dtype=np.uint8)
    paths = [f"{n:04d}.png" for n in range(500)]
    val = train[[333, 77]] ^ 1
    digests = [f"{n:032x}" for n in range(502)]
    found = find_near_copies(
        (train.__getitem__, val.__getitem__), (paths, ["0333b.png", "0077b.png"]), (digests[:500], digests[500:])
    )
    assert found.pairs == [(0, 333), (1, 77)]
