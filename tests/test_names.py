"""Names that cannot be printed are written by one rule, and can be got back."""

import os

import pytest

from alexnet.text.names import escape_controls, escape_name, unescape_name

WRITTEN = {
    "plain é 犬 \u200d name.jpg": "plain é 犬 \u200d name.jpg",
    "a\x1b[31mred.jpg": r"a\x1b[31mred.jpg",
    "new\nline\tand\rreturn": r"new\x0aline\x09and\x0dreturn",
    os.fsdecode(b"bad\xff.jpg"): r"bad\xff.jpg",
    os.fsdecode(b"half \xc3 of \xc3\xa9"): r"half \xc3 of é",
    r"back\slash": r"back\\slash",
    r"looks \x1b escaped": r"looks \\x1b escaped",
    "two\u2028lines \u202ereversed \x9b": r"two\xe2\x80\xa8lines \xe2\x80\xaereversed \xc2\x9b",
    "": "",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_name_is_written_on_one_line_and_read_back(name: str) -> None:
    written = escape_name(name)
    assert written == WRITTEN[name]
    assert unescape_name(written) == name
    assert written.encode().decode() == written
    assert len(written.splitlines()) == bool(written)


def test_every_byte_of_a_name_comes_back() -> None:
    every = os.fsdecode(bytes(range(1, 256)))
    assert unescape_name(escape_name(every)) == every
    assert escape_controls(escape_name(every)) == escape_name(every)
    assert all(31 < ord(letter) < 127 for letter in escape_name(every))


def test_text_keeps_its_lines_and_what_was_escaped_before() -> None:
    assert escape_controls("one\ntwo\t\x1b[2J \udcff \x7f \\x1b") == "one\ntwo\t\\x1b[2J \\xff \\x7f \\x1b"
    assert escape_controls("a surrogate \ud800") == "a surrogate \\xed\\xa0\\x80"
