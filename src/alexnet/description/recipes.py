"""The page of a recipe: what it is for, and what each of its fields means."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from alexnet.description.page import Description, Facts, Prose, command
from alexnet.recipes.fields import AS_START
from alexnet.recipes.named import RECIPES, Recipe
from alexnet.text.wording import counted

MOST_EXPLAINED = 7
"""Fields that a page explains; more would not fit a screen."""


class _Field(NamedTuple):
    name: str
    value: Any
    usual: Any
    """Its value in recipe paper."""
    meaning: str


def describe_recipe(
    name: str, recipe: Recipe, *, path: Path | None = None, every: bool = False, is_alone: bool = True
) -> Description:
    """Return what a recipe sets.

    Args:
        name: Its name on the command line.
        path: File that it was read from, if any.
        every: Explain every field, not only those that differ from recipe paper.
        is_alone: Explain these where they are few. Else only name them: the page is about a network too.
    """
    fields = list(_list_fields(recipe))
    different = [field for field in fields if field.value != field.usual]
    parts: list[Facts | Prose] = [Prose(f"Recipe {path or name}{_summarize(name, path)}")]
    if every:
        parts.append(Facts([(field.name, f"{plain(field.value)}. {field.meaning}") for field in fields]))
    elif different and (not is_alone or len(different) > MOST_EXPLAINED):
        values = ", ".join(
            f"{field.name}={plain(field.value)}" for field in different if field.name != "network.dialect"
        )
        parts.append(Prose(f"Otherwise than in recipe paper: {values}."))
    elif different:
        rows = [
            (field.name, f"{plain(field.value)}, not {plain(field.usual)}: {_shorten(field)}") for field in different
        ]
        parts.append(Facts(rows, "Where it differs from recipe paper:"))
    start = "MODEL" if recipe.network.dialect == AS_START else None
    hints = [
        ("change one", "add, for example, --set batches.size=16"),
        ("next", command("train", "STORE", recipe=path or name, from_=start, out="RUN")),
    ]
    if not every:
        hints.insert(0, (f"all {counted(len(fields), 'field')}", command("info", str(path or name), "--all")))
    return Description(recipe.model_dump(mode="json"), [*parts, Facts(hints)])


def _shorten(field: _Field) -> str:
    """Return the first clause of a field's documentation; of several choices, that of the chosen one."""
    chosen = re.search(rf'"{re.escape(str(field.value))}"(?:,|:)? ([^;,.]*)', field.meaning)
    clause = chosen[1] if chosen else re.split(r"[;.](?: |$)", field.meaning)[0]
    return clause[:1].lower() + clause[1:] if clause[:2] != clause[:2].upper() else clause


def plain(value: Any) -> str:
    """Return a field's value in words or as YAML; "none" where there is no number, "empty" for an empty list."""
    if value is None:
        return "none"
    if value in ((), [], {}):
        return "empty"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.strip().removesuffix("...").strip()


def _summarize(name: str, path: Path | None) -> str:
    """Return its name and its docstring."""
    return "" if path or name not in RECIPES else ": " + " ".join((RECIPES[name].__doc__ or "").split())


def _list_fields(recipe: Recipe) -> Iterator[_Field]:
    usual = RECIPES["paper"]().model_dump(mode="json")
    for group, values in recipe.model_dump(mode="json").items():
        if not isinstance(values, dict):
            continue
        documented = type(getattr(recipe, group)).model_fields
        for field, value in values.items():
            meaning = " ".join((documented[field].description or "").split())
            yield _Field(f"{group}.{field}", value, usual[group][field], meaning)
