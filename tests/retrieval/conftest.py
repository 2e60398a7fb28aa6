"""Fixtures: the miniature network, pictures of three classes in two splits, and an index of them to copy and damage."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.evaluation.classifier import Classifier, load
from alexnet.network.model_file import save_model
from alexnet.retrieval.index.images import choose_images
from alexnet.retrieval.index.writer import make_index
from exchange.miniature import everything, make_model

LAYER = "fc6.relu"
"""16 features."""


def draw_picture(seed: int) -> Image.Image:
    """Return a picture of coarse noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.safetensors, another model, pictures/ (24 in train and val) and an index of them."""
    root = tmp_path_factory.mktemp("retrieval")
    save_model(root / "model.safetensors", make_model(everything()))
    save_model(root / "other.safetensors", make_model(everything(), divisor=50.0))
    for number in range(24):
        split, name = ("val", "train", "train")[number % 3], ("ant", "bee", "cat")[number % 4 % 3]
        folder = root / "pictures" / split / name
        folder.mkdir(parents=True, exist_ok=True)
        draw_picture(number).save(folder / f"{number:02d}.png")
    make_index(open_model(root), choose_images([root / "pictures"]), root / "index", layer=LAYER, batch_size=5)
    return root


@pytest.fixture(scope="session")
def classifier(scene: Path) -> Classifier:
    return open_model(scene)


@pytest.fixture
def index_path(scene: Path, tmp_path: Path) -> Path:
    """A copy of the index that a test may change."""
    shutil.copytree(scene / "index", tmp_path / "index")
    return tmp_path / "index"


def open_model(root: Path, name: str = "model.safetensors") -> Classifier:
    return load(root / name, device="cpu", precision="float32")


def pictures(root: Path) -> list[Path]:
    return sorted((root / "pictures").rglob("*.png"))
