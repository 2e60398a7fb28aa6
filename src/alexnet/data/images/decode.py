"""Bytes of an image file -> a square RGB array: the one way in, for preparing a store and for classifying a photograph.

Paper, section 2: the shorter side becomes 256 pixels and the central 256 x 256 square is kept. Here the central square
of the file is resampled straight to that size, which gives the same picture for less work. Reducing averages over the
area of a pixel (data/images/resample.py); enlarging is bicubic. Weights of other programs have ways of their own,
`Framing`.

data/images/loading.py reads the first frame of the file; data/images/color.py converts its colors to RGB. The picture
is turned upright here (EXIF). Everything may be called from several threads; Pillow's settings are never changed.
"""

import errno
import os
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images.color import convert_to_rgb, keeps_rgb
from alexnet.data.images.loading import Notice, load_picture
from alexnet.data.images.resample import resample_box
from alexnet.data.images.unusable import MAX_PIXELS, UnusableError, explain
from alexnet.errors import ConfigError, ImageError
from alexnet.files.writing import read_bytes
from alexnet.text.names import escape_name

Framing = Literal["square", "torchvision", "caffe"]
"""How a picture of any size becomes a square one.

- square: the central square, as the top of this module says.
- torchvision: Resize, then CenterCrop. The whole picture is reduced, or enlarged, by an antialiased triangle until its
  shorter side fits, the longer one rounded down; the square then starts at half of what is left over, rounded to even.
- caffe: the whole picture is squeezed into the square, each pixel from the four nearest, without antialiasing, as
  OpenCV's default in Caffe's convert_imageset.
"""

MAX_FILE_BYTES = 2**30
"""Largest file that is read."""

DRAFT_FACTOR = 2
"""JPEG is decoded at 1/2, 1/4 or 1/8 scale if its shorter side stays at least this many times the size asked for.

The result then differs from full decoding by less than 0.6 grey levels on average over photographs, and 3 in the worst.
"""

_ORIENTATION_TAG = 0x0112
# EXIF orientation -> (transposition that turns the picture upright, stored columns mirrored, stored rows mirrored)
_ORIENTATIONS = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, True, False),
    3: (Image.Transpose.ROTATE_180, True, True),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False, True),
    5: (Image.Transpose.TRANSPOSE, False, False),
    6: (Image.Transpose.ROTATE_270, False, True),
    7: (Image.Transpose.TRANSVERSE, True, True),
    8: (Image.Transpose.ROTATE_90, True, False),
}


def open_image(path: str | os.PathLike[str], size: int = 256, *, framing: Framing = "square") -> NDArray[np.uint8]:
    """The picture in a file as `decode_image` gives it.

    Raises:
        ImageError: the file is missing, cannot be read, or is no usable picture; the message starts with path.
    """
    try:
        data = read_file(os.fspath(path))
    except OSError as error:
        raise ImageError(explain_unreadable(str(path), error)) from None
    return decode_image(data, size=size, name=str(path), framing=framing)


def read_file(path: str) -> bytes:
    """All bytes of a file that may be a photograph.

    Raises:
        OSError: it cannot be read, is a pipe or device, or has more than MAX_FILE_BYTES.
    """
    return read_bytes(path, MAX_FILE_BYTES)


