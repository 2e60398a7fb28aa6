"""Images to index: files and folders, or the splits of a store, decoded by the one decode path and named.

And the way back: whether an indexed image is still what it was, and its pixels for a thumbnail.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from alexnet.data.images.decode import Framing, decode_image, explain_unreadable, read_file, square_pixels
from alexnet.data.sources.class_folders import scan_top
from alexnet.data.sources.folders import has_picture_suffix
from alexnet.data.sources.source import SEPARATOR
from alexnet.data.store.duplicates import digest_file, digest_whole
from alexnet.data.store.format import HEADER_NAME as STORE_HEADER
from alexnet.data.store.reader import Split, Store, open_store
from alexnet.data.video.clip import find_clip, is_clip, name_frame, open_clip, parse_frame
from alexnet.data.video.frames import FrameReader, read_frame
from alexnet.errors import AlexNetError, ImageError, SearchError, SourceError
from alexnet.evaluation.clips import EVERY_S
from alexnet.files.origin import address_of
from alexnet.retrieval.index.format import FILES
from alexnet.retrieval.index.reader import Entry, Index
from alexnet.text.class_names import normalize_name
from alexnet.text.commands import command
from alexnet.text.names import escape_name, unescape_name
from alexnet.text.wording import readable_names

SPLITS = ("train", "training", "val", "valid", "validation", "test")
"""Names of folders that are taken for splits."""


class Item(NamedTuple):
    """An image to index."""

    key: tuple[Any, ...]
    """Tells it from the others of the index."""
    line: dict[str, Any]
    """What the index keeps of it beside its class."""
    label: str | None
    pixels: NDArray[np.uint8]


class ImageFiles:
    """Files, and folders with every image in them by the rules of preparing (data/sources/folders.py).

    Of a clip there is an entry for each frame, by the name "clip.mp4@12.5s".

    In a folder with folders, the class of an image is the folder it is in, and its split the first folder below the
    one given if that is named like a split (SPLITS).
    """

    source: dict[str, Any] = {"kind": FILES}  # noqa: RUF012 - never changed
    titles: dict[str, str] = {}  # noqa: RUF012 - never changed

    def __init__(self, given: Sequence[Path], every_s: float = EVERY_S) -> None:
        """List images.

        Args:
            every_s: Seconds between the frames of clips.
        """
        self.given = given
        self.odd: list[str] = []
        """Notes on clips that `items` decoded although something is odd about them."""
        self._every_s = every_s
        self._files: list[_File] = []
        for place in given:
            if not os.path.isdir(place):  # Path.is_dir raises where a folder above may not be entered
                self._add(place, None, "")
                continue
            inside = sorted(scan_top(place, has_picture_suffix).walk(place))
            if not inside:
                raise SourceError(f"{place}: holds no images. Give image files, or a folder of them.")
            for path in inside:
                folders = path.split("/")[:-1]
                split = folders[0] if folders and folders[0] in SPLITS else ""
                label = normalize_name(folders[-1]) if folders and folders[-1] != split else None
                self._add(place / path, label, split)

    def _add(self, file: Path, label: str | None, split: str) -> None:
        if not is_clip(file):
            self._files.append(_File(file, label, split))
            return
        try:
            times = open_clip(file).times(self._every_s)
            self._files += [_File(file, label, split, time_s) for time_s in times]
        except ImageError as problem:
            self._files.append(_File(file, label, split, problem=problem))

    def __len__(self) -> int:
        return len(self._files)

    def arguments(self) -> tuple[Any, ...]:
        """Return what `choose_images` lists the same images with."""
        return list(self.given), (), self._every_s

    def fingerprint(self) -> str:
        """Return what tells this list of images from others: a digest of their paths."""
        listed = "\n".join(file.path for file in self._files)
        return xxhash.xxh3_128_hexdigest(listed.encode("utf-8", "surrogateescape"))

    def keys(self) -> list[tuple[Any, ...]]:
        """Return the key of each image, in their order."""
        return [(file.path,) for file in self._files]

    def items(
        self,
        size: int,
        known: dict[tuple[Any, ...], Any],
        places: Iterable[int] | None = None,
        framing: Framing = "square",
    ) -> Iterator[Item | ImageError | None]:
        """Yield each image, the reason why it cannot be read, or None where `known` has it as it is.

        Args:
            places: Which images, by their place in the order; all of them where None.
            framing: How photographs become images of this size; those of a store are.
        """
        frames, clips = FrameReader(self._every_s, self.odd.append), lru_cache(1)(digest_whole)
        wanted = self._files if places is None else [self._files[place] for place in places]
        for file, following in zip_longest(wanted, wanted[1:]):
            if file.problem is not None:
                yield file.problem
                continue
            try:
                if file.time_s is None:
                    data = read_file(file.path)
                    num_bytes, digest = len(data), digest_file(data)
                else:
                    num_bytes, digest = clips(os.path.abspath(file.place))
                if known.get((file.path,)) == digest:
                    yield None
                    continue
                if file.time_s is None:
                    pixels = decode_image(data, size=size, name=str(file.place), framing=framing)
                else:
                    pixels = square_pixels(frames.read(file.place, file.time_s), size, framing=framing)
                    if following is None or following.place != file.place:
                        frames.finish()
            except OSError as error:
                yield ImageError(explain_unreadable(str(file.place), error))
                continue
            except ImageError as problem:
                yield problem
                continue
            line = {"path": file.path, "split": file.split, "bytes": num_bytes, "digest": digest}
            yield Item((file.path,), line, file.label, pixels)


class _File(NamedTuple):
    """An image file, or a frame of a clip."""

    place: Path
    label: str | None
    split: str
    time_s: float | None = None
    problem: ImageError | None = None
    """Why a clip has no frames."""

    @property
    def path(self) -> str:
        """What the index calls it."""
        path = os.path.abspath(self.place)
        return path if self.time_s is None else name_frame(path, self.time_s)


class StoreImages:
    """The splits of a store."""

    def __init__(self, store: Store, splits: Sequence[str]) -> None:
        self.store = store
        self.splits = [store[name] for name in splits or store.splits]
        self.odd: list[str] = []
        self.titles = readable_names(store.class_names, store.class_titles)
        """Readable names of the classes that have one."""
        self.source = {
            "kind": "store",
            "path": escape_name(address_of(store.path) or os.path.abspath(store.path)),
            "fingerprint": store.fingerprint,
        }

    def __len__(self) -> int:
        return sum(len(split) for split in self.splits)

    def arguments(self) -> tuple[Any, ...]:
        """As `ImageFiles.arguments`."""
        return [self.store.path], [split.name for split in self.splits], EVERY_S

    def fingerprint(self) -> str:
        """Return what tells these images from others."""
        return " ".join([self.store.fingerprint, *(split.name for split in self.splits)])

    def keys(self) -> list[tuple[Any, ...]]:
        """Return the key of each image, in their order."""
        return [(self.store.fingerprint, split.name, row) for split in self.splits for row in range(len(split))]

    def items(
        self,
        size: int,
        known: dict[tuple[Any, ...], Any],
        places: Iterable[int] | None = None,
        framing: Framing = "square",
    ) -> Iterator[Item | ImageError | None]:
        """As `ImageFiles.items`."""
        if size != self.store.size:
            raise SearchError(
                f"{self.store.path} holds images of {self.store.size} px; the model reads images of {size} px. "
                f"Prepare the images again with --size {size}."
            )
        starts = np.cumsum([0, *map(len, self.splits)])
        for place in range(len(self)) if places is None else places:
            number = int(np.searchsorted(starts, place, side="right")) - 1
            split, row = self.splits[number], place - int(starts[number])
            key = (self.store.fingerprint, split.name, row)
            if key in known:
                yield None
                continue
            line = {"path": split.paths[row], "split": split.name, "row": row}
            yield Item(key, line, self._label(split, row), split.images[row])

    def _label(self, split: Split, row: int) -> str | None:
        """The class of an image; of several all of them with "|" between, None where it has none."""
        if not split.has_sets:
            return self.store.class_names[int(split.labels[row])]
        names = [name for name, there in zip(self.store.class_names, split.label_sets[row], strict=True) if there]
        return SEPARATOR.join(names) or None


def choose_images(
    given: Sequence[Path], splits: Sequence[str] = (), every_s: float = EVERY_S
) -> ImageFiles | StoreImages:
    """Return what to index: a store if one is given alone, else files and folders.

    Raises:
        SourceError: a folder is empty, or a store is given beside other things.
        StoreError: the store is damaged or has no such split.
    """
    stores = [place for place in given if os.path.isfile(place / STORE_HEADER)]
    if stores and len(given) > 1:
        add = command("search", "add", "INDEX", "IMAGES")
        raise SourceError(f"{stores[0]} is a store; index it alone, and add the other images: {add}")
    if stores:
        return StoreImages(open_store(stores[0]), splits)
    if splits:
        raise SourceError(f"{given[0]} is not a store, so it has no splits to choose. Leave --split out.")
    return ImageFiles(given, every_s)


def digest_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the 128-bit XXH3 digest of decoded pixels, (16,)."""
    return np.frombuffer(xxhash.xxh3_128_digest(np.ascontiguousarray(pixels).data), np.uint8)


