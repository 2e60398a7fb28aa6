"""Counts the lines of a folder of Python by what they are, package by package: `python docs/line_counts.py`."""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

KINDS = ("code", "docstring", "comment", "blank")


def count_lines(text: str) -> Counter[str]:
    """Return how many lines of a module are of each of KINDS; a comment behind code counts as code.

    A docstring is any text that stands alone: of a module, class or function, or below an attribute.
    """
    lines = text.splitlines()
    kinds = ["code" if line.strip() else "blank" for line in lines]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row = token.start[0] - 1
        if token.type == tokenize.COMMENT and lines[row].lstrip().startswith("#"):
            kinds[row] = "comment"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for row in range(node.lineno - 1, node.end_lineno or node.lineno):
                kinds[row] = "docstring"
    return Counter(kinds)


def main(root: Path) -> None:
    """Print a row for each package below root, and one for all."""
    rows: dict[str, Counter[str]] = {}
    for path in sorted(root.rglob("*.py")):
        first, *others = path.relative_to(root).parts
        rows.setdefault(first if others else ".", Counter()).update(count_lines(path.read_text(encoding="utf-8")))
    rows["all"] = sum(rows.values(), Counter())
    print(f"{'':14}{'all':>8}" + "".join(f"{kind:>11}" for kind in KINDS))
    for name, row in rows.items():
        print(f"{name:14}{row.total():8,}" + "".join(f"{row[kind]:11,}" for kind in KINDS))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "src/alexnet"))
