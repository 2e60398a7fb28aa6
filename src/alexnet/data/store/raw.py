"""Images of a split that a store keeps raw: rows of .npy files, read when they are asked for.

Files are read, not mapped into memory. Scattered over the 252 GB of ImageNet, a mapped image costs 2 ms of page faults
and new mappings, a read one 0.03 to 0.07 ms. Memory stays bounded, and a disk that fails is an error instead of the end
of the process.

Each image is compared with a checksum of its own whenever it is read, which costs a quarter of the reading. Comparing
whole shards when they are first touched would read 12 GB for the first batch of a shuffled ImageNet.
"""

import functools
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import xxhash
from numpy.typing import NDArray

from alexnet.data.store.format import damaged, load_array

UInt8Array = NDArray[np.uint8]

checksum_of_image = xxhash.xxh3_64_intdigest
"""XXH3 of 64 bits of the bytes of one image."""


class Images:
    """The images of one split: shards are .npy files of (rows, size, size, 3) uint8 RGB, each with a file of checksums.

    An integer index (negative counts from the end) gives a new (size, size, 3) array; a slice or an array of indexes
    gives (n, size, size, 3). Other bytes than those that were written raise StoreError. Safe to use from several
    threads.
    """

    def __init__(self, folder: Path, shards: Sequence[Mapping[str, Any]], size: int) -> None:
        self.size = size
        self._folder = folder
        self._shards = shards
        self._starts = np.concatenate([[0], np.cumsum([shard["rows"] for shard in shards], dtype=np.int64)]).tolist()
        self._find_pixels = functools.cache(self._check_shard)
        self._checksums = functools.cache(self._load_checksums)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __iter__(self) -> Iterator[UInt8Array]:
        return (self._row(index) for index in range(len(self)))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, size, size, 3)."""
        return len(self), self.size, self.size, 3

    @overload
    def __getitem__(self, index: int) -> UInt8Array: ...
    @overload
    def __getitem__(self, index: slice) -> UInt8Array: ...
    @overload
    def __getitem__(self, index: Sequence[int] | NDArray[np.integer[Any]]) -> UInt8Array: ...
    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.integer[Any]]) -> UInt8Array:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        if isinstance(index, (int, np.integer)):
            return self._row(int(index))
        return self.take(index)

    def take(self, indexes: Sequence[int] | NDArray[np.integer[Any]], out: UInt8Array | None = None) -> UInt8Array:
        """The images at these indexes, (n, size, size, 3), in the order given.

        Args:
            indexes: Any order, repeats allowed, negative counts from the end.
            out: Filled and returned when given; uint8 of that shape, C-contiguous.
        """
        if out is None:
            out = np.empty((len(indexes), self.size, self.size, 3), np.uint8)
        for row, index in enumerate(indexes):
            self._fill(int(index), out[row])
        return out

    def _row(self, index: int) -> UInt8Array:
        out = np.empty((self.size, self.size, 3), np.uint8)
        self._fill(index, out)
        return out

    def _fill(self, index: int, out: UInt8Array) -> None:
        count = self._starts[-1]
        if not -count <= index < count:
            raise IndexError(f"image {index} is outside this split of {count} images")
        if index < 0:
            index += count
        shard = bisect_right(self._starts, index) - 1
        self._read_row(shard, index - self._starts[shard], out)

    def _read_row(self, shard: int, row: int, out: UInt8Array) -> None:
        start = self._find_pixels(shard) + row * out.nbytes
        pixels = out.reshape(-1).data
        if self._read(shard, start, pixels) != out.nbytes:
            raise damaged(self._folder / self._shards[shard]["file"], "ends early")
        if checksum_of_image(pixels) != int(self._checksums(shard)[row]):
            raise self._damaged(shard, row, "has other bytes than when it was written")

    def _read(self, shard: int, start: int, out: memoryview) -> int:
        """Fill out with the bytes of a shard from start on; returns how many there were."""
        path = f"{self._folder}/{self._shards[shard]['file']}"
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(start)
                return file.readinto(out) or 0
        except OSError as error:
            raise damaged(Path(path), f"cannot be read ({error.strerror})") from None

    def _check_shard(self, shard: int) -> int:
        """Where the pixels of a shard begin, after a look at its header."""
        record = self._shards[shard]
        array = load_array(self._folder, record, mapped=True)
        if array.shape != (record["rows"], self.size, self.size, 3) or array.dtype != np.uint8:
            raise damaged(self._folder / record["file"], "does not hold the images that the header lists")
        return int(record["bytes"]) - array.nbytes

    def _load_checksums(self, shard: int) -> NDArray[np.uint64]:
        record = self._shards[shard]
        checksums = load_array(self._folder, record["checksums"])
        if checksums.shape != (record["rows"],) or checksums.dtype != np.uint64:
            raise damaged(self._folder / record["checksums"]["file"], "does not hold one checksum for each image")
        return checksums  # an array, as a list for ImageNet would take 50 MB

    def _damaged(self, shard: int, row: int, what: str) -> Exception:
        return damaged(self._folder / self._shards[shard]["file"], f"is damaged: its image {row} {what}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._folder, self._shards, self.size)
