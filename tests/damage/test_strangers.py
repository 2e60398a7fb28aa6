"""Files of strangers: good ones of each kind are read, and what fuzzing found stays found."""

import contextlib
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alexnet.data.sources.archives import open_archive
from alexnet.description.describe import describe
from alexnet.errors import ConfigError, ImageError, RunError, SearchError, SourceError, StoreError, WeightsError
from alexnet.files.documents import FILE, find_misfit, is_inside, is_number, is_text, is_whole, numbers
from damage.families import FAMILIES
from damage.family import Family, listed_in
from damage.fuzz import refusals


def npy(values: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values)
    return stream.getvalue()


def claim(shape: tuple[int, ...]) -> bytes:
    """A .npy file that claims more than it has."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(64)


def lines(line: dict[str, Any]) -> bytes:
    return 6 * (json.dumps(line).encode() + b"\n")


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
    ("store", ("provenance",), {"options": {"val_fraction": [1]}}, "provenance.options.val_fraction"),
    ("store", ("splits", "train", "groups"), 3, "splits.train.groups"),
    ("store", ("splits", "train", "groups", "file"), "../../secret", "splits.train.groups.file"),
    ("index", ("parts",), ["x"], "parts.0"),
    ("index", ("codes",), {"64": "x"}, "codes.64"),
    ("index", ("codes", "x"), {"method": "x", "version": 0, "encoder": None, "parts": {}}, "codes.x.encoder"),
    ("index", ("sources", "0"), {"kind": "store"}, "sources.0"),
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
    holder[int(path[-1]) if isinstance(holder, list) else path[-1]] = value
    return json.dumps(document).encode()


NEEDED = {"HTTP body": "starlette"}
"""What is not installed everywhere that tests run."""


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_good_files_are_read_and_odd_ones_harm_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: Family
) -> None:
    pytest.importorskip(NEEDED.get(family.name, "alexnet"))
    monkeypatch.chdir(tmp_path)
    samples = family.make(tmp_path)
    assert samples.good
    for data in samples.good:
        family.read(family.put(data, tmp_path))
    for data in samples.odd:
        with contextlib.suppress(*refusals()):
            family.read(family.put(data, tmp_path))
    assert not (tmp_path / "EXECUTED").exists()


@pytest.mark.parametrize(("name", "path", "value", "misfit"), FORGED, ids=lambda each: str(each)[:30])
def test_a_forged_header_whose_checksum_fits_is_refused_by_its_field(
    tmp_path: Path, name: str, path: tuple[str, ...], value: Any, misfit: str
) -> None:
    family = KNOWN[name]
    good = family.make(tmp_path).good[0]
    place = family.put(change(json.loads(good), path, value), tmp_path)
    with pytest.raises((StoreError, SearchError)) as problem:
        family.read(place)
    assert f"{place} lacks a field or has one of the wrong kind ('{misfit}'). " in str(problem.value)


@pytest.mark.parametrize("value", [1, "x", {"conv1.weight": 3}])
def test_a_model_that_describes_its_tensors_as_something_else_is_refused(tmp_path: Path, value: Any) -> None:
    family = KNOWN["model document"]
    place = family.put(change(json.loads(family.make(tmp_path).good[0]), ("tensors",), value), tmp_path)
    with pytest.raises(WeightsError, match="its header does not describe its tensors"):
        family.read(place)


def test_a_model_whose_temperature_is_no_float_is_refused(tmp_path: Path) -> None:
    family = KNOWN["model document"]
    changed = change(json.loads(family.make(tmp_path).good[1]), ("temperatures", "1"), 10**400)
    with pytest.raises(WeightsError, match="its header is incomplete or malformed"):
        family.read(family.put(changed, tmp_path))


def test_an_ensemble_of_an_infinite_format_is_refused(tmp_path: Path) -> None:
    family = KNOWN["ensemble"]
    place = family.put(change(json.loads(family.make(tmp_path).good[0]), ("format",), float("inf")), tmp_path)
    with pytest.raises(
        WeightsError, match=r"cannot be read as an ensemble \(cannot convert float infinity to integer\)"
    ):
        family.read(place)


def test_a_table_of_coco_with_an_infinite_id_is_refused(tmp_path: Path) -> None:
    family = KNOWN["COCO"]
    place = family.put(change(json.loads(family.make(tmp_path).good[0]), ("images", "0", "id"), float("inf")), tmp_path)
    with pytest.raises(SourceError, match="cannot be read as COCO's instances"):
        family.read(place)


def test_arrays_whose_archive_has_a_damaged_directory_are_refused_in_a_short_sentence(tmp_path: Path) -> None:
    family = KNOWN["NumPy"]
    good = family.make(tmp_path).good[0]
    directory = good.index(b"PK\x01\x02")
    for place, value in ((directory + 6, 182), (len(good) - 6, 0xFF)):
        data = bytearray(good)
        data[place] = value
        with pytest.raises(SourceError) as problem:
            family.read(family.put(bytes(data), tmp_path))
        assert len(str(problem.value)) < 500 + len(str(tmp_path))


LINE = {"path": "a.png", "split": "", "source": 0, "bytes": 1, "digest": "0"}
LISTED = [
    ("groups of a store", b'"a"\n"b"\n5\n"a"\n"a"\n"a"\n', "holds no name in line 3"),
    ("groups of a store", b'"a"\n\xff\n5\n"a"\n"a"\n"a"\n', "holds no name in line 2"),
    ("labels of a store", b"\x93NUMPY\x01\x00\x05\x00{(\n  ", "cannot be read"),
    ("labels of a store", npy(np.array(["a"] * 6)), "does not hold one label for each image"),
    ("labels of a store", npy(np.zeros(6, [("x", "i8")])), "does not hold one label for each image"),
    ("labels of a store", claim((2**50,)), "cannot be read"),
    ("images of an index", lines({}), "does not say what an image is in line 1"),
    ("images of an index", lines(LINE | {"source": 1}), "does not say what an image is in line 1"),
    ("images of an index", lines(LINE | {"path": 5}), "does not say what an image is in line 1"),
    ("images of an index", b"[" * 2000 + b"\n" * 6, "does not say what an image is in line 1"),
    ("ids of an index", npy(np.arange(6)[::-1]), "does not hold ids in order"),
    ("ids of an index", claim((2**50,)), "cannot be read"),
]


@pytest.mark.parametrize(("name", "data", "what"), LISTED, ids=lambda each: str(each)[:30])
def test_a_file_that_a_forged_header_lists_is_refused(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    family = KNOWN[name]
    family.make(tmp_path)
    place = family.put(data, tmp_path)
    with pytest.raises((StoreError, SearchError)) as problem:
        family.read(place)
    assert f"{place} {what}" in str(problem.value)


def test_labels_that_the_header_of_an_index_does_not_name_are_refused(tmp_path: Path) -> None:
    KNOWN["index"].make(tmp_path)
    name = "part-00000/labels.npy"
    data = npy(np.full(6, 2))
    (tmp_path / "INDEX" / name).write_bytes(listed_in("INDEX/index.json", name)(data, tmp_path))
    with pytest.raises(SearchError, match="holds a class that the header does not name"):
        KNOWN["index"].read(tmp_path / "INDEX" / "index.json")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"epoch": 1, "val_loss": "x"}', "line 1 is damaged"),
        ('{"epoch": -1}', "line 1 is damaged"),
        ('{"epoch": 1, "seconds_with_validation": NaN}', "line 1 is damaged"),
        ('{"epoch": 1}', "its lines lack 'seconds_with_validation'"),
    ],
)
def test_metrics_of_a_run_that_are_none_are_refused(tmp_path: Path, line: str, what: str) -> None:
    family = KNOWN["metrics of a run"]
    family.make(tmp_path)
    place = family.put(line.encode(), tmp_path)
    with pytest.raises(RunError) as problem:
        family.read(place)
    assert f"{place}: {what}" in str(problem.value)


def test_labels_within_labels_and_long_names_of_classes_are_refused_shortly(tmp_path: Path) -> None:
    family = KNOWN["FiftyOne"]
    good, odd = family.make(tmp_path)
    long = json.loads(good[0]) | {"labels": {"0": 0, "1": 1, "2": 0, "3": "a" * 5000}}
    for data, what in (
        (odd[0], "cannot be read as an export"),
        (json.dumps(long).encode(), "classes without training"),
    ):
        with pytest.raises(SourceError, match=what) as problem:
            family.read(family.put(data, tmp_path))
        assert len(str(problem.value)) < 600 + len(str(tmp_path))


def test_tensors_whose_places_are_none_are_told_as_damaged(tmp_path: Path) -> None:
    header = json.dumps({"a": {"data_offsets": [0, "x"]}, "b": {"data_offsets": [0, 4]}}).encode()
    for length in (len(header), 2**63):
        (tmp_path / "x.safetensors").write_bytes(length.to_bytes(8, "little") + header + bytes(8))
        with pytest.raises((ConfigError, WeightsError), match=r"x\.safetensors"):
            describe(str(tmp_path / "x.safetensors"))


def forge(data: bytes, *changes: tuple[bytes, bytes]) -> bytes:
    for old, new in changes:
        assert old in data
        data = data.replace(old, new)
    return data


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (
            "09000000 08000000 00000000 0000f03f",
            "00000000 00000000 00000000 00000000",
            "values of type 0, which there is not",
        ),
        ("10000300 6e303100", "0e000000 40000000", "it claims more than it has"),
        ("05000000 08000000 01000000 03000000", "05000200 08000000 01000000 03000000", "it has fewer than two sides"),
    ],
)
def test_a_table_of_matlab_that_ended_scipy_is_refused(tmp_path: Path, old: str, new: str, what: str) -> None:
    family = KNOWN["MATLAB kit"]
    good = family.make(tmp_path).good[0]
    data = forge(good, (bytes.fromhex(old), bytes.fromhex(new)))
    with pytest.raises(SourceError, match=what):
        family.read(family.put(data, tmp_path))


def test_tables_of_matlab_within_tables_end(tmp_path: Path) -> None:
    inner = b""
    for _ in range(60):
        head = struct.pack("<8I", 6, 8, 2, 0, 5, 8, 1, 1) + struct.pack("<2I", 1, 0)
        body = head + struct.pack("<2I", 14, len(inner)) + inner
        inner = body
    data = KNOWN["MATLAB kit"].make(tmp_path).good[0][:128] + struct.pack("<2I", 14, len(inner)) + inner
    with pytest.raises(SourceError, match="it is nested too deeply"):
        KNOWN["MATLAB kit"].read(KNOWN["MATLAB kit"].put(data, tmp_path))


def test_names_that_no_file_can_have_are_left_out_or_refused_shortly(tmp_path: Path) -> None:
    family = KNOWN["table"]
    family.make(tmp_path)
    family.read(family.put(b"path,label\n0.png,ant\n1.png,bee\n2.png,ant\n\0.png,bee\n", tmp_path))
    with pytest.raises(SourceError, match="no image below") as problem:
        family.read(family.put(b"path,label\n0.png,ant\n1.png,bee\n" + b"a" * 5000 + b",bee\n", tmp_path))
    assert len(str(problem.value)) < 600 + len(str(tmp_path))


def test_a_compressed_archive_that_ends_early_is_damaged(tmp_path: Path) -> None:
    family = KNOWN["tar"]
    packed = family.make(tmp_path).good[3]
    with pytest.raises(SourceError, match="is a damaged archive"):
        family.read(family.put(packed[:300], tmp_path))


def test_a_file_of_a_zip_that_asks_for_more_memory_than_there_is_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise MemoryError

    place = KNOWN["zip"].put(KNOWN["zip"].make(tmp_path).good[2], tmp_path)
    archive = open_archive(place)
    monkeypatch.setattr(zipfile.ZipFile, "read", refuse)
    with pytest.raises(ImageError, match=r"ant/0.png: is damaged in the archive \(MemoryError\)"):
        archive.read("ant/0.png")


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
