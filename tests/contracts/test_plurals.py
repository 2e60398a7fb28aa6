"""Numbers agree with their nouns: what people read says "1 image", never "1 images"."""

import ast
import re
from pathlib import Path

import pytest

import alexnet
from alexnet.text.wording import counted

PACKAGE = Path(alexnet.__file__).parent
NOUNS = (
    "images|classes|groups|trainings|models|networks|epochs|batches|runs|rows|labels|files|neighbours|devices|processes|"
    "predictions|outputs|lines|blobs|queries|towers|members"
)
LITERAL = re.compile(rf" (?:\w+ )?({NOUNS})\b")


def find_bare_plurals(source: str) -> list[str]:
    """Return line and noun of every f-string that writes a number, with a comma or from len(), before a fixed plural."""
    found = []
    for text in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)):
        for number, words in zip(text.values, text.values[1:], strict=False):
            if not isinstance(number, ast.FormattedValue) or not isinstance(words, ast.Constant):
                continue
            is_length = isinstance(number.value, ast.Call) and ast.unparse(number.value.func) == "len"
            has_comma = number.format_spec is not None and ast.unparse(number.format_spec) == "f','"
            noun = LITERAL.match(str(words.value))
            if noun and (is_length or has_comma):
                found.append(f"{text.lineno}: {noun[1]}")
    return found


def test_bare_plurals_are_found() -> None:
    assert find_bare_plurals('f"{n:,} images"') == ["1: images"]
    assert find_bare_plurals('f"of {len(x)} " f"training runs"') == ["1: runs"]
    assert find_bare_plurals("f\"{counted(n, 'image')} of {n:,}, {n:,} bytes\"") == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_count_is_written_with_its_noun(path: Path) -> None:
    assert find_bare_plurals(path.read_text(encoding="utf-8")) == []


def test_a_count_has_its_noun_in_the_right_number() -> None:
    assert [counted(number, "image") for number in (0, 1, 2, 1000)] == [
        "0 images",
        "1 image",
        "2 images",
        "1,000 images",
    ]
    assert [counted(number, "class", "classes") for number in (1, 3)] == ["1 class", "3 classes"]
