"""Dropout masks: a hash of (key, layer, feature) that behaves like independent coin flips."""

import pytest
import torch
from torch import Tensor

from alexnet import kernels
from alexnet.errors import ConfigError
from alexnet.kernels import plain

KEYS = torch.tensor([0, 1, 2, 7919, -1, 2**40, 2**63 - 1])


def mask(keys: Tensor, features: int, p: float = 0.5, layer: int = 0) -> Tensor:
    return plain.dropout_mask(keys, features, p=p, layer=layer)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_versions_drop_the_same_features(dtype: torch.dtype, p: float) -> None:
    x = torch.randn(len(KEYS), 301).to(dtype)
    for layer in (0, 1, 12):
        results = []
        for version in ("numba", "plain", "reference"):
            with kernels.using(version):
                results.append(kernels.dropout(x, KEYS, p=p, layer=layer))
        assert torch.equal(results[0], results[1])
        assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("version", ["numba", "plain", "reference"])
def test_kept_features_are_unscaled_and_gradients_pass_where_features_did(version: str) -> None:
    x = torch.randn(len(KEYS), 100, requires_grad=True)
    with kernels.using(version):
        y = kernels.dropout(x, KEYS, p=0.5, layer=3)
        dy = torch.randn(y.shape)
        (dx,) = torch.autograd.grad(y, x, dy)
    kept = mask(KEYS, 100, layer=3)
    assert torch.equal(y, x * kept)
    assert torch.equal(dx, dy * kept)


@pytest.mark.parametrize("version", ["numba", "plain"])
def test_the_mask_depends_neither_on_the_batch_nor_on_axes(version: str) -> None:
    x = torch.randn(len(KEYS), 3, 4, 5)
    with kernels.using(version):
        y = kernels.dropout(x, KEYS, p=0.5, layer=1)
        assert torch.equal(kernels.dropout(x[2:4], KEYS[2:4], p=0.5, layer=1), y[2:4])
        assert torch.equal(kernels.dropout(x.flatten(1), KEYS, p=0.5, layer=1), y.flatten(1))
        channels_last = x.contiguous(memory_format=torch.channels_last)
        assert torch.equal(kernels.dropout(channels_last, KEYS, p=0.5, layer=1), y)
        assert kernels.dropout(x[:0], KEYS[:0], p=0.5, layer=1).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("version", ["numba", "plain"])
def test_dropping_hides_no_nan(version: str) -> None:
    x = torch.full((1, 64), torch.nan, dtype=torch.bfloat16)
    with kernels.using(version):
        assert kernels.dropout(x, KEYS[:1], p=0.5, layer=0).isnan().all()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_fraction_kept_is_one_minus_p(p: float) -> None:
    kept = mask(torch.arange(256), 4096, p=p).double()
    deviation = (p * (1 - p)) ** 0.5
    assert abs(kept.mean().item() - (1 - p)) < 4 * deviation / kept.numel() ** 0.5
    # each feature over samples, and each sample over features: extremes of thousands of binomials
    assert (kept.mean(0) - (1 - p)).abs().max() < 5 * deviation / 256**0.5
    assert (kept.mean(1) - (1 - p)).abs().max() < 5 * deviation / 4096**0.5


def correlations(signs: Tensor) -> Tensor:
    """Return the correlations of all pairs of rows, in units of what chance gives."""
    n = signs.shape[1]
    products = signs @ signs.T / n**0.5
    return products[~torch.eye(len(signs), dtype=torch.bool)].abs()


def test_masks_of_similar_keys_are_unrelated() -> None:
    keys = torch.cat([torch.arange(64), 1 << torch.arange(6, 63), -torch.arange(1, 8)])
    assert correlations(mask(keys, 16384) * 2.0 - 1).max() < 5.5


def test_masks_of_different_layers_are_unrelated() -> None:
    signs = torch.cat([mask(torch.arange(8), 16384, layer=layer) for layer in range(10)]) * 2.0 - 1
    assert correlations(signs).max() < 5.5


def test_neighbouring_features_are_unrelated() -> None:
    signs = mask(torch.arange(64), 4096) * 2.0 - 1
    for lag in (*range(1, 34), 48, 64, 128, 256, 512, 1024):
        product = (signs[:, lag:] * signs[:, :-lag]).sum() / (64 * (4096 - lag)) ** 0.5
        assert product.abs() < 4.5


def test_a_changed_bit_of_the_key_flips_half_of_the_mask() -> None:
    key = torch.tensor([123456789])
    for bit in range(63):
        changed = (mask(key, 4096) != mask(key ^ (1 << bit), 4096)).float().mean()
        assert abs(changed - 0.5) < 5 * 0.5 / 4096**0.5


def test_impossible_dropout_is_refused() -> None:
    x = torch.zeros(2, 3)
    keys = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ConfigError) as caught:
        kernels.dropout(x, keys, p=1.0, layer=0)
    assert str(caught.value) == "p is 1.0; the probability of dropping needs to be at least 0 and below 1."
    with pytest.raises(ConfigError) as caught:
        kernels.dropout(x, keys[:1], p=0.5, layer=0)
    assert str(caught.value) == (
        "keys have shape (1,) and dtype torch.int64 for an input of shape (2, 3); "
        "give one torch.int64 key for each sample."
    )


@pytest.mark.parametrize("version", ["numba", "plain", "reference"])
def test_a_part_of_the_features_is_dropped_as_within_the_whole(version: str) -> None:
    x = torch.randn(len(KEYS), 60)
    with kernels.using(version):
        whole = kernels.dropout(x, KEYS, p=0.5, layer=2)
        part = kernels.dropout(x[:, 25:].clone(), KEYS, p=0.5, layer=2, first=25)
    assert torch.equal(part, whole[:, 25:])
