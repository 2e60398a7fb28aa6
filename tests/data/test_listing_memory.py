"""Listing a million images takes little memory: some hundred bytes each, whatever the source does with them."""

import tracemalloc
from pathlib import Path

from alexnet.data.sources.kinds import find_images


def test_an_image_takes_less_than_800_bytes_while_images_are_listed(tmp_path: Path) -> None:
    for split, count in (("train", 90), ("val", 10)):
        for label in range(30):
            folder = tmp_path / split / f"n{label:08d}"
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"n{label:08d}_{number:05d}.JPEG").touch()
    find_images(tmp_path)  # modules are imported
    tracemalloc.start()
    try:
        found = find_images(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, found.splits.values())) == 3000
    assert peak < 3000 * 800  # 1,331,167 images: 1 GiB
