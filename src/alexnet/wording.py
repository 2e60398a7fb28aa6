"""Words that depend on numbers, and names that someone may have meant."""

import difflib
from collections.abc import Iterable


def counted(number: int, what: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 image", "2,000 images", "3 classes"."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name among `known` that is most like `name`, in any case, or None where none is like it."""
    by_fold = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=1)
    return by_fold[close[0]] if close else None
