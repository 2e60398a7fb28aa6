"""Which images of a batch a process computes, and how many at once.

The batch itself, its order and its views do not depend on the shard: they are functions of (seed, epoch, sample).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED_LABEL = -100
"""Label of an image that only fills up a shard; PyTorch's cross-entropy passes over it."""


@dataclass(frozen=True, slots=True)
class BatchShard:
    """One of `count` equal shards of every batch, computed in parts of at most `local_batch` images."""

    index: int = 0
    count: int = 1
    local_batch: int | None = None

    def parts(self, images: int) -> list[NDArray[np.int64]]:
        """Return the positions in a batch of `images` that this shard consists of, part by part.

        Shards of one batch are equally long and have equally many parts, so that processes keep in step; -1 fills up
        where the images do not divide. Together the shards hold every position once.
        """
        length = -(-images // self.count)
        positions = np.arange(self.index * length, (self.index + 1) * length)
        positions[positions >= images] = -1
        size = self.local_batch or length
        return [positions[start : start + size] for start in range(0, length, size)]

    def turns(self, images: int, size: int) -> Iterator[NDArray[np.int64]]:
        """Yield the positions among `images` that this shard computes, in turns of up to `size` for every shard.

        Whole batches of consecutive images are dealt out, because the last bits of a result depend on the images beside
        it: so one shard and many find the same. All have as many positions in a turn; -1 where there is no image left.
        """
        for first in range(0, images, size * self.count):
            positions = first + self.index * size + np.arange(min(size, images - first))
            yield np.where(positions < images, positions, -1)

    def longest_part(self, images: int) -> int:
        """Images in the largest part of a batch of `images`."""
        return max(len(part) for part in self.parts(images))


WHOLE_BATCH = BatchShard()
"""Everything at once."""
