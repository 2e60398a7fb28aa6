"""Storages as fsspec opens them: found by an address, listed, written whole, and their failures told in a sentence.

fsspec is imported where an address is used, never before. Retries are its own and those of the packages behind it.
"""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

from alexnet.errors import AddressError, AlexNetError

Place = str | os.PathLike[str]
"""A path or an address."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://[^\s]", re.IGNORECASE)
_RENAMING = {"file", "local", "ftp", "sftp", "ssh", "smb", "hdfs", "arrow_hdfs", "webhdfs", "dbfs"}
"""Protocols whose files are seen while they are written, so that they are renamed when they are whole. The objects of
the others appear whole."""


def is_address(place: object) -> TypeGuard[str]:
    """Whether something is an address, as s3://bucket/store, and not a path."""
    return isinstance(place, str) and _ADDRESS.match(place) is not None


def connect(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it.

    Raises:
        AddressError: fsspec or the package for such addresses is not installed, or there is none.
    """
    scheme = address.partition("://")[0].lower()
    try:
        from fsspec.core import url_to_fs

        files, root = url_to_fs(address)
    except ImportError as problem:
        named = re.search(r"[Ii]nstall (?:\")?([\w-]+)", str(problem))
        needed = "alexnet[remote]" if scheme in ("s3", "s3a") or named is None else named[1]
        raise AddressError(
            f"{address}: addresses of {scheme}:// need a package that is not installed: pip install '{needed}'"
        ) from None
    except ValueError as problem:
        known = "s3, gs, az, sftp, https and others of fsspec"
        raise AddressError(
            f"{address}: {scheme}:// is no kind of address that fsspec opens ({problem}). Accepted are {known}; a path "
            "has no ://."
        ) from None
    return files, str(root).rstrip("/")


@contextmanager
def explained(address: str, what: str) -> Iterator[None]:
    """Turn what a file system of fsspec raises into an AddressError. Each package has errors of its own.

    Args:
        what: What cannot be done, "read" or "written".
    """
    try:
        yield
    except (AlexNetError, FileNotFoundError, NotADirectoryError) as problem:
        if isinstance(problem, AlexNetError):
            raise
        raise AddressError(
            f"{address}: cannot be {what}, there is no such file, folder or bucket ({_say(problem)}). Look at the "
            "spelling; a bucket is made with the storage's own program."
        ) from None
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise  # the disk of the cache
        kind = type(problem).__name__
        if isinstance(problem, PermissionError) or "AccessDenied" in kind:
            advice = f"You have no permission for it, or other credentials are needed ({_say(problem)})."
        elif "Credential" in kind or "Token" in kind:
            advice = f"No credentials were found ({_say(problem)}). Set them as the storage's own programs take them."
        elif "Connect" in kind or "Timeout" in kind or isinstance(problem, ConnectionError | TimeoutError):
            advice = f"It does not answer ({_say(problem)}), also after several tries. Give the same command again."
        else:
            advice = f"The storage says: {kind}: {_say(problem)}. Give the same command again where this may pass."
        raise AddressError(f"{address}: cannot be {what}. {advice}") from None


def _say(problem: Exception) -> str:
    """Return the first line of what another program says, not too long."""
    text = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return text.strip().splitlines()[0][:200].rstrip(".") if text.strip() else type(problem).__name__


def list_files(files: Any, root: str) -> dict[str, dict[str, Any]]:
    """Return what is known of every file below a path, by its name there; nothing where there is none."""
    files.invalidate_cache()
    try:
        found = files.find(root, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    prefix = files._strip_protocol(root).rstrip("/") + "/"
    named = {name.removeprefix(prefix): info for name, info in found.items() if name.startswith(prefix)}
    return {name: info for name, info in sorted(named.items()) if not {"", ".", ".."} & set(name.split("/"))}


_VERSIONS = ("ETag", "etag", "LastModified", "Last-Modified", "mtime", "created", "generation", "Digest")


def mark_version(info: Mapping[str, Any]) -> bytes:
    """Return what tells this version of a file from others; of one without any mark, it is never the same."""
    known = [f"{name}={info[name]}" for name in _VERSIONS if info.get(name) is not None]
    return f"{info.get('size')} {known}".encode() if known else os.urandom(16)


def put_whole(files: Any, path: Path, target: str) -> None:
    """Upload a file so that it is seen when it is whole."""
    make_parents(files, target.rsplit("/", 1)[0])
    if not _RENAMING & _protocols(files):
        files.put_file(str(path), target)
        return
    above, name = target.rsplit("/", 1)
    files.put_file(str(path), f"{above}/.{name}.sending")
    files.mv(f"{above}/.{name}.sending", target)


def make_parents(files: Any, folder: str) -> None:
    """Make a folder where there are folders; objects have none, and making one would make a bucket."""
    if _RENAMING & _protocols(files):
        files.makedirs(folder, exist_ok=True)


def _protocols(files: Any) -> set[str]:
    return {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)
