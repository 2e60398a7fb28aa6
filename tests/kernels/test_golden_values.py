"""Numbers worked out by hand or from the 2012 source, for one pixel of seven channels and one map of nine pixels."""

from typing import Any

import pytest
import torch

from alexnet import kernels

VERSIONS = ("numba", "plain", "reference")
PIXEL = (10.0, -20, 30, -40, 50, -60, 70)
CHANNELS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "paper": (
        {},
        (5.651838, -10.708635, 14.866753, -17.999544, 20.192328, -24.730793, 29.962412),
    ),
    "2012 source": (
        {"alpha": 1e-4 / 5},
        (5.884357, -11.631335, 17.135998, -22.295521, 27.036509, -32.638107, 38.488706),
    ),
    "Caffe and PyTorch": (
        {"alpha": 1e-4 / 5, "k": 1.0},
        (9.795016, -19.14479, 27.741441, -35.330394, 41.794315, -50.693001, 60.301507),
    ),
    "rectifier before the 2012 normalisation": (
        {"alpha": 1e-4 / 5, "rectify": True},
        (5.901827, 0, 17.383751, 0, 28.004393, 0, 39.4523),
    ),
}


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("version", VERSIONS)
def test_normalization_gives_the_known_values(version: str, name: str) -> None:
    options, expected = CHANNELS[name]
    constants: dict[str, Any] = dict(options)
    rectify = constants.pop("rectify", False)
    x = torch.tensor(PIXEL).reshape(1, 7, 1, 1)
    with kernels.using(version):
        y = kernels.normalize_responses(x, kernels.Normalization(**constants), rectify=rectify)
    torch.testing.assert_close(y.flatten(), torch.tensor(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_rectifying_after_normalization_gives_the_known_values_of_the_2012_first_layer(version: str) -> None:
    x = torch.tensor(PIXEL).reshape(1, 7, 1, 1)
    with kernels.using(version):
        y = kernels.normalize_and_pool(x, kernels.Normalization(alpha=1e-4 / 5), rectify="after", window=1, stride=1)
    expected = torch.tensor((5.884357, 0, 17.135998, 0, 27.036509, 0, 38.488706))
    torch.testing.assert_close(y.flatten(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("version", VERSIONS)
def test_spatial_normalization_gives_the_known_values(version: str, dtype: torch.dtype) -> None:
    x = torch.arange(10.0, 91, 10).reshape(1, 1, 3, 3).to(dtype)
    tolerance = 1e-6 if dtype == torch.float32 else 2**-8
    with kernels.using(version):
        whole = kernels.spatially_normalize_responses(x, size=5, scale=0.001 / 25)
        small = kernels.spatially_normalize_responses(x, size=3, scale=5e-5 / 9)
    expected = (5.651838, 11.303675, 16.955513, 22.60735, 28.259188, 33.911025, 39.562863, 45.2147, 50.866538)
    torch.testing.assert_close(whole.flatten().float(), torch.tensor(expected), rtol=tolerance, atol=0)
    expected = (9.812521, 19.273728, 29.107067, 37.539505, 44.781108, 55.049501, 65.82017, 72.012733, 82.975273)
    torch.testing.assert_close(small.flatten().float(), torch.tensor(expected), rtol=tolerance, atol=0)


def test_an_even_window_reaches_further_to_lower_channels() -> None:
    x = torch.tensor([1.0, 2, 4, 8]).reshape(1, 4, 1, 1)
    sums = torch.tensor([1.0 + 0, 1 + 4, 4 + 16, 16 + 64])
    for version in VERSIONS:
        with kernels.using(version):
            y = kernels.normalize_responses(x, kernels.Normalization(size=2, k=1.0, alpha=1.0, beta=1.0))
        torch.testing.assert_close(y.flatten(), x.flatten() / (1 + sums), rtol=1e-6, atol=0)
