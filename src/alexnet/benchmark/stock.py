"""Networks as people write them with PyTorch's own modules: the other side of every comparison."""

import torch
from torch import nn

NUM_CLASSES = 1000
"""Classes of every network that is measured."""


def build_stock_paper(num_classes: int = NUM_CLASSES) -> nn.Sequential:
    """Return the paper's network from stock modules: nn.LocalResponseNorm, nn.MaxPool2d, nn.Dropout."""

    def normalize() -> nn.Module:  # PyTorch divides alpha by the window
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    return nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)),
        *_rectified(nn.Conv2d(3, 96, 11, stride=4)),
        normalize(),
        nn.MaxPool2d(3, 2),
        *_rectified(nn.Conv2d(96, 256, 5, padding=2, groups=2)),
        normalize(),
        nn.MaxPool2d(3, 2),
        *_rectified(nn.Conv2d(256, 384, 3, padding=1)),
        *_rectified(nn.Conv2d(384, 384, 3, padding=1, groups=2)),
        *_rectified(nn.Conv2d(384, 256, 3, padding=1, groups=2)),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        *_rectified(nn.Linear(9216, 4096)),
        nn.Dropout(),
        *_rectified(nn.Linear(4096, 4096)),
        nn.Dropout(),
        nn.Linear(4096, num_classes),
    )


def build_stock_2014(num_classes: int = NUM_CLASSES) -> nn.Sequential:
    """Return torchvision's AlexNet: one tower of 64-192-384-256-256 and no response normalisation."""
    return nn.Sequential(
        *_rectified(nn.Conv2d(3, 64, 11, stride=4, padding=2)),
        nn.MaxPool2d(3, 2),
        *_rectified(nn.Conv2d(64, 192, 5, padding=2)),
        nn.MaxPool2d(3, 2),
        *_rectified(nn.Conv2d(192, 384, 3, padding=1)),
        *_rectified(nn.Conv2d(384, 256, 3, padding=1)),
        *_rectified(nn.Conv2d(256, 256, 3, padding=1)),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Dropout(),
        *_rectified(nn.Linear(9216, 4096)),
        nn.Dropout(),
        *_rectified(nn.Linear(4096, 4096)),
        nn.Linear(4096, num_classes),
    )


def _rectified(layer: nn.Module) -> tuple[nn.Module, nn.Module]:
    return layer, nn.ReLU(inplace=True)


def make_inputs(
    batch: int,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    *,
    channels_last: bool,
    side_px: int = 224,
) -> torch.Tensor:
    """Return (batch, 3, side, side) noise on the 0-255 scale, the same for every contender and device."""
    generator = torch.Generator().manual_seed(0)
    inputs = (torch.randn(batch, 3, side_px, side_px, generator=generator) * 60).to(dtype)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return inputs.contiguous(memory_format=layout).to(device)
