"""The YAML of recipes and of --set: text that may come from strangers, read as plain data.

Aliases are refused, since with them few bytes become gigabytes. So are keys that stand twice, since one would be
dropped without a word.
"""

from typing import Any

import yaml

from alexnet.text.wording import cut

MOST_CHARACTERS = 100_000
"""A recipe with every field has about 2,000."""


class _PlainLoader(yaml.SafeLoader):
    """Reads no aliases and no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            problem = None
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key is a list or a mapping"
            elif key.value in seen:
                problem = f"the key {quote_briefly(key.value)} stands twice"
            if problem is not None:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """Return the plain value that a YAML text holds.

    Raises:
        ValueError: it is no YAML, too long, nested too deeply, has aliases, a key twice or one that is no text, or a
            value that cannot be read; one short sentence.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it is longer than {MOST_CHARACTERS:,} characters")
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506 - a SafeLoader that reads less
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        place = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{place}{problem.problem or problem.context}") from None
    except yaml.YAMLError:  # a character that YAML does not allow
        raise ValueError("it is not YAML") from None
    except MemoryError:
        raise
    except Exception:  # a value that is no number or day, though it looks so or is called so: whatever int() raises
        raise ValueError("a value in it cannot be read") from None


def quote_briefly(value: object) -> str:
    """Return a value as Python writes it, cut off where it is long."""
    try:
        return cut(repr(value))
    except (ValueError, RecursionError):  # thousands of digits, or of lists in lists
        return "too long to show"
