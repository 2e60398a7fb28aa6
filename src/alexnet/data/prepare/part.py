"""One part of a store to be, while its images are decoded and written.

Threads decode stretches of images into one array; whoever writes the part follows them image by image.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from operator import setitem

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images.decode import decode_image, explain_unreadable
from alexnet.data.images.jpeg import decode_jpeg, encode_jpeg
from alexnet.data.prepare.partial import Part, PartialStore
from alexnet.data.sources.source import LabeledPath, Source
from alexnet.data.store.duplicates import digest_file
from alexnet.data.store.writer import split_rows
from alexnet.errors import ImageError
from alexnet.text.names import escape_name

STRETCH = 8
"""Images that a thread takes at a time; taken one by one, they would need a tenth more time."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the bytes of a store beside its source, and when to stop."""

    size: int
    rows: int
    """Images in a part."""
    codec: str
    quality: int
    stop_on_bad: bool
    max_bad: float


class _LeftOutError(Exception):
    """A part that is written while it is decoded holds an image that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class PartReading:
    """A part that is being decoded; a row of a list or array is valid once its future is done."""

    split: str
    number: int
    entries: Sequence[LabeledPath]
    images: NDArray[np.uint8]
    digests: Sequence[str]
    oddities: Sequence[str]
    """What is odd about each image that is kept, as words after "has"; empty where nothing is."""
    encoded: Sequence[bytes] | None
    """JPEG files, if the store keeps these."""
    futures: Sequence[Future[list[ImageError | None]]]

    def errors(self) -> Iterator[ImageError | None]:
        """Why each image is left out, None where it is kept; waits for one after the other."""
        return (error for future in self.futures for error in future.result())

    def write_ahead(self, unfinished: PartialStore) -> Part | None:
        """Write the part while it is decoded: what was decoded last is still in the processor's cache.

        Returns None, and nothing is saved, where an image is left out, since the file begins with the number of
        images, and for JPEG files. Then `write` does it, once all is decoded and what is left out is accepted.
        """
        if self.encoded is not None:
            return None
        try:
            return self._save(unfinished, [], self._follow_decoders())
        except _LeftOutError:
            return None

    def _follow_decoders(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the images, a few at a time, each when it is decoded."""
        errors = self.errors()
        for block in split_rows(self.images):
            if any(islice(errors, len(block))):
                raise _LeftOutError
            yield block

    def write(self, unfinished: PartialStore) -> Part:
        """Write what can be read of the part, when all of it is decoded."""
        errors = list(self.errors())
        kept = [row for row, error in enumerate(errors) if error is None]
        skipped = [
            (entry.path, str(error).removeprefix(f"{escape_name(entry.path)}: "))
            for entry, error in zip(self.entries, errors, strict=True)
            if error is not None
        ]
        return (self._select(kept) if skipped else self)._save(unfinished, skipped)

    def _select(self, rows: Sequence[int]) -> "PartReading":
        return replace(
            self,
            entries=[self.entries[row] for row in rows],
            images=self.images[rows],
            digests=[self.digests[row] for row in rows],
            oddities=[self.oddities[row] for row in rows],
            encoded=None if self.encoded is None else [self.encoded[row] for row in rows],
        )

    def _save(
        self,
        unfinished: PartialStore,
        skipped: list[tuple[str, str]],
        blocks: Iterator[NDArray[np.uint8]] | None = None,
    ) -> Part:
        return unfinished.save_part(
            self.split,
            self.number,
            self.images,
            [entry.label for entry in self.entries],
            [entry.path for entry in self.entries],
            skipped,
            self.digests,
            self.oddities,
            self.encoded,
            blocks,
        )


def begin_part(
    decoders: ThreadPoolExecutor,
    source: Source,
    settings: Settings,
    split: str,
    number: int,
    entries: Sequence[LabeledPath],
    images: NDArray[np.uint8],
) -> PartReading:
    """Begin to decode the entries of a part into the array."""
    digests, oddities = [""] * len(entries), [""] * len(entries)
    encoded = [b""] * len(entries) if settings.codec == "jpeg" else None

    def read_into(row: int) -> ImageError | None:
        path = entries[row].path
        try:
            data = source.read(path)
            decode_image(data, size=settings.size, name=path, out=images[row], notice=partial(setitem, oddities, row))
        except ImageError as error:
            return error
        except OSError as error:
            return ImageError(explain_unreadable(path, error))
        digests[row] = digest_file(data)
        if encoded is not None:
            encoded[row] = encode_jpeg(images[row], settings.quality)
            images[row], _ = decode_jpeg(encoded[row])  # so that statistics are of the pixels that are read later
        return None

    def read_stretch(start: int) -> list[ImageError | None]:
        return [read_into(row) for row in range(start, min(start + STRETCH, len(entries)))]

    futures = [decoders.submit(read_stretch, start) for start in range(0, len(entries), STRETCH)]
    return PartReading(
        split=split,
        number=number,
        entries=entries,
        images=images,
        digests=digests,
        oddities=oddities,
        encoded=encoded,
        futures=futures,
    )
