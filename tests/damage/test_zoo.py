"""Every odd file is read right, every bad one is left out with its reason, and nothing is lost without a word."""

import re
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data.images.decode import decode_image, open_image
from alexnet.data.prepare.prepare import prepare
from alexnet.data.store.reader import open_store
from alexnet.errors import ImageError
from alexnet.text.names import escape_name
from damage.zoo import Specimen, bad_specimens, encode, good_specimens, litter, make_zoo, odd_specimens, picture

GOOD = list(good_specimens())
BAD = list(bad_specimens())


def quadrants(image: np.ndarray) -> np.ndarray:
    """Mean colors of the middles of the four quarters."""
    size = len(image)
    middles = [slice(size // 8, size * 3 // 8), slice(size * 5 // 8, size * 7 // 8)]
    return np.array([[image[rows, columns].mean((0, 1)) for columns in middles] for rows in middles])


def test_the_zoo_is_large_enough() -> None:
    assert len(GOOD) + len(BAD) >= 40
    assert len({specimen.name for specimen in (*GOOD, *BAD)}) == len(GOOD) + len(BAD)


@pytest.mark.parametrize("specimen", GOOD, ids=lambda specimen: escape_name(specimen.name[:30]))
@pytest.mark.parametrize("size", [32, 64, 96])
def test_an_odd_file_shows_its_picture(specimen: object, size: int) -> None:
    image = decode_image(specimen.data, size=size, name=specimen.name)  # type: ignore[attr-defined]
    assert (image.shape, image.dtype) == ((size, size, 3), np.uint8)
    if specimen.colors is not None:  # type: ignore[attr-defined]
        difference = np.abs(quadrants(image) - specimen.colors)  # type: ignore[attr-defined]
        assert difference.max() <= specimen.tolerance  # type: ignore[attr-defined]


@pytest.mark.parametrize("specimen", BAD, ids=lambda specimen: specimen.name)
def test_a_bad_file_is_refused_at_once_and_with_its_reason(specimen: object) -> None:
    start = time.process_time()
    with pytest.raises(ImageError) as caught:
        decode_image(specimen.data, size=64, name=specimen.name)  # type: ignore[attr-defined]
    assert time.process_time() - start < 0.5
    assert re.search(specimen.expected, str(caught.value))  # type: ignore[attr-defined]
    assert str(caught.value).startswith(f"{specimen.name}: ")  # type: ignore[attr-defined]
    assert f"({len(specimen.data):,} bytes). " in str(caught.value)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("specimen", "oddity"), list(odd_specimens()), ids=lambda each: getattr(each, "name", ""))
def test_an_odd_file_whose_picture_is_whole_is_used_and_its_oddity_said(specimen: Specimen, oddity: str) -> None:
    said: list[str] = []
    image = decode_image(specimen.data, size=32, notice=said.append)
    assert np.abs(quadrants(image) - specimen.colors).max() <= specimen.tolerance
    assert said == [oddity]


def test_only_odd_files_are_called_odd() -> None:
    said: dict[str, str] = {}
    for specimen in GOOD:
        decode_image(specimen.data, size=32, notice=partial(said.__setitem__, specimen.name))
    assert said == {"trailing-bytes.jpg": "data behind its end marker"}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}], ids=str)
def test_an_end_that_is_filled_up_is_never_taken_for_a_whole_picture(options: dict[str, object]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "JPEG", quality=80, **options)
    whole = decode_image(data, size=32).astype(int)
    scan = data.index(b"\xff\xda")
    for cut in range(scan + 20, len(data) - 40, (len(data) - scan) // 40):
        for fill in (b"", bytes(50), bytes(len(data)), b"GET / HTTP/1.1 " * 400):
            for end in (b"", b"\xff\xd9"):
                said: list[str] = []
                try:
                    image = decode_image(data[:cut] + fill + end, size=32, notice=said.append)
                except ImageError:
                    continue
                if said != ["fewer scans than all of its detail needs"]:  # it ends between two of them, as it may
                    assert np.abs(image - whole).mean() < 0.5, (cut, fill[:2], end)


def test_a_bomb_needs_no_memory() -> None:
    import tracemalloc

    tracemalloc.start()
    for specimen in BAD:
        if specimen.name.startswith(("bomb", "ribbon")):
            with pytest.raises(ImageError):
                decode_image(specimen.data, size=64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_the_whole_zoo_is_prepared_without_a_loss(tmp_path: Path, codec: str) -> None:
    root = tmp_path / "PHOTOS"
    zoo = make_zoo(root)
    expected_ignored = litter(root)
    (root / "other").mkdir()
    for number in range(4):
        (root / "other" / f"{number}.png").write_bytes(encode(picture(64 + number)))
    report = prepare(root, tmp_path / "STORE", size=64, val_fraction=0.2, max_bad=1, codec=codec)  # type: ignore[arg-type]
    store = open_store(tmp_path / "STORE")
    store.verify()
    kept = {path for split in store.splits.values() for path in split.paths}
    skipped = dict(report.skipped)
    assert skipped.pop("zoo/self.jpg").startswith("cannot be read (")
    assert {path for path in kept if path.startswith("zoo/")} == {p for p, s in zoo.items() if s.expected is None}
    assert set(skipped) == {path for path, specimen in zoo.items() if specimen.expected is not None}
    assert dict(report.ignored) == expected_ignored
    for split in store.splits.values():
        for image, path in zip(split.images, split.paths, strict=True):
            if path in zoo and zoo[path].colors is not None:
                assert np.abs(quadrants(image) - zoo[path].colors).max() <= zoo[path].tolerance + 6
    page = (tmp_path / "STORE/report.html").read_text(encoding="utf-8")
    assert f"Left out: {len(skipped) + 1} images" in page


def test_predict_reads_by_the_same_rules_as_prepare(tmp_path: Path) -> None:
    for path, specimen in make_zoo(tmp_path).items():
        if specimen.expected is None:
            assert (open_image(tmp_path / path, size=64) == decode_image(specimen.data, size=64)).all()
        else:
            with pytest.raises(ImageError):
                open_image(tmp_path / path, size=64)


def test_a_file_too_large_for_a_photograph_is_not_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "PHOTOS" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "PHOTOS" / name / f"{number}.png").write_bytes(encode(picture(40 + number)))
    with (tmp_path / "PHOTOS/a/huge.jpg").open("wb") as file:
        file.truncate(2**34)  # sparse: it takes no room
    report = prepare(tmp_path / "PHOTOS", tmp_path / "STORE", size=16, val_fraction=0.3)
    assert report.skipped == [
        (
            "a/huge.jpg",
            "cannot be read (it has 17,179,869,184 bytes; at most 1,073,741,824 are read). Check that it exists and its permissions.",
        )
    ]
