"""What the documents say is run, and what they name exists."""

import re
from pathlib import Path

import click

import alexnet

ROOT = Path(__file__).parents[2]


def test_readme_begins_with_one_sentence_and_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# alexnet\n\n")
    assert "make demo" in text[:900]
    assert "make test" in text[:900]


def test_every_path_that_a_document_names_exists() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    assert len(documents) > 5
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (document.parent / target).exists(), (document.name, target)
        for path in re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./-]+\.\w+)`", text):
            assert (ROOT / path).exists(), (document.name, path)


def test_every_module_that_a_document_names_exists() -> None:
    package = ROOT / "src" / "alexnet"
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for path in re.findall(
            r"`((?:data|batches|kernels|network|training|evaluation|interpretation)/\w+\.py)`",
            document.read_text(encoding="utf-8"),
        ):
            assert (package / path).exists(), (document.name, path)


def test_the_changelog_has_an_entry_for_this_version() -> None:
    assert f"## {alexnet.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_commands_in_the_documents_are_commands_of_this_program() -> None:
    from alexnet.cli import cli

    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
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
    assert {"filters", "predictions", "neighbours", "activations", "curves", "saliency"} <= kinds
