"""One update from a batch that is shared among processes, or comes in parts, or both."""

import torch
from torch.nn import functional as F

from alexnet.batches.loader import Batch
from alexnet.batches.shard import IGNORED_LABEL
from alexnet.distribution.gradients import GradientSums
from alexnet.distribution.process_group import ProcessGroup
from alexnet.network.alexnet import AlexNet
from alexnet.training.loop import refuse_diverged
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.progress import Progress


class SharedUpdate:
    """An `Update` of `training.loop`: the gradient of the mean loss over all images of the batch, each counted once."""

    def __init__(self, network: AlexNet, data: ProcessGroup | None, *, sharded: frozenset[str]) -> None:
        """Hold the sums of gradients of a network.

        Args:
            data: Processes with the other shards of each batch; None without any.
            sharded: See `GradientSums`.
        """
        self._data = data
        self._sums = GradientSums(network, data, sharded=sharded)
        self._begun = False
        self._loss = self._errors = 0.0

    def __call__(
        self,
        network: AlexNet,
        optimizer: MomentumDescent,
        batch: Batch,
        rates: dict[str, float],
        progress: Progress,
        label_smoothing: float,
    ) -> tuple[float, int] | None:
        """Add a part of a batch; after its last, update and return the mean loss and the number of wrong images."""
        if not self._begun:
            self._begun, self._loss, self._errors = True, 0.0, 0.0
            self._sums.begin()
        if batch.is_last:
            self._sums.expect_last()
        logits = network(batch.inputs, batch.keys).float()
        loss = F.cross_entropy(logits, batch.labels, reduction="sum", label_smoothing=label_smoothing)
        self._loss += float(loss.detach())
        counted = batch.labels != IGNORED_LABEL
        self._errors += int(((logits.detach().argmax(1) != batch.labels) & counted).sum())
        if not batch.is_last:
            (loss / batch.total).backward()  # type: ignore[no-untyped-call]
            return None
        totals = torch.tensor([self._loss, self._errors], dtype=torch.float64)
        pending = self._data.all_reduce(totals.to(batch.inputs.device), "losses") if self._data else None
        (loss / batch.total).backward()  # type: ignore[no-untyped-call]
        gradients = self._sums.finish()
        self._begun = False
        loss_sum, errors = (pending.wait() if pending else totals).tolist()
        value = loss_sum / batch.total
        refuse_diverged(value, rates, progress)
        optimizer.step(rates, gradients)
        return value, round(errors)
