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
from alexnet.batches.mixing import Mixtures, draw_mixtures, mix_neighbors
from alexnet.batches.order import epoch_samples
from alexnet.batches.randomness import Purpose, hash_samples
from alexnet.batches.shard import IGNORED_LABEL, WHOLE_BATCH, BatchShard
from alexnet.batches.side_stream import Sent, SideStream
from alexnet.data.producer import produce_ahead
from alexnet.data.store.raw import Images as StoreImages
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
    others: tuple[Tensor, Tensor] | None = None
    """Where images are mixed: the labels of those that were mixed in, like `labels`, and (N,) float32, what they count;
    an image's own label counts the rest of 1."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Inputs, labels and keys, and what `others` holds."""
        return self.inputs, self.labels, self.keys, *(self.others or ())

    def replace_tensors(self, tensors: Sequence[Tensor]) -> "Batch":
        """Return the batch with copies of its tensors in their place."""
        inputs, labels, keys, *others = tensors
        pair = (others[0], others[1]) if others else None
        return self._replace(inputs=inputs, labels=labels, keys=keys, others=pair)


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
                (shard.longest_part(recipe.size) + 1, 3, crop_px, crop_px),  # + 1 image, which is mixed into the last
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
        crop_px = self._buffers[0].shape[2]
        mixtures = draw_mixtures(len(order), self._recipe, seed=self._seed, epoch=epoch, crop_px=crop_px)
        size = self._recipe.size

        def assemble_parts() -> Iterator[tuple[Batch, Sent | None]]:
            for start in range(first * size, len(order), size):
                total = min(size, len(order) - start)
                parts = self._shard.parts(total)
                for count, positions in enumerate(parts, start=1):
                    batch, sent = self._assemble(order, mixtures, epoch, start, total, positions)
                    yield batch._replace(is_last=count == len(parts)), sent

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

    def _read(self, indices: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """Return images one by one, as they are used; those at an address all at once, as each must be waited for."""
        if isinstance(self._images, StoreImages) and self._images.is_distant:
            return list(self._images.take(indices))
        return [self._images[int(i)] for i in indices]

    def _assemble(
        self,
        order: NDArray[np.int64],
        mixtures: Mixtures | None,
        epoch: int,
        start: int,
        total: int,
        positions: NDArray[np.int64],
    ) -> tuple[Batch, Sent | None]:
        """Return part of a batch on the device; or in host memory, and the copies that a side stream makes of it.

        Args:
            order, mixtures: Samples of the epoch, and how they are mixed, if they are.
            start, total: Place of the batch in the order, and its images.
            positions: Which of them; consecutive, and -1 where an image only fills up.
        """
        recipe, count, filling = self._recipe, len(positions), positions < 0
        if mixtures is None:
            places = start + np.where(filling, total - 1, positions)
        else:  # and the image behind the last, which is mixed into it
            places = (start + positions[0] + np.arange(count + 1)) % len(order)
        samples = order[places]
        indices = samples % len(self._images)
        views = draw_views(
            samples,
            recipe,
            seed=self._seed,
            epoch=epoch,
            image_px=self._mean.shape[0],
            crop_px=self._buffers[0].shape[2],
            color_axes=self._color_axes,
            crop_indices=places // recipe.images_per_crop if recipe.images_per_crop > 1 else None,
        )
        place = self._assembled % len(self._buffers)
        inputs = self._buffers[place][: len(samples)]
        self._assembled += 1
        if self._side is not None:
            self._side.wait_until_left(place)
        assemble_views(
            self._read(indices),
            self._mean,
            views,
            inputs,
            divisor=recipe.divisor_in(epoch),
            mean_place=recipe.mean,
        )
        keys = hash_samples(samples[:count], seed=self._seed, epoch=epoch, purpose=Purpose.DROPOUT).view(np.int64)
        labels = torch.from_numpy(self._labels[indices[:count]])  # indexing copies
        labels[torch.from_numpy(filling)] = IGNORED_LABEL
        made = Batch(inputs[:count], labels, torch.from_numpy(keys), total)
        if mixtures is not None:
            mixed = mixtures.at(places[:count])
            mix_neighbors(inputs, mixed)
            others = torch.from_numpy(self._labels[indices[1:]])
            others[torch.from_numpy(filling)] = IGNORED_LABEL
            made = made._replace(others=(others, torch.from_numpy(1 - mixed.labels)))
        if self._side is None:
            return made.replace_tensors([each.to(self._device) for each in made.tensors]), None
        return made, self._side.send(place, (made.inputs, *(each.pin_memory() for each in made.tensors[1:])))
