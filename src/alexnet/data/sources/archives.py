"""Zip and tar archives read where they lie: a list of their files, and the bytes of each. Nothing is ever unpacked.

So nothing can be written outside, and names can lead nowhere: entries with `..`, absolute names, links and devices are
passed over and counted. A compressed tar has no index; it is decompressed once into a temporary file without a name,
which the system removes with the process.
"""

import io
import lzma
import os
import stat
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from alexnet.data.images.decode import MAX_FILE_BYTES
from alexnet.data.sources.folders import Accept, Folder, add_file, has_image_suffix, pass_over_raw
from alexnet.errors import ImageError, SourceError
from alexnet.text.wording import say_bytes

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, ValueError, NotImplementedError,
           MemoryError)  # fmt: skip
"""What archive modules raise for damaged or unusual files, beside OSError; the last where a dictionary is huge."""


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or (compressed) tar archive, by its content."""
    try:
        return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))
    except OSError:
        return False
    except _DAMAGE:  # what unpacks it fails, so it is one that is damaged: `open_archive` says so
        return True


def open_archive(path: Path) -> "Archive":
    """The archive at path, whose files are named by their path inside it, with forward slashes.

    Raises:
        SourceError: it is none, is damaged, or cannot be read.
    """
    try:
        return ZipArchive(path) if zipfile.is_zipfile(path) else TarArchive(path)
    except SourceError:  # a ValueError too, but its sentence is the right one already
        raise
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror or error}). Check its permissions.") from None
    except _DAMAGE as error:
        raise SourceError(f"{path} is a damaged archive ({error}). Copy it again from where it came.") from None


class ZipArchive:
    """A zip archive; its files may be compressed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ignored: Counter[str] = Counter()
        """Entries passed over: "unsafe name", "link or device", "replaced by a later file"."""
        self._zip = zipfile.ZipFile(path)
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir():
                continue
            name = _normalize(entry.filename)
            if name is None:
                self.ignored["unsafe name"] += 1
            elif kind not in (0, stat.S_IFREG):
                self.ignored["link or device"] += 1
            else:
                self.ignored["replaced by a later file"] += name in self._entries
                self._entries[name] = entry

    def names(self) -> Sequence[str]:
        """Paths of all files, in the order of the archive."""
        return list(self._entries)

    def read(self, path: str) -> bytes:
        """All bytes of one file."""
        entry = self._entries[path]
        _check_size(path, entry.file_size)
        try:
            return self._zip.read(entry)
        except RuntimeError:  # how zipfile says that it needs a password
            raise ImageError(f"{path}: is encrypted. Unpack the archive with its password.") from None
        except _DAMAGE as error:
            reason = str(error) or type(error).__name__
            raise ImageError(f"{path}: is damaged in the archive ({reason}). Copy the archive again.") from None

    def describe(self, path: str) -> tuple[int, int]:
        """Size in bytes and checksum, which tells of a change as well as a time does."""
        entry = self._entries[path]
        return entry.file_size, entry.CRC


class TarArchive:
    """A tar archive. Its entries are kept as four numbers each, so that a million of them fit in memory.

    Args:
        inner: Also list the files of tar archives inside this one, as NAME/FILE for NAME.tar (ILSVRC's training set).
    """

    def __init__(self, path: Path, *, inner: bool = False) -> None:
        self.path = path
        self.ignored: Counter[str] = Counter()
        self._numbers: dict[str, int] = {}
        self._offsets, self._sizes, self._times = array("q"), array("q"), array("q")
        self._lock = threading.Lock()
        self._file = _open_plain(path)
        weakref.finalize(self, self._file.close)
        end = self._file.seek(0, io.SEEK_END)
        self._file.seek(0)
        for name, offset, size, changed in self._scan(self._file, 0):
            if offset + size > end:
                raise EOFError(f"{name} is cut off")
            if inner and name.endswith(".tar"):
                window = _Window(self._file, offset, size)
                for child, start, length, when in self._scan(window, offset):
                    self._add(f"{name.removesuffix('.tar')}/{child}", start, length, when)
            else:
                self._add(name, offset, size, changed)

    def names(self) -> Sequence[str]:
        """Paths of all files, in the order of the archive."""
        return list(self._numbers)

    def read(self, path: str) -> bytes:
        """All bytes of one file."""
        number = self._numbers[path]
        _check_size(path, self._sizes[number])
        with self._lock:
            self._file.seek(self._offsets[number])
            return self._file.read(self._sizes[number])

    def describe(self, path: str) -> tuple[int, int]:
        """Size in bytes and time of change in seconds, as tar keeps it."""
        number = self._numbers[path]
        return self._sizes[number], self._times[number]

    def _scan(self, file: "IO[bytes] | _Window", base: int) -> Iterator[tuple[str, int, int, int]]:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # or it would remember every entry, a kilobyte each
                if member.isdir():
                    continue
                name = _normalize(member.name)
                if name is None:
                    self.ignored["unsafe name"] += 1
                elif not member.isreg() or member.issparse():
                    self.ignored["link or device"] += 1
                else:
                    yield name, base + member.offset_data, member.size, int(member.mtime)

    def _add(self, name: str, offset: int, size: int, changed: int) -> None:
        self.ignored["replaced by a later file"] += name in self._numbers
        self._numbers[name] = len(self._offsets)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._times.append(changed)


