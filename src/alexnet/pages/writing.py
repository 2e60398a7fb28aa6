"""From a template to a page. Every text is escaped: for HTML by jinja2, for screens by `text.names`."""

import base64
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from alexnet.files.writing import write_text
from alexnet.pages.themes import COLUMN_PX, MARGIN_PX, THEMES
from alexnet.text.names import escape_controls
from alexnet.version import __version__


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write a page; it appears whole or not at all. See `build_page`."""
    write_text(path, build_page(template, **content))


def build_page(template: str, **content: Any) -> str:
    """Return a page: the same for the same content.

    Args:
        template: Name of a file in `templates`, as "run.html"; its first lines say which content it takes.
    Raises:
        jinja2.UndefinedError: content is missing.
    """
    return _environment().get_template(template).render(**content)


def embed(data: bytes, kind: str) -> Markup:
    """Return a picture as the address that an <img> takes, such as data:image/jpeg;base64,….

    Args:
        kind: "jpeg", "webp", ….
    """
    text = base64.b64encode(data).decode("ascii")
    return Markup(f"data:image/{kind};base64,{text}")  # noqa: S704 - letters and digits, whatever the picture holds


class Script(NamedTuple):
    """A script of `templates` as part of a page."""

    text: Markup
    source: str
    """What the page's policy allows: this text and no other."""


def embed_script(name: str) -> Script:
    """Return a script by the name of its file."""
    text = resources.files("alexnet.pages").joinpath("templates", name).read_text(encoding="utf-8")
    digest = base64.b64encode(sha256(text.encode()).digest()).decode("ascii")
    return Script(Markup(text), f"sha256-{digest}")  # noqa: S704 - a file of this package


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("alexnet.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_print,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"themes": THEMES, "column_px": COLUMN_PX, "margin_px": MARGIN_PX, "version": __version__}
    environment.globals["embed_script"] = embed_script
    environment.filters |= {"embed": embed, "verbatim": lambda text: escape(escape_controls(text))}
    return environment


def _print(value: object) -> object:
    """Return the text of a value, with control characters escaped and a number and its % on one line."""
    return escape_controls(value).replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value
