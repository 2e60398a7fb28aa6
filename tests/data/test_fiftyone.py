"""Exports of FiftyOne, as FiftyOne 1.22.1 wrote them into tests/data/written/fiftyone.

data and labels.json are FiftyOneImageClassificationDataset of Classifications; labels_one.json is that of
Classification with confidences; labels_coco.json is COCODetectionDataset.
"""

import json
import shutil
from pathlib import Path

import pytest

from alexnet.data.sources.kinds import find_images
from alexnet.errors import SourceError

WRITTEN = Path(__file__).parent / "written" / "fiftyone"


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN, tmp_path / "export"))


def labels_of(source: object) -> dict[str, object]:
    return {path: label for rows in source.splits.values() for path, label in rows}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", "labels.json"])
def test_classifications_are_any_number_of_classes(export: Path, name: str) -> None:
    source = find_images(export / name, val_fraction=0.3)
    assert (source.kind, source.class_names, source.has_sets) == ("fiftyone", ("cat", "dog"), True)
    expected = ((0, 1), (0,), (), (1,), (0,), (1,))
    assert labels_of(source) == {f"data/{number}.png": label for number, label in enumerate(expected)}
    assert source.read("data/0.png") == (WRITTEN / "data/0.png").read_bytes()


def test_a_classification_is_one_class(export: Path) -> None:
    for document in (
        json.loads((WRITTEN / "labels_one.json").read_text()),
        {"classes": ["cat", "dog"], "labels": {str(number): number % 2 for number in range(6)}},
        {"classes": None, "labels": {str(number): ("cat", "dog")[number % 2] for number in range(6)}},
    ):
        (export / "labels.json").write_text(json.dumps(document))
        source = find_images(export, val_fraction=0.3)
        assert (source.class_names, source.has_sets) == (("cat", "dog"), False)
        assert labels_of(source) == {f"data/{number}.png": number % 2 for number in range(6)}


def test_its_export_of_boxes_is_cocos(export: Path) -> None:
    shutil.copy(WRITTEN / "labels_coco.json", export / "labels.json")
    source = find_images(export, val_fraction=0.3)
    assert (source.kind, source.class_names) == ("coco", ("cat", "dog"))
    assert labels_of(source) == {f"data/{number}.png": (number % 2,) for number in range(6)}


def test_its_table_is_read_by_the_ends_of_its_columns(export: Path) -> None:
    rows = [f"data/{number}.png,{('cat', 'dog')[number % 2]},1\n" for number in range(6)]
    (export / "labels.csv").write_text("filepath,ground_truth.label,ground_truth.confidence\n" + "".join(rows))
    source = find_images(export / "labels.csv", val_fraction=0.3)
    assert labels_of(source) == {f"data/{number}.png": number % 2 for number in range(6)}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"classes": ["cat"], "labels": {"0": 1}},
            "cannot be read as an export of FiftyOne (1 is no label). It needs labels, each a name, a position in "
            "classes, or a list of these.",
        ),
        (
            {"classes": {"cat": 0}, "labels": {"0": 0}},
            "cannot be read as an export of FiftyOne (classes are no list). It needs labels, each a name, a position in "
            "classes, or a list of these.",
        ),
        (
            {"classes": None, "labels": {"0": True}},
            "cannot be read as an export of FiftyOne (True is no label). It needs labels, each a name, a position in "
            "classes, or a list of these.",
        ),
        (
            {"classes": None},
            "cannot be read as an export of FiftyOne ('labels'). It needs labels, each a name, a position in classes, or "
            "a list of these.",
        ),
        (
            {"classes": None, "labels": {"0": "cat", "1": None}},
            ": 1 has 0 labels, and needs one. Remove it; or give --labels several, so that a picture may have any number.",
        ),
    ],
)
def test_other_labels_are_refused(export: Path, document: object, message: str) -> None:
    (export / "labels.json").write_text(json.dumps(document))
    with pytest.raises(SourceError) as problem:
        find_images(export, val_fraction=0.3)
    path = f"{export}/labels.json"
    assert str(problem.value) == (f"{path}{message}" if message.startswith(":") else f"{path} {message}")
