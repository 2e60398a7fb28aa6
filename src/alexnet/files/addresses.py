"""Addresses such as s3://bucket/store, by fsspec: what is there is brought into the cache, what is made is sent.

Everything else of the package works with paths. `local` and `working` give them, and `send` uploads; for what is a path
already they do nothing.

A folder with one of the HEADERS is complete when its header is there: it is sent last and read first. Of a store
nothing else is brought at once; `files.origin.Origin` brings what is read, when it is read.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from alexnet.errors import AddressError
from alexnet.files.cache import UNSENT, find_entry, open_entry
from alexnet.files.documents import is_inside, is_text, is_whole, parse_json
from alexnet.files.origin import address_of, bring_files
from alexnet.files.record import FileRecord
from alexnet.files.storage import (
    Place,
    connect,
    explained,
    is_address,
    list_files,
    make_parents,
    mark_version,
    put_whole,
)
from alexnet.files.writing import write_bytes
from alexnet.text.places import shown

STORE, INDEX, RUN, MODEL = "store.json", "index.json", "recipe.yaml", "model.safetensors"
HEADERS = (STORE, INDEX)
CLAIM = ".sending"
"""At an address while a store or an index is sent there: the SHA-256 of the header that will follow."""
_BESIDE = "classes.tsv"
"""What people may put into a store; its checksum leaves it out."""


def local(place: Place, *, any_folder: bool = False) -> Path:
    """Return where something is on this machine: a path as it is, what an address names in the cache.

    The address is asked whenever this is called; what has changed there is brought anew.

    Args:
        any_folder: Whether folders are brought that are no store, index, run or model: whole, however large.
    Raises:
        AddressError: nothing is there, it cannot be read, or the cache is too small for it.
    """
    if not is_address(place):
        return Path(place)
    address = os.fspath(place).rstrip("/")
    files, root = connect(address)
    files.invalidate_cache()  # listings of this process may be older than what is there
    with explained(address, "read"):
        is_file = "." in root.rsplit("/", 1)[-1] and files.isfile(root)
        for name in () if is_file else HEADERS:
            try:
                header = files.cat_file(f"{root}/{name}")
            except (FileNotFoundError, NotADirectoryError):
                continue
            return _bring_headed(address, name, header)
        if is_file or files.isfile(root):
            return _bring_file(address, files.info(root))
        listed = list_files(files, root)
    if CLAIM in listed:
        raise AddressError(
            f"{address}: a store or an index is being sent there, or its sending was interrupted. Wait for it, or give "
            "the command that makes it again; it continues."
        )
    if not listed:
        raise AddressError(f"{address}: there is nothing at this address. Look at its spelling.")
    if not any_folder and not {RUN, MODEL} & listed.keys():
        raise AddressError(
            f"{address}: is no store, index, run or model. Pictures at an address are made a store of by "
            "alexnet prepare, which brings them."
        )
    return _bring_folder(address, listed)


def working(place: Place, *, claim: bool = False) -> Path:
    """Return where to make something: a path as it is; for an address a folder on this machine, which `send` uploads.

    A run that is there is brought, so that it is continued. A finished store or index is brought to be compared.

    Args:
        claim: Whether what is made appears at once when it is whole; readers are told meanwhile that it is not.
    Raises:
        AddressError: it cannot be read or written, or something else is there.
    """
    if not is_address(place):
        return Path(place)
    address = os.fspath(place).rstrip("/")
    files, root = connect(address)
    with explained(address, "read"):
        listed = list_files(files, root)
    if listed.keys() & set(HEADERS):
        return local(address)
    folder = open_entry(address, b"working")
    _sent[folder] = {}
    if RUN in listed:
        shutil.rmtree(folder, ignore_errors=True)
        bring_files(address, folder, [{"file": name, "bytes": info["size"]} for name, info in listed.items()])
        _sent[folder] = _look(folder)
    elif listed and CLAIM not in listed:
        raise AddressError(f"{address}: other files are there. Choose another --out, or remove them.")
    else:
        (folder.parent / UNSENT).touch()
        if claim and not listed:
            with explained(address, "written"):
                make_parents(files, root)
                files.pipe_file(f"{root}/{CLAIM}", b"")
    return folder


def on_disk(place: Place, what: str) -> Path:
    """Return a path as it is, and refuse an address where files are changed in place.

    Args:
        what: What changes them, to complete "… works on a disk".
    Raises:
        AddressError: it is an address.
    """
    if is_address(place) or find_entry(Path(place)):
        raise AddressError(
            f"{shown(os.fspath(place))}: {what} works on a disk. Copy it there with the storage's own program, "
            "as aws s3 sync, and back afterwards."
        )
    return Path(place)


_sent: dict[Path, dict[str, tuple[int, int]]] = {}
"""Folders of work -> their files as they were when they were last sent or brought: size and time of change."""


def send(folder: Path, *, last: str, done: bool = True, tick: Callable[[int, int], None] | None = None) -> int:
    """Upload what has changed in a folder that `working` gave; nothing for other folders.

    Args:
        last: The file that makes the rest complete: it is sent after all others.
        done: Whether the work is over, so that the folder may be removed when the cache needs room.
        tick: Told how many bytes are sent, and of how many.
    Returns:
        How many files were sent.
    Raises:
        AddressError: it cannot be written; the same command sends what is missing.
    """
    if folder not in _sent or (address := address_of(folder)) is None:
        return 0
    files, root = connect(address)
    now, before = _look(folder), _sent[folder]
    changed = sorted((name for name in now if before.get(name) != now[name]), key=lambda name: (name == last, name))
    with explained(address, "written"):
        if last in HEADERS:
            changed = _leave_out_sent(files, root, folder, last, changed)
        total, sent = sum(now[name][0] for name in changed), 0
        for name in changed:
            put_whole(files, folder / name, f"{root}/{name}")
            sent += now[name][0]
            if tick:
                tick(sent, total)
        if last in HEADERS and last in now:
            files.rm_file(f"{root}/{CLAIM}")
    _sent[folder] = now
    if done:
        (folder.parent / UNSENT).unlink(missing_ok=True)
    return len(changed)


def _bring_headed(address: str, name: str, header: bytes) -> Path:
    """Bring a store, of which only the header is read at once, or an index."""
    folder = open_entry(address, header)
    files, root = connect(address)
    if name == STORE:
        try:
            _write_below(folder / _BESIDE, files.cat_file(f"{root}/{_BESIDE}"))
        except (FileNotFoundError, PermissionError):  # without the right to list, what is not there is forbidden
            (folder / _BESIDE).unlink(missing_ok=True)
    else:
        with suppress(ValueError):  # a damaged header is for the reader to judge
            bring_files(address, folder, list(_find_records(parse_json(header))))
    _write_below(folder / name, header)
    return folder


def _bring_file(address: str, info: Mapping[str, Any]) -> Path:
    place = open_entry(address, mark_version(info))
    bring_files(address, place, [{"file": "", "bytes": info["size"]}])
    return place


def _bring_folder(address: str, listed: Mapping[str, Mapping[str, Any]]) -> Path:
    """Bring a folder; of a finished run not the checkpoints, which nobody reads."""
    if MODEL in listed:
        listed = {name: info for name, info in listed.items() if not name.startswith("checkpoints/")}
    folder = open_entry(address, *(name.encode() + mark_version(info) for name, info in listed.items()))
    bring_files(address, folder, [{"file": name, "bytes": info["size"]} for name, info in listed.items()])
    return folder


def _write_below(path: Path, data: bytes) -> None:
    """Write a file whole unless it is there with these bytes, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != data:
        write_bytes(path, data)


