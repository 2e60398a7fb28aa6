"""JSON that may come from strangers, read as data: whatever is wrong with it is one short ValueError.

A header whose checksum fits may still be forged: `find_misfit` compares it with a form, which says what each value is.
"""

import json
import math
import posixpath
from collections.abc import Callable, Mapping
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Return the value that a JSON document holds.

    Raises:
        ValueError: it is no JSON, is no UTF-8, has a key twice, or is nested more deeply than Python reads.
    """
    try:
        return json.loads(text, object_pairs_hook=_collect)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's fields; of two with one name the first would be dropped without a word."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{max(names, key=names.count)[:40]!r} stands twice")
    return fields


Form = Callable[[Any], bool] | list[Any] | Mapping[str, Any]
"""What a value must be: a function that tells whether it is right; [form] for a list of such; or forms of the fields of
an object, where "name?" may be missing, "*" stands for every other field, and what is not named may be anything."""


def find_misfit(value: Any, form: Form, place: str = "") -> str | None:
    """Return where a JSON value first departs from a form, as "splits.train.count"; None where it fits."""
    if callable(form):
        return None if form(value) else place
    if isinstance(form, list):
        if not isinstance(value, list):
            return place
        inner = [(str(number), each, form[0]) for number, each in enumerate(value)]
    else:
        if not isinstance(value, dict):
            return place
        named = {name.removesuffix("?"): each for name, each in form.items() if name != "*"}
        missing = next((name for name in form if name not in value and not name.endswith("?") and name != "*"), None)
        if missing is not None:
            return f"{place}.{missing}".lstrip(".")
        rest = form.get("*", lambda _: True)
        inner = [(name, each, named.get(name, rest)) for name, each in value.items()]
    found = (find_misfit(each, inside, f"{place}.{name}".lstrip(".")) for name, each, inside in inner)
    return next((misfit for misfit in found if misfit is not None), None)


def is_text(value: Any) -> bool:
    """Whether it is a text that can be printed and written: half a character, which JSON may hold, cannot."""
    return isinstance(value, str) and (value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value))


def is_whole(value: Any) -> bool:
    """Whether it is a whole number from 0 to what 63 bits hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_number(value: Any) -> bool:
    """Whether it is a finite number; whole ones may be longer than any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf


def is_bool(value: Any) -> bool:
    """Whether it is true or false."""
    return isinstance(value, bool)


def is_inside(value: Any) -> bool:
    """Whether it is the path of a file below a folder, which it cannot leave."""
    return (
        is_text(value)
        and 0 < len(value) < 4096
        and value == posixpath.normpath(value)
        and not value.startswith(("/", "..", "."))
        and not set(value) & set("\0\\:")
    )


def either(*values: Any) -> Callable[[Any], bool]:
    """Return the form of a value that is one of these."""
    return lambda value: any(value is each or (type(value) is type(each) and value == each) for each in values)


def numbers(*shape: int) -> Callable[[Any], bool]:
    """Return the form of nested lists of finite floats of this shape."""

    def fits(value: Any, sides: tuple[int, ...] = shape) -> bool:
        if not sides:
            return is_number(value) and abs(value) < 1e300
        return isinstance(value, list) and len(value) == sides[0] and all(fits(each, sides[1:]) for each in value)

    return fits


FILE: Mapping[str, Form] = {"file": is_inside, "bytes": is_whole, "xxh3": is_text}
"""A `files.record.FileRecord`."""
