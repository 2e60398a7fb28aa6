"""Stores of ImageNet's size, disks that fill, and processes that are killed many times."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distribution.crew import PRELOADED

from alexnet.batches.order import epoch_order
from alexnet.data.prepare.prepare import prepare
from alexnet.data.prepare.statistics import PixelStatistics
from alexnet.data.store.raw import checksum_of_image
from alexnet.data.store.reader import open_store
from alexnet.data.store.writer import SplitContent, StoreFiles, rows_per_shard
from alexnet.errors import StoreError

Photos = Callable[..., Path]
IMAGENET = 1_281_167


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def imagenet_sized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 1,281,167 images of 256 px in 2,503 sparse shards: 252 GB that take no room."""
    folder = tmp_path_factory.mktemp("imagenet") / "STORE"
    files = StoreFiles(folder, folder.parent / "scratch")
    files.make_folders()
    rows = rows_per_shard(256)
    record = files.write_shard("train", 0, np.zeros((1, 256, 256, 3), np.uint8))
    header = (folder / record["file"]).read_bytes()[:128].replace(b"(1, ", b"(%d, " % rows).replace(b" \n", b"\n", 1)
    (folder / record["file"]).unlink()
    shards: list[dict[str, Any]] = []
    checksum = checksum_of_image(bytes(256 * 256 * 3))
    for number, start in enumerate(range(0, IMAGENET, rows)):
        count = min(rows, IMAGENET - start)
        name = f"train/images-{number:05d}.npy"
        text = header.replace(b"(%d, " % rows, b"(%d, " % count).rstrip().ljust(127) + b"\n"
        with (folder / name).open("wb") as file:
            file.write(text)
            file.truncate(128 + count * 256 * 256 * 3)
        beside = f"train/images-{number:05d}.checksums.npy"
        if number and count == rows:  # the same as those of the first
            os.link(folder / shards[0]["checksums"]["file"], folder / beside)
            listed = {**shards[0]["checksums"], "file": beside}
        else:
            listed = files.write_array(beside, np.full(count, checksum, np.uint64))
        record = {"file": name, "bytes": 128 + count * 256 * 256 * 3, "xxh3": "0" * 32}
        shards.append({**record, "rows": count, "checksums": listed})
    statistics = PixelStatistics(256)
    statistics.add(np.zeros((1, 256, 256, 3), np.uint8))
    names = [f"n{number:08d}" for number in range(1000)]
    labels = np.arange(IMAGENET) * 1000 // IMAGENET
    paths = [f"train/{names[label]}/{names[label]}_{number}.JPEG" for number, label in enumerate(labels.tolist())]
    content = SplitContent(shards=shards, labels=labels, paths=paths)
    files.finish(size=256, class_names=names, class_titles=names, splits={"train": content}, statistics=statistics,
                 provenance={}, report={})  # fmt: skip
    return folder


def count_calls(work: Callable[[], object]) -> int:
    """Return the calls of functions in a piece of work, which do not depend on what else the machine does."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_a_store_of_imagenets_size_opens_without_a_step_for_each_image(imagenet_sized: Path) -> None:
    store = open_store(imagenet_sized)
    assert len(store) == IMAGENET
    assert count_calls(lambda: open_store(imagenet_sized)) < IMAGENET / 2  # some for each shard

    def read() -> None:
        assert store.labels[-1] == 999
        assert store.paths[IMAGENET - 1] == f"train/n00000999/n00000999_{IMAGENET - 1}.JPEG"
        assert store.images[IMAGENET - 1].shape == (256, 256, 3)

    assert count_calls(read) < IMAGENET / 20


def test_the_order_of_an_epoch_is_made_at_once_and_small() -> None:
    epoch_order(1000, seed=0, epoch=0)
    assert count_calls(lambda: epoch_order(IMAGENET, seed=0, epoch=1)) < 100
    tracemalloc.start()
    epoch_order(IMAGENET, seed=0, epoch=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * 2**20


READ_SCATTERED = """
import json, sys
import numpy as np
from alexnet.data.store.reader import open_store
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines if line.startswith(("VmRSS", "VmHWM"))}
store = open_store(sys.argv[1])
store.labels
before = resident()["VmRSS"]
for index in np.random.default_rng(0).permutation(len(store))[: int(sys.argv[2])].tolist():
    store.images[index].sum(dtype=np.int64)
