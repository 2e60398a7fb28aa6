"""Order, store and views -> batches of inputs, made one ahead on a background thread."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.assemble import assemble_views
from alexnet.batches.order import epoch_samples
from alexnet.batches.randomness import Purpose, hash_samples
from alexnet.batches.shard import IGNORED_LABEL, WHOLE_BATCH, BatchShard
from alexnet.batches.views import draw_views
from alexnet.data.producer import produce_ahead
from alexnet.recipes.fields import Batches

_AHEAD = 2
"""Batches that may wait, ready, for the network."""


class Images(Protocol):
    """Anything that yields (S, S, 3) uint8 RGB images by index: a split of a store, or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


class Batch(NamedTuple):
    """Training examples, on the device."""

    inputs: Tensor
    """(N, 3, crop, crop), channels_last."""
    labels: Tensor
    """(N,) int64; or (N, K) float32 of 0 and 1 where images have any number of classes. `shard.IGNORED_LABEL` where an
    image only fills up."""
    keys: Tensor
    """(N,) int64: what fixes the dropout mask of each image."""
    total: int
    """Images of the whole batch: N, unless it is shared or comes in parts."""
    is_last: bool = True
    """Whether this is the last part of its batch, after which the update follows."""


class TrainingBatches:
    """Batches of one training split: a pure function of (seed, epoch), however often it is interrupted.

    Buffers are reused: a batch is valid until the next one but two is asked for. `waited_seconds` says how long
    the caller has been kept waiting since it was last reset.
    """

    def __init__(
        self,
        images: Images,
        labels: NDArray[np.int64] | NDArray[np.bool_],
        mean_image: NDArray[np.float32],
        recipe: Batches,
        *,
        seed: int,
        crop_px: int,
        color_axes: NDArray[np.float64],
        dtype: torch.dtype,
        device: torch.device,
        shard: BatchShard = WHOLE_BATCH,
    ) -> None:
        """Hold what batches are made of.

        Args:
            labels: (N,) class of each image; or (N, K), whether it has each class.
            mean_image: (S, S, 3), of the size of the images.
            color_axes: See `views.draw_views`.
            shard: What is yielded of every batch.
        """
        self._images, self._mean = images, mean_image
        self._labels = labels.astype(np.float32) if labels.ndim == 2 else labels
        self._recipe, self._seed, self._color_axes = recipe, seed, color_axes
        self._device, self._shard = device, shard
        self._assembled = 0
        self.waited_seconds = 0.0
        # One being used, those waiting, one being written.
        self._buffers = [
            torch.empty(
                (shard.longest_part(recipe.size), 3, crop_px, crop_px),
                dtype=dtype,
                memory_format=torch.channels_last,
                pin_memory=device.type == "cuda",
            )
            for _ in range(_AHEAD + 2)
        ]

    @property
    def in_parts(self) -> bool:
        """Whether a batch may come in several parts."""
        return self._shard.local_batch is not None

    def __len__(self) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return -(-len(self._images) // self._recipe.size)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch in order, or the parts that the shard consists of, from batch `first` on.

        Raises:
            Whatever the background thread met, such as a StoreError, at the batch where it met it.
        """
        order = epoch_samples(self._labels, self._recipe.balance, seed=self._seed, epoch=epoch)

        def assemble_parts() -> Iterator[Batch]:
            for number in range(first, len(self)):
                samples = order[number * self._recipe.size : (number + 1) * self._recipe.size]
                parts = self._shard.parts(len(samples))
                for count, positions in enumerate(parts, start=1):
                    yield self._assemble(samples, positions, epoch, number, is_last=count == len(parts))

        with closing(produce_ahead(assemble_parts(), _AHEAD, name="alexnet-batches")) as batches:
            while True:
                start = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    return
                self.waited_seconds += time.perf_counter() - start
                yield batch

    def _assemble(
        self, batch: NDArray[np.int64], positions: NDArray[np.int64], epoch: int, number: int, *, is_last: bool
    ) -> Batch:
        samples = batch[positions]  # position -1 fills up with the last image
        indices = samples % len(self._images)
        recipe = self._recipe
        crops = None
        if recipe.images_per_crop > 1:
            crops = (number * recipe.size + positions) // recipe.images_per_crop
        views = draw_views(
            samples,
            recipe,
            seed=self._seed,
            epoch=epoch,
            image_px=self._mean.shape[0],
            crop_px=self._buffers[0].shape[2],
            color_axes=self._color_axes,
            crop_indices=crops,
        )
        inputs = self._buffers[self._assembled % len(self._buffers)][: len(samples)]
        self._assembled += 1
        assemble_views(
            [self._images[int(i)] for i in indices],
            self._mean,
            views,
            inputs,
            divisor=recipe.divisor_in(epoch),
            mean_place=recipe.mean,
        )
        keys = hash_samples(samples, seed=self._seed, epoch=epoch, purpose=Purpose.DROPOUT).view(np.int64)
        labels = torch.from_numpy(self._labels[indices])  # a copy
        labels[torch.from_numpy(positions < 0)] = IGNORED_LABEL
        return Batch(
            inputs.to(self._device, non_blocking=True),
            labels.to(self._device),
            torch.from_numpy(keys).to(self._device),
            total=len(batch),
            is_last=is_last,
        )
