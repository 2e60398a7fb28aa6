"""Headers with checksums of their files or tensors, and of themselves, so that every damage is noticed.

Checksums are XXH3 of 128 bits: they read at the speed of memory, where SHA-256 would cost a twentieth of the time of
preparing. They find damage, not forgery; whoever may write the files may write the header too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

FileRecord = dict[str, Any]
"""{"file": name inside the folder, "bytes": size, "xxh3": checksum, 32 hexadecimal digits}."""

CHUNK_BYTES = 2**20

new_checksum = xxhash.xxh3_128
"""A checksum to be fed: `update(bytes)`, then `hexdigest()`."""


def header_checksum(header: Mapping[str, Any]) -> str:
    """SHA-256 in hexadecimal of the header without its own "checksum": JSON, keys sorted, no spaces, ASCII."""
    fields = {key: value for key, value in header.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, by which model files are known."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_file(folder: Path, name: str) -> FileRecord:
    """Return the record of a file as it is now."""
    checksum, num_bytes = new_checksum(), 0
    with (folder / name).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            checksum.update(chunk)
            num_bytes += len(chunk)
    return {"file": name, "bytes": num_bytes, "xxh3": checksum.hexdigest()}


def find_damage(folder: Path, record: Mapping[str, Any], *, every_byte: bool) -> str | None:
    """Return how a file differs from its record, to complete "PATH ...", or None: its size, and every byte if asked."""
    path = folder / record["file"]
    try:
        num_bytes = path.stat().st_size
    except OSError:
        return "is missing"
    if num_bytes != record["bytes"]:
        return f"has {num_bytes:,} bytes instead of {record['bytes']:,}"
    try:
        if every_byte and record_file(folder, record["file"])["xxh3"] != record["xxh3"]:
            return "has other bytes than when it was written"
    except OSError as problem:  # it has gone meanwhile, or cannot be read
        return f"cannot be read ({problem.strerror})"
    return None
