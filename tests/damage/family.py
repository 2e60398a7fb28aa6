"""What a family of files is, and what makes a changed file of it believable."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from alexnet.files.record import header_checksum, new_checksum

CLASSES = ("ant", "bee")


class Samples(NamedTuple):
    """Files to begin from."""

    good: list[bytes]
    """Files that the program reads."""
    odd: list[bytes] = []  # noqa: RUF012
    """Files that are forged, or strange on purpose."""


def _take(data: bytes, folder: Path) -> bytes:
    return data


@dataclass(frozen=True)
class Family:
    """One kind of file."""

    name: str
    place: str
    """Where it lies in its folder."""
    make: Callable[[Path], Samples]
    """Puts into a folder what belongs to such a file."""
    read: Callable[[Path], object]
    """Reads all of it, as the program would."""
    seal: Callable[[bytes, Path], bytes] = _take
    """Gives a changed file what makes it believable."""
    is_json: bool = False
    """Whether values of a document are changed, not only bytes."""

    def put(self, data: bytes, folder: Path) -> Path:
        """Write a file into the folder that `make` filled."""
        place = folder / self.place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(self.seal(data, folder))
        return place


class Bomb:
    """Runs code when it is unpickled: a folder appears."""

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__("os").mkdir, ("EXECUTED",)


def picture(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def seal_json(data: bytes, folder: Path) -> bytes:
    """Give a document the checksum of itself, where it has one: who may write the file may write that too."""
    try:
        header = json.loads(data)
        if isinstance(header, dict) and "checksum" in header:
            header["checksum"] = header_checksum(header)
            data = json.dumps(header).encode()
    except (ValueError, RecursionError):
        pass
    return data


def listed_in(header: str, name: str) -> Callable[[bytes, Path], bytes]:
    """A seal for a file that a header lists: writes its size and checksum into the header, and the header's own."""

    def seal(data: bytes, folder: Path) -> bytes:
        document = json.loads((folder / header).read_bytes())
        for record in _records(document):
            if record["file"] == name:
                record |= {"bytes": len(data), "xxh3": new_checksum(data).hexdigest()}
        (folder / header).write_bytes(seal_json(json.dumps(document).encode(), folder))
        return data

    return seal


def _records(value: Any) -> list[dict[str, Any]]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [value] if isinstance(value, dict) and "xxh3" in value else []
    return own + [each for part in inner for each in _records(part)]
