"""Order, store and views -> batches of inputs, made one ahead on a background thread."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.assemble import Divisor, MeanPlace, assemble_views
from alexnet.batches.order import epoch_order
from alexnet.batches.randomness import Purpose, hash_samples
from alexnet.batches.share import FILLING, WHOLE, Share
from alexnet.batches.views import Views, draw_views
from alexnet.data.producer import produce_ahead

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
    """(N,) int64; `share.FILLING` where an image only fills up."""
    keys: Tensor
    """(N,) int64: what fixes the dropout mask of each image."""
    total: int
    """Images of the whole batch: N, unless it is shared or comes in parts."""
    closes: bool = True
    """Whether this is the last part of its batch, after which the update follows."""


class TrainingBatches:
    """Batches of one training split: a pure function of (seed, epoch), however often it is interrupted.

    Buffers are reused: a batch is valid until the next one but two is asked for. `waited_seconds` says how long
    the caller has been kept waiting since it was last reset.
    """

    def __init__(
        self,
        images: Images,
        labels: NDArray[np.int64],
        mean_image: NDArray[np.float32],
        *,
        batch_size: int,
        seed: int,
        crop_px: int,
        random_crops: bool,
        reflections: bool,
        color_noise: float,
        color_axes: NDArray[np.float64],
        divisor: Divisor,
        dtype: torch.dtype,
        device: torch.device,
        color_noise_epochs: int | None = None,
        color_noise_rescales: bool = False,
        mean_place: MeanPlace = "aligned",
        images_per_crop: int = 1,
        scaled_crops: tuple[float, float] | None = None,
        share: Share = WHOLE,
    ) -> None:
        """Hold what batches are made of. Options are the fields of `recipes.fields.Batches`, in their order there.

        Args:
            share: What is yielded of every batch.
        """
        self._share = share
        self._assembled = 0
        self._color_noise_epochs = color_noise_epochs
        self._color_noise_rescales = color_noise_rescales
        self._mean_place: MeanPlace = mean_place
        self._images_per_crop = images_per_crop
        self._images = images
        self._labels = labels
        self._mean = mean_image
        self._view_options: dict[str, Any] = {
            "image_px": mean_image.shape[0],
            "crop_px": crop_px,
            "random_crops": random_crops,
            "reflections": reflections,
            "color_noise": color_noise,
            "color_axes": color_axes,
            "scaled_crops": scaled_crops,
        }
        self._batch_size = batch_size
        self._seed = seed
        self._divisor = divisor
        self._device = device
        self.waited_seconds = 0.0
        # One being used, those waiting, one being written.
        self._buffers = [
            torch.empty(
                (share.longest_part(batch_size), 3, crop_px, crop_px),
                dtype=dtype,
                memory_format=torch.channels_last,
                pin_memory=device.type == "cuda",
            )
            for _ in range(_AHEAD + 2)
        ]

    def __len__(self) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return -(-len(self._images) // self._batch_size)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch in order, or the parts that the share consists of, from batch `first` on.

        Raises:
            Whatever the background thread met, such as a StoreError, at the batch where it met it.
        """
        order = epoch_order(len(self._images), seed=self._seed, epoch=epoch)

        def assemble_parts() -> Iterator[Batch]:
            for number in range(first, len(self)):
                indices = order[number * self._batch_size : (number + 1) * self._batch_size]
                parts = self._share.parts(len(indices))
                for count, positions in enumerate(parts, start=1):
                    yield self._assemble(indices, positions, epoch, number, closes=count == len(parts))

        with closing(produce_ahead(assemble_parts(), _AHEAD, name="alexnet-batches")) as batches:
            while True:
                start = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    return
                self.waited_seconds += time.perf_counter() - start
                yield batch

    def _assemble(
        self, batch: NDArray[np.int64], positions: NDArray[np.int64], epoch: int, number: int, *, closes: bool
    ) -> Batch:
        indices = batch[positions]  # position -1 fills up with the last image
        options, divisor = self._view_options, self._divisor
        if self._color_noise_epochs is not None and epoch >= self._color_noise_epochs:
            options = options | {"color_noise": 0.0}
        if self._color_noise_rescales:
            factor = 1 + options["color_noise"]
            divisor = tuple(each * factor for each in divisor) if isinstance(divisor, tuple) else divisor * factor
        if self._images_per_crop > 1:
            places = number * self._batch_size + positions
            options = options | {"crop_indices": places // self._images_per_crop}
        views = draw_views(indices, seed=self._seed, epoch=epoch, **options)
        inputs = self._buffers[self._assembled % len(self._buffers)][: len(indices)]
        self._assembled += 1
        assemble_views(
            [self._images[int(i)] for i in indices],
            self._mean,
            views,
            inputs,
            divisor=divisor,
            mean_place=self._mean_place,
        )
        keys = hash_samples(indices, seed=self._seed, epoch=epoch, purpose=Purpose.DROPOUT).view(np.int64)
        labels = torch.from_numpy(np.where(positions < 0, FILLING, self._labels[indices]))
        return Batch(
            inputs.to(self._device, non_blocking=True),
            labels.to(self._device),
            torch.from_numpy(keys).to(self._device),
            total=len(batch),
            closes=closes,
        )


def evaluation_batches(
    images: Images,
    mean_image: NDArray[np.float32],
    *,
    places: Sequence[tuple[int, int, bool]],
    crop_px: int,
    divisor: Divisor,
    dtype: torch.dtype,
    device: torch.device,
    images_per_batch: int,
    mean_place: MeanPlace = "aligned",
) -> Iterator[Tensor]:
    """Yield inputs (n, V, 3, crop, crop) of consecutive images with all their V views, each image once.

    Args:
        places: (y, x, mirrored) of each view, see `views.evaluation_views`.
        images_per_batch: Upper bound of n.
    """
    for start in range(0, len(images), images_per_batch):
        chunk = [images[i] for i in range(start, min(start + images_per_batch, len(images)))]
        yield assemble_evaluation_views(chunk, mean_image, places, crop_px, divisor, dtype, mean_place).to(device)


def assemble_evaluation_views(
    images: Sequence[NDArray[np.uint8]],
    mean_image: NDArray[np.float32],
    places: Sequence[tuple[int, int, bool]],
    crop_px: int,
    divisor: Divisor,
    dtype: torch.dtype,
    mean_place: MeanPlace = "aligned",
) -> Tensor:
    """Return (N, V, 3, crop, crop): every place of every image, without colour noise."""
    num_images, num_views = len(images), len(places)
    y, x, mirrored = (np.tile(column, num_images) for column in zip(*places, strict=True))
    offset = np.zeros((num_images * num_views, 3), np.float32)
    out = torch.empty((num_images * num_views, 3, crop_px, crop_px), dtype=dtype, memory_format=torch.channels_last)
    repeated = [image for image in images for _ in places]
    assemble_views(repeated, mean_image, Views(y, x, mirrored, offset), out, divisor=divisor, mean_place=mean_place)
    return out.view(num_images, num_views, *out.shape[1:])
