"""What the paper adds around convolutions and matrix products, in versions that agree with each other.

These are response normalisation (3.3), overlapping pooling (3.4), dropout (4.2) and the update of the weights (5).
Importing this package does not import Numba; the first use of a kernel on the CPU does.
"""

from alexnet.kernels.choose import Choice, choice, report, training, using
from alexnet.kernels.functions import (
    convolve,
    dropout,
    gather_patches,
    normalize_and_pool,
    normalize_responses,
    pool_maximum,
    spatially_normalize_responses,
    update_weights,
    warm_up,
)
from alexnet.kernels.rules import Normalization, Rectify, is_autocast, pooled_length

__all__ = [
    "Choice",
    "Normalization",
    "Rectify",
    "choice",
    "convolve",
    "dropout",
    "gather_patches",
    "is_autocast",
    "normalize_and_pool",
    "normalize_responses",
    "pool_maximum",
    "pooled_length",
    "report",
    "spatially_normalize_responses",
    "training",
    "update_weights",
    "using",
    "warm_up",
]
