"""Names of classes in one normal form, and their readable names."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.kinds import find_images
from alexnet.data.store.reader import open_store
from alexnet.errors import SourceError
from alexnet.text.class_names import find_repeat, parse_titles

Photos = Callable[..., Path]
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def test_composed_and_decomposed_names_are_one_class_across_splits(photos: Photos) -> None:
    source = find_images(photos([f"train/{COMPOSED}/1.png", "train/tea/1.png", f"val/{DECOMPOSED}/1.png"]))
    assert source.class_names == ("café", "tea")
    assert [tuple(entry) for entry in source.splits["val"]] == [(f"val/{DECOMPOSED}/1.png", 0)]


def test_composed_and_decomposed_names_are_one_class_inside_a_split(photos: Photos) -> None:
    root = photos([f"{COMPOSED}/1.png", f"{COMPOSED}/2.png", f"{DECOMPOSED}/3.png", "tea/1.png", "tea/2.png"])
    source = find_images(root, val_fraction=0.4)
    assert source.class_names == ("café", "tea")
    assert sorted(label for split in source.splits.values() for _, label in split) == [0, 0, 0, 1, 1]
    assert source.notes == (f"Read as one class, café: {DECOMPOSED} and {COMPOSED}.",)


def test_labels_of_tables_and_lists_have_the_same_normal_form(photos: Photos, tmp_path: Path) -> None:
    root = photos(["train/café/1.png", "train/tea/1.png", "val/x.png", "val/y.png"])
    (tmp_path / "val.txt").write_text(f"x.png\t{DECOMPOSED}\ny.png\ttea\n", encoding="utf-8")
    assert [label for _, label in find_images(root, val_list=tmp_path / "val.txt").splits["val"]] == [0, 1]
    table = root / "t.csv"
    table.write_text(
        f"path,label,split\ntrain/café/1.png,{DECOMPOSED},train\ntrain/tea/1.png,tea,train\nval/x.png,{COMPOSED},val\n",
        encoding="utf-8",
    )
    assert [tuple(entry) for entry in find_images(table).splits["val"]] == [("val/x.png", 0)]


def test_the_division_is_the_same_where_names_of_files_are_decomposed(photos: Photos) -> None:
    trees = [
        find_images(photos([f"{form}/{n}.png" for n in range(30)] + ["tea/1.png"], name=name), val_fraction=0.3)
        for name, form in (("LINUX", COMPOSED), ("MAC", DECOMPOSED))
    ]
    chosen = [[path.rsplit("/")[-1] for path, label in tree.splits["val"] if label == 0] for tree in trees]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 9


def test_repeats_are_found_in_normal_form() -> None:
    assert find_repeat(["a", "b", "c"]) is None
    assert find_repeat(["a", COMPOSED, "b", DECOMPOSED]) == (1, 3)


def test_arrays_refuse_class_names_that_stand_twice_or_are_too_few(tmp_path: Path) -> None:
    path, images = tmp_path / "a.npz", np.zeros((4, 8, 8), np.uint8)
    np.savez(path, images=images, labels=np.array([0, 1, 0, 1]), class_names=np.array(["crane", "crane"]))
    with pytest.raises(SourceError) as caught:
        find_images(path, val_fraction=0.5)
    assert str(caught.value) == f"{path} has the class crane twice: labels 0 and 1. Give each class a name of its own."
    np.savez(path, images=images, labels=np.array([0, 2, 0, 1]), class_names=np.array([b"a", b"b"]))
    with pytest.raises(SourceError) as caught:
        find_images(path, val_fraction=0.5)
    assert str(caught.value) == f"{path} has labels up to 2 and 2 names in class_names. Give a name for each label."


@pytest.mark.parametrize(
    "text",
    [
        "n1\ta bird\nn2\ta fish, wet\n",
        "n1 a bird\nn2 a fish, wet\n",  # LOC_synset_mapping.txt
        'n1,a bird\nn2,"a fish, wet"\n',
        "n1;a bird\nn2;a fish, wet\n",
        "n9\tother\n\nn1\ta bird\nn2\ta fish, wet\n",
        "index\tid\tname\n0\tn1\ta bird\n1\tn2\ta fish, wet\n",
    ],
)
def test_readable_names_are_found_in_every_usual_form_of_table(text: str) -> None:
    assert parse_titles(text, ["n1", "n2"], where="t") == {"n1": "a bird", "n2": "a fish, wet"}


def test_of_several_columns_that_one_tells_the_class_which_names_most() -> None:
    assert parse_titles("0\t1\tone\n1\t2\ttwo\n", ["1", "2"], where="t") == {"1": "one", "2": "two"}


def test_a_class_with_two_readable_names_is_refused_and_both_lines_are_named() -> None:
    with pytest.raises(SourceError) as caught:
        parse_titles("a\tant\nb\tbee\na\tanteater\n", ["a", "b"], where="names.tsv")
    assert str(caught.value) == (
        "names.tsv names the class a twice: 'ant' in line 1, 'anteater' in line 3. Keep one of the lines."
    )
    assert parse_titles("a\tant\na\tant\n", ["a"], where="names.tsv") == {"a": "ant"}


def test_readable_names_of_a_table_with_a_mark_of_byte_order_are_all_found(photos: Photos, tmp_path: Path) -> None:
    root, table = photos(["a/1.png", "a/2.png", "b/1.png"]), tmp_path / "names.tsv"
    for encoding in ("utf-8-sig", "utf-16"):
        table.write_text("a\tant\nb\tbee\n", encoding=encoding)
        assert find_images(root, val_fraction=0.5, class_names_file=table).class_titles == ("ant", "bee")


def test_a_table_that_was_used_is_not_counted_as_no_image(photos: Photos) -> None:
    root = photos(["a/1.png", "a/2.png", "b/1.png", "notes.txt"])
    (root / "classes.tsv").write_text("a\tant\nb\tbee\n")
    (root / "val.txt").write_text("a/1.png\n")
    assert dict(find_images(root, val_fraction=0.5).ignored) == {"not an image": 2}
    assert dict(find_images(root, val_list=root / "val.txt").ignored) == {"not an image": 1}


def test_of_wordnet_ids_it_is_said_where_readable_names_go(photos: Photos, tmp_path: Path) -> None:
    paths = [f"{split}/n0000000{n}/1.png" for split in ("train", "val") for n in (1, 2)]
    root = photos(paths)
    report = prepare(root, tmp_path / "STORE", size=8)
    assert report.notes[0] == (
        "The classes are WordNet ids, such as n00000001. Their readable names go into a table, each line an id, a tab "
        "and a name: classes.tsv in SOURCE, or --class-names FILE; or later, classes.tsv in the store or the run."
    )
    before = open_store(tmp_path / "STORE")
    (tmp_path / "STORE/classes.tsv").write_text("n00000001\tant\nn00000002\tbee\n")
    after = open_store(tmp_path / "STORE")
    assert (before.class_titles, after.class_titles) == (("n00000001", "n00000002"), ("ant", "bee"))
    assert before.fingerprint == after.fingerprint
    assert prepare(root, tmp_path / "STORE", size=8).was_complete
    (root / "words.txt").write_text("n00000001\tant\nn00000002\tbee\nn00000003\tcat\n")
    source = find_images(root)
    assert (source.class_titles, source.notes, dict(source.ignored)) == (("ant", "bee"), (), {})
