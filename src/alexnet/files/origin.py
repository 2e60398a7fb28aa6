"""Where the files of a folder in the cache come from: brought whole, or in stretches as they are read."""

import os
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from alexnet.errors import AddressError
from alexnet.files.cache import ADDRESS, SIZE_VARIABLE, alone, find_entry, make_room, most_bytes
from alexnet.files.record import find_damage, new_checksum
from alexnet.files.storage import Place, connect, explained, is_address
from alexnet.files.writing import stand_in

_GAP_BYTES, _BLOCK_BYTES, _AHEAD_BYTES = 2**16, 2**24, 2**22
"""What may be read for nothing between two stretches, the longest read, and what is read ahead."""
_SHARE_BYTES, _FULL_SECONDS = 2**30, 60.0
"""What a process writes into the cache before it measures it again, and how long it takes a full cache to be full."""


def address_of(place: Place) -> str | None:
    """Return the address of an address, or of what is in the cache; None for other paths."""
    if is_address(place):
        return os.fspath(place)
    found = origin_of(Path(place))
    return None if found is None else found.address


def origin_of(folder: Path) -> "Origin | None":
    """Return where what is in the cache comes from; None for what is elsewhere on the disk."""
    entry = find_entry(folder)
    if entry is None:
        return None
    inside = Path(os.path.abspath(folder)).relative_to(entry).parts[1:]
    return Origin("/".join([(entry / ADDRESS).read_text("utf-8"), *inside]), folder)


class Extent(NamedTuple):
    """A stretch of a file."""

    record: Mapping[str, Any]
    """The `files.record.FileRecord` of the file."""
    start: int
    bytes: int


class Origin:
    """The address behind a folder of the cache."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self._folder = folder
        self._room = 0
        self._full_until = 0.0

    def bring(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Bring whole files, those that are not there yet.

        Raises:
            AddressError: they cannot be read, have other bytes than their records, or do not fit.
        """
        bring_files(self.address, self._folder, records)

    def read(self, extents: Sequence[Extent], *, ahead: bool = False) -> list[bytes]:
        """Return stretches of files, read at once, and keep them in the cache as far as there is room.

        The caller compares them with their checksums.

        Args:
            ahead: Whether what follows them will be wanted next, and is kept too.
        Raises:
            AddressError: they cannot be read.
        """
        from fsspec.utils import merge_offset_ranges

        files, root = connect(self.address)
        records = {f"{root}/{extent.record['file']}": extent.record for extent in extents}
        paths = [f"{root}/{extent.record['file']}" for extent in extents]
        starts = [extent.start for extent in extents]
        ends = [extent.start + extent.bytes for extent in extents]
        wanted = ends
        if ahead and self._has_room():
            wanted = [
                max(end, min(start + _AHEAD_BYTES, extent.record["bytes"]))
                for extent, start, end in zip(extents, starts, ends, strict=True)
            ]
        ranges = sorted(zip(*merge_offset_ranges(paths, starts, wanted, _GAP_BYTES, _BLOCK_BYTES), strict=True))
        with explained(self.address, "read"):
            blocks = files.cat_ranges(*map(list, zip(*ranges, strict=True)), on_error="raise")
        for (path, start, _), block in zip(ranges, blocks, strict=True):
            self._keep(records[path], start, block)
        places = [(path, start) for path, start, _ in ranges]
        found = []
        for path, start, end in zip(paths, starts, ends, strict=True):
            number = bisect_right(places, (path, start)) - 1
            found.append(blocks[number][start - places[number][1] : end - places[number][1]])
        return found

    def find_damage(self, record: Mapping[str, Any]) -> str | None:
        """Return how a file at the address differs from its record; all of it is read."""
        files, root = connect(self.address)
        checksum = new_checksum()
        try:
            with explained(self.address, "read"), files.open(f"{root}/{record['file']}", "rb") as file:
                while chunk := file.read(_BLOCK_BYTES):
                    checksum.update(chunk)
        except AddressError as problem:
            return f"cannot be read ({problem})"
        return None if checksum.hexdigest() == record["xxh3"] else "has other bytes than when it was written"

    def _has_room(self) -> bool:
        if self._room <= 0 and time.monotonic() > self._full_until:
            self._room = min(_SHARE_BYTES, make_room(_SHARE_BYTES))
            self._full_until = time.monotonic() + _FULL_SECONDS
        return self._room > 0

    def _keep(self, record: Mapping[str, Any], start: int, block: bytes) -> None:
        """Write a stretch into a file with holes; what a killed process tore is seen by its checksum."""
        if not self._has_room():
            return
        self._room -= len(block)
        path = self._folder / record["file"]
        with suppress(OSError):  # a full disk keeps nothing
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                os.truncate(descriptor, record["bytes"])
                os.pwrite(descriptor, block, start)
            finally:
                os.close(descriptor)


def bring_files(address: str, folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Bring files that are missing below a folder; a record without a checksum tells the size alone."""
    entry = find_entry(folder)
    assert entry is not None
    with alone(entry):
        missing = [record for record in records if not _has_size(folder / record["file"], record["bytes"])]
        if not missing:
            return
        total = sum(int(record["bytes"]) for record in missing)
        if make_room(total) < total:
            raise AddressError(
                f"{address}: {total / 1e9:,.1f} GB are to be brought, more than the cache or its disk has room for. It "
                f"may take {most_bytes() / 1e9:,.1f} GB; set {SIZE_VARIABLE} to more, or free the disk."
            )
        files, root = connect(address)
        targets = [folder / record["file"] for record in missing]
        arriving = [stand_in(target) for target in targets]
        for each in arriving:
            each.parent.mkdir(parents=True, exist_ok=True)
        try:
            with explained(address, "read"):
                files.get([f"{root}/{record['file']}".rstrip("/") for record in missing], list(map(str, arriving)))
            for record, written, target in zip(missing, arriving, targets, strict=True):
                arrived = {**record, "file": written.name}
                damage = find_damage(written.parent, arrived, every_byte="xxh3" in record)
                if damage:
                    raise AddressError(
                        f"{address}/{record['file']} {damage}. It is damaged, or was replaced meanwhile: "
                        "give the same command again."
                    )
                written.replace(target)
        finally:
            for each in arriving:
                each.unlink(missing_ok=True)


def _has_size(path: Path, size: int | None) -> bool:
    return path.is_file() and path.stat().st_size == size