def _look(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of the files to send: not of those hidden, or kept for a killed process alone."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in name.split("/")) and name not in _NOT_SENT:
            status = path.stat()
            found[name] = (status.st_size, status.st_mtime_ns)
    return found


_NOT_SENT = {"checkpoints/next.safetensors", "checkpoints/previous.safetensors", "command.txt"}
"""At an address a file is whole or absent, so that the newest checkpoint is enough."""


def _leave_out_sent(files: Any, root: str, folder: Path, last: str, names: list[str]) -> list[str]:
    """Return which files are still to be sent, and say at the address what is being sent.

    Files of the same size that were sent for the same header are the same.
    """
    header = hashlib.sha256((folder / last).read_bytes()).hexdigest().encode()
    there = list_files(files, root)
    if CLAIM in there and files.cat_file(f"{root}/{CLAIM}") == header:
        return [
            name
            for name in names
            if name == last or name not in there or there[name]["size"] != (folder / name).stat().st_size
        ]
    make_parents(files, root)
    files.pipe_file(f"{root}/{CLAIM}", header)
    return names


def _find_records(value: Any) -> Iterator[FileRecord]:
    """Yield every record of a file in a header, wherever it stands."""
    if isinstance(value, dict):
        if is_inside(value.get("file")) and is_whole(value.get("bytes")) and is_text(value.get("xxh3")):
            yield value
        for each in value.values():
            yield from _find_records(each)
    elif isinstance(value, list):
        for each in value:
            yield from _find_records(each)
