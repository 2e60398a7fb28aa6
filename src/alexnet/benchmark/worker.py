"""One contender: builds and warms up, then runs once for every line on standard input and answers with JSON."""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from alexnet import kernels, system
from alexnet.batches.loader import Batch
from alexnet.batches.preprocessing import Preprocessing
from alexnet.batches.shard import IGNORED_LABEL
from alexnet.batches.views import evaluation_views
from alexnet.benchmark.measure import CPU, wait_for
from alexnet.benchmark.stock import NUM_CLASSES, build_stock_2014, build_stock_paper, make_inputs
from alexnet.data.images.decode import open_image
from alexnet.distribution.mesh import parse_mesh
from alexnet.distribution.processes import TIMEOUT_SECONDS, DistributedWorld, LaunchEnvironment
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.evaluate import predict_probabilities
from alexnet.network.alexnet import AlexNet, build
from alexnet.network.model_file import Model
from alexnet.recipes.fields import Optimization
from alexnet.retrieval.index.images import digest_pixels
from alexnet.system import Compute
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.update import Update

WARM_UP_ROUNDS = 2
GPU_TURNS = 10
"""Runs that a GPU is given in a row, since a step there takes milliseconds and the next must not be waited for."""


def _set_up(dtype: str, device: str = "cpu") -> Compute:
    """Set memory and kernels up as the program does; return device and precision."""
    system.tune_allocator()
    compute = system.choose_compute(device, dtype)
    if compute.device.type == "cpu":
        kernels.warm_up(compute.dtype)
    return compute


def _build_stock(network: str, dtype: str, device: str, channels_last: bool = False) -> tuple[nn.Module, bool]:
    """Return a stock network, and whether it computes in bfloat16, which means autocast and channels_last."""
    model, half = build_stock_paper() if network == "paper" else build_stock_2014(), dtype == "bfloat16"
    model.to(device)
    if half or channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, half


def _make_batch(network: AlexNet, batch: int, dtype: torch.dtype, device: torch.device) -> Batch:
    side_px, num_classes = network.spec.input_px, network.spec.num_classes
    inputs = make_inputs(batch, dtype, device, channels_last=True, side_px=side_px)
    positions = torch.arange(batch, device=device)
    return Batch(inputs, positions % num_classes, positions, total=batch)


def ours_step(batch: int, dtype: str, device: str = "cpu", dialect: str = "paper") -> Callable[[], object]:
    """One training step of a network as `alexnet train` makes it."""
    compute = _set_up(dtype, device)
    network = build(dialect, num_classes=NUM_CLASSES).to(compute.device)
    optimizer = MomentumDescent(network, Optimization(), dtype=compute.dtype)
    optimizer.working.train()
    item = _make_batch(network, batch, compute.dtype, compute.device)
    update, rates = Update(optimizer), dict.fromkeys(optimizer.velocities, 1e-6)
    return lambda: update(item, rates)


