"""Writing a store: files that appear whole or not at all, and the header that makes them a store.

Files are written under a temporary name in a scratch folder, flushed to the disk and renamed into place. Nothing that
is written depends on the time, the machine or the number of threads: the same images and options give the same bytes.
"""

import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from alexnet.data.prepare.statistics import PixelStatistics
from alexnet.data.store.format import FORMAT, HEADER_NAME, SETS_VERSION, VERSION
from alexnet.data.store.label_sets import pack_sets
from alexnet.data.store.raw import checksum_of_image
from alexnet.files.record import FileRecord, header_checksum, new_checksum
from alexnet.files.writing import sync_folder
from alexnet.text.names import escape_name

SHARD_BYTES = 96 * 2**20  # 512 images of 256 px
BLOCK_BYTES = 3 * 2**19  # written, hashed and counted while in the processor's cache: 2 % of the time of preparing

T = TypeVar("T", bound=np.generic)


def split_rows(array: NDArray[T]) -> Iterator[NDArray[T]]:
    """Yield the rows of an array, few enough at a time that they stay in the cache for the next reader."""
    rows = max(1, BLOCK_BYTES * len(array) // max(1, array.nbytes))
    return (array[start : start + rows] for start in range(0, len(array), rows))


def rows_per_shard(size: int) -> int:
    """How many images of this size one shard holds by default: as many as fit SHARD_BYTES, at least one."""
    return max(1, SHARD_BYTES // (size * size * 3))


@dataclass(frozen=True, kw_only=True)
class SplitContent:
    """One split as it is written: shards that are already on the disk, and the labels and paths of their images."""

    shards: Sequence[FileRecord]
    """Records with one more key, "rows": the number of images in the shard."""
    labels: NDArray[np.int64] | NDArray[np.bool_]
    """(N,) the class of each image; or (N, K), whether it has each class."""
    paths: Sequence[str]
    groups: Sequence[str] | None = None
    """What each image belongs together with, where that is known."""

    @property
    def has_sets(self) -> bool:
        """Whether an image has any number of labels."""
        return self.labels.ndim == 2


class StoreFiles:
    """Writes files of a store that is not finished yet.

    Args:
        folder: The store to be.
        scratch: Where files are written before they are whole; on the same file system.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        self.scratch = scratch

    def make_folders(self) -> None:
        """Make both folders if they are missing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.scratch.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> FileRecord:
        """Write chunks to folder/name, flush them to the disk and give the file its name; returns its record."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return {"file": name, **write_whole_file(target, chunks, self.scratch)}

    def write_array(self, name: str, array: NDArray[Any], blocks: Iterable[NDArray[Any]] | None = None) -> FileRecord:
        """Write array as .npy version 1.0; returns its record.

        Args:
            blocks: Its rows in turn, if they must be waited for or are read by others too.
        """
        array = np.ascontiguousarray(array)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
        rows = (block.reshape(-1).view(np.uint8).data for block in blocks or split_rows(array))
        return self.write(name, chain([header.getvalue()], rows))

    def write_shard(
        self, split: str, number: int, images: NDArray[np.uint8], blocks: Iterable[NDArray[np.uint8]] | None = None
    ) -> FileRecord:
        """Write images, (rows, size, size, 3), as this shard of a split; returns its record, "rows" and "checksums".

        Args:
            blocks: As in `write_array`.
        """
        name = f"{split}/images-{number:05d}"
        checksums: list[int] = []

        def check() -> Iterator[NDArray[np.uint8]]:
            for block in blocks or split_rows(images):
                checksums.extend(checksum_of_image(image.data) for image in block.reshape(len(block), -1))
                yield block

        record = self.write_array(f"{name}.npy", images, check())
        listed = self.write_array(f"{name}.checksums.npy", np.array(checksums, np.uint64))
        return {**record, "rows": len(images), "checksums": listed}

    def write_jpegs(self, split: str, number: int, images: Sequence[bytes]) -> FileRecord:
        """Write JPEG files as this shard of a split; returns its record with "rows" and "index"."""
        name = f"{split}/images-{number:05d}"
        lengths = np.array([len(data) for data in images], np.uint64)
        sums = np.array([zlib.crc32(data) for data in images], np.uint64)
        index = np.stack([np.cumsum(lengths) - lengths, lengths, sums], axis=1)
        record = self.write(f"{name}.jpegs", images)
        return {**record, "rows": len(images), "index": self.write_array(f"{name}.index.npy", index)}

    def remove_shard(self, split: str, number: int) -> None:
        """Remove what an earlier run may have written as this shard."""
        for path in (self.folder / split).glob(f"images-{number:05d}.*"):
            path.unlink()

    def finish(
        self,
        *,
        size: int,
        class_names: Sequence[str],
        class_titles: Sequence[str],
        splits: Mapping[str, SplitContent],
        statistics: PixelStatistics,
        provenance: Mapping[str, Any],
        report: Mapping[str, Any],
        page: bytes | None = None,
        codec: str = "raw",
    ) -> dict[str, Any]:
        """Write all files but the shards and, last of all, the header; returns the header.

        Args:
            statistics: Statistics of the training images.
            provenance: Plain values for `Store.provenance`; nothing that changes from run to run.
            report: Plain values for report.json; the same holds.
            page: The report as HTML; none is written when None.
            codec: What the shards hold: "raw" or "jpeg".
        """
        colors = statistics.summarize_colors()
        has_sets = any(content.has_sets for content in splits.values())
        header: dict[str, Any] = {
            "format": FORMAT,
            "version": SETS_VERSION if has_sets else VERSION,
            **({"labels": "sets"} if has_sets else {}),
            "size": size,
            "codec": codec,
            "class_names": list(class_names),
            "class_titles": list(class_titles),
            "splits": {name: self._write_split(name, content, len(class_names)) for name, content in splits.items()},
            "statistics": {
                "num_images": statistics.num_images,
                "num_pixels": colors.num_pixels,
                "color_sums": colors.sums,
                "color_products": colors.products,
                "color_mean": colors.mean.tolist(),
                "color_covariance": colors.covariance.tolist(),
                "color_eigenvalues": colors.eigenvalues.tolist(),
                "color_eigenvectors": colors.eigenvectors.tolist(),
                "mean_image": self.write_array("mean_image.npy", statistics.mean_image()),
            },
            "report": self.write("report.json", [encode_json(report)]),
            **({"page": self.write("report.html", [page])} if page is not None else {}),
            "provenance": dict(provenance),
        }
        header["checksum"] = header_checksum(header)
        self.write(HEADER_NAME, [encode_json(header)])
        return header

    def _write_split(self, name: str, content: SplitContent, num_classes: int) -> dict[str, Any]:
        if content.has_sets:
            per_class = content.labels.sum(0)
            labels = {"label_sets": self.write_array(f"{name}/label-sets.npy", pack_sets(content.labels))}
        else:
            per_class = np.bincount(content.labels, minlength=num_classes)
            labels = {"labels": self.write_array(f"{name}/labels.npy", content.labels.astype(np.int64))}
        return {
            "count": len(content.labels),
            "per_class": per_class.tolist(),
            **labels,
            "paths": self._write_names(f"{name}/paths.jsonl", content.paths),
            **({} if content.groups is None else {"groups": self._write_names(f"{name}/groups.jsonl", content.groups)}),
            "shards": list(content.shards),
        }

    def _write_names(self, file: str, names: Sequence[str]) -> FileRecord:
        return self.write(file, ["".join(json.dumps(escape_name(name)) + "\n" for name in names).encode()])


def write_whole_file(target: Path, chunks: Iterable[bytes | memoryview], scratch: Path) -> dict[str, Any]:
    """Write target so that it is whole or absent, whatever happens; returns its "bytes" and "xxh3".

    An existing target is replaced. The bytes are on the disk before the name is.
    """
    temporary = scratch / f"{target.name}.{os.getpid()}"
    checksum = new_checksum()
    num_bytes = 0
    with temporary.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            checksum.update(chunk)
            num_bytes += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    sync_folder(target.parent)
    return {"bytes": num_bytes, "xxh3": checksum.hexdigest()}


def publish(folder: Path, target: Path) -> None:
    """Give a finished store its final name in one step; target is absent or an empty folder."""
    if target.is_dir():
        target.rmdir()
    folder.rename(target)
    sync_folder(target.parent)


def encode_json(value: Any) -> bytes:
    """JSON with two-space indents, ASCII only, ending in a line feed: keys stay in the order they were given."""
    return (json.dumps(value, indent=2) + "\n").encode()
