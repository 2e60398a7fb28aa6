"""Mutated real images: none crashes, hangs or disappears without a word."""

import io
import os
import random
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data.images.decode import decode_image
from alexnet.data.prepare.prepare import prepare
from alexnet.data.store.reader import open_store
from alexnet.errors import ImageError
from conftest import SHARED

FORMS = (("JPEG", {"quality": 85}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}),
         ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}))  # fmt: skip
LONGEST_SECONDS = 10.0
"""Of processor time for one file: what a picture of MAX_PIXELS may take, which a mutated header can promise."""


def real_images() -> list[bytes]:
    """Photographs where there are some, otherwise drawn pictures; small, in every form."""
    archive = SHARED / "data" / "imagenet-samples-300.tar"
    pictures = []
    if archive.is_file():
        with tarfile.open(archive) as tar:
            members = [member for member in tar if member.name.endswith("JPEG")][::40]
            originals = [tar.extractfile(member).read() for member in members]  # type: ignore[union-attr]
        pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in originals]
    else:
        originals = []
        coarse = np.random.default_rng(0).integers(0, 256, (8, 6, 7, 3), dtype=np.uint8)
        pictures = [Image.fromarray(pixels).resize((200, 150), Image.Resampling.BICUBIC) for pixels in coarse]
    result = list(originals)
    for image in pictures:
        image.thumbnail((160, 160))
        for format_, options in FORMS:
            buffer = io.BytesIO()
            image.save(buffer, format_, **options)
            result.append(buffer.getvalue())
    return result


def flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 3, 20, 200))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def overwrite(data: bytearray, chance: random.Random) -> None:
    start, length = chance.randrange(len(data)), chance.choice((1, 4, 32, 500))
    data[start : start + length] = chance.choice((chance.randbytes(length), bytes(length), b"\xff" * length))


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def cut_and_end(data: bytearray, chance: random.Random) -> None:
    cut(data, chance)
    data += b"\xff\xd9"


def remove(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.choice((1, 2, 16, 300))]


def repeat(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    data[start:start] = data[start : start + chance.choice((1, 10, 400))] * chance.choice((1, 3, 20))


def hit_header(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 2, 4))):
        data[chance.randrange(min(len(data), 200))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip, overwrite, cut, cut_and_end, remove, repeat, hit_header,
)  # fmt: skip


def mutate(images: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for number in range(count):
        data = bytearray(images[number % len(images)])
        for _ in range(chance.choice((1, 1, 2))):
            if data:
                chance.choice(MUTATIONS)(data, chance)
        yield bytes(data)


def decode_all(files: Iterator[bytes]) -> tuple[Counter[str], float]:
    """How many were read and left out, and the longest time that one took."""
    outcomes: Counter[str] = Counter()
    longest = 0.0
    for number, data in enumerate(files):
        start = time.process_time()
        try:
            image = decode_image(data, size=64, name=f"{number}.bin")
        except ImageError as error:
            outcomes["left out" if str(error).startswith(f"{number}.bin: ") else "left out without a name"] += 1
        else:
            assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
            outcomes["read"] += 1
        longest = max(longest, time.process_time() - start)
    return outcomes, longest


def check(count: int, seed: int) -> None:
    start = time.process_time()
    outcomes, longest = decode_all(mutate(real_images(), count, seed))
    print(f"{count:,} files in {time.process_time() - start:.0f} s, longest {longest:.2f} s: {dict(outcomes)}")
    assert outcomes["left out"] + outcomes["read"] == count
    assert outcomes["left out"] > count / 4
    assert outcomes["read"] > count / 20
    assert longest < LONGEST_SECONDS


def test_some_mutated_images_raise_nothing_but_image_errors() -> None:
    check(700, seed=0)


@pytest.mark.slow
def test_twenty_thousand_mutated_images_raise_nothing_but_image_errors() -> None:
    check(20_000, seed=int(os.environ.get("ALEXNET_FUZZ_SEED", "1")))


def test_a_folder_of_mutated_images_is_prepared_without_a_loss(tmp_path: Path) -> None:
    total = 400
    for number, data in enumerate(mutate(real_images(), total, seed=2)):
        path = tmp_path / "PHOTOS" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    report = prepare(tmp_path / "PHOTOS", tmp_path / "STORE", size=32, val_fraction=0.1, max_bad=1)
    assert report.num_images + len(report.skipped) == total
    assert all(reason for _, reason in report.skipped)
    open_store(tmp_path / "STORE").verify()
