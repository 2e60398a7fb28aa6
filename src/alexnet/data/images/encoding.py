"""Pixels -> the bytes of an image file, by Pillow."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode_image(image: Image.Image | NDArray[np.uint8], form: str, **options: Any) -> bytes:
    """Return an image as a file.

    Args:
        form: "PNG", "JPEG", …; options are Pillow's for it.
    """
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, form, **options)
    return stream.getvalue()