def key_of(source: dict[str, Any], line: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells an image from the others of the index, by its line and the source that this names."""
    if source["kind"] == FILES:
        return (line["path"],)
    return (source["fingerprint"], line["split"], line["row"])


def list_known(index: Index) -> dict[tuple[Any, ...], tuple[int, Any]]:
    """Return key -> (row, digest) of every image that can be found; no digest of images in a store."""
    sources = index.header["sources"]
    known: dict[tuple[Any, ...], tuple[int, Any]] = {}
    for row in index.rows().tolist():
        line = index.entry(row).origin
        known[key_of(sources[line["source"]], line)] = (row, line.get("digest"))
    return known


class Originals:
    """The images behind an index, as they are now."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._stores: dict[int, Store | str] = {}

    def explain(self, entry: Entry) -> str | None:
        """Return what happened to an image since it was indexed: "is gone", "has changed", … or None."""
        source = self._index.header["sources"][entry.origin["source"]]
        if source["kind"] == FILES:
            try:
                _, digest = digest_whole(entry.path if os.path.exists(entry.path) else find_clip(entry.path))
            except FileNotFoundError:
                return "is gone"
            except OSError as error:
                return f"cannot be read ({error.strerror})"
            return None if digest == entry.origin["digest"] else "has changed"
        store = self._open(entry.origin["source"])
        return store if isinstance(store, str) else None

    def read(self, entry: Entry, size: int) -> NDArray[np.uint8] | None:
        """Return the pixels of an image, or None where they cannot be had; of files (size, size, 3)."""
        source = self._index.header["sources"][entry.origin["source"]]
        try:
            if source["kind"] == FILES:
                if (frame := parse_frame(entry.path)) and not os.path.exists(entry.path):
                    return square_pixels(read_frame(*frame), size)
                return decode_image(read_file(entry.path), size=size, name=entry.path)
            store = self._open(entry.origin["source"])
            return None if isinstance(store, str) else store[entry.split].images[entry.origin["row"]]
        except (OSError, AlexNetError, IndexError):  # the last of a row that the store does not have
            return None

    def _open(self, number: int) -> Store | str:
        if number not in self._stores:
            source = self._index.header["sources"][number]
            try:
                store = open_store(unescape_name(source["path"]))
                self._stores[number] = (
                    store
                    if store.fingerprint == source["fingerprint"]
                    else f"is in a store that has changed: {source['path']}"
                )
            except AlexNetError:
                self._stores[number] = f"is in a store that is gone or damaged: {source['path']}"
        return self._stores[number]
