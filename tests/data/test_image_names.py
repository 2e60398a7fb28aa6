"""What lists and tables call images."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.image_names import ImageNames, ValList
from alexnet.data.sources.kinds import find_images
from alexnet.data.store.reader import open_store
from alexnet.errors import SourceError

Photos = Callable[..., Path]


def match(tmp_path: Path, text: str, paths: list[str], classes: list[str] | None = None) -> dict[str, str]:
    listed = tmp_path / "list.txt"
    listed.write_text(text, encoding="utf-8")
    return ValList(listed).match(paths, classes or [])


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        ("a/1.png", ["a/1.png"]),
        ("./a/1.png", ["a/1.png"]),
        (r"a\1.png", ["a/1.png"]),
        ("/data/set/a/1.png", ["a/1.png"]),
        ("1.png", ["a/1.png", "b/1.png"]),
        ("b/1", ["b/1.png"]),
        ("2", []),
        ("2.x", ["b/2.x.png"]),
        ("c/1.png", []),
        ("cafe\u0301", ["b/caf\u00e9.jpg"]),
        ("", []),
    ],
)
def test_an_image_is_found_by_its_path_the_end_of_it_or_its_name(called: str, expected: list[str]) -> None:
    images = ["a/1.png", "b/1.png", "b/2.x.png", "b/caf\u00e9.jpg"]
    assert ImageNames(images).find(called) == expected


@pytest.mark.parametrize(
    ("line", "class_name"),
    [
        ("new york/1.jpg 3", "3"),
        ("new york/1.jpg", ""),
        ("new york/1.jpg\tnew york", "new york"),
        ("new york/1.jpg;new york", "new york"),
        ("new york/1.jpg,new york", "new york"),
        ('"new york/1.jpg",new york', "new york"),
        ('"new york/1.jpg" 3', "3"),
        ('"new york/1.jpg"', ""),
        ("new york/1.jpg   new york", "new york"),
        ("new york/1 3", "3"),
        ("new york/1.jpg\tn01 1 2 3 4", "n01"),
    ],
)
def test_names_with_blanks_and_every_delimiter_are_read(tmp_path: Path, line: str, class_name: str) -> None:
    paths = ["new york/1.jpg", "new.jpg", "other/2.jpg"]
    assert match(tmp_path, line + "\n", paths, ["new york", "n01"]) == {"new york/1.jpg": class_name}


def test_a_list_in_utf_16_or_with_a_mark_is_read(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"):
        (tmp_path / "l.txt").write_bytes("a/1.png\r\nb/2.png\r\n".encode(encoding))
        assert set(ValList(tmp_path / "l.txt").match(["a/1.png", "b/2.png", "c/3.png"])) == {"a/1.png", "b/2.png"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.png\n", ", line 1: 1.png may be a/1.png or b/1.png. Name its folder too."),
        ("a/1.png x\na/1.png y\n", " names a/1.png twice, with other classes: 'x' in line 1, 'y' in line 2. Keep one of the lines."),
        ("\n", " is empty. Write the path of an image into each line."),
        ("a/1.png\nz z.png\n", " lists 1 image that the source does not have: z z.png. Check that the list belongs to these images. Each line holds a path, or a path, a blank or a tab, and a class."),
    ],
)  # fmt: skip
def test_a_list_that_does_not_fit_says_which_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        match(tmp_path, text, ["a/1.png", "b/1.png"])
    assert str(caught.value) == f"{tmp_path / 'list.txt'}{message}"


def test_a_heading_and_repeated_lines_do_no_harm(tmp_path: Path) -> None:
    assert match(tmp_path, "image,class\na/1.png,x\na/1.png,x\n", ["a/1.png"]) == {"a/1.png": "x"}


def test_the_layout_of_tiny_imagenet_names_its_own_list_which_works(photos: Photos) -> None:
    train = [f"train/n0000000{n}/images/n0000000{n}_{i}.JPEG" for n in (1, 2) for i in (0, 1)]
    root = photos([*train, "val/images/val_0.JPEG", "val/images/val_1.JPEG", "test/images/test_0.JPEG"])
    listed = root / "val/val_annotations.txt"
    listed.write_text("val_0.JPEG\tn00000002\t0\t0\t62\t62\nval_1.JPEG\tn00000001\t0\t0\t62\t62\n")
    with pytest.raises(SourceError) as caught:
        find_images(root)
    assert str(caught.value) == (
        f"{root}/val holds no folders named like the training classes, but val_annotations.txt. If that tells the "
        f"classes of its images, add --val-list {listed}."
    )
    source = find_images(root, val_list=listed)
    assert [tuple(entry) for entry in source.splits["val"]] == [
        ("val/images/val_0.JPEG", 1),
        ("val/images/val_1.JPEG", 0),
    ]
    assert len(source.splits["train"]) == 4
    assert dict(source.ignored) == {}


def test_a_flat_validation_folder_needs_a_class_for_every_image(photos: Photos, tmp_path: Path) -> None:
    root, listed = photos(["train/a/1.png", "train/b/1.png", "val/x.png", "val/y.png"]), tmp_path / "l.txt"
    listed.write_text("x.png a\ny.png\n")
    with pytest.raises(SourceError) as caught:
        find_images(root, val_list=listed)
    assert str(caught.value) == (
        f"{listed} gives no class for 1 validation image: val/y.png. Each line holds a path, a tab and the name of a "
        "class folder."
    )


# Tables


def read_table(photos: Photos, data: bytes, name: str = "t.csv") -> list[tuple[str, str]]:
    root = photos([f"images/{name}.png" for name in ("r1", "r2", "b1", "b2", "new york")])
    (root / name).write_bytes(data)
    source = find_images(root / name, val_fraction=0.5)
    return sorted((path, source.class_names[label]) for split in source.splits.values() for path, label in split)


ROWS = [("images/r1.png", "red"), ("images/r2.png", "red"), ("images/b1.png", "blue"), ("images/b2.png", "blue")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_table_is_read_with_any_delimiter_and_encoding(photos: Photos, delimiter: str, encoding: str) -> None:
    text = "\r\n".join(delimiter.join(row) for row in [("path", "label"), *ROWS])
    assert read_table(photos, text.encode(encoding)) == sorted(ROWS)


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\npath;label\n" + "".join(f"{path};{label}\n" for path, label in ROWS),
        "".join(f"{path},{label}\n" for path, label in ROWS),
        "".join(f"{label},{path}\n" for path, label in ROWS),
        "id,breed\n" + "".join(f"{path[7:-4]},{label}\n" for path, label in ROWS),
        "name,label\n" + "".join(f"{path},{label}\n" for path, label in ROWS),
        "id,label,extra\n" + "".join(f"{path[7:]},{label},1\n" for path, label in ROWS),
        '"path","label"\n' + "".join(f'"{path}", "{label}"\n'.replace(", ", ",") for path, label in ROWS),
    ],
)
def test_ids_missing_headings_and_marks_of_excel_are_read(photos: Photos, text: str) -> None:
    assert read_table(photos, text.encode()) == sorted(ROWS)


def test_a_line_feed_in_a_quoted_label_is_kept_and_escaped_in_print(photos: Photos, tmp_path: Path) -> None:
    text = "path,label\n" + "".join(
        f'{path},"{label}\nx"\n' if label == "blue" else f"{path},{label}\n" for path, label in ROWS
    )
    assert {label for _, label in read_table(photos, text.encode())} == {"blue\nx", "red"}
    store = tmp_path / "STORE"
    prepare(photos([]) / "t.csv", store, size=8, val_fraction=0.5)
    assert open_store(store).class_names == ("blue\nx", "red")
    listed = CliRunner().invoke(cli, ["info", str(store), "--images"]).output.splitlines()
    assert len(listed) == 4
    assert {line.split("\t")[1] for line in listed} == {r"blue\x0ax", "red"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\nimages/r1.png,\"red\nimages/r2.png,red\n", ", line 2: cannot be read (unexpected end of data). A quotation mark at the beginning of a cell needs another at its end."),
        ("id,label\nr1,red\nr7,red\n", ", line 3: no image below {root} is named r7. Paths are relative to the folder of the table; names and ids without suffix are looked for in it."),
        ("path\nimages/r1.png\n", " has the columns path. Name one of them path and one label in the first row; a third may be split. For example: path,label in the first line and images/1.jpg,cat in the second."),
        ("path,label\nimages/r1.png,\"a\nb\"\nimages/r2.png,\n", ", line 4: has no path or no label. Fill in the row, or remove it; with --labels several an empty label is a picture of none of the classes."),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_names_the_line(photos: Photos, text: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_table(photos, text.encode())
    table = next(iter(caught.traceback[0].frame.f_locals["photos"]([]).glob("t.csv")))
    assert str(caught.value) == f"{table}{message.format(root=table.parent)}"


def test_a_name_that_stands_in_two_folders_is_not_guessed(photos: Photos) -> None:
    root = photos(["a/1.png", "b/1.png"])
    (root / "t.csv").write_text("id,label\n1,x\n")
    with pytest.raises(SourceError) as caught:
        find_images(root / "t.csv")
    assert str(caught.value) == f"{root}/t.csv, line 2: 1 may be a/1.png or b/1.png. Write the path into the table."
