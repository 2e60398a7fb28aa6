"""One contender: builds and warms up, then runs once for every line on standard input and answers with JSON."""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

from alexnet import kernels, system
from alexnet.benchmark.stock import build_stock_2014, build_stock_paper, make_inputs
from alexnet.network.alexnet import build
from alexnet.training.optimizer import MomentumDescent

WARM_UP_ROUNDS = 2


def ours_step(batch: int, dtype: str) -> Callable[[], object]:
    """One training step of the paper's network as `alexnet train` makes it."""
    system.tune_allocator()
    compute = getattr(torch, dtype)
    kernels.warm_up(compute)
    optimizer = MomentumDescent(build("paper"), dtype=compute, momentum=0.9, weight_decay=5e-4)
    network = optimizer.working.train()
    inputs = make_inputs(batch, compute, channels_last=True)
    labels, keys = torch.arange(batch) % 1000, torch.arange(batch)

    def step() -> None:
        loss = F.cross_entropy(network(inputs, keys).float(), labels)
        loss.item()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(1e-6)

    return step


def stock_step(batch: int, network: str, dtype: str) -> Callable[[], object]:
    """One training step of stock modules; bfloat16 means autocast and channels_last."""
    model: nn.Module = build_stock_paper() if network == "paper" else build_stock_2014()
    half = dtype == "bfloat16"
    if half:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    inputs = make_inputs(batch, torch.float32, channels_last=half)
    labels = torch.arange(batch) % 1000

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(inputs), labels)
        loss.item()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def ours_inference(batch: int, dtype: str) -> Callable[[], object]:
    """One forward pass of the paper's network in testing."""
    system.tune_allocator()
    compute = getattr(torch, dtype)
    kernels.warm_up(compute)
    network = build("paper").to(compute).eval()
    inputs = make_inputs(batch, compute, channels_last=True)

    def infer() -> None:
        with torch.inference_mode():
            network(inputs)

    return infer


def stock_inference(batch: int, dtype: str) -> Callable[[], object]:
    """One forward pass of stock modules in testing; bfloat16 means autocast and channels_last."""
    half = dtype == "bfloat16"
    model: nn.Module = build_stock_paper().eval()
    if half:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs = make_inputs(batch, torch.float32, channels_last=half)

    def infer() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            model(inputs)

    return infer


CONTENDERS: dict[str, Callable[..., Callable[[], object]]] = {
    "ours-step": ours_step,
    "stock-step": stock_step,
    "ours-inference": ours_inference,
    "stock-inference": stock_inference,
}


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def serve(function: Callable[[], object], requests: Iterator[str]) -> None:
    """Warm up, then run once per request."""
    for _ in range(WARM_UP_ROUNDS):
        function()
    print(json.dumps({"seconds": 0.0, "peak_bytes": peak_bytes()}), flush=True)
    for _ in requests:
        start = time.perf_counter()
        function()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}), flush=True)


if __name__ == "__main__":
    system.set_threads()
    serve(CONTENDERS[sys.argv[1]](**json.loads(sys.argv[2])), iter(sys.stdin.readline, ""))
