"""What the loss of an image counts, where classes are unequal."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.errors import RecipeError
from alexnet.recipes.fields import BALANCES, Balance
from alexnet.text.wording import suggest


def weigh_classes(
    weights: Balance | Mapping[str, float], counts: NDArray[np.int64], class_names: Sequence[str]
) -> Tensor | None:
    """Return (K,) float32 weights of the classes, or None where all count the same.

    Args:
        weights: See `Optimization.class_weights`.
        counts: (K,) training images of each class. One without images has the weight 1.
    Raises:
        RecipeError: weights names an unknown class.
    """
    if weights == "none":
        return None
    if isinstance(weights, str):
        own = np.maximum(counts, 1) ** (BALANCES[weights] - 1.0)
        own = np.where(counts > 0, own * counts.sum() / (own * counts).sum(), 1.0)
        return torch.from_numpy(own.astype(np.float32))
    unknown = [name for name in weights if name not in class_names]
    if unknown:
        raise RecipeError(
            f"optimization.class_weights names {suggest(unknown[0], class_names)}, which is no class of the store. "
            "Give names of its class folders."
        )
    return torch.tensor([float(weights.get(name, 1.0)) for name in class_names])