Archive = ZipArchive | TarArchive


class Mounted:
    """Several archives under names of their own: "train/cat/1.jpg" is "cat/1.jpg" of the archive named "train"."""

    def __init__(self, archives: Mapping[str, Archive]) -> None:
        self.archives = archives

    def read(self, path: str) -> bytes:
        """All bytes of one file."""
        name, _, rest = path.partition("/")
        return self.archives[name].read(rest)

    def describe(self, path: str) -> tuple[int, int]:
        """Size in bytes, and what its archive says of a change."""
        name, _, rest = path.partition("/")
        return self.archives[name].describe(rest)

    def ignored(self) -> Counter[str]:
        """What all of them passed over."""
        return +sum((archive.ignored for archive in self.archives.values()), Counter())


def build_tree(archive: Archive, accept: Accept = has_image_suffix) -> Folder:
    """The files of an archive as folders, as if it had been unpacked into a folder of its name.

    Names are sorted; hidden and system files are passed over by the same rules as on the disk.
    """
    top = Folder(archive.path)
    for name in sorted(archive.names()):
        add_file(top, PurePosixPath(name).parts, accept)
    pass_over_raw(top)
    top.ignored += +archive.ignored
    return top


def _normalize(name: str) -> str | None:
    """A name inside an archive without `.` and empty parts; None if it leads outside on any system."""
    plain = name.replace("\\", "/")
    if "\0" in name or plain.startswith("/") or ".." in plain.split("/") or plain[1:2] == ":":
        return None
    return "/".join(part for part in name.split("/") if part not in ("", ".")) or None


def _check_size(path: str, num_bytes: int) -> None:
    if num_bytes > MAX_FILE_BYTES:
        raise ImageError(f"{path}: has {num_bytes:,} bytes; no photograph is over {MAX_FILE_BYTES:,}. Check the file.")


def _open_plain(path: Path) -> IO[bytes]:
    """A tar file ready for reading at any place, decompressed if need be."""
    with path.open("rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in _COMPRESSIONS if start.startswith(magic)), None)
    if opener is None:
        return path.open("rb")
    import importlib

    most = _FREE_BYTES + _MOST_RATIO * path.stat().st_size
    plain = tempfile.TemporaryFile(prefix="alexnet-")  # noqa: SIM115 - it stays open as long as the archive
    try:
        with importlib.import_module(opener).open(path, "rb") as packed:
            while block := packed.read(2**20):
                plain.write(block)
                if plain.tell() > most:
                    raise SourceError(
                        f"{path}: unpacks to more than {say_bytes(most)}, which pictures of its size never do. "
                        "Unpack it yourself if you trust it, and name the folder."
                    )
    except BaseException:
        plain.close()
        raise
    plain.seek(0)
    return plain


_FREE_BYTES, _MOST_RATIO = 2**28, 50
"""What a compressed archive may unpack to: so much, and so many times its own size. Pictures hardly shrink."""
_COMPRESSIONS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ\0", "lzma"))


class _Window(io.RawIOBase):
    """A stretch of a file as a file of its own."""

    def __init__(self, file: IO[bytes], start: int, length: int) -> None:
        self._file, self._start, self._length, self._position = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._length - self._position)
        # The outer archive is being listed from the same file, so its place is put back.
        before = self._file.tell()
        self._file.seek(self._start + self._position)
        data = self._file.read(left if size < 0 else min(size, left))
        self._file.seek(before)
        self._position += len(data)
        return data
