"""What prepare tells beside the store: duplicates, what was left out, and when it stops."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from alexnet.cli import cli
from alexnet.data.prepare.prepare import prepare
from alexnet.data.prepare.report import draw_axis, draw_thumbnail, measure, say_cropped
from alexnet.data.store.duplicates import find_duplicates
from alexnet.data.store.reader import open_store
from alexnet.errors import SourceError
from alexnet.evaluation.fairness import find_equal_files

Photos = Callable[..., Path]
Draw = Callable[..., Any]
Encode = Callable[..., bytes]
PATHS = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in ("cat", "dog") for number in range(3)]


def test_equal_files_inside_and_across_splits_are_reported(
    photos: Photos, tmp_path: Path, draw: Draw, encode: Encode
) -> None:
    twin, leak = encode(draw(50), "PNG"), encode(draw(51), "PNG")
    root = photos({**dict.fromkeys(PATHS), "train/cat/a.png": twin, "train/cat/b.png": twin, "train/dog/c.png": twin,
                   "train/dog/d.png": leak, "val/dog/e.png": leak})  # fmt: skip
    report = prepare(root, tmp_path / "STORE", size=8)
    assert report.duplicates == {
        "files": 3,
        "across_splits": 1,
        "across_classes": 1,
        "groups": [
            ["train: train/dog/d.png", "val: val/dog/e.png"],
            ["train: train/cat/a.png", "train: train/cat/b.png", "train: train/dog/c.png"],
        ],
    }
    assert report.notes == [
        "Leakage: 1 file in more than one split, so the error measured on validation images is too low. The "
        "first: train: train/dog/d.png = val: val/dog/e.png. Remove one of each.",
        "With the same bytes as an earlier image: 3 images.",
        "In more than one class: 1 file; one of the labels is wrong.",
    ]
    saved = json.loads((tmp_path / "STORE/report.json").read_text())
    assert saved["duplicates"] == report.duplicates
    store = open_store(tmp_path / "STORE")
    assert find_equal_files(store) == [
        f"{tmp_path}/STORE has 1 group of equal files in more than one split: leakage makes the error look lower. Its "
        "report.html names them."
    ]
    (tmp_path / "STORE/report.json").write_text("{}")
    assert find_equal_files(store) == [
        f"Whether splits share images is not known: {tmp_path}/STORE/report.json has other bytes than when it was "
        "written. The store is damaged: prepare the images again, or copy it again."
    ]
    assert saved["notes"] == report.notes
    assert "train: train/dog/d.png = val: val/dog/e.png" in (tmp_path / "STORE/report.html").read_text()


def test_of_a_picture_that_is_there_a_thousand_times_twenty_are_named() -> None:
    paths = [f"train/cat/{number:04d}.png" for number in range(1000)]
    read: list[str] = []

    def give(path: str) -> bytes:
        read.append(path)
        return b"not available"

    found = find_duplicates({"train": paths}, {"train": [0] * 1000}, {"train": ["0" * 32] * 1000}, give)
    assert found["files"] == 999
    assert found["groups"] == [[*(f"train: {path}" for path in paths[:20]), "and 980 more"]]
    assert sorted(read) == paths  # each once


def test_files_whose_digests_collide_are_no_duplicates(
    photos: Photos, tmp_path: Path, draw: Draw, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet.data.prepare.part.digest_file", lambda data: "0" * 32)
    one, other = encode(draw(1), "BMP"), encode(draw(2), "BMP")
    root = photos({**dict.fromkeys(PATHS), "train/cat/a.bmp": one, "train/cat/b.bmp": other})
    assert prepare(root, tmp_path / "STORE", size=8).duplicates["files"] == 0


def test_the_page_shows_the_classes_the_colours_and_what_comes_next(
    photos: Photos, tmp_path: Path, draw: Draw, encode: Encode
) -> None:
    wide = encode(draw(3, 200, 100), "PNG")
    root = photos({**dict.fromkeys(PATHS), "train/cat/0.png": wide, "train/dog/9.png": None})
    prepare(root, tmp_path / "STORE", size=32)
    page = (tmp_path / "STORE/report.html").read_text()
    assert "<tr><th>cat</th><td>3</td><td>3</td></tr>" in page
    assert "<tr><th>dog</th><td>4</td><td>3</td></tr>" in page
    assert page.count("data:image/jpeg;base64,") == 3 + 4 + 1
    assert page.count("data:image/png;base64,") == 3
    assert "alexnet train STORE --recipe cifar-18pct --out RUN" in page
    assert "STORE is the folder that this page lies in, RUN a new folder for the training." in page
    assert "at most 50\N{NO-BREAK SPACE}%" in page
    prepare(root, tmp_path / "AGAIN", size=32)
    assert (tmp_path / "AGAIN/report.html").read_text() == page


def test_a_strip_shows_two_standard_deviations_to_both_sides() -> None:
    mean, direction = np.array([100.0, 110.0, 120.0]), np.array([10.0, 0.0, -20.0])
    strip = np.asarray(Image.open(io.BytesIO(draw_axis(mean, direction))))
    assert strip.shape == (24, 160, 3)
    assert strip[0, 0].tolist() == [80, 110, 160]
    assert strip[23, -1].tolist() == [120, 110, 80]


def test_what_the_square_cuts_off_is_told_of_what_can_be_read(draw: Draw, encode: Encode) -> None:
    def say(*originals: bytes) -> str:
        return say_cropped(measure("", lambda _, data=data: data) for data in originals)

    assert say(b"no picture") == ""
    assert say(encode(draw(1, 50, 50), "PNG")) == "Their originals are square already."
    square, wide = encode(draw(1, 50, 50), "PNG"), encode(draw(2, 200, 150), "JPEG")
    assert say(square, b"", wide) == (
        "Of the 2 pictures below, the square cuts off 12 % of the area on average, at most 25 %: what lies at the ends "
        "of the longer side."
    )


def test_the_page_shows_what_was_left_out_and_loads_nothing(
    photos: Photos, tmp_path: Path, draw: Draw, encode: Encode
) -> None:
    cut = encode(draw(3, 200, 150), "JPEG", quality=90)[:3000]
    binary = bytes(range(200))
    bad = {"train/cat/<cut>.jpg": cut, "train/dog/page.jpg": b"<html>not & an\nimage", "train/dog/bin.jpg": binary}
    root = photos({**dict.fromkeys(PATHS), **bad, "train/notes.txt": b""})
    prepare(root, tmp_path / "STORE", size=8)
    page = (tmp_path / "STORE/report.html").read_text()
    assert "Left out: 3 images" in page
    assert "train/cat/&lt;cut&gt;.jpg" in page
    assert "data:image/jpeg;base64," in page
    assert "<pre>&lt;html&gt;not &amp; an image</pre>" in page
    assert "<small>nothing to see</small>" in page
    assert page.isprintable() or not any(ord(each) < 32 and each != "\n" for each in page)
    assert "not an image" in page
    for loading in ("http://", "https://", "<script", 'src="/', "url("):
        assert loading not in page
    store = open_store(tmp_path / "STORE")
    store.verify()
    assert "report.html" in [record["file"] for record in store.file_records()]


def test_a_thumbnail_of_a_damaged_jpeg_is_the_same_every_time(draw: Draw, encode: Encode) -> None:
    cut = encode(draw(4, 300, 200), "JPEG")[:2000]
    assert draw_thumbnail(cut) is not None
    assert draw_thumbnail(cut) == draw_thumbnail(cut)
    assert draw_thumbnail(b"no image") is None
    assert draw_thumbnail(b"\xff\xd8\xff\xff\xff") is None


def test_too_many_bad_images_stop_the_work_and_it_can_go_on(photos: Photos, tmp_path: Path) -> None:
    names = [f"train/cat/bad{number:02d}.jpg" for number in range(12)]
    root, out = photos({**dict.fromkeys(PATHS), **dict.fromkeys(names, b"")}), tmp_path / "STORE"
    with pytest.raises(SourceError) as caught:
        prepare(root, out, size=8)
    assert str(caught.value) == (
        f"{root}: 11 of the first 14 images cannot be used, more than the share of 0.1 that --max-bad allows. The "
        "last: train/cat/bad10.jpg: is empty (0 bytes). Copy it again from where it came, or delete it. If this is as "
        "it should be, raise --max-bad; what is done is kept."
    )
    assert not out.exists()
    assert len(prepare(root, out, size=8, max_bad=0.9).skipped) == 12


def test_ten_bad_images_are_never_too_many(photos: Photos, tmp_path: Path) -> None:
    names = [f"train/cat/bad{number:02d}.jpg" for number in range(10)]
    root = photos({**dict.fromkeys(PATHS), **dict.fromkeys(names, b"")})
    assert len(prepare(root, tmp_path / "STORE", size=8, max_bad=0).skipped) == 10


def test_videos_among_the_images_are_counted_and_the_option_that_takes_them_is_named(
    photos: Photos, tmp_path: Path
) -> None:
    root = photos({**dict.fromkeys(PATHS), "train/cat/a.mp4": b"", "train/dog/b.mov": b"", "train/dog/c.txt": b""})
    given = ["prepare", str(root), "--out", str(tmp_path / "STORE"), "--size", "8"]
    output = " ".join(CliRunner().invoke(cli, given).output.split())
    assert "2 videos passed over. Clips, moving GIFs too, need --every SECONDS." in output
    assert "Passed over: 1 not an image, 2 videos." in output
