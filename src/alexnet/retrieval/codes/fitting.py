"""How short binary codes are fitted: by an autoencoder on the features (paper, section 6.1, last sentence).

For comparison there are simpler ways: random hyperplanes, signs of principal components, and ITQ.

For the autoencoder, features are centred, projected on their principal axes and brought to one scale. One layer makes
the code, a decoder with one hidden layer restores the projections from it, and the mean squared error trains both.
Forward, code units are rounded to -1 or 1; backward, the gradient is that of their tanh. So did Krizhevsky and Hinton
(Using very deep autoencoders for content-based image retrieval, ESANN 2011). Their layers were pretrained as Boltzmann
machines; ours begin at a random rotation of the first principal axes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.errors import ConfigError
from alexnet.retrieval.codes.encoding import Encoder
from alexnet.text.wording import counted

ITQ_ITERATIONS = 50
"""As in Gong and Lazebnik (2011); afterwards the rotation hardly moves."""
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


EPOCHS = 10
BATCH = 256
RATE = 0.001
AXES = 512
"""Principal axes that are restored, at most."""
HIDDEN = 512
"""Units of the decoder's hidden layer."""
LEAST_STEPS = 400
"""Few images are seen more often, until there are so many steps."""
Report = Callable[[int, int, str], None]
"""Progress: called with (steps done, steps in all, words)."""


def fit_autoencoder(features: Tensor, bits: int, *, seed: int, report: Report | None = None) -> Encoder:
    """Return the encoder of a trained autoencoder; the same for the same features, seed and number of threads.

    Args:
        features: (N, D) float32.
        report: Told the share of the variance that is not restored.
    Raises:
        ConfigError: there are fewer dimensions or images than bits.
    """
    mean = features.mean(0)
    centered = features - mean
    axes, _ = principal_axes(centered, max(bits, min(AXES, *features.shape)), seed=seed)
    components = centered @ axes
    scale = components.square().mean().sqrt().clamp_min(1e-12)
    components = components / scale

    generator = torch.Generator().manual_seed(seed)
    width = components.shape[1]
    encoder = nn.Linear(width, bits)
    hidden, output = nn.Linear(bits, HIDDEN), nn.Linear(HIDDEN, width)
    with torch.no_grad():
        for layer in (hidden, output):
            layer.weight.normal_(0, (2 / layer.weight.shape[1]) ** 0.5, generator=generator)
            layer.bias.zero_()
        encoder.weight.zero_()
        encoder.weight[:, :bits] = random_rotation(bits, seed=seed)
        encoder.bias.zero_()
        encoder.weight /= encoder(components).std().clamp_min(1e-12)

    parameters = [*encoder.parameters(), *hidden.parameters(), *output.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    batch = min(BATCH, len(components))
    epochs = max(EPOCHS, -(-LEAST_STEPS // (len(components) // batch)))
    steps = epochs * (len(components) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    done, lost = 0, 0.0
    for _ in range(epochs):
        order = torch.randperm(len(components), generator=generator)
        for start in range(0, len(order) - batch + 1, batch):
            inputs = components[order[start : start + batch]]
            loss = F.mse_loss(output(hidden(_round(encoder(inputs))).relu()), inputs)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            done += 1
            lost = loss.item() if done == 1 else 0.95 * lost + 0.05 * loss.item()
            if report and done % 10 == 0:
                report(done, steps, f"{lost:.0%} of the variance is not restored")
    weight = (encoder.weight.detach() @ axes.T / scale).contiguous()
    return Encoder("autoencoder", mean, (weight,), (encoder.bias.detach().clone(),))


def fit_encoder(features: Tensor, bits: int, method: str, *, seed: int = 0, report: Report | None = None) -> Encoder:
    """Return an encoder by the name of its method, one of METHODS; as `fit_autoencoder` and the baselines."""
    if method == "autoencoder":
        return fit_autoencoder(features, bits, seed=seed, report=report)
    return BASELINES[method](features, bits, seed=seed)


METHODS = ("autoencoder", *BASELINES)


def count_fit_operations(shape: tuple[int, int], bits: int, method: str) -> float:
    """Return about how many floating-point operations `fit_encoder` needs for features of a shape (N, D)."""
    images, dimensions = shape
    if method == "random":
        return 2.0 * images * dimensions
    if method != "autoencoder":
        turns = ITQ_ITERATIONS * (4.0 * images + 20 * bits) * bits**2 if method == "itq" else 0.0
        return count_axes_operations(shape, bits) + turns
    width = max(bits, min(AXES, *shape))
    batch = min(BATCH, images)
    steps = max(EPOCHS, -(-LEAST_STEPS // (images // batch))) * (images // batch)
    return count_axes_operations(shape, width) + 6.0 * steps * batch * (width * bits + bits * HIDDEN + HIDDEN * width)


def _round(sums: Tensor) -> Tensor:
    soft = sums.tanh()
    return soft + (torch.where(sums > 0, 1.0, -1.0) - soft).detach()
