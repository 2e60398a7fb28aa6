"""What the server accepts, and how it refuses the rest."""

from collections.abc import Mapping
from dataclasses import dataclass

from alexnet.data.images.unusable import MAX_PIXELS


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a request may hold, and how much may wait."""

    max_bytes: int = 64 * 2**20
    """Largest body of a request, all its pictures together."""
    max_pixels: int = MAX_PIXELS
    """Largest width x height of a picture."""
    max_files: int = 64
    """Most pictures in a request."""
    max_clip_seconds: float = 30.0
    """Longest clip."""
    max_clip_frames: int = 3600
    """Most frames of a clip, seen or not: 120 a second."""
    max_clip_pixels: int = 4096 * 2304
    """Largest width x height of a clip."""
    queue: int = 256
    """Most pictures that wait to be computed."""
    timeout_seconds: float = 30.0
    """How long a request may take to arrive, and a connection may be idle."""

    @property
    def max_held_bytes(self) -> int:
        """Most bytes of all bodies that are being received at a time."""
        return 8 * self.max_bytes


class Refusal(Exception):  # noqa: N818 - an answer to a client, not an error of the program
    """An answer other than success: a status of HTTP, and a sentence that says what to do."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = dict(headers or {})


def refuse_size(max_bytes: int, given: int | None = None) -> Refusal:
    """Return the refusal of a body that is too large; `given` where its length is known."""
    said = f"has {given:,} bytes" if given is not None else f"has more than {max_bytes:,} bytes"
    return Refusal(413, f"the request {said}; at most {max_bytes:,} are accepted. Send fewer or smaller pictures.")


def refuse_busy(seconds: int = 1) -> Refusal:
    """Return the refusal of a request for which there is no room now."""
    sentence = f"too many pictures are waiting. Ask again in {seconds} s."
    return Refusal(503, sentence, {"Retry-After": str(seconds)})
