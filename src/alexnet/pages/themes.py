"""The two themes of pages and figures, light and dark, and how wide both are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from alexnet.errors import ConfigError

ThemeName = Literal["light", "dark"]

COLUMN_PX = 960
"""Width of a page's text, and of a figure without its margin."""
MARGIN_PX = 15
"""Around a figure; on a page it reaches out of the column."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by meaning. Pairs that must be told apart differ for all common kinds of colour blindness."""

    background: str
    raised: str
    """Background of tables and code in the report."""
    ink: str
    muted: str
    rule: str
    """Grid lines and borders."""
    training: str
    validation: str
    runs: tuple[str, ...]
    """A colour for each of several runs; further runs share them."""
    bar: str
    """Bar of a wrong class; `ink` is readable on it."""
    correct_bar: str
    """Bar of the correct class: yellow, since red means wrong; its name is bold as well."""
    wrong: str
    on_wrong: str
    """Text on `wrong`."""


THEMES: Mapping[ThemeName, Theme] = {
    "light": Theme(
        background="#ffffff",
        raised="#f5f7f9",
        ink="#1b2027",
        muted="#59636e",
        rule="#dde2e7",
        training="#0b62b0",
        validation="#bf5208",
        runs=("#0b62b0", "#bf5208", "#1b7a3d", "#8a3ab9", "#a8155f", "#6a5d00"),
        bar="#c3d9f0",
        correct_bar="#f2d27a",
        wrong="#b3261e",
        on_wrong="#ffffff",
    ),
    "dark": Theme(
        background="#14171b",
        raised="#1c2026",
        ink="#e8ebee",
        muted="#9da7b2",
        rule="#2e353d",
        training="#6db3f2",
        validation="#f2a65e",
        runs=("#6db3f2", "#f2a65e", "#7fd08f", "#c9a0f0", "#f08ab4", "#d6cf6a"),
        bar="#2c4e76",
        correct_bar="#7a5c10",
        wrong="#f08a80",
        on_wrong="#14171b",
    ),
}


def find_theme(name: str) -> Theme:
    """Return a theme by name.

    Raises:
        ConfigError: no theme has this name.
    """
    for known, theme in THEMES.items():
        if known == name:
            return theme
    raise ConfigError(f"unknown theme {name!r}. Known: {', '.join(THEMES)}.")