def plain_step(batch: int, dialect: str, device: str = "cpu") -> Callable[[], object]:
    """One training step of the same network by PyTorch's own operations, float32."""
    network = build(dialect, num_classes=NUM_CLASSES).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    item = _make_batch(network, batch, torch.float32, torch.device(device))

    def step() -> None:
        optimizer.zero_grad()
        with kernels.using("plain"):
            F.cross_entropy(network(item.inputs, item.keys), item.labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def shared_step(mesh: str, batch: int, dtype: str) -> Callable[[], object]:
    """One process's part of a training step that several share, as `alexnet train --mesh` makes it; bytes sent."""
    world = _meet(mesh)
    compute = _set_up(dtype).dtype
    optimizer = MomentumDescent(world.shard_network(build("paper")), Optimization(), dtype=compute, world=world)
    optimizer.working.train()
    (positions,) = world.batch_shard(None).parts(batch)
    inputs = make_inputs(len(positions), compute, channels_last=True)
    labels = torch.from_numpy(np.where(positions < 0, IGNORED_LABEL, positions % 1000))
    item = Batch(inputs, labels, torch.from_numpy(positions), total=batch)
    update, rates = Update(optimizer, world=world), dict.fromkeys(optimizer.velocities, 1e-6)

    def step() -> dict[str, int]:
        world.traffic.clear()
        update(item, rates)
        return dict(world.traffic.bytes)

    return step


def exchange(mesh: str, num_bytes: int, times: int) -> Callable[[], object]:
    """Sums of `num_bytes` over all processes, `times` in a row."""
    world = _meet(mesh)
    values = torch.zeros(num_bytes // 4)

    def run() -> None:
        for _ in range(times):
            world.all_ranks.all_reduce(values, "sums").wait()

    return run


def _meet(mesh: str) -> DistributedWorld:
    environment = LaunchEnvironment.read()
    assert environment is not None
    return DistributedWorld(
        parse_mesh(mesh, environment.world_size), environment, torch.device("cpu"), timeout_seconds=TIMEOUT_SECONDS
    )


def stock_step(
    batch: int, network: str, dtype: str, device: str = "cpu", channels_last: bool = False
) -> Callable[[], object]:
    """One training step of stock modules; bfloat16 means autocast and channels_last."""
    model, half = _build_stock(network, dtype, device, channels_last)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    inputs = make_inputs(batch, torch.float32, device, channels_last=half or channels_last)
    labels = torch.arange(batch, device=device) % 1000

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def ours_inference(batch: int, dtype: str, device: str = "cpu") -> Callable[[], object]:
    """One forward pass of the paper's network in testing."""
    compute = _set_up(dtype, device)
    network = build("paper").to(device=compute.device, dtype=compute.dtype).eval()
    inputs = make_inputs(batch, compute.dtype, compute.device, channels_last=True)

    def infer() -> None:
        with torch.inference_mode():
            network(inputs)

    return infer


def ours_features(batch: int, dtype: str) -> Callable[[], object]:
    """Features of stored images as `alexnet search index` computes them: assembled, computed, digested."""
    _set_up(dtype)
    preprocessing = Preprocessing(np.full((256, 256, 3), 120, np.float32), 1.0)
    names = tuple(map(str, range(1000)))
    model = Model(build("paper").eval(), names, names, preprocessing, {})
    classifier = Classifier(model, Path("bench"), device="cpu", precision=dtype)
    stored = _stored_images(batch)
    layer = classifier.network.features_name()

    def extract() -> None:
        classifier.activations(stored, [layer], batch_size=batch)
        for image in stored:
            digest_pixels(image)

    return extract


def stock_inference(batch: int, dtype: str, device: str = "cpu") -> Callable[[], object]:
    """One forward pass of stock modules in testing; bfloat16 means autocast and channels_last."""
    model, half = _build_stock("paper", dtype, device)
    model.eval()
    inputs = make_inputs(batch, torch.float32, device, channels_last=half)

    def infer() -> None:
        with torch.inference_mode(), torch.autocast(inputs.device.type, torch.bfloat16, enabled=half):
            model(inputs)

    return infer


def ours_ten_views(images: int, dtype: str, device: str = "cpu") -> Callable[[], object]:
    """Ten-view probabilities of stored images, as `alexnet evaluate` computes them."""
    compute = _set_up(dtype, device)
    network = build("paper").to(device=compute.device, dtype=compute.dtype).eval()
    stored = _stored_images(images)
    preprocessing = Preprocessing(np.full((256, 256, 3), 120, np.float32), 1.0)
    return lambda: list(predict_probabilities(network, stored, preprocessing, compute, num_views=10))


def ours_single_predictions(model: str, pictures: str) -> Callable[[], object]:
    """Predictions of picture files one by one, as a program without a server would make them."""
    system.tune_allocator()
    classifier = load(model)
    files = sorted(Path(pictures).iterdir())

    def predict() -> None:
        for file in files:
            classifier.predict([file])

    return predict


def ours_evaluation(model: str, pictures: str) -> Callable[[], object]:
    """Images per second of testing two batches of decoded pictures, of predicting from files, and of decoding alone."""
    system.tune_allocator()
    classifier = load(model)
    files = sorted(Path(pictures).iterdir())
    decoded = [open_image(file) for file in files]
    stored = [decoded[index % len(decoded)] for index in range(256)]
    read = [files[index % len(files)] for index in range(256)]

    def evaluate() -> dict[str, float]:
        start = time.perf_counter()
        list(predict_probabilities(classifier.network, stored, classifier.model.preprocessing, classifier.compute))
        middle = time.perf_counter()
        classifier.predict(read)
        end = time.perf_counter()
        with ThreadPoolExecutor(system.available_cores()) as decoders:
            for _ in decoders.map(open_image, read):
                pass
        seconds = {"from_store": middle - start, "from_files": end - middle, "decoding": time.perf_counter() - end}
        return {name: len(read) / taken for name, taken in seconds.items()}

    return evaluate


def stock_ten_views(images: int, dtype: str, device: str = "cpu") -> Callable[[], object]:
    """Ten passes of stock modules over crops of the same images, softmax averaged."""
    model, half = _build_stock("paper", dtype, device)
    model.eval()
    stored = torch.from_numpy(np.stack(_stored_images(images))).permute(0, 3, 1, 2)

    def test() -> torch.Tensor:
        shown = stored.to(device)
        total = torch.zeros(images, 1000, device=device)
        with torch.inference_mode(), torch.autocast(shown.device.type, torch.bfloat16, enabled=half):
            for y, x, mirrored in evaluation_views(256, 224, 10):
                crops = shown[:, :, y : y + 224, x : x + 224].float() - 120
                total += model(crops.flip(3) if mirrored else crops).float().softmax(1)
        return (total / 10).cpu()

    return test


def _stored_images(count: int) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 256, 256, 3), dtype=np.uint8))


CONTENDERS: dict[str, Callable[..., Callable[[], object]]] = {
    "ours-step": ours_step,
    "shared-step": shared_step,
    "exchange": exchange,
    "stock-step": stock_step,
    "plain-step": plain_step,
    "ours-inference": ours_inference,
    "stock-inference": stock_inference,
    "ours-features": ours_features,
    "ours-ten-views": ours_ten_views,
    "ours-single-predictions": ours_single_predictions,
    "ours-evaluation": ours_evaluation,
    "stock-ten-views": stock_ten_views,
}


def peak_bytes(device: torch.device = CPU) -> int:
    """Most memory of this process so far: of a GPU what tensors held, of a processor the resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def serve(function: Callable[[], object], requests: Iterator[str], device: torch.device = CPU) -> None:
    """Warm up, then run once per request, or on a GPU `GPU_TURNS` times; the answer has the seconds of one run."""
    turns = GPU_TURNS if device.type == "cuda" else 1
    for _ in range(WARM_UP_ROUNDS):
        function()
    set_up = {"threads": torch.get_num_threads()}
    print(json.dumps({"seconds": 0.0, "peak_bytes": peak_bytes(device), "value": set_up}), flush=True)
    for _ in requests:
        wait_for(device)
        start = time.perf_counter()
        for _ in range(turns):
            value = function()
        wait_for(device)
        seconds = (time.perf_counter() - start) / turns
        told = value if isinstance(value, dict) else None
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes(device), "value": told}), flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    system.set_threads(given.pop("threads"))
    made = CONTENDERS[sys.argv[1]](**given)
    serve(made, iter(sys.stdin.readline, ""), torch.device(given.get("device", "cpu")))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
