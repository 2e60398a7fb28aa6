"""The cache of what addresses hold: a folder that several processes share, bounded in size, and never believed.

```
CACHE/KEY/address    where NAME was brought from
CACHE/KEY/in-use     locked by every process that uses it
CACHE/KEY/unsent     there while NAME holds what is not at the address yet
CACHE/KEY/NAME       a file or a folder; files of a store may have holes, where nothing was read yet
```

KEY is a digest of the address and of what is there, so that a store that has changed has another folder. What is used
least recently makes room.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alexnet.errors import ConfigError
from alexnet.files.writing import lock_file, write_text
from alexnet.text.places import show_as

FOLDER_VARIABLE, SIZE_VARIABLE = "ALEXNET_CACHE", "ALEXNET_CACHE_GB"
"""Variables of the environment: the folder of the cache, and the gigabytes that it may take."""
DEFAULT_GB = 50.0
ADDRESS, IN_USE, UNSENT, BRINGING = "address", "in-use", "unsent", "bringing"
_held: dict[Path, int] = {}
"""The entries that this process uses, and the descriptors that keep them locked until it ends."""


def cache_folder() -> Path:
    """Return the folder of the cache, which need not be there."""
    usual = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.path.abspath(os.environ.get(FOLDER_VARIABLE) or os.path.join(usual, "alexnet")))


def most_bytes() -> int:
    """Return what the cache may hold.

    Raises:
        ConfigError: ALEXNET_CACHE_GB is no number.
    """
    given = os.environ.get(SIZE_VARIABLE) or DEFAULT_GB
    try:
        gigabytes = float(given)
        if 0 <= gigabytes < 10**9:
            return int(gigabytes * 1e9)
    except ValueError:
        pass
    raise ConfigError(
        f"{SIZE_VARIABLE} is {str(given)[:40]!r}; it is the gigabytes that the cache may take, such as 50."
    )


def open_entry(address: str, *contents: bytes) -> Path:
    """Return the place of what is at an address, CACHE/KEY/NAME, kept from removal while this process runs.

    Args:
        contents: What tells this content from others that were there.
    """
    key = hashlib.sha256(b"\0".join([address.encode(), *contents])).hexdigest()[:32]
    entry = cache_folder() / key
    _hold(entry)
    os.utime(entry / IN_USE)
    if not (entry / ADDRESS).exists():
        write_text(entry / ADDRESS, address)
    name = address.rstrip("/").rsplit("/", 1)[-1].partition("?")[0]
    place = entry / (name if name.strip(".") and len(name) < 200 else "content")
    show_as(place, address)
    return place


def _hold(entry: Path) -> None:
    """Keep an entry, made if need be, from being removed by others."""
    while entry not in _held or not (entry / IN_USE).exists():
        entry.mkdir(parents=True, exist_ok=True)
        lock = lock_file(entry / IN_USE, shared=True)
        if lock is None:  # it is being removed
            time.sleep(0.01)
            continue
        with lock, suppress(FileNotFoundError):  # it was removed before it was locked
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(entry / IN_USE)):
                _held[entry] = os.dup(lock.fileno())


def find_entry(place: Path) -> Path | None:
    """Return the CACHE/KEY that a path is below; None for one that is not in the cache."""
    root, path = f"{cache_folder()}{os.sep}", os.path.abspath(place)
    if not path.startswith(root):
        return None
    entry = cache_folder() / path[len(root) :].split(os.sep)[0]
    return entry if (entry / ADDRESS).exists() else None


@contextmanager
def alone(entry: Path) -> Iterator[None]:
    """Let one process at a time bring files into an entry; the others wait."""
    while (lock := lock_file(entry / BRINGING)) is None:
        time.sleep(0.05)
    with lock:
        yield


def make_room(wanted: int) -> int:
    """Remove entries that no process uses, least recently used first, until so many bytes fit; return how many do."""
    root = cache_folder()
    with suppress(OSError):
        entries = sorted((_used_at(entry), entry) for entry in root.iterdir() if (entry / ADDRESS).exists())
        sizes = {entry: _size(entry) for _, entry in entries}
        free = most_bytes() - sum(sizes.values())
        for entry, size in sizes.items():
            if free >= wanted:
                break
            if (entry / UNSENT).exists() or entry in _held or (lock := lock_file(entry / IN_USE)) is None:
                continue
            with lock:
                shutil.rmtree(entry, ignore_errors=True)
                free += size
        return max(0, min(free, shutil.disk_usage(root).free))
    return 0


def _used_at(entry: Path) -> float:
    try:
        return (entry / IN_USE).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(entry: Path) -> int:
    """Bytes on the disk: holes take none."""
    total = 0
    for folder, _, names in os.walk(entry):
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(folder, name))
                total += getattr(status, "st_blocks", -(-status.st_size // 512)) * 512
    return total
