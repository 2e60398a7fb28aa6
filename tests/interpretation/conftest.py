"""A network, a history and a store small enough to draw and report within seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alexnet.batches.preprocessing import Preprocessing
from alexnet.evaluation.classifier import Classifier
from alexnet.network.alexnet import AlexNet
from alexnet.network.model_file import Model
from alexnet.network.rows import Convolution, Dense, Rectify, Spec

CLASSES = ("n0", "n1", "n2", "n3", "n4", "n5")
TITLES = ("cat", "<script>alert('x')</script>", "猫のような動物", "a_b$c$d", "very " * 20 + "long", 'quo"te & more')


@pytest.fixture(scope="session")
def make_network() -> Callable[..., AlexNet]:
    """A network of one small convolution in two towers and one dense layer."""

    def make(kernels: int = 40, towers: int = 2, window: int = 5, classes: int = len(CLASSES)) -> AlexNet:
        layers = (
            Convolution(name="conv1", kernels=kernels, window_px=window, then=(Rectify(),)),
            Dense(name="fc2", units=classes),
        )
        torch.manual_seed(3)
        return AlexNet(Spec(dialect="tiny", input_px=12, towers=towers, layers=layers)).eval()

    return make


@pytest.fixture
def history() -> list[dict[str, Any]]:
    """Six epochs of a run whose rate was divided by ten after the third."""
    return [
        {
            "epoch": epoch,
            "learning_rate": 0.01 if epoch <= 3 else 0.001,
            "train_loss": 1.8 / epoch,
            "train_top1_error": 0.8 / epoch,
            "val_loss": 1.9 / epoch,
            "val_top1_error": 0.84 / epoch,
            "val_top5_error": 0.3 / epoch,
            "images_per_second": 200.0 + epoch,
            "waiting_share": 0.01,
            "seconds": 30.0,
            "seconds_with_validation": 33.0,
            **({"schedule": "no improvement for 3 epochs: learning rate divided by 10"} if epoch == 3 else {}),
        }
        for epoch in range(1, 7)
    ]


@dataclass
class FakeSplit:
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    paths: list[str]
    has_sets: bool = False

    def __len__(self) -> int:
        return len(self.labels)


class FakeStore:
    """What a report needs of a store."""

    def __init__(self, folder: Path, per_class: int) -> None:
        random = np.random.default_rng(5)
        labels = np.repeat(np.arange(len(CLASSES)), per_class)
        images = random.integers(0, 256, (len(labels), 16, 16, 3), dtype=np.uint8)
        self.class_names, self.class_titles, self.size, self.path = CLASSES, TITLES, 16, folder / "store"
        self.fingerprint, self.has_sets = "0123", False
        self.splits = {
            "train": FakeSplit(images, labels, ["train"] * len(labels)),
            "val": FakeSplit(images, labels, [f"val/{label}/{i}<b>.png" for i, label in enumerate(labels)]),
        }

    @property
    def filled_splits(self) -> list[str]:
        return [name for name, split in self.splits.items() if len(split)]

    def __getitem__(self, split: str) -> FakeSplit:
        return self.splits[split]


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(tmp_path, per_class=4)


@pytest.fixture
def classifier(tmp_path: Path, make_network: Callable[..., AlexNet]) -> Classifier:
    environment = {"seed": 7, "precision": "float32", "threads": 2, "torch": "2.x", "store": str(tmp_path / "my store")}
    model = Model(
        make_network(),
        CLASSES,
        TITLES,
        Preprocessing(np.full((16, 16, 3), 128, np.float32), 60.0),
        {"recipe": {"name": "small-data"}, "environment": environment},
    )
    return Classifier(model, tmp_path / "run", device="cpu", precision="float32")
