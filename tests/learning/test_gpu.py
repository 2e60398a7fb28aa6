"""What only a GPU can show: nothing waits for it between a batch and the next launch, and batches arrive whole."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from alexnet.batches.loader import TrainingBatches
from alexnet.network.alexnet import build
from alexnet.recipes.fields import Batches, Optimization
from alexnet.system import choose_compute
from alexnet.training.batch_loss import UnreadLosses
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.update import Update

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]
IMAGES = list(np.random.default_rng(0).integers(0, 256, (90, 40, 40, 3), dtype=np.uint8))


@pytest.fixture(autouse=True)
def gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture
def waiting_is_an_error() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


def make_batches(device: str, dtype: torch.dtype) -> TrainingBatches:
    return TrainingBatches(
        IMAGES, np.arange(len(IMAGES)) % 10, np.full((40, 40, 3), 100.0, np.float32), Batches(size=8), seed=1, crop_px=32,
        color_axes=np.eye(3), dtype=dtype, device=torch.device(device),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batches_on_a_gpu_are_those_of_the_cpu(dtype: torch.dtype) -> None:
    """Kept until the end, and read while the next ones are copied."""
    there = [batch.tensors for batch in make_batches("cuda:0", dtype).epoch(0)]
    for found, batch in zip(there, make_batches("cpu", dtype).epoch(0), strict=True):
        for one, other in zip(found, batch.tensors, strict=True):
            assert one.is_cuda
            assert torch.equal(one.cpu(), other)


@pytest.mark.usefixtures("waiting_is_an_error")
def test_no_step_waits_for_the_device() -> None:
    compute = choose_compute("cuda")
    optimizer = MomentumDescent(build("cifar-18pct", 10).to(compute.device), Optimization(), dtype=compute.dtype)
    optimizer.working.train()
    update, rates = Update(optimizer), dict.fromkeys(optimizer.velocities, 1e-3)
    batches = make_batches("cuda:0", compute.dtype)
    losses: list[float] = []
    for epoch in range(3):
        if epoch == 1:  # everything is compiled
            torch.cuda.set_sync_debug_mode("error")
        unread = UnreadLosses(lambda images, loss, errors, rates: losses.append(loss))
        for batch in batches.epoch(epoch):
            launched = update(batch, rates)
            assert launched is not None
            unread.add(launched, rates)
        unread.read_all()
    assert len(losses) == 3 * len(batches)
    assert all(map(np.isfinite, losses))
