"""Identifiers have one spelling, PyTorch's; prose, and what the user types, have their own."""

import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[2]
OTHER = re.compile("neighbour|centre|colour|grey|labelled|normalis|recognis|initialis|optimis", re.IGNORECASE)


def test_identifiers_have_the_spelling_of_pytorch() -> None:
    found = set()
    for folder in ("src", "tests", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*.py"):
            for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
                # Names of tests are sentences.
                if token.type == tokenize.NAME and OTHER.search(token.string) and not token.string.startswith("test_"):
                    found.add((path.name, token.string))
    assert not found