def decode_image(
    data: bytes,
    *,
    size: int = 256,
    name: str = "image",
    out: NDArray[np.uint8] | None = None,
    framing: Framing = "square",
    notice: Notice | None = None,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """The central square of a picture, upright, (size, size, 3) uint8 RGB in sRGB, C-contiguous and writable.

    With `short` the shorter side of the upright picture, the square starts floor((long - short) / 2) pixels from the
    left (or top) and is resampled to size x size; where short == size the pixels are taken as they are. Resizing the
    whole picture first and cutting then, with an offset rounded to a pixel of the result, gives the same picture moved
    by less than one pixel.

    Args:
        data: The whole file.
        size: Height and width of the result in pixels, at least 1.
        name: What messages call the picture, usually its path.
        out: Filled and returned when given; (size, size, 3) uint8, C-contiguous. Its content after an error is open.
        framing: How the picture becomes a square; the rule above is that of "square".
        notice: Called where the file is odd and its picture whole.
        max_pixels: Largest width x height that is decoded, at most MAX_PIXELS.
    Raises:
        ImageError: "NAME: reason (N bytes). Next step.", for data that is empty, cut off, damaged or no picture, and
            for pictures of more than max_pixels or beyond MAX_ASPECT_RATIO. Never another exception for any bytes.
        ConfigError: size is below 1.
    """
    if size < 1:
        raise ConfigError(f"size is {size}; it is a number of pixels, at least 1.")
    try:
        target = np.empty((size, size, 3), np.uint8) if out is None else out
        return _decode(data, size, target, framing, notice or (lambda oddity: None), max_pixels)
    except UnusableError as problem:
        text = f"{escape_name(name)}: {problem.reason} ({len(data):,} bytes). {problem.next_step}"
        raise ImageError(text) from None


def square_pixels(pixels: NDArray[np.uint8], size: int = 256, *, framing: Framing = "square") -> NDArray[np.uint8]:
    """The square of an upright picture as `decode_image` makes it of a file with these pixels, (size, size, 3).

    Args:
        pixels: (H, W, 3) uint8 sRGB, C-contiguous. Read only.
    """
    if framing != "square":
        return np.array(_frame(Image.fromarray(pixels), size, framing))
    square = np.empty((size, size, 3), np.uint8)
    _resample_array(pixels, _central_box(pixels.shape[1], pixels.shape[0], False, False), 1, square)
    return square


def explain_unreadable(name: str, error: OSError) -> str:
    """The message of the ImageError for an image file that the system cannot read."""
    advice = "Give a file." if error.errno == errno.EINVAL else "Check that it exists and its permissions."
    return f"{escape_name(name)}: cannot be read ({error.strerror}). {advice}"


def _decode(
    data: bytes, size: int, out: NDArray[np.uint8], framing: Framing, notice: Notice, max_pixels: int
) -> NDArray[np.uint8]:
    try:
        loaded = load_picture(data, DRAFT_FACTOR * size if framing == "square" else None, notice, max_pixels)
        transposition, mirrored_columns, mirrored_rows = _orientation(loaded.exif)
        if framing != "square":
            picture = loaded.picture
            image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
            image = convert_to_rgb(image, loaded.icc_profile)
            image = image if transposition is None else image.transpose(transposition)
            out[...] = np.asarray(_frame(image, size, framing))
            return out
        box = _central_box(loaded.width, loaded.height, mirrored_columns, mirrored_rows)
        if isinstance(loaded.picture, np.ndarray):
            _resample_array(loaded.picture, box, loaded.scale, out)
            if transposition is None and keeps_rgb(loaded.icc_profile):
                return out
            image = Image.fromarray(out)
        else:
            image = _resample_image(loaded.picture, box, size, loaded.scale)
        image = convert_to_rgb(image, loaded.icc_profile)
        out[...] = np.asarray(image if transposition is None else image.transpose(transposition))
        return out
    except UnusableError:
        raise
    # Decoders answer damaged bytes with nearly every type of exception, struct.error and MemoryError among them;
    # whichever it is, this picture cannot be used and the next one can.
    except Exception as error:
        raise explain(error) from None


def _frame(image: Image.Image, size: int, framing: Framing) -> Image.Image:
    """An upright picture, RGB, as another program would give it to its network."""
    width, height = image.size
    if framing == "caffe":
        return image.transform(
            (size, size), Image.Transform.EXTENT, (0, 0, width, height), resample=Image.Resampling.BILINEAR
        )
    long = int(size * max(width, height) / min(width, height))
    width, height = (size, long) if width <= height else (long, size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))


def _orientation(exif: Image.Exif) -> tuple[Image.Transpose | None, bool, bool]:
    try:
        value = exif.get(_ORIENTATION_TAG)
    except Exception:  # damaged entries raise anything, and are read only when they are asked for
        value = None
    return _ORIENTATIONS.get(value, (None, False, False)) if isinstance(value, int) else (None, False, False)


def _central_box(width: int, height: int, mirrored_columns: bool, mirrored_rows: bool) -> tuple[int, int, int]:
    """Left, top and side of the central square of a picture as it is stored."""
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    # The offset is rounded down in the upright picture, so where the stored one is mirrored it is rounded up.
    return (
        width - short - left if mirrored_columns else left,
        height - short - top if mirrored_rows else top,
        short,
    )


def _resample_array(pixels: NDArray[np.uint8], box: tuple[int, int, int], scale: int, out: NDArray[np.uint8]) -> None:
    """The box of a picture that was decoded at 1/scale, into out."""
    left, top, short = box
    size = len(out)
    if short == size:
        out[...] = pixels[top : top + size, left : left + size]
    else:
        resample_box(pixels, left / scale, top / scale, short / scale, short / scale, out)


def _resample_image(picture: Image.Image, box: tuple[int, int, int], size: int, scale: int) -> Image.Image:
    """The same for modes other than RGB."""
    left, top, short = box
    if short == size:
        return picture.crop((left, top, left + size, top + size))
    filter_ = Image.Resampling.BICUBIC if short < size else Image.Resampling.BILINEAR
    edges = (left / scale, top / scale, (left + short) / scale, (top + short) / scale)
    return picture.resize((size, size), filter_, box=edges)
