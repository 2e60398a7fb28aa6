"""Features for TensorFlow's Embedding Projector: tables, a sprite of the pictures, and the two forms of its config."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.errors import ConfigError, ImageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.given import read_given
from alexnet.exchange.features import BATCH_IMAGES, FeatureReport, check_layers, describe_features
from alexnet.files.writing import clear_away, name_in_errors, put_in_place, stand_in
from alexnet.text.names import escape_name
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

SPRITE_PX = 8192
"""Longest side of a sprite that the projector shows."""
LARGEST_THUMBNAIL_PX, SMALLEST_THUMBNAIL_PX = 64, 16
METADATA, SPRITE = "metadata.tsv", "sprite.png"
CONFIG, BOARD_CONFIG, PROVENANCE = "config.json", "projector_config.pbtxt", "provenance.json"
"""What the projector's own page reads, what TensorBoard reads, and where the features come from."""


def write_projection(
    classifier: Classifier,
    images: Sequence[Path],
    layers: Sequence[str],
    out: Path,
    *,
    batch_size: int = BATCH_IMAGES,
    tick: Tick = untold,
) -> FeatureReport:
    """Write a folder for the projector; images that cannot be read have no row. Arguments as of `write_features`.

    It holds a table LAYER.tsv for each layer, one row an image; metadata.tsv with the name, the folder and the
    predicted class of each; sprite.png with the pictures row by row; and the configs that name these.

    Raises:
        ConfigError: a layer is unknown or named twice, `out` exists, or there are more images than a sprite holds.
        OSError: the disk is full; it names `out`, and nothing is left behind.
    """
    shapes = check_layers(classifier, layers)
    side = choose_thumbnail(len(images))
    if out.exists():
        raise ConfigError(f"--out {out}: exists. Choose another, or delete it.")
    writing = stand_in(out)
    clear_away(writing)
    rows: list[tuple[str, str, str]] = []
    thumbnails: list[NDArray[np.uint8]] = []
    left_out: list[str] = []
    last = classifier.network.spec.layers[-1].name
    try:
        with name_in_errors(out):
            writing.mkdir()
        for start in range(0, len(images), batch_size):
            files, pixels = [], []
            for position, file in enumerate(images[start : start + batch_size], start=start):
                try:
                    pixels.append(read_given(file, position, classifier.image_px, classifier.framing))
                    files.append(file)
                except ImageError as problem:
                    left_out.append(str(problem))
            arrays = classifier.activations(pixels, list(dict.fromkeys([*layers, last])), batch_size=batch_size)
            found = [classifier.class_names[kind] for kind in arrays[last].reshape(len(files), -1).argmax(1)]
            for file, kind in zip(files, found, strict=True):
                rows.append((escape_name(file.name), escape_name(file.parent.name), escape_name(kind)))
            thumbnails += [_shrink(each, side) for each in pixels]
            with name_in_errors(out):
                for name in layers:
                    with (writing / f"{name}.tsv").open("a", encoding="ascii") as table:
                        np.savetxt(table, arrays[name].reshape(len(files), -1), fmt="%.6g", delimiter="\t")
            tick(min(start + batch_size, len(images)), len(images))
        with name_in_errors(out):
            head = ("name", "folder", "predicted")
            text = "".join("\t".join(row) + "\n" for row in (head, *rows))
            (writing / METADATA).write_text(text, encoding="utf-8")
            if rows:
                Image.fromarray(arrange(thumbnails)).save(writing / SPRITE)
            widths = {name: math.prod(shape) for name, shape in shapes.items()}
            _write_configs(writing, widths, len(rows), side)
            (writing / PROVENANCE).write_text(json.dumps(describe_features(classifier, shapes), indent=2) + "\n")
            put_in_place(writing, out)
    except BaseException:
        clear_away(writing)
        raise
    return FeatureReport(out, len(rows), shapes, tuple(left_out))


def choose_thumbnail(num_images: int) -> int:
    """Return the side of the pictures in a sprite of so many: as large as fits, at most LARGEST_THUMBNAIL_PX.

    Raises:
        ConfigError: they would be smaller than SMALLEST_THUMBNAIL_PX.
    """
    side = min(LARGEST_THUMBNAIL_PX, SPRITE_PX // max(1, math.isqrt(max(0, num_images - 1)) + 1))
    if side < SMALLEST_THUMBNAIL_PX:
        most = (SPRITE_PX // SMALLEST_THUMBNAIL_PX) ** 2
        raise ConfigError(
            f"--to projector: {counted(num_images, 'image')} are given, and its picture of all of them holds at most "
            f"{most:,}. Give fewer, or write the features into a file: leave --to out."
        )
    return side


def arrange(thumbnails: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return a square grid of equal pictures (S, S, 3), row by row, as the projector reads it; black where none is."""
    across = math.isqrt(max(0, len(thumbnails) - 1)) + 1
    side = len(thumbnails[0])
    sprite = np.zeros((across, side, across, side, 3), np.uint8)
    for number, pixels in enumerate(thumbnails):
        sprite[number // across, :, number % across] = pixels
    return sprite.reshape(across * side, across * side, 3)


def _shrink(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def _write_configs(folder: Path, widths: dict[str, int], num_rows: int, side: int) -> None:
    own, board = [], []
    for name, width in widths.items():
        own.append(
            {
                "tensorName": name,
                "tensorShape": [num_rows, width],
                "tensorPath": f"{name}.tsv",
                "metadataPath": METADATA,
                "sprite": {"imagePath": SPRITE, "singleImageDim": [side, side]},
            }
        )
        board.append(
            f'embeddings {{\n  tensor_name: "{name}"\n  tensor_path: "{name}.tsv"\n  metadata_path: "{METADATA}"\n'
            f'  sprite {{\n    image_path: "{SPRITE}"\n    single_image_dim: {side}\n    single_image_dim: {side}\n'
            "  }\n}\n"
        )
    (folder / CONFIG).write_text(json.dumps({"embeddings": own}, indent=2) + "\n", encoding="utf-8")
    (folder / BOARD_CONFIG).write_text("".join(board), encoding="utf-8")
