"""Corrections of labels: what a table says is done, and a line that cannot be meant is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.kinds import find_images
from alexnet.data.store.reader import open_store
from alexnet.errors import SourceError, StoreError
from conftest import write_pictures

Photos = Callable[..., Path]
PATHS = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in ("cat", "dog") for number in range(3)]


def write_table(folder: Path, *rows: str, head: str = "path,choice,class") -> Path:
    table = folder / "corrections.csv"
    table.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return table


def test_labels_are_changed_and_images_dropped(photos: Photos, tmp_path: Path) -> None:
    table = write_table(tmp_path, "train/cat/1.png,change,dog", "train/dog/0.png,drop,cat", "train/dog/2.png,keep,cat",
                        "val/dog/1.png,Change,cat")  # fmt: skip
    source = find_images(photos(PATHS), corrections=table)
    assert [tuple(entry) for entry in source.splits["train"]] == [
        ("train/cat/0.png", 0), ("train/cat/1.png", 1), ("train/cat/2.png", 0), ("train/dog/1.png", 1), ("train/dog/2.png", 1)
    ]  # fmt: skip
    assert [label for _, label in source.splits["val"]] == [0, 0, 0, 1, 0, 1]
    assert source.notes[-1] == "By corrections.csv: 2 labels changed, 1 image left out."


def test_quoted_cells_other_columns_and_escaped_names_are_read(photos: Photos, tmp_path: Path) -> None:
    root = photos([*PATHS, 'train/cat/a,"b.png', "train/cat/new\nline.png"])
    table = write_table(tmp_path, '"dog","train/cat/a,""b.png",0.5,"change"', '"dog",train/cat/new\\x0aline.png,0.5,change',
                        head='"class","path","score","choice"')  # fmt: skip
    labels = dict(find_images(root, corrections=table).splits["train"])
    assert labels['train/cat/a,"b.png'] == labels["train/cat/new\nline.png"] == 1


def test_the_division_of_the_images_stays_as_it_was(photos: Photos, tmp_path: Path) -> None:
    root = photos([f"{name}/{number}.png" for name in ("cat", "dog") for number in range(10)])
    before = find_images(root, val_fraction=0.3)
    table = write_table(
        tmp_path, f"{before.splits['val'][0].path},change,dog", f"{before.splits['train'][0].path},drop,"
    )
    after = find_images(root, val_fraction=0.3, corrections=table)
    assert [entry.path for entry in after.splits["val"]] == [entry.path for entry in before.splits["val"]]
    assert [entry.path for entry in after.splits["train"]] == [entry.path for entry in before.splits["train"][1:]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["train/cat/0.png,keep,", "train/cat/9.png,drop,"], ", line 3: {root} has no image train/cat/9.png. Give the table that was made for these images, with paths as in their store."),
        (["train/cat/0.png,change,dgo"], ", line 2: there is no class dgo (did you mean dog?). Write one of the classes of {root}; a new class needs a folder or a row of its own."),
        (["train/cat/0.png,remove,"], ", line 2: the choice is 'remove'. Accepted are keep, change and drop."),
        (["train/cat/0.png,drop,", "train/cat/1.png,drop,", "train/cat/0.png,keep,"], ", line 4: train/cat/0.png is named in line 2 too. Keep one of the lines."),
        ([f"train/cat/{n}.png,drop," for n in range(3)], ": leaves no training image of cat. Keep one, or remove the class from the images."),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_and_its_line_named(
    photos: Photos, tmp_path: Path, rows: list[str], message: str
) -> None:
    root, table = photos(PATHS), write_table(tmp_path, *rows)
    with pytest.raises(SourceError) as caught:
        find_images(root, corrections=table)
    assert str(caught.value) == f"{table}{message.format(root=root)}"


def test_a_file_that_is_no_table_of_corrections_is_refused(photos: Photos, tmp_path: Path) -> None:
    root, table = photos(PATHS), write_table(tmp_path, head="path,label")
    with pytest.raises(SourceError) as caught:
        find_images(root, corrections=table)
    assert str(caught.value) == (
        f"{table}: is no table of corrections, which has the columns path, choice, class in its first row. The page of "
        "evaluate --suspects saves one."
    )
    table.write_bytes(b"\xff\xff")
    with pytest.raises(
        SourceError, match=r"corrections\.csv: cannot be read as a table in UTF-8 \(.*\)\. Save it as CSV\."
    ):
        find_images(root, corrections=table)
    with pytest.raises(SourceError, match=r"nothing\.csv: cannot be read as a table"):
        find_images(root, corrections=tmp_path / "nothing.csv")


def test_a_store_knows_the_corrections_it_was_made_with(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos" / "train", per_class=3, classes=("cat", "dog"))
    write_pictures(tmp_path / "photos" / "val", per_class=1, classes=("cat", "dog"))
    table = write_table(tmp_path, "train/cat/cat-0.png,change,dog", "train/dog/dog-1.png,drop,")
    report = prepare(tmp_path / "photos", tmp_path / "store", size=8, corrections=table)
    store = open_store(tmp_path / "store")
    assert dict(zip(store.paths, store.labels.tolist(), strict=True)) == {
        "train/cat/cat-0.png": 1, "train/cat/cat-1.png": 0, "train/cat/cat-2.png": 0, "train/dog/dog-0.png": 1,
        "train/dog/dog-2.png": 1,
    }  # fmt: skip
    assert "By corrections.csv: 1 label changed, 1 image left out." in report.notes
    assert prepare(tmp_path / "photos", tmp_path / "store", size=8, corrections=table).was_complete
    with pytest.raises(StoreError, match="corrections was"):
        prepare(tmp_path / "photos", tmp_path / "store", size=8)
