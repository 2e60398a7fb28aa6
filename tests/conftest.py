"""Fixtures that several stages share: a small store, and a display that remembers."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from alexnet.data.store.reader import Store

# Threads that wait in a loop take the processor from those that compute: beside other programs a test took ten times
# as long. The library of PyTorch's threads reads this when it is loaded, here and in processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Each of several workers (`make test`) gets a core: tests train on all cores that they have, and two such trainings side
# by side would wait for each other's threads.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")  # kernels are to be tested in parts still

SHARED = Path(__file__).parents[2] / "shared"
"""Real data for development; tests that need it skip where it is absent."""


@pytest.fixture
def shared_data() -> Path:
    if not (SHARED / "data").is_dir():
        pytest.skip("needs ../shared/data, which is not here")
    return SHARED / "data"


def write_pictures(folder: Path, *, per_class: int, classes: tuple[str, ...], size: int = 40, seed: int = 0) -> None:
    """Write per_class noisy pictures for each class, whose brightness depends on the class."""
    generator = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            level = 60 + 120 * label // max(1, len(classes) - 1)
            pixels = np.clip(generator.normal(level, 30, (size, size + 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}-{number}.png")


def write_store(
    out: Path,
    splits: Mapping[str, tuple[NDArray[np.uint8], Any]],
    class_names: Sequence[str],
    *,
    paths: Mapping[str, Sequence[str]] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    shard_rows: int = 1000,
) -> "Store":
    """Return a store of arrays in memory: images (N, size, size, 3) and labels (N,) of each split, "train" among them."""
    from alexnet.data.prepare.statistics import PixelStatistics
    from alexnet.data.store.reader import open_store
    from alexnet.data.store.writer import SplitContent, StoreFiles

    size = splits["train"][0].shape[1]
    files = StoreFiles(out, out.with_name(f"{out.name}.scratch"))
    files.make_folders()
    statistics = PixelStatistics(size)
    contents = {}
    for name, (images, labels) in splits.items():
        blocks = [images[start : start + shard_rows] for start in range(0, len(images), shard_rows)]
        for block in blocks if name == "train" else ():
            statistics.add(block)
        contents[name] = SplitContent(
            shards=[files.write_shard(name, number, block) for number, block in enumerate(blocks)],
            labels=np.asarray(labels, np.int64),
            paths=paths[name] if paths else [f"{name}/{index}" for index in range(len(labels))],
            groups=groups[name] if groups else None,
        )
    files.finish(size=size, class_names=class_names, class_titles=class_names, splits=contents, statistics=statistics,
                 provenance=provenance or {}, report={})  # fmt: skip
    files.scratch.rmdir()
    return open_store(out)


def write_clip(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    *,
    rate: int = 10,
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    turn: tuple[int, bool, bool] | None = None,
    times_s: Sequence[float] | None = None,
    options: Mapping[str, str] | None = None,
    set_up: Callable[[Any], None] | None = None,
) -> Path:
    """Write frames, (H, W, 3) RGB or (H, W, 4) with transparency, as a video; FFV1 loses nothing.

    Args:
        turn: Degrees counterclockwise, and whether mirrored across and down, for the container's display matrix.
        times_s: Timestamp of each frame; evenly apart by the rate where None.
        set_up: Is given the stream before the first frame.
    """
    import av

    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if times_s is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if turn is not None:
            stream.set_display_rotation(*turn)
        if set_up is not None:
            set_up(stream)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
            if times_s is not None:
                frame.pts, frame.time_base = round(times_s[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def small_store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 24 + 9 images of three classes, 256 px."""
    from alexnet.data.prepare.prepare import prepare

    root = tmp_path_factory.mktemp("small")
    classes = ("ant", "bee", "cat")
    write_pictures(root / "pictures" / "train", per_class=8, classes=classes, seed=1)
    write_pictures(root / "pictures" / "val", per_class=3, classes=classes, seed=2)
    prepare(root / "pictures", root / "store")
    return root / "store"


class Listener:
    """Remembers what training told it, and can stop a run at a batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rows: list[dict[str, Any]] = []
        self.notices: list[str] = []
        self.on_batch: Any = None

    def batch_done(self, progress: Any, num_batches: int, loss: float) -> None:
        self.losses.append(loss)
        if self.on_batch:
            self.on_batch(progress)

    def epoch_done(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)


@pytest.fixture
def listener() -> Listener:
    return Listener()


ODD_NAMES = tuple(
    map(
        os.fsdecode,
        (b"\x1b[31mred.png", b"bad\xff.png", b"new\nline.png", b"tab\there.png", b"back\\slash.png", "犬.png".encode()),
    )
)
"""Names of files that steer a terminal, break a line, or are no UTF-8."""


def write_oddly_named(folder: Path) -> list[Path]:
    """Write a different picture under each of ODD_NAMES; return the files in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(ODD_NAMES):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 36, 3), dtype=np.uint8)
        try:
            Image.fromarray(pixels).save(folder / name)
        except (OSError, UnicodeError):
            pytest.skip("this file system does not hold any bytes as names")
    return sorted(folder.iterdir())


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Call with a number of bytes: no file can then grow beyond it, as on a disk without room."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda num_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
