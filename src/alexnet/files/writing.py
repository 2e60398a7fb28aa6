"""Files that appear whole or not at all, locks, and texts as people save them.

Without PyTorch, so that preparing a store need not wait a second for its import.
"""

import codecs
import csv
import errno
import io
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from alexnet.files.storage import is_address

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
TEXT_BYTES = 2**28
"""Most that is read of a list, a table or another text."""


def check_file(path: str | os.PathLike[str], most_bytes: int | None = None) -> int:
    """Return the size of a file in bytes, once it is certain that reading it ends.

    A pipe may wait forever and a device such as /dev/zero has no end, so neither is opened.

    Args:
        most_bytes: The largest size that is accepted.
    Raises:
        OSError: there is no such file, it is not a regular one, or it is larger; strerror completes "cannot be read".
    """
    try:
        status = os.stat(path)
    except ValueError:  # what a table or a document of strangers names may be no path
        raise OSError(errno.EINVAL, "its name holds a null character", os.fspath(path)) from None
    except FileNotFoundError:
        if os.path.islink(path):
            reason = f"it is a link to {os.readlink(path)}, which does not exist"
            raise OSError(errno.ENOENT, reason, os.fspath(path)) from None
        raise
    if not stat.S_ISREG(status.st_mode):
        what = next((name for is_it, name in _KINDS if is_it(status.st_mode)), "of an unknown kind")
        raise OSError(errno.EINVAL, f"it is {what}, not a file", os.fspath(path))
    if most_bytes is not None and status.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes; at most {most_bytes:,} are read", os.fspath(path))
    return status.st_size


