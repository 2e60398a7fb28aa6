"""Order, store and views -> batches of inputs, made one ahead on a background thread."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.assemble import assemble_views
from alexnet.batches.augmentation import draw_views
from alexnet.batches.order import epoch_samples
from alexnet.batches.randomness import Purpose, hash_samples
from alexnet.batches.shard import IGNORED_LABEL, WHOLE_BATCH, BatchShard
from alexnet.batches.side_stream import Sent, SideStream
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
    """(N,) int64, or (N, K) float32 of 0 and 1 for any number of classes; `shard.IGNORED_LABEL` for images that only
    fill up."""
    keys: Tensor
    """(N,) int64 that fix the dropout mask of each image."""
    total: int
    """Images of the whole batch: N, unless it is shared or comes in parts."""
    is_last: bool = True
    """Whether this is the last part of its batch, after which the update follows."""

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, labels and keys."""
        return self.inputs, self.labels, self.keys

    def replace_tensors(self, tensors: Sequence[Tensor]) -> "Batch":
        """Return the batch with copies of its tensors in their place."""
        inputs, labels, keys = tensors
        return self._replace(inputs=inputs, labels=labels, keys=keys)


class TrainingBatches:
    """Batches of one training split: a pure function of (seed, epoch), however often it is interrupted.

    Buffers are reused: on a CPU, a batch is valid until the next one but two is asked for. `waited_seconds` says how
    long the caller has been kept waiting since it was last reset.
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
            color_axes: See `augmentation.draw_views`.
            shard: The part of every batch that is yielded.
        """
        self._images, self._mean = images, mean_image
        self._labels = labels.astype(np.float32) if labels.ndim == 2 else labels
        self._recipe, self._seed, self._color_axes = recipe, seed, color_axes
        self._device, self._shard = device, shard
        self._assembled = 0
        self.waited_seconds = 0.0
        # One being used, those waiting, one being written.
        places = _AHEAD + 2
        self._side = SideStream(device, places) if device.type == "cuda" else None
        self._buffers = [
            torch.empty(
                (shard.longest_part(recipe.size), 3, crop_px, crop_px),
                dtype=dtype,
                memory_format=torch.channels_last,
                pin_memory=device.type == "cuda",
            )
            for _ in range(places)
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

        def assemble_parts() -> Iterator[tuple[Batch, Sent | None]]:
            for number in range(first, len(self)):
                samples = order[number * self._recipe.size : (number + 1) * self._recipe.size]
                parts = self._shard.parts(len(samples))
                for count, positions in enumerate(parts, start=1):
                    yield self._assemble(samples, positions, epoch, number, is_last=count == len(parts))

        with closing(produce_ahead(assemble_parts(), _AHEAD, name="alexnet-batches")) as batches:
            while True:
                start = time.perf_counter()
                made = next(batches, None)
                if made is None:
                    return
                batch, sent = made
                if self._side is not None and sent is not None:
                    batch = batch.replace_tensors(self._side.receive(sent))
                self.waited_seconds += time.perf_counter() - start
                yield batch

    def _assemble(
        self, batch: NDArray[np.int64], positions: NDArray[np.int64], epoch: int, number: int, *, is_last: bool
    ) -> tuple[Batch, Sent | None]:
        """Return a batch on the device; or one in host memory, and the copies that a side stream makes of it."""
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
        place = self._assembled % len(self._buffers)
        inputs = self._buffers[place][: len(samples)]
        self._assembled += 1
        if self._side is not None:
            self._side.wait_until_left(place)
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
        made = Batch(inputs, labels, torch.from_numpy(keys), total=len(batch), is_last=is_last)
        if self._side is None:
            return made.replace_tensors([each.to(self._device) for each in made.tensors]), None
        return made, self._side.send(place, (inputs, labels.pin_memory(), made.keys.pin_memory()))
