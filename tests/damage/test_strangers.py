"""Files of strangers: what fuzzing found stays found, and a few changed files of each kind are read or refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from alexnet.errors import SearchError, SourceError, StoreError, WeightsError
from alexnet.files.documents import FILE, find_misfit, is_inside, is_number, is_text, is_whole, numbers
from damage.families import FAMILIES, Family

KNOWN = {family.name: family for family in FAMILIES}

FORGED: list[tuple[str, tuple[str, ...], Any, str]] = [
    ("store", ("statistics", "color_eigenvalues"), [{}], "statistics.color_eigenvalues"),
    ("store", ("statistics", "color_mean"), [10**400, 0, 0], "statistics.color_mean"),
    ("store", ("statistics", "mean_image", "file"), 0.5, "statistics.mean_image.file"),
    ("store", ("statistics", "mean_image", "file"), "../../secret", "statistics.mean_image.file"),
    ("store", ("statistics", "mean_image", "file"), "\ud800", "statistics.mean_image.file"),
    ("store", ("report", "bytes"), "x", "report.bytes"),
    ("store", ("splits",), 1, "splits"),
    ("store", ("splits", "val", "count"), 3, "splits.val.count"),
    ("store", ("provenance",), "train", "provenance"),
    ("index", ("parts",), ["x"], "parts.0"),
    ("index", ("codes",), {"64": "x"}, "codes.64"),
    ("index", ("finished",), None, "finished"),
    ("index", ("parts", "0", "rows"), "../../x", "parts.0.rows"),
    ("index", ("parts", "0", "features", "file"), "/etc/passwd", "parts.0.features.file"),
    ("index", ("removed",), {"count": 1}, "removed"),
]


def change(document: Any, path: tuple[str, ...], value: Any) -> bytes:
    """Return a document with another value at this place."""
    holder = document
    for name in path[:-1]:
        holder = holder[int(name) if isinstance(holder, list) else name]
    holder[path[-1]] = value
    return json.dumps(document).encode()


def put(family: Family, folder: Path, data: bytes) -> Path:
    place = folder / family.place
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(family.seal(data, folder))
    return place


@pytest.mark.parametrize(("name", "path", "value", "misfit"), FORGED, ids=lambda each: str(each)[:30])
def test_a_forged_header_whose_checksum_fits_is_refused_by_its_field(
    tmp_path: Path, name: str, path: tuple[str, ...], value: Any, misfit: str
) -> None:
    family = KNOWN[name]
    good = family.make(tmp_path)[0]
    place = put(family, tmp_path, change(json.loads(good), path, value))
    with pytest.raises((StoreError, SearchError)) as problem:
        family.read(place)
    assert f"{place} lacks a field or has one of the wrong kind ('{misfit}'). " in str(problem.value)


@pytest.mark.parametrize("value", [1, "x", {"conv1.weight": 3}])
def test_a_model_that_describes_its_tensors_as_something_else_is_refused(tmp_path: Path, value: Any) -> None:
    family = KNOWN["model document"]
    place = put(family, tmp_path, change(json.loads(family.make(tmp_path)[0]), ("tensors",), value))
    with pytest.raises(WeightsError, match="its header does not describe its tensors"):
        family.read(place)


def test_an_ensemble_of_an_infinite_format_is_refused(tmp_path: Path) -> None:
    family = KNOWN["ensemble"]
    place = put(family, tmp_path, change(json.loads(family.make(tmp_path)[0]), ("format",), float("inf")))
    with pytest.raises(
        WeightsError, match=r"cannot be read as an ensemble \(cannot convert float infinity to integer\)"
    ):
        family.read(place)


def test_a_table_of_coco_with_an_infinite_id_is_refused(tmp_path: Path) -> None:
    family = KNOWN["COCO"]
    place = put(family, tmp_path, change(json.loads(family.make(tmp_path)[0]), ("images", "0", "id"), float("inf")))
    with pytest.raises(SourceError, match="cannot be read as COCO's instances"):
        family.read(place)


def test_arrays_whose_archive_has_a_damaged_directory_are_refused_in_a_short_sentence(tmp_path: Path) -> None:
    family = KNOWN["NumPy"]
    good = family.make(tmp_path)[0]
    directory = good.index(b"PK\x01\x02")
    for place, value in ((directory + 6, 182), (len(good) - 6, 0xFF)):
        data = bytearray(good)
        data[place] = value
        with pytest.raises(SourceError) as problem:
            family.read(put(family, tmp_path, bytes(data)))
        assert len(str(problem.value)) < 500 + len(str(tmp_path))


def test_a_form_tells_where_a_value_first_departs_from_it() -> None:
    form = {"size": is_whole, "page?": FILE, "names": [is_text], "*": {"count": is_whole}}
    good = {"size": 3, "names": ["a"], "train": {"count": 1, "more": None}}
    assert find_misfit(good, form) is None
    assert find_misfit([], form) == ""
    assert find_misfit({**good, "size": True}, form) == "size"
    assert find_misfit({**good, "names": ["a", 1]}, form) == "names.1"
    assert find_misfit({**good, "page": {"file": "a/b"}}, form) == "page.bytes"
    assert find_misfit({**good, "train": {}}, form) == "train.count"
    assert find_misfit({"names": []}, form) == "size"


def test_what_values_may_be() -> None:
    assert [is_whole(value) for value in (0, 2**63 - 1, -1, 2**63, True, 1.0)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert [is_number(value) for value in (0.5, 10**400, float("nan"), float("inf"), False)] == [True, True, False, False, False]  # fmt: skip
    assert numbers(2, 2)([[1, 2], [3, 4.5]])
    assert not any(numbers(2)(value) for value in ([1], [1, "x"], [1, 10**400], 3, [1, float("nan")]))
    inside = ("a", "part-00000/ids.npy", "train/images-00000.npy")
    outside = ("", ".", "..", "../a", "/a", "a/../b", "a//b", ".hidden", "a\\b", "C:a", "a\0", "\ud800", 3, "a" * 5000)
    assert all(map(is_inside, inside))
    assert not any(map(is_inside, outside))
