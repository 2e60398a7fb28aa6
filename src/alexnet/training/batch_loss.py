"""The loss of a batch on its way to the host, so that nothing waits for a GPU that is still busy with it."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

MOST_UNREAD = 1
"""Batches whose loss is not read yet, so that the GPU computes the next one meanwhile."""


class BatchLoss:
    """Loss and wrong images of a batch whose update is under way.

    On a CUDA device the numbers are copied behind the work that makes them, into memory of their own; `read` waits for
    this copy alone, not for what was launched after it. Elsewhere they are there at once.
    """

    def __init__(self, totals: Tensor, images: int) -> None:
        """Begin to bring the numbers to the host.

        Args:
            totals: (2,) float64, on the device: the summed loss and the number of wrong images.
            images: Of the whole batch.
        """
        self.images = images
        self.is_here = totals.device.type != "cuda"
        """Whether reading waits for nothing."""
        self._totals = totals
        self._copied: torch.cuda.Event | None = None
        if not self.is_here:
            self._totals = torch.empty(totals.shape, dtype=totals.dtype, pin_memory=True)
            self._totals.copy_(totals, non_blocking=True)
            self._copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._copied.record()

    def read(self) -> tuple[float, int]:
        """Return the mean loss and the wrong images. The loss may be infinite or NaN; then the weights are broken."""
        if self._copied is not None:
            self._copied.synchronize()
        loss_sum, errors = self._totals.tolist()
        return loss_sum / self.images, round(errors)


class UnreadLosses:
    """The losses of batches in their order, each read as soon as that waits for nothing, or after the next launch."""

    def __init__(self, take: Callable[[int, float, int, dict[str, float]], None]) -> None:
        """Hold where they go.

        Args:
            take: Given images, mean loss, wrong images and rates of a batch. What it raises is raised by `add` and
                `read_all`.
        """
        self._take = take
        self._unread: deque[tuple[BatchLoss, dict[str, float]]] = deque()

    def __len__(self) -> int:
        return len(self._unread)

    def add(self, launched: BatchLoss, rates: dict[str, float]) -> None:
        """Take the loss of an update that was made with these rates."""
        self._unread.append((launched, rates))
        while self._unread and (self._unread[0][0].is_here or len(self._unread) > MOST_UNREAD):
            self._read_one()

    def read_all(self) -> None:
        """Read what has not been read yet."""
        while self._unread:
            self._read_one()

    def _read_one(self) -> None:
        launched, rates = self._unread.popleft()
        self._take(launched.images, *launched.read(), rates)
