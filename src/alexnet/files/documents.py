"""JSON that may come from strangers, read as data: whatever is wrong with it is one short ValueError."""

import json
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
