"""The report of prepare as one HTML page: what was kept, what was left out and how it looks. It loads nothing."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from alexnet.data.images.unusable import MAX_PIXELS
from alexnet.data.prepare.overview import THUMBNAIL_PX, Overview
from alexnet.pages import writing as pages
from alexnet.text.names import unescape_name
from alexnet.text.wording import counted

WORDS_BYTES = 40
"""Of a file that is text, as much is shown in place of a picture."""
LISTED_IMAGES = 200
"""Images left out that the page shows; report.json has all of them."""


def build_page(
    title: str, report: Mapping[str, Any], overview: Overview, next_command: str | None, read: Callable[[str], bytes]
) -> bytes:
    """The page, the same for the same report and images.

    Args:
        title: Name of the source.
        report: Of prepare, as in report.json.
        overview: What the images look like.
        next_command: What to type to train on them; None where no network reads images of their size.
        read: Path of an image -> its bytes; OSError and ValueError where they cannot be had.
    """
    skipped, splits = report["skipped"], report["splits"]
    return pages.build_page(
        "prepared.html",
        kicker="AlexNet prepare",
        title=f"Prepared: {title}",
        lead="",
        description="What was kept, what was left out and how it looks",
        splits=[(name, f"{each['kept']:,}", f"{each['found'] - each['kept']:,}") for name, each in splits.items()],
        split_names=list(splits),
        overview=overview,
        next_command=next_command,
        notes=report["notes"],
        ignored=[(why, f"{number:,}") for why, number in report["ignored"].items()],
        left_out=counted(len(skipped), "image"),
        is_cut=len(skipped) > LISTED_IMAGES,
        skipped=[
            (_preview(unescape_name(each["path"]), read), each["path"], each["reason"])
            for each in skipped[:LISTED_IMAGES]
        ],
        duplicates=[" = ".join(group) for group in report["duplicates"]["groups"][:LISTED_IMAGES]],
    ).encode()


def draw_thumbnail(data: bytes) -> bytes | None:
    """What can be seen of a damaged JPEG, as a small JPEG; None where nothing can."""
    try:
        height, width, color, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        if color in ("CMYK", "YCCK") or height * width > MAX_PIXELS:
            return None
        blank = np.full(height * width * 3, 128, np.uint8)  # what is missing stays grey, the same every time
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=False, buffer=blank)
    except (ValueError, KeyError):  # KeyError for colors that simplejpeg has no name for
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _preview(path: str, read: Callable[[str], bytes]) -> bytes | str | None:
    """What is seen of a file: a JPEG, else its words, else b""; None where it cannot be read."""
    try:
        data = read(path)
    except (OSError, ValueError):
        return None
    return draw_thumbnail(data) or _read_words(data[:WORDS_BYTES]) or b""


def _read_words(data: bytes) -> str:
    """The beginning of a text, as of a web page that was saved as an image; empty where it is no text."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("ascii", "replace")
    if not all(character.isprintable() or character in "\r\n\t" for character in text) or "\ufffd" in text:
        return ""
    return " ".join(text.split())
