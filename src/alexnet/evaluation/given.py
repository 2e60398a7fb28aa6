"""Images as programs hand them over: files, their bytes, open files, PIL images, decoded pixels; one or many."""

import os
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.batches.assemble import check_image
from alexnet.data.images.decode import Framing, decode_image, open_image
from alexnet.data.images.encoding import encode_image
from alexnet.errors import ConfigError, ImageError


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self) -> bytes: ...  # noqa: D102 - as of any file


class Picture(NamedTuple):
    """An image that was decoded already, or why it was not."""

    name: str
    pixels: NDArray[np.uint8] | ImageError
    """(S, S, 3) uint8 RGB, of the stored size."""


Given = str | os.PathLike[str] | bytes | bytearray | Readable | Image.Image | NDArray[np.uint8] | Picture
"""An image: a file's path, its bytes, or the file itself, open; a PIL image; pixels as they are stored, which may have
a name."""

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def list_given(images: Given | Iterable[Given]) -> Iterable[Given]:
    """Return the images that were given, also where it is a single one."""
    is_one = isinstance(images, str | os.PathLike | bytes | bytearray | Image.Image | Picture) or hasattr(
        images, "read"
    )
    if is_one or (isinstance(images, np.ndarray) and images.ndim == 3):
        return [images]  # type: ignore[list-item]
    return images  # type: ignore[return-value]


def name_given(image: Given, position: int) -> str:
    """Return what an image is called: its path, or "image N" where it has none."""
    name = image if isinstance(image, str | os.PathLike) else getattr(image, "name", None)
    return os.fspath(name) if isinstance(name, str | os.PathLike) else f"image {position}"


def read_given(image: Given, position: int, size: int, framing: Framing = "square") -> NDArray[np.uint8]:
    """Return the pixels of an image, (size, size, 3) uint8 RGB, by the one decode path (`data.images.decode`).

    Args:
        position: Place among the images given, for messages.
        framing: How a picture of another shape becomes square, see `data.images.decode.Framing`.
    Raises:
        ImageError: it cannot be decoded.
        ConfigError: it is not one of `Given`, or an array of another shape or type.
    """
    if isinstance(image, str | os.PathLike):
        return open_image(image, size=size, framing=framing)
    name = name_given(image, position)
    if isinstance(image, Picture):
        if isinstance(image.pixels, ImageError):
            raise image.pixels
        return check_image(image.pixels, size, name)
    if isinstance(image, Image.Image):
        return decode_image(_encode(image), size=size, framing=framing, name=name)
    if isinstance(image, np.ndarray):
        return check_image(image, size, name)
    data = image.read() if hasattr(image, "read") else image
    if isinstance(data, bytes | bytearray | memoryview):
        return decode_image(bytes(data), size=size, framing=framing, name=name)
    what = "a file that is open for text" if hasattr(image, "read") else f"of type {type(image).__name__}"
    raise ConfigError(
        f"{name} is {what}; accepted are the path of an image file, its bytes, a file open for reading bytes, a PIL "
        f"image, or an array ({size}, {size}, 3) uint8 RGB."
    )


def _encode(image: Image.Image) -> bytes:
    """Return a PIL image as a lossless file, with the orientation and color profile that decoding heeds."""
    if image.mode == "HSV":
        image = image.convert("RGB")
    options = {"exif": image.getexif(), "icc_profile": image.info.get("icc_profile")}
    if image.mode in _PNG_MODES:
        return encode_image(image, "PNG", compress_level=0, **options)
    return encode_image(image, "TIFF", **options)
