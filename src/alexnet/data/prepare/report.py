"""The report of prepare as one HTML page: what was kept, what was left out and how it looks. It loads nothing."""

import base64
import html
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from alexnet.data.images.unusable import MAX_PIXELS
from alexnet.text.names import escape_controls, unescape_name
from alexnet.text.wording import counted

THUMBNAIL_PX = 96
WORDS_BYTES = 40
"""Of a file that is text, as much is shown in place of a picture."""
LISTED_IMAGES = 200
"""Images left out that the page shows; report.json has all of them."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; } h2 { margin-top: 2rem; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #ddd; vertical-align: top; }
.number { text-align: right; } code { overflow-wrap: anywhere; } small, pre { color: #666; }
pre { margin: 0; font-size: 12px; white-space: pre-wrap; width: 96px; }
img { display: block; max-width: 96px; max-height: 96px; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } th, td { border-color: #444; } }
"""


def build_page(title: str, report: Mapping[str, Any], read: Callable[[str], bytes]) -> bytes:
    """The page, the same for the same report and images.

    Args:
        title: Name of the source.
        report: Of prepare, as in report.json.
        read: Path of an image -> its bytes; OSError and ValueError where they cannot be had.
    """
    splits = report["splits"]
    rows = [[split, f"{fields['kept']:,}", f"{fields['found'] - fields['kept']:,}"] for split, fields in splits.items()]
    parts = [_table(["split", "images", "left out"], rows)]
    if report["notes"]:
        parts.append("<ul>" + "".join(f"<li>{_escape(note)}</li>" for note in report["notes"]) + "</ul>")
    if report["ignored"]:
        parts.append("<h2>Passed over</h2>")
        parts.append(_table(["why", "number"], [[why, f"{n:,}"] for why, n in report["ignored"].items()]))
    if report["skipped"]:
        shown = report["skipped"][:LISTED_IMAGES]
        parts.append(f"<h2>Left out: {counted(len(report['skipped']), 'image')}</h2>")
        if len(shown) < len(report["skipped"]):
            parts.append(f"<p>The first {len(shown):,}; report.json lists all.</p>")
        parts.append("<table><tr><th></th><th>image</th><th>reason</th></tr>")
        parts += [
            f"<tr><td>{_preview(unescape_name(item['path']), read)}</td><td><code>{_escape(item['path'])}</code></td>"
            f"<td>{_escape(item['reason'])}</td></tr>"
            for item in shown
        ]
        parts.append("</table>")
    if report["duplicates"]["groups"]:
        parts.append("<h2>The same file more than once</h2>")
        groups = report["duplicates"]["groups"][:LISTED_IMAGES]
        parts.append("<ul>" + "".join(f"<li><code>{_escape(' = '.join(g))}</code></li>" for g in groups) + "</ul>")
    body = "\n".join(parts)
    heading = f"Prepared: {_escape(title)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{heading}</h1>\n{body}\n</body></html>\n"
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


def _preview(path: str, read: Callable[[str], bytes]) -> str:
    try:
        data = read(path)
    except (OSError, ValueError):
        return ""
    thumbnail = draw_thumbnail(data)
    if thumbnail is not None:
        return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(thumbnail).decode()}">'
    words = _read_words(data[:WORDS_BYTES])
    return f"<pre>{_escape(words)}</pre>" if words else "<small>nothing to see</small>"


def _read_words(data: bytes) -> str:
    """The beginning of a text, as of a web page that was saved as an image; empty where it is no text."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("ascii", "replace")
    if not all(character.isprintable() or character in "\r\n\t" for character in text) or "\ufffd" in text:
        return ""
    return " ".join(text.split())


def _table(columns: list[str], rows: list[list[str]]) -> str:
    def line(tag: str, cells: list[str]) -> str:
        first, *numbers = map(_escape, cells)
        return f"<{tag}>{first}</{tag}>" + "".join(f'<{tag} class="number">{number}</{tag}>' for number in numbers)

    head, lines = line("th", columns), [line("td", row) for row in rows]
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _escape(text: str) -> str:
    return html.escape(escape_controls(text))
