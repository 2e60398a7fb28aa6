"""The lossless copy of CIFAR-10 in ../shared/data/cifar10: strips of WebP with many images one above the other."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def read_strips(root: Path) -> dict[str, np.ndarray]:
    """Arrays of an .npz that prepare reads: x_train, y_train, x_test, y_test and class_names."""
    arrays = {}
    for split in ("train", "test"):
        with zipfile.ZipFile(root / f"{split}-images.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".webp"))
            strips = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
            arrays[f"x_{split}"] = np.concatenate(strips).reshape(-1, 32, 32, 3)
            arrays[f"y_{split}"] = np.load(io.BytesIO(archive.read("labels.npy"))).astype(np.int64)
            arrays["class_names"] = np.array(archive.read("classes.txt").decode().split())
    return arrays
