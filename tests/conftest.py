"""Fixtures that several stages share: a small store, and a display that remembers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[2] / "shared"
"""Real data for development; tests that need it skip where it is absent."""


@pytest.fixture
def shared_data() -> Path:
    if not (SHARED / "data").is_dir():
        pytest.skip("needs ../shared/data, which is not here")
    return SHARED / "data"


def write_pictures(folder: Path, *, per_class: int, classes: tuple[str, ...], size: int = 40, seed: int = 0) -> None:
    """Write per_class noisy pictures for each class, whose brightness depends on the class."""
    generator = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            level = 60 + 120 * label // max(1, len(classes) - 1)
            pixels = np.clip(generator.normal(level, 30, (size, size + 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}-{number}.png")


@pytest.fixture(scope="session")
def small_store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 24 + 9 images of three classes, 256 px."""
    from alexnet.data.prepare.prepare import prepare

    root = tmp_path_factory.mktemp("small")
    classes = ("ant", "bee", "cat")
    write_pictures(root / "pictures" / "train", per_class=8, classes=classes, seed=1)
    write_pictures(root / "pictures" / "val", per_class=3, classes=classes, seed=2)
    prepare(root / "pictures", root / "store")
    return root / "store"


class Listener:
    """Remembers what training told it, and can stop a run at a batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rows: list[dict[str, Any]] = []
        self.notices: list[str] = []
        self.on_batch: Any = None

    def batch_done(self, progress: Any, num_batches: int, loss: float) -> None:
        self.losses.append(loss)
        if self.on_batch:
            self.on_batch(progress)

    def epoch_done(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)


@pytest.fixture
def listener() -> Listener:
    return Listener()
