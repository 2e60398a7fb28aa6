"""(seed, epoch) -> the order of the examples; a pure function, so resuming is arithmetic."""

import numpy as np
from numpy.typing import NDArray


def epoch_order(num_images: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a permutation of 0 .. num_images - 1 that depends on (seed, epoch) only.

    1.28 million images take about 20 ms and 10 MB.
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(num_images)