print(json.dumps({"before": before, **resident()}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_images_that_were_read(imagenet_sized: Path) -> None:
    command = [sys.executable, "-c", READ_SCATTERED, str(imagenet_sized), "2000"]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout)
    assert result["VmHWM"] - result["before"] < 40  # MB; 2,000 images are 390 MB


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_killed_a_hundred_times_the_same_command_ends_with_the_same_bytes(
    photos: Photos, tmp_path: Path, codec: str
) -> None:
    """Processes are forked from one that has imported the package: starting Python anew took most of the time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    paths = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in "abcd" for number in range(90)]
    root, out = photos({**dict.fromkeys(paths), "train/b/5.png": b"broken"}), tmp_path / "STORE"
    prepare(root, tmp_path / "UNDISTURBED", size=32, shard_rows=6, codec=codec)  # type: ignore[arg-type]
    moments = random.Random(codec)
    kills = 0
    parts = tmp_path / "STORE.partial/parts"
    while not out.exists():
        options = {"size": 32, "shard_rows": 6, "workers": 2, "codec": codec}
        process = context.Process(target=prepare, args=(root, out), kwargs=options)
        process.start()
        if kills < 100:
            before = len(list(parts.glob("*.json")))
            if moments.random() < 0.7:  # mostly while it works, sometimes while it starts
                while process.is_alive() and len(list(parts.glob("*.json"))) <= before:
                    time.sleep(0.0005)
                time.sleep(moments.uniform(0, 0.004))
            else:
                time.sleep(moments.uniform(0, 0.3))
            process.kill()
            kills += 1
        process.join(120)
        assert process.exitcode in (0, -signal.SIGKILL)
    print(f"{kills} kills")
    assert kills >= 30
    assert contents(out) == contents(tmp_path / "UNDISTURBED")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_disk_that_fills_up_ends_clearly_and_the_store_can_continue(
    photos: Photos, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    paths = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in "ab" for number in range(30)]
    root, out = photos(paths), small_disk / "STORE"
    options = {"size": 64, "shard_rows": 8, "codec": codec}
    prepare(root, tmp_path / "UNDISTURBED", **options)  # type: ignore[arg-type]
    monkeypatch.setattr("alexnet.data.prepare.run.Run._check_space", lambda self, folder: None)  # filled by another
    filler = small_disk / "filler"
    filler.write_bytes(bytes(3_000_000))
    with pytest.raises(StoreError) as caught:
        prepare(root, out, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert text.startswith("The disk is full after ")
    assert text.endswith(f"Free space and run the same command again: it continues in {out}.partial.")
    assert not out.exists()
    filler.unlink()
    prepare(root, out, **options)  # type: ignore[arg-type]
    assert contents(out) == contents(tmp_path / "UNDISTURBED")


def test_prepare_needs_no_more_memory_for_more_images(photos: Photos, tmp_path: Path) -> None:
    """Pixels in memory are those of two parts, whatever the number of images."""
    paths = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in "ab" for number in range(40)]
    root = photos(paths)
    peaks = []
    prepare(root, tmp_path / "WARM", size=128, shard_rows=4, workers=2)
    for number in (10, 40):
        for path in root.rglob("*.png"):
            if int(path.stem) >= number:
                path.rename(path.with_suffix(".txt"))
        tracemalloc.start()
        prepare(root, tmp_path / f"S{number}", size=128, shard_rows=4, workers=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        for path in root.rglob("*.txt"):
            path.rename(path.with_suffix(".png"))
    assert peaks[1] < peaks[0] + 2**20