def read_bytes(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """Return all bytes of a regular file, which may grow meanwhile, but not beyond `most_bytes`.

    Raises:
        OSError: as `check_file`.
    """
    size = check_file(path, most_bytes)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        pieces = [os.read(descriptor, size + 1)]  # + 1, as files of /proc have a size of 0
        total = len(pieces[0])
        while pieces[-1] and total != size:
            pieces.append(os.read(descriptor, 2**20))
            total += len(pieces[-1])
            if total > most_bytes:
                raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", os.fspath(path))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    finally:
        os.close(descriptor)


def new_file_mode() -> int:
    """Return the permissions of new files. The system tells its mask of them only when it is set."""
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask


def read_text(path: Path, most_bytes: int = TEXT_BYTES) -> str:
    """Return the text of a file in UTF-8 or UTF-16, as `decode_text` does.

    Raises:
        OSError: as `check_file`.
        UnicodeDecodeError: it is in neither.
    """
    return decode_text(read_bytes(path, most_bytes))


def decode_text(data: bytes) -> str:
    """Return a text in UTF-8 or UTF-16, without the mark of byte order that programs on Windows put before it.

    Raises:
        UnicodeDecodeError: it is in neither.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    if b"\0" in data[:2]:  # UTF-16 without a mark: half of each Latin letter is zero
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be")
    return data.decode("utf-8-sig")


def split_lines(text: str) -> list[str]:
    """Return the lines of a text, whose ends are those of Unix, Windows or old Macs and nothing else."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def write_text(path: Path, text: str) -> None:
    """Write a text as `write_bytes` does."""
    write_bytes(path, text.encode())


def format_csv(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV, the first its head; cells are quoted where they need it, and lines end as on Unix."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file to a temporary name, flush, and rename.

    Raises:
        OSError: the disk is full or the folder not writable; it names this file, and nothing is left behind.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def save_array(path: Path, array: "NDArray[Any]") -> None:
    """Write an array as .npy to a temporary name, flush, and rename.

    Raises:
        OSError: as `write_bytes`.
    """
    with whole_file(path) as temporary, temporary.open("wb") as file:
        write_array(file, array)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield the name under which to write what becomes this file when the block ends; if it fails, nothing is left.

    Raises:
        OSError: of the block, and of giving the file its name; it names this file.
    """
    temporary = stand_in(path)
    with name_in_errors(path):
        clear_away(temporary)
        try:
            yield temporary
            put_in_place(temporary, path)
        except BaseException:
            clear_away(temporary)
            raise


def stand_in(path: Path) -> Path:
    """Return what stands for a file until it is whole: a file, or a folder with what becomes it. Who writes the file
    again clears away what a killed process left there.
    """
    return path.with_name(f".{path.name}.writing")


def settled_names(folder: Path, *names: str) -> list[str]:
    """Return the names in a folder, but for what a killed process left while it was writing these files."""
    passing = {stand_in(folder / name).name for name in names}
    return [path.name for path in folder.iterdir() if path.name not in passing]


def put_in_place(written: Path, path: Path) -> None:
    """Give a written file, or a folder of files, its name.

    Their bytes are on the disk before the name is, and the name before this returns.

    Raises:
        OSError: the disk fails; it names this file.
    """
    with name_in_errors(path):
        is_folder = written.is_dir()
        for part in written.iterdir() if is_folder else [written]:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        if is_folder:
            sync_folder(written)
        written.replace(path)
        sync_folder(path.parent)


def clear_away(path: Path) -> None:
    """Remove a file or a folder if it is there, as far as the disk allows; nothing is raised."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def write_array(file: IO[bytes], array: "NDArray[Any]") -> None:
    """Write an array as .npy into an open file; unlike NumPy, with the reason where the disk is full."""
    import numpy as np

    array = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.reshape(-1).view(np.uint8).data)


@contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """Have errors of the system name this file in place of its temporary one."""
    try:
        yield
    except OSError as problem:
        if problem.errno is None:
            raise
        raise OSError(problem.errno, os.strerror(problem.errno), str(path)) from None


def remember_place(name: str, place: Path, folder: Path) -> dict[str, str]:
    """Return what a record inside a folder says of a place elsewhere: its relative and its absolute path.

    The first stays true where both move together, the second where the folder alone moves. Of what was brought from an
    address it is the address.
    """
    from alexnet.files.origin import address_of

    if address := address_of(place):
        return {name: address, f"{name}_absolute": address}
    absolute = os.path.abspath(place)
    try:
        relative = os.path.relpath(os.path.realpath(place), os.path.realpath(folder))
    except ValueError:  # on another drive
        relative = absolute
    return {name: relative, f"{name}_absolute": absolute}


def recall_places(name: str, record: Mapping[str, Any], folder: Path) -> list[Path | str]:
    """Return where what `remember_place` recorded is, in the order in which to try: only what is there.

    Paths below the current folder are relative to it, as people type them. An address is returned as it is and not
    asked, so that the record of a stranger connects to nothing; who needs what is there asks it.
    """
    here = os.path.realpath(os.curdir)
    found: list[Path | str] = []
    for place in dict.fromkeys((record.get(name), record.get(f"{name}_absolute"))):
        if is_address(place):
            found.append(place)
        elif isinstance(place, str) and place:
            path = Path(os.path.realpath(folder), place)
            if path.exists():
                absolute = Path(os.path.normpath(path))
                found.append(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)
    return found


def lock_file(path: Path, *, shared: bool = False) -> IO[bytes] | None:
    """Open a file that only one process may hold; None if another holds it.

    A shared lock is held by any number of processes, but not beside one that is not shared. A lock
    ends when the file is closed or its process ends, however it ends. Without POSIX there is no lock.
    """
    handle = path.open("wb")
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
    return handle


def is_locked(path: Path) -> bool:
    """Whether a process holds this file with `lock_file`; without POSIX nothing can be told, and it is False."""
    if os.name != "posix" or not path.is_file():
        return False
    import fcntl

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back when the file is closed
    except BlockingIOError:
        return True
    except OSError:  # another user's, which may not be read
        return False
    return False


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut, where the system offers that."""
    if os.name != "posix":
        return
    with name_in_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
