"""What the documents say is run, and what they name exists."""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import click

import alexnet
from alexnet.recipes.named import RECIPES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "alexnet"
STAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_readme_begins_with_one_sentence_and_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# alexnet\n\n")
    assert "make demo" in text[:900]
    assert "make test" in text[:900]


def test_every_path_that_a_document_names_exists() -> None:
    assert len(DOCUMENTS) > 5
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (document.parent / target).exists(), (document.name, target)
        for path in re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./-]+\.\w+)`", text):
            assert (ROOT / path).exists(), (document.name, path)


def test_every_module_that_a_document_or_a_docstring_names_exists() -> None:
    assert {"retrieval", "distribution", "exchange", "reproduction"} <= STAGES
    named = rf"(?<![\w/.])((?:{'|'.join(STAGES)})/(?:\w+/)?\w+\.py)\b"
    found = 0
    for document in [*DOCUMENTS, *PACKAGE.rglob("*.py")]:
        for path in re.findall(named, document.read_text(encoding="utf-8")):
            assert (PACKAGE / path).exists(), (document.name, path)
            found += 1
    assert found > 60


def test_every_name_that_a_document_says_is_in_a_module_is_there() -> None:
    found = 0
    for document in DOCUMENTS:
        for path, name in re.findall(r"`((?:\w+/){1,2}\w+\.py)` \(`(\w+)`\)", document.read_text(encoding="utf-8")):
            assert re.search(rf"\b{name}\b", (PACKAGE / path).read_text(encoding="utf-8")), (document.name, path, name)
            found += 1
    assert found > 5


def test_every_dotted_name_in_a_document_or_a_docstring_is_a_name_of_the_package_or_a_field() -> None:
    fields = {f"{group}.{field}" for group, values in RECIPES["paper"]().model_dump().items()
              if isinstance(values, dict) for field in values}  # fmt: skip
    texts = {path.stem: "" for path in PACKAGE.rglob("*.py")}
    for path in PACKAGE.rglob("*.py"):
        texts[path.stem] += path.read_text(encoding="utf-8")
    found = 0
    for document in [*DOCUMENTS, *PACKAGE.rglob("*.py")]:
        for dotted in re.findall(r"`([a-z_]+(?:\.\w+)+)`", document.read_text(encoding="utf-8")):
            parts = dotted.removeprefix("alexnet.").split(".")
            if dotted == f"alexnet.{parts[0]}":
                assert is_known(parts) or parts[0] in ("json", "safetensors"), (document.name, dotted)
            elif parts[0] in STAGES:
                assert dotted in fields or is_known(parts), (document.name, dotted)
                found += 1
            elif parts[0] in texts and parts[-1] not in ("json", "jsonl", "html", "yaml"):
                assert len(parts) == 1 or re.search(rf"\b{parts[1]}\b", texts[parts[0]]), (document.name, dotted)
                found += 1
    assert found > 30


def has_module(name: str) -> bool:
    """Whether there is a module of this name, whatever it imports."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def is_known(parts: list[str]) -> bool:
    """Whether the parts of a name lead from the package to one of its modules or to what a module holds."""
    value: Any = alexnet
    for position, part in enumerate(parts):
        if not hasattr(value, part):
            name = ".".join(["alexnet", *parts[: position + 1]])
            try:
                value = importlib.import_module(name)
            except ImportError:  # a module of an extra that is not installed has a name all the same
                return position == len(parts) - 1 and has_module(name)
        else:
            value = getattr(value, part)
    return True


def test_every_example_in_python_imports_the_package_that_it_uses() -> None:
    found = 0
    for document in DOCUMENTS:
        for block in re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
            if re.search(r"\balexnet\.\w", block):
                assert re.search(r"^(import|from) alexnet\b", block, re.MULTILINE), (document.name, block)
                found += 1
    assert found > 8


def test_the_changelog_has_an_entry_for_this_version() -> None:
    assert f"## {alexnet.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_commands_in_the_documents_are_commands_of_this_program() -> None:
    from alexnet.cli import cli

    for document in DOCUMENTS:
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.splitlines():
                words = line.removeprefix("$ ").split("#")[0].split()
                if words[:1] == ["alexnet"]:
                    command = cli.commands[words[1]]
                    if isinstance(command, click.Group):
                        command = command.commands[words[2]]
                    options = {option for parameter in command.params for option in parameter.opts}
                    used = {word.split("=")[0] for word in words[2:] if word.startswith("--")}
                    assert used <= options | {"--help"}, (document.name, line)


def test_every_picture_of_the_gallery_stands_above_the_command_that_draws_it() -> None:
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    drawn = re.findall(r"!\[[^\]]*\]\((images/[^)]+)\)\n\n```sh\nalexnet draw [^\n]*--out ([\w-]+)\.png\n```", page)
    assert len(drawn) == page.count("](images/") > 5
    for picture, name in drawn:
        assert picture.startswith(f"images/gallery-{name}.")
        assert (ROOT / "docs" / picture).stat().st_size < 150_000
    kinds = {re.match(r"[a-z]+", name)[0] for _, name in drawn}  # type: ignore[index]
    assert {"filters", "predictions", "neighbours", "activations", "curves", "why"} <= kinds
