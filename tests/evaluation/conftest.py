from pathlib import Path

import pytest

from .test_ensemble import CLASSES, write_model


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Three models; the second has its classes in another order."""
    orders = (CLASSES, ("cat", "ant", "bee"), CLASSES)
    return [
        write_model(tmp_path / f"{number}.safetensors", seed=number, classes=order)
        for number, order in enumerate(orders)
    ]
