"""Preparing: photographs to a store, against the usual pipeline in Pillow and against decoding alone."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg

from alexnet.benchmark.loading import open_the_usual_way, resize_the_usual_way
from alexnet.benchmark.measure import Row, compare_rates
from alexnet.data.prepare.part import STRETCH
from alexnet.data.prepare.prepare import prepare
from alexnet.startup import available_cores
from alexnet.text.progress import Tick

PHOTOGRAPHS = 2048
"""Files in a prepared folder: photographs are repeated up to this number."""


def bench_prepare(images: Sequence[bytes], rounds: int, tick: Tick) -> list[Row]:
    """Return two rows of images per second: one core against Pillow on one core, and all cores against one.

    Ours is the whole of `prepare`, after a first call that loads its kernels: files listed, read, decoded, checked for
    duplicates, counted for the statistics, hashed and written to the disk of the temporary folder. Theirs is
    open, convert, resize and crop of bytes in memory, without writing anything. The ceiling is libjpeg-turbo decoding
    the same bytes, without resizing. On all cores it is ours on one core times what that decoding gains by them.
    """
    jpegs = [data for data in images if data.startswith(b"\xff\xd8")]
    one_core: list[float] = []
    all_cores: list[float] = []
    theirs: list[float] = []
    decoding: list[float] = []
    decoding_on_all: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photographs"
        write_photographs(folder, images, PHOTOGRAPHS)
        _time_prepare(folder)
        for number in range(rounds):
            with _one_core():
                one_core.append(_time_prepare(folder, workers=1))
                theirs.append(_time_each(_prepare_the_usual_way, images))
                decoding.append(_time_each(_decode_only, jpegs))
            all_cores.append(_time_prepare(folder))
            decoding_on_all.append(_decode_on_all(jpegs))
            tick(number + 1, rounds)
    ceiling = ceiling_on_all = None
    if jpegs:
        ceiling = float(np.median(decoding))
        ceiling_on_all = float(np.median(one_core) * np.median(decoding_on_all) / ceiling)
    return [
        compare_rates("prepare : Pillow", one_core, theirs, ceiling=ceiling, unit="images/s per core"),
        compare_rates(
            f"prepare : {available_cores()} cores : 1", all_cores, one_core, ceiling=ceiling_on_all, unit="images/s"
        ),
    ]


def write_photographs(folder: Path, images: Sequence[bytes], count: int) -> None:
    """Write a tree of class folders with `count` files, repeats of images that differ in a byte after their end."""
    for index in range(count):
        data = images[index % len(images)]
        path = folder / f"class{index % 8}" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data + index.to_bytes(4, "big") if data.startswith(b"\xff\xd8") else data)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep every thread of this process on one core, where the system lets it be chosen."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _time_prepare(folder: Path, workers: int | None = None) -> float:
    target = folder.with_name("store")
    start = time.perf_counter()
    report = prepare(folder, target, val_fraction=0.1, workers=workers)
    rate = report.num_images / (time.perf_counter() - start)
    shutil.rmtree(target)
    return rate


def _time_each(function: Callable[[bytes], object], images: Sequence[bytes]) -> float:
    start = time.perf_counter()
    for data in images:
        function(data)
    return len(images) / (time.perf_counter() - start)


def _decode_on_all(jpegs: Sequence[bytes]) -> float:
    """Images per second decoded by one thread on each core."""
    cores = available_cores()
    stretches = [jpegs[start : start + STRETCH] for start in range(0, len(jpegs), STRETCH)] * cores
    with ThreadPoolExecutor(cores) as threads:
        start = time.perf_counter()
        list(threads.map(_decode_each, stretches))
        return cores * len(jpegs) / (time.perf_counter() - start)


def _decode_each(jpegs: Sequence[bytes]) -> None:
    for data in jpegs:
        _decode_only(data)


def _decode_only(data: bytes) -> object:
    return simplejpeg.decode_jpeg(data, "RGB", strict=False)


def _prepare_the_usual_way(data: bytes) -> object:
    image = resize_the_usual_way(open_the_usual_way(data))
    x, y = (image.width - 256) // 2, (image.height - 256) // 2
    return np.asarray(image.crop((x, y, x + 256, y + 256)))
