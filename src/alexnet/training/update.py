"""One update, from a batch to new weights: of one process or several, of whole batches or their parts."""

from functools import partial

import torch
from torch import Tensor

from alexnet import kernels
from alexnet.batches.loader import Batch
from alexnet.distribution.gradients import GradientSums
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.training.batch_loss import BatchLoss
from alexnet.training.objective import find_wrong, sum_losses
from alexnet.training.optimizer import MomentumDescent


class Update:
    """Descends the gradient of the mean loss over all images of a batch, each counted once.

    Whole batches of a single process give the network's own gradients to the optimizer; gradients of shards and parts
    are first summed in float32.
    """

    def __init__(
        self,
        optimizer: MomentumDescent,
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        world: World = SINGLE_PROCESS,
        in_parts: bool = False,
    ) -> None:
        """Hold what is to be updated.

        Args:
            class_weights: (K,) factors of the losses of the classes, on the device; see `weigh_classes`.
            world: Processes that update together.
            in_parts: Whether batches come in parts.
        """
        self._optimizer, self._group = optimizer, world.data_group
        self._sum = partial(sum_losses, label_smoothing=label_smoothing, class_weights=class_weights)
        self._sums: GradientSums | None = None
        if in_parts or world.data_group is not None:
            self._sums = GradientSums(optimizer.working, world.data_group, sharded=world.sharded)
        self._totals: Tensor | None = None
        """Loss and wrong images of the batch so far; None between batches."""

    def __call__(self, batch: Batch, rates: dict[str, float], average_share: float = 1.0) -> BatchLoss | None:
        """Take a batch, or a part of one; after its last, update and return its loss, which is not read here: a GPU is
        not waited for.

        Args:
            rates: Learning rate of each parameter.
            average_share: See `MomentumDescent.step`.
        """
        if self._totals is None:
            self._totals = torch.zeros(2, dtype=torch.float64, device=batch.inputs.device)
            if self._sums:
                self._sums.begin()
        if self._sums and batch.is_last:
            self._sums.expect_last()
        with kernels.training():
            logits = self._optimizer.working(batch.inputs, batch.keys).float()
        if batch.others is None:
            loss = self._sum(logits, batch.labels)
        else:
            others, counts = batch.others
            loss = self._sum(logits, batch.labels, counts=1 - counts) + self._sum(logits, others, counts=counts)
        wrong = find_wrong(logits.detach(), batch.labels)
        self._totals += torch.stack([loss.detach().double(), wrong.sum()])
        pending = self._group.all_reduce(self._totals, "losses") if self._group and batch.is_last else None
        (loss / batch.total).backward()  # type: ignore[no-untyped-call]
        if not batch.is_last:
            return None
        with kernels.training():
            gradients = self._sums.finish() if self._sums else None
            self._optimizer.step(rates, gradients, average_share=average_share)
        totals, self._totals = pending.wait() if pending else self._totals, None
        return BatchLoss(totals, batch.total)
