"""Words that depend on numbers, and names that someone may have meant."""

import difflib
from collections.abc import Iterable, Mapping, Sequence


def counted(number: int, what: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 image", "2,000 images", "3 classes"."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def say_bytes(number: int) -> str:
    """Return an amount of memory or disk: "1.6 GB", "512.0 MB", "98.3 kB", "740 bytes"."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= unit:
            return f"{number / unit:,.1f} {name}"
    return counted(number, "byte")


def say_moment(seconds: float) -> str:
    """Return a moment of a clip as players show it, with tenths: "0:12.5", "1:02:12.5"."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else str(minutes)
    return f"{hours}:{rest // 10:02d}.{rest % 10}"


def say_views(views: int) -> str:
    """Return what of a picture was looked at: "its centre view alone", "ten views, averaged"."""
    return {1: "its centre view alone", 9: "nine views, averaged", 10: "ten views, averaged"}[views]


def readable_names(names: Sequence[str], titles: Sequence[str]) -> dict[str, str]:
    """Return class name -> readable name, as "n01440764" -> "tench", of the classes where these differ."""
    return {name: title for name, title in zip(names, titles, strict=True) if title != name}


def name_readably(names: Sequence[str], *known: Mapping[str, str]) -> tuple[str, ...]:
    """Return the readable name of each class: the first that one of `known` has, else its class name."""
    return tuple(next((each[name] for each in known if name in each), name) for name in names)


_PLURALS = {
    "link or device": "links or devices",
    "loop of links": "loops of links",
    "special file": "special files",
    "unreadable folder": "unreadable folders",
    "unsafe name": "unsafe names",
    "video": "videos",
}
"""Of the reasons to pass a file over that are nouns."""


def list_reasons(counts: Mapping[str, int]) -> str:
    """Return how many files were passed over for which reason: "2 hidden, 1 not an image, 10 videos"."""
    return ", ".join(counted(count, reason, _PLURALS.get(reason, reason)) for reason, count in counts.items())


MOST_SHOWN = 60
"""Letters of a value that a sentence repeats."""


def cut(text: str, most: int = MOST_SHOWN) -> str:
    """Return a text, cut off where it is long."""
    return text if len(text) <= most else f"{text[:most]}…"


def shorten(names: Sequence[str], limit: int = 10) -> str:
    """Return the first names of a list, each cut off where it is very long, and how many more there are."""
    more = len(names) - limit
    return ", ".join(cut(name, 4 * MOST_SHOWN) for name in names[:limit]) + (f" and {more:,} more" if more > 0 else "")


def suggest(name: str, names: Sequence[str]) -> str:
    """Return the name, with the nearest of the names that exist."""
    near = nearest(name, names)
    return f"{name} (did you mean {near}?)" if near else name


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name among `known` that is most like `name`, in any case, or None where none is like it."""
    by_fold = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=1)
    return by_fold[close[0]] if close else None


UNEQUAL = 10
"""Ratio of the largest class to the smallest from which a sentence is worth it."""


def say_unequal(counts: Sequence[int], names: Sequence[str], what: str) -> str | None:
    """Return a sentence where the largest class has `UNEQUAL` times the images of the smallest, else None.

    Args:
        counts: Images of each class; those without are passed over.
        what: Name of the images, such as "training images".
    """
    filled = sorted((count, name) for count, name in zip(counts, names, strict=True) if count)
    if not filled or filled[-1][0] < UNEQUAL * filled[0][0]:
        return None
    (least, smallest), (most, largest) = filled[0], filled[-1]
    return f"Classes are unequal: {largest} has {most:,} {what}, {smallest} {least:,}."
