"""The obvious ways to short codes, for comparison: random hyperplanes, signs of principal components, and ITQ."""

from collections.abc import Callable

import torch
from torch import Tensor

from alexnet.errors import ConfigError
from alexnet.retrieval.codes.encoding import Encoder
from alexnet.text.wording import counted

ITQ_ITERATIONS = 50
"""Of Gong and Lazebnik (2011), after which the rotation hardly moves."""
_OVERSAMPLED, _POWER_ITERATIONS = 32, 4


def fit_random(features: Tensor, bits: int, *, seed: int) -> Encoder:
    """Return signs of projections onto Gaussian directions, about the mean (Charikar 2002)."""
    directions = torch.randn(bits, features.shape[1], generator=torch.Generator().manual_seed(seed))
    return Encoder("random", features.mean(0), (directions,), (torch.zeros(bits),))


def fit_pca(features: Tensor, bits: int, *, seed: int) -> Encoder:
    """Return signs of the projections onto the first principal axes.

    Raises:
        ConfigError: there are fewer dimensions or images than bits.
    """
    mean = features.mean(0)
    axes, _ = principal_axes(features - mean, bits, seed=seed)
    return Encoder("pca", mean, (axes.T.contiguous(),), (torch.zeros(bits),))


def fit_itq(features: Tensor, bits: int, *, seed: int) -> Encoder:
    """Return signs of principal components after the rotation that brings them nearest to their signs.

    Source: Gong and Lazebnik, Iterative quantization (CVPR 2011): in turns, codes are the signs of the rotated
    components, and the rotation solves the orthogonal Procrustes problem for the codes.

    Raises:
        ConfigError: there are fewer dimensions or images than bits.
    """
    mean = features.mean(0)
    axes, _ = principal_axes(features - mean, bits, seed=seed)
    components = (features - mean) @ axes
    rotation = random_rotation(bits, seed=seed)
    for _ in range(ITQ_ITERATIONS):
        codes = torch.sign(components @ rotation)
        left, _, right = torch.linalg.svd(components.T @ codes)
        rotation = left @ right
    return Encoder("itq", mean, ((axes @ rotation).T.contiguous(),), (torch.zeros(bits),))


def principal_axes(centered: Tensor, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return the first principal axes as columns (D, count), and the standard deviations along them, largest first.

    Randomised subspace iteration (Halko, Martinsson and Tropp 2011): with 4,096 dimensions an exact decomposition
    would take longer than everything else. Axes beyond the rank of the features are zero: their directions would be
    those of rounding errors, other ones on each machine.

    Raises:
        ConfigError: there are fewer dimensions or images than axes.
    """
    if count > min(centered.shape):
        raise ConfigError(
            f"{count} bits need as many images and dimensions, not {counted(centered.shape[0], 'image')} of "
            f"{centered.shape[1]:,}. Choose at most {min(centered.shape):,} bits, or --method random."
        )
    width = min(count + _OVERSAMPLED, *centered.shape)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(centered.shape[1], width, generator=generator))[0]
    for _ in range(_POWER_ITERATIONS):
        basis = torch.linalg.qr(centered.T @ (centered @ basis))[0]
    _, lengths, rotation = torch.linalg.svd(centered @ basis, full_matrices=False)
    axes, lengths = (basis @ rotation.T)[:, :count], lengths[:count]
    varies = lengths > lengths[0] * max(centered.shape) * torch.finfo(centered.dtype).eps
    return axes * varies, lengths * varies / max(1, len(centered) - 1) ** 0.5


def count_axes_operations(shape: tuple[int, int], count: int) -> float:
    """Return about how many floating-point operations `principal_axes` needs for rows of a shape (N, D)."""
    width = min(count + _OVERSAMPLED, *shape)
    products = (2 * _POWER_ITERATIONS + 1) * 2.0 * shape[0] * shape[1] * width
    return products + (_POWER_ITERATIONS + 1) * 4.0 * shape[1] * width**2 + 8.0 * shape[0] * width**2


def random_rotation(size: int, *, seed: int) -> Tensor:
    """Return an orthogonal matrix drawn uniformly."""
    normal = torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    rotation, triangle = torch.linalg.qr(normal)
    return torch.mul(rotation, torch.sign(torch.diagonal(triangle)))


BASELINES: dict[str, Callable[..., Encoder]] = {"random": fit_random, "pca": fit_pca, "itq": fit_itq}
"""Method -> fit(features (N, D) float32, bits, seed=…)."""
