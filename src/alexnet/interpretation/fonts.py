"""Which fonts to write with: a text face first, then whatever is installed here that has the letters.

No font is shipped but matplotlib's own, which has Latin, Greek, Cyrillic, Hebrew and Arabic letters. A name in letters
that no installed font has is shown by its number; the caption and the CSV file have it in full.
"""

import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import FontEntry, FontProperties, fontManager
from matplotlib.ft2font import FT2Font

_PREFERRED = (
    *("Inter", "Helvetica Neue", "Segoe UI", "Roboto", "Noto Sans", "Open Sans", "Liberation Sans"),
    "DejaVu Sans",  # comes with matplotlib
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic"),
    *("Malgun Gothic", "Noto Sans Devanagari", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Thai"),
    *("Nirmala UI", "Arial Unicode MS", "Unifont"),
)
"""A text face first, then faces that add scripts; matplotlib takes each letter from the first that has it."""
_MOST_EXPLAINED = 8


@lru_cache(4096)
def families(text: str = "") -> tuple[str, ...]:
    """Return the font families to write a text with, of those installed here.

    They are the preferred ones, and where these lack a letter, another that has it. Naming families that are not
    installed would be logged at every text.
    """
    usual = _usual_families()
    extra = [_find_family(code) for code in sorted(set(map(ord, text)) - _usual_letters())] if text else []
    return tuple(dict.fromkeys([*usual, *filter(None, extra)]))


def can_write(text: str) -> bool:
    """Whether some installed font has each of the letters, marks and digits of a text; symbols do not count."""
    if text.isascii():
        return True
    codes = {ord(letter) for letter in text if unicodedata.category(letter)[0] in "LMN"} - _usual_letters()
    return all(_find_family(code) for code in codes)


def legible(names: Sequence[str]) -> list[str]:
    """Return what to write for each class name: itself, or "class 3" for the third if its letters have no font."""
    return [name if can_write(name) else f"class {number}" for number, name in enumerate(names, start=1)]


def explain_stand_ins(names: Sequence[str], shown: Sequence[int]) -> str:
    """Return a sentence for the caption about those of the classes `shown` that `legible` does not write out."""
    hidden = [index for index in dict.fromkeys(shown) if not can_write(names[index])]
    if not hidden:
        return ""
    listed = "; ".join(f"class {index + 1} is {names[index]}" for index in hidden[:_MOST_EXPLAINED])
    more = f"; and {len(hidden) - _MOST_EXPLAINED} more in the CSV file" if len(hidden) > _MOST_EXPLAINED else ""
    return f" No font installed here has the letters of some names, so they stand by number: {listed}{more}."


@contextmanager
def missing_glyphs_drawn_as_boxes() -> Iterator[None]:
    """Keep quiet about letters that no installed font has: the figure shows boxes, CSV and report have the names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from", category=UserWarning)
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support", category=UserWarning)
        yield


@cache
def _usual_families() -> tuple[str, ...]:
    installed = set(fontManager.get_font_names())
    return tuple(name for name in _PREFERRED if name in installed) or ("sans-serif",)


@cache
def _usual_letters() -> frozenset[int]:
    paths = (fontManager.findfont(FontProperties(family=family)) for family in _usual_families())
    return frozenset[int]().union(*(_letters_of(str(path)) for path in paths))


@cache
def _find_family(code: int) -> str | None:
    """Return an installed family that has a letter, sans-serif if there is one."""
    return next((entry.name for entry in _installed() if code in _letters_of(entry.fname)), None)


@cache
def _installed() -> tuple[FontEntry, ...]:
    """Fonts of this system, the likeliest first. Those of matplotlib are for formulas, or have no letters at all."""
    own = Path(matplotlib.get_data_path())
    entries = (entry for entry in fontManager.ttflist if not Path(entry.fname).is_relative_to(own))
    return tuple(sorted(entries, key=lambda entry: (entry.style != "normal", "Sans" not in entry.name, entry.fname)))


@cache
def _letters_of(path: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a font that cannot be read has no letters
        return frozenset()
