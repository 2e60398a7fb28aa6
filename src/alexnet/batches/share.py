"""Which images of a batch a process computes, and how many at once.

The batch itself, its order and its views do not depend on the share: they are functions of (seed, epoch, sample).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FILLING = -100
"""Label of an image that only fills up a share; PyTorch's cross-entropy passes over it."""


@dataclass(frozen=True, slots=True)
class Share:
    """One of `count` equal shares of every batch, computed in parts of at most `most` images."""

    index: int = 0
    count: int = 1
    most: int | None = None

    def parts(self, images: int) -> list[NDArray[np.int64]]:
        """Return the positions in a batch of `images` that this share consists of, part by part.

        Shares of one batch are equally long and have equally many parts, so that processes keep in step; -1 fills up
        where the images do not divide. Together the shares hold every position once.
        """
        length = -(-images // self.count)
        positions = np.arange(self.index * length, (self.index + 1) * length)
        positions[positions >= images] = -1
        most = self.most or length
        return [positions[start : start + most] for start in range(0, length, most)]

    def longest_part(self, images: int) -> int:
        """Images in the largest part of a batch of `images`."""
        return max(len(part) for part in self.parts(images))


WHOLE = Share()
"""Everything at once."""
