"""Images of a split that a store keeps raw: rows of .npy files, read when they are asked for.

Files are read, not mapped into memory. Scattered over the 252 GB of ImageNet, a mapped image costs 2 ms of page faults
and new mappings, a read one 0.03 to 0.07 ms. Memory stays bounded, and a disk that fails is an error instead of the end
of the process.

Each image is compared with a checksum of its own whenever it is read, which costs a quarter of the reading. Comparing
whole shards when they are first touched would read 12 GB for the first batch of a shuffled ImageNet.
"""

import functools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import xxhash
from numpy.typing import NDArray

from alexnet.data.store.format import damaged, load_array
from alexnet.errors import StoreError
from alexnet.files.origin import Extent, origin_of

UInt8Array = NDArray[np.uint8]

checksum_of_image = xxhash.xxh3_64_intdigest
"""XXH3 of 64 bits of the bytes of one image."""


class Images:
    """The images of one split: shards are .npy files of (rows, size, size, 3) uint8 RGB, each with a file of checksums.

    An integer index (negative counts from the end) gives a new (size, size, 3) array; a slice or an array of indexes
    gives (n, size, size, 3). Other bytes than those that were written raise StoreError. Safe to use from several
    threads.

    Of a store at an address the shards are files with holes in the cache. What the checksum of an image tells is not
    there yet is brought: for `take` all of it at once, else with some of what follows.
    """

    _BESIDE = "checksums"
    """Which file of a shard says what its images must be."""

    def __init__(self, folder: Path, shards: Sequence[Mapping[str, Any]], size: int) -> None:
        self.size = size
        self._folder = folder
        self._shards = shards
        self._origin = origin_of(folder)
        self._starts = np.concatenate([[0], np.cumsum([shard["rows"] for shard in shards], dtype=np.int64)]).tolist()
        self._beside: set[int] = set()
        self._find_pixels = functools.cache(self._check_shard)
        self._checksums = functools.cache(self._load_checksums)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __iter__(self) -> Iterator[UInt8Array]:
        return (self._row(index) for index in range(len(self)))

    @property
    def is_distant(self) -> bool:
        """Whether they are at an address, so that many are read faster together (`take`) than one by one."""
        return self._origin is not None

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
        if self._origin is not None:
            self._bring([self._find(int(index)) for index in indexes], out)
            return out
        for row, index in enumerate(indexes):
            self._read_row(*self._find(int(index)), out[row])
        return out

    def _row(self, index: int) -> UInt8Array:
        out = np.empty((self.size, self.size, 3), np.uint8)
        shard, row = self._find(index)
        if self._origin is None:
            self._read_row(shard, row, out)
        else:
            self._bring([(shard, row)], out[None])
        return out

    def _find(self, index: int) -> tuple[int, int]:
        """Return the shard of an image, and its row there."""
        count = self._starts[-1]
        if not -count <= index < count:
            raise IndexError(f"image {index} is outside this split of {count} images")
        if index < 0:
            index += count
        shard = bisect_right(self._starts, index) - 1
        return shard, index - self._starts[shard]

    def _bring(self, places: Sequence[tuple[int, int]], out: UInt8Array) -> None:
        """Read images of a store at an address: those that the cache lacks, all at once."""
        assert self._origin is not None
        self._load_beside({shard for shard, _ in places})
        missing = []
        for number, (shard, row) in enumerate(places):
            try:
                self._read_row(shard, row, out[number])
            except StoreError:
                missing.append(number)
        if missing:
            extents = [
                Extent(self._shards[shard], *self._extent(shard, row))
                for shard, row in map(places.__getitem__, missing)
            ]
            for number, data in zip(missing, self._origin.read(extents, ahead=len(places) == 1), strict=True):
                self._read_row(*places[number], out[number], data)

    def _load_beside(self, shards: Iterable[int]) -> None:
        """Bring the files that tell where the images of shards are and what they must be, all at once."""
        new = [shard for shard in shards if shard not in self._beside]
        if new and self._origin is not None:
            self._origin.bring([self._shards[shard][self._BESIDE] for shard in new])
            self._beside.update(new)

    def _extent(self, shard: int, row: int) -> tuple[int, int]:
        """Return where in its shard an image begins, and its bytes."""
        num_bytes = self.size * self.size * 3
        return self._find_pixels(shard) + row * num_bytes, num_bytes

    def _read_row(self, shard: int, row: int, out: UInt8Array, brought: bytes | None = None) -> None:
        """Fill out with an image, which `brought` holds or which is read."""
        start = self._find_pixels(shard) + row * out.nbytes
        pixels = out.reshape(-1).data
        if self._read(shard, start, pixels, brought) != out.nbytes:
            raise damaged(self._folder / self._shards[shard]["file"], "ends early")
        if checksum_of_image(pixels) != int(self._checksums(shard)[row]):
            raise self._damaged(shard, row, "has other bytes than when it was written")

    def _read(self, shard: int, start: int, out: memoryview, brought: bytes | None = None) -> int:
        """Fill out with the bytes of a shard from start on, or with those brought; returns how many there were."""
        if brought is not None:
            out[: len(brought)] = brought
            return len(brought)
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
        if self._origin is not None:  # each image is compared with its checksum, wherever it is
            return int(record["bytes"]) - int(record["rows"]) * self.size * self.size * 3
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
