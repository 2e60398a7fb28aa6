r"""Names of files and classes as text: what cannot be printed is escaped, by one rule that can be undone.

A file's name is any bytes but two. Terminal, CSV, JSON, pages and files of features write it by this rule: a backslash
becomes `\\`; each byte that is no UTF-8, or of a character that steers a terminal or breaks a line (control characters,
line separators, overrides of the writing direction), becomes `\xHH`. Everything else stays as it is. A shell reads it
back between $' and ', Python by `unescape_name`.
"""

import re

_STEERS = "\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Characters that are escaped, as in a character class. Bytes that are no UTF-8 are surrogates in Python's names."""
_UNPRINTABLE = re.compile(f"[{_STEERS}]")
_UNPRINTABLE_IN_TEXT = re.compile(f"(?![\n\t])[{_STEERS}]")
_ESCAPE = re.compile(rb"\\(?:\\|x([0-9a-f]{2}))")


def escape_name(name: str) -> str:
    """Return a name as it is written: on one line, encodable, and without characters that steer a terminal."""
    if "\\" not in name and name.isprintable():
        return name
    return _UNPRINTABLE.sub(_write_bytes, name.replace("\\", "\\\\"))


def unescape_name(text: str) -> str:
    """Return the name that `escape_name` wrote; the empty and the plain are themselves."""
    if "\\" not in text:
        return text
    data = text.encode("utf-8", "surrogateescape")
    data = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else b"\\", data)
    return data.decode("utf-8", "surrogateescape")


def escape_controls(text: str) -> str:
    """Return text of several lines, which may hold names, with all but tabs and line breaks escaped.

    What was escaped before stays as it is.
    """
    return text if text.isprintable() else _UNPRINTABLE_IN_TEXT.sub(_write_bytes, text)


def _write_bytes(found: re.Match[str]) -> str:
    character = found[0]
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", errors))
