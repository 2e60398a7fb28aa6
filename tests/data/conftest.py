"""Photographs that the tests of this stage draw for themselves."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def draw_picture(seed: int, width: int = 40, height: int = 30, mode: str = "RGB") -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encode_picture(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.fixture
def draw() -> Callable[..., Image.Image]:
    """draw(seed, width, height, mode): a smooth picture that differs for every seed."""
    return draw_picture


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """encode(image, format, **options): the bytes of a file with this picture."""
    return encode_picture


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """photos(paths): a folder of photographs; with a dict, path -> bytes or None for a drawn picture."""

    def make(paths: dict[str, bytes | None] | list[str], name: str = "PHOTOS") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        contents = paths if isinstance(paths, dict) else dict.fromkeys(paths)
        for number, (path, data) in enumerate(contents.items()):
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_picture(draw_picture(number)) if data is None else data)
        return root

    return make
