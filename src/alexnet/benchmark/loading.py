"""Batches from a store against a folder of images the usual way, and an epoch with data against the bare step."""

import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from alexnet import kernels
from alexnet.batches.loader import Batch, TrainingBatches
from alexnet.benchmark.measure import CPU, Row, compare_rates, measure_copy_rate, wait_for
from alexnet.benchmark.stock import NUM_CLASSES
from alexnet.data.images.decode import decode_image
from alexnet.data.images.jpeg import encode_jpeg
from alexnet.data.scenes.scenes import CLASS_NAMES, draw_scene
from alexnet.data.store.jpeg import JpegImages
from alexnet.data.store.raw import Images
from alexnet.data.store.writer import StoreFiles
from alexnet.errors import ConfigError
from alexnet.network.alexnet import build
from alexnet.recipes.fields import Batches, Optimization
from alexnet.system import choose_compute, tune_allocator
from alexnet.text.progress import Tick
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.update import Update

CIFAR_PX = 32
CROP_BYTES = 224 * 224 * 3
"""Values in one crop."""


def bench_loader(images: Sequence[bytes], rounds: int, tick: Tick, device: torch.device = CPU) -> list[Row]:
    """Return a row of training batches per core: from decoded images as a store holds them, and from JPEG files.

    Ours arrive on the device. Theirs is what a torchvision ImageFolder loader does, in Pillow and PyTorch: decode,
    resize the shorter side to 256, crop at random, mirror, scale to [0, 1], normalise. The ceiling is reading a crop
    and writing it in bfloat16 at the measured copy rate of this machine's memory.
    """
    stored = [decode_image(data) for data in images]
    batches = _training_batches(stored, 64, torch.bfloat16, device)
    for _ in batches.epoch(0):
        pass
    ours, theirs = [], []
    for number in range(rounds):
        start = time.perf_counter()
        for _ in batches.epoch(number):
            pass
        wait_for(device)
        ours.append(len(stored) / (time.perf_counter() - start))
        start = time.perf_counter()
        for index, data in enumerate(images):
            _load_the_usual_way(data, index)
        theirs.append(len(images) / (time.perf_counter() - start))
        tick(number + 1, rounds)
    ceiling = measure_copy_rate() / (CROP_BYTES * 3)
    return [compare_rates("loader : image folder", ours, theirs, ceiling=ceiling, unit="images/s per core")]


def bench_epoch(
    images: Sequence[bytes],
    batch: int,
    rounds: int,
    tick: Tick,
    device: torch.device = CPU,
    *,
    dialect: str = "paper",
) -> list[Row]:
    """Return two rows of training with data, as images per second, against the bare step on a batch always there.

    Data are the images as a raw store holds them in memory, and a JPEG store on the disk: 256 px wide, or the 32 px of
    CIFAR for a dialect that takes no more. Rounds of eight batches alternate in one process.
    """
    compute = choose_compute(str(device))
    tune_allocator()
    if device.type == "cpu":
        kernels.warm_up(compute.dtype)
    network = build(dialect, num_classes=NUM_CLASSES).to(device)
    crop_px = network.spec.input_px
    side_px = 256 if crop_px > CIFAR_PX else CIFAR_PX
    decoded = [decode_image(data, size=side_px) for data in images]
    repeated = [decoded[index % len(decoded)] for index in range(8 * batch)]
    raw = _training_batches(repeated, batch, compute.dtype, device, crop_px=crop_px, side_px=side_px)
    optimizer = MomentumDescent(network, Optimization(), dtype=compute.dtype)
    optimizer.working.train()
    update, rates = Update(optimizer), dict.fromkeys(optimizer.velocities, 1e-6)

    def step(item: Batch) -> None:
        update(item, rates)

    fixed = next(iter(raw.epoch(0)))
    fixed = fixed._replace(inputs=fixed.inputs.clone(memory_format=torch.preserve_format))
    step(fixed)

    def rate(items: Iterable[Batch]) -> float:
        start = time.perf_counter()
        for item in items:
            step(item)
        wait_for(device)
        return 8 * batch / (time.perf_counter() - start)

    from_raw: list[float] = []
    from_jpeg: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        stored = _store_as_jpeg(Path(scratch), decoded, 8 * batch, side_px)
        jpeg = _training_batches(stored, batch, compute.dtype, device, crop_px=crop_px, side_px=side_px)
        for number in range(rounds):
            from_raw.append(rate(raw.epoch(number)))
            bare.append(rate([fixed] * 8))
            from_jpeg.append(rate(jpeg.epoch(number)))
            tick(number + 1, rounds)
    return [
        compare_rates("epoch with data : bare step", from_raw, bare, unit="images/s"),
        compare_rates("epoch from JPEG : bare step", from_jpeg, bare, unit="images/s"),
    ]


def _store_as_jpeg(scratch: Path, images: Sequence[NDArray[np.uint8]], count: int, side_px: int) -> Images:
    """The images of a JPEG store with `count` of them, repeated."""
    files = StoreFiles(scratch / "store", scratch / "scratch")
    files.make_folders()
    encoded = [encode_jpeg(image, 90) for image in images]
    record = files.write_jpegs("train", 0, [encoded[index % len(encoded)] for index in range(count)])
    return JpegImages(files.folder, [record], side_px)


def _training_batches(
    images: Sequence[NDArray[np.uint8]] | Images,
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    crop_px: int = 224,
    side_px: int = 256,
) -> TrainingBatches:
    return TrainingBatches(
        images,
        np.arange(len(images)) % NUM_CLASSES,
        np.full((side_px, side_px, 3), 120, np.float32),
        Batches(size=batch),
        seed=0,
        crop_px=crop_px,
        color_axes=np.eye(3) * 50,
        dtype=dtype,
        device=device,
    )


def collect_images(folder: Path | None, *, most: int = 256) -> list[bytes]:
    """Return the bytes of up to `most` images of a folder, or of scenes drawn for the purpose without one.

    Raises:
        ConfigError: the folder holds no files.
    """
    if folder is not None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        if not paths:
            raise ConfigError(f"{folder}: holds no images to measure with. Name a folder of photographs.")
        return [path.read_bytes() for path in paths[:: max(1, len(paths) // most)][:most]]
    result = []
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(min(most, 64)):
            path = Path(scratch) / "scene.jpg"
            scene = draw_scene(CLASS_NAMES[index % len(CLASS_NAMES)], index, size=256)
            Image.fromarray(scene).resize((500, 375)).save(path, quality=90)
            result.append(path.read_bytes())
            os.unlink(path)
    return result


def open_the_usual_way(data: bytes) -> Image.Image:
    """Decode with Pillow, as RGB."""
    import io

    return Image.open(io.BytesIO(data)).convert("RGB")


def resize_the_usual_way(image: Image.Image) -> Image.Image:
    """Resize the shorter side to 256 with Pillow."""
    scale = 256 / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BILINEAR)


def _load_the_usual_way(data: bytes, index: int) -> torch.Tensor:
    image = resize_the_usual_way(open_the_usual_way(data))
    generator = np.random.default_rng(index)
    x, y = (int(generator.integers(0, extent - 224 + 1)) for extent in image.size)
    crop = torch.from_numpy(np.array(image.crop((x, y, x + 224, y + 224)))).permute(2, 0, 1).float() / 255
    if generator.random() < 0.5:
        crop = crop.flip(2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (crop - mean[:, None, None]) / std[:, None, None]
