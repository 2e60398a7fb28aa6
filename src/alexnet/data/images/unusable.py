"""Why a picture cannot be used, and what to do then: raised while it is decoded, where its name is not known."""

from PIL import Image

MAX_PIXELS = 120_000_000
"""Largest width x height that is decoded: the largest common camera mode is 108 million; 360 MB as RGB."""

MAX_ASPECT_RATIO = 50
"""Largest ratio of the longer to the shorter side: beyond it the central square shows next to nothing."""


class UnusableError(Exception):
    """This picture cannot be used; `decode_image` makes an ImageError of it, which names the picture."""

    def __init__(self, reason: str, next_step: str) -> None:
        self.reason = reason
        self.next_step = next_step


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture of more than max_pixels or beyond MAX_ASPECT_RATIO, with an UnusableError."""
    if width * height > max_pixels:
        raise too_many_pixels(max_pixels)
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise UnusableError(
            f"is {width} x {height} pixels, one side over {MAX_ASPECT_RATIO} times the other", "Cut out a part of it."
        )


def damaged_header() -> UnusableError:
    """Return the error for a file whose beginning no decoder understands."""
    return UnusableError("has a damaged header or ends early", "Copy it again from where it came.")


def too_many_pixels(most: int = MAX_PIXELS) -> UnusableError:
    """Return the error for a picture of too many pixels."""
    return UnusableError(f"has more than {most:,} pixels", "Save a smaller copy of it.")


def explain(error: Exception) -> UnusableError:
    """Return, for whatever a decoder raised, the error that says it in this program's words."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "truncated" in text.lower() or "premature end" in text.lower():
        return UnusableError("data ends early", "Copy it again from where it came.")
    if isinstance(error, Image.DecompressionBombError):
        return too_many_pixels()
    return UnusableError(f"is damaged: {text[:120].rstrip('.')}", "Copy it again from where it came.")
