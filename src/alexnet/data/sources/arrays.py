"""Images that come as arrays: NumPy archives, and the distributed forms of CIFAR (data/sources/cifar.py).

An array is handed on as the bytes of an image file (PPM, which is a short header and the pixels; PNG with alpha), so
that it takes the one way in that every image takes.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.encoding import encode_image
from alexnet.data.sources.listing import collect
from alexnet.data.sources.source import Options, Record, Source
from alexnet.data.store.format import TEST, TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.text.names import escape_name
from alexnet.text.wording import counted

_IMAGE_KEYS = ("images", "x", "data", "image")
_LABEL_KEYS = ("labels", "y", "label", "targets")
_SPLIT_KEYS = {TRAIN: ("train",), VAL: ("val", "valid", "validation"), TEST: ("test",)}


class ArrayFiles:
    """Arrays of images, as if each image were a file. Paths are given with the arrays.

    Args:
        arrays: Name -> images (N, H, W) or (N, H, W, C) with C in 1, 3, 4; uint8, bool, uint16, or floats in [0, 1].
        paths: Name -> path of each image; NAME/00000 and so on where a name is missing.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], paths: Mapping[str, Sequence[str]] | None = None) -> None:
        self._arrays = arrays
        self.paths = {name: (paths or {}).get(name) or number_paths(name, len(a)) for name, a in arrays.items()}
        self._places = {path: (name, i) for name, listed in self.paths.items() for i, path in enumerate(listed)}

    def read(self, path: str) -> bytes:
        """The image as the bytes of a file."""
        name, index = self._places[path]
        return encode_pixels(self._arrays[name][index])

    def describe(self, path: str) -> tuple[int, int]:
        """Size of the pixels, and a sum of them that tells of a change."""
        name, index = self._places[path]
        pixels = self._arrays[name][index]
        return pixels.nbytes, int(np.nan_to_num(pixels.astype(np.float64)).sum() * 256) % 2**62


def number_paths(name: str, count: int) -> list[str]:
    """NAME/00000, NAME/00001 and so on."""
    return [f"{name}/{index:05d}" for index in range(count)]


def encode_pixels(pixels: NDArray[Any]) -> bytes:
    """One image (H, W) or (H, W, C) as the bytes of an image file, without loss for uint8."""
    if pixels.dtype.kind == "f":
        pixels = np.rint(pixels * 255).astype(np.uint8)
    elif pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return encode_image(np.ascontiguousarray(pixels), "PNG", compress_level=0)
    kind, most = ("P6" if pixels.ndim == 3 else "P5"), (65535 if pixels.dtype == np.uint16 else 255)
    body = pixels.astype(">u2") if most == 65535 else pixels
    return f"{kind} {pixels.shape[1]} {pixels.shape[0]} {most}\n".encode() + np.ascontiguousarray(body).tobytes()


def is_numpy(root: Path) -> bool:
    """Whether root is an .npz file."""
    if not root.is_file() or not zipfile.is_zipfile(root):
        return False
    try:
        with zipfile.ZipFile(root) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except Exception:  # a damaged directory makes zipfile fail in any of a dozen ways
        return root.suffix == ".npz"


def find_arrays(root: Path, options: Options) -> Source:
    """The images of an .npz file, which is read into memory whole.

    Arrays are named x_train, y_train, x_test, y_test (or x_val, ...); or train_images, train_labels and so on; or
    images and labels (x and y, data and targets) for one set. `class_names`, an array of strings, names the labels.
    """
    try:
        with root.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            values = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile and NumPy raise many types for a damaged file, MemoryError for a forged shape
        reason = escape_name(str(error))[:200]
        raise SourceError(f"{root} cannot be read as arrays of numbers ({reason}). Save it again.") from None
    pairs: dict[str | None, tuple[NDArray[Any], NDArray[Any]]] = {}
    for split, words in [*_SPLIT_KEYS.items(), (None, ("",))]:
        images, labels = (_find_key(values, keys, words) for keys in (_IMAGE_KEYS, _LABEL_KEYS))
        if images is not None and labels is not None:
            pairs[split] = (_check_images(root, images, values[images]), _check_labels(root, labels, values[labels]))
    if not pairs:
        raise SourceError(
            f"{root} holds the arrays {', '.join(values)}. Name them images and labels, or x_train, y_train, x_test "
            "and y_test."
        )
    for pixels, classes in pairs.values():
        if len(pixels) != len(classes):
            raise SourceError(
                f"{root} has {counted(len(pixels), 'image')} and {counted(len(classes), 'label')}. Give one label for "
                "each image."
            )
    files = ArrayFiles({split or "images": pixels for split, (pixels, _) in pairs.items()})
    names = [_to_text(name) for name in values["class_names"].ravel()] if "class_names" in values else None
    if names:
        largest = max((int(c.max()) for _, c in pairs.values() if c.dtype.kind in "iu" and len(c)), default=0)
        if largest >= len(names):
            raise SourceError(
                f"{root} has labels up to {largest} and {counted(len(names), 'name')} in class_names. Give a name for "
                "each label."
            )
    records = [
        Record(path, names[int(label)] if names and label.dtype.kind in "iu" else str(label), split)
        for split, (_, classes) in pairs.items()
        for path, label in zip(files.paths[split or "images"], classes, strict=True)
    ]
    return collect(root, "numpy", files, records, options, class_names=names)


def _to_text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _find_key(values: Mapping[str, Any], keys: Sequence[str], words: Sequence[str]) -> str | None:
    forms = (f"{key}_{word}" if word else key for key in keys for word in words)
    swapped = (f"{word}_{key}" for key in keys for word in words if word)
    return next((name for name in (*forms, *swapped) if name in values), None)


def _check_images(root: Path, name: str, images: NDArray[Any]) -> NDArray[Any]:
    if images.ndim == 4 and images.shape[1] in (1, 3, 4) and images.shape[3] not in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)
    wrong_range = images.dtype.kind == "f" and images.size and not 0 <= images.min() <= images.max() <= 1
    shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3, 4))
    if not shaped or images.dtype not in (np.uint8, np.uint16, bool, np.float16, np.float32, np.float64) or wrong_range:
        raise SourceError(
            f"{root}: {name} is {images.dtype} of shape {images.shape}. Accepted are (N, H, W), (N, H, W, C) and "
            "(N, C, H, W) with C of 1, 3 or 4, of uint8, uint16, bool, or floats from 0 to 1."
        )
    return images


def _check_labels(root: Path, name: str, labels: NDArray[Any]) -> NDArray[Any]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuU" or (labels.dtype.kind == "i" and (labels < 0).any()):
        raise SourceError(
            f"{root}: {name} is {labels.dtype} of shape {labels.shape}. Give one whole number from 0 on, or one name, "
            "for each image."
        )
    return labels
