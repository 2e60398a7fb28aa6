"""alexnet search info."""

import sys
from pathlib import Path

import click

from alexnet.text.commands import command
from alexnet.text.names import escape_name
from alexnet.verbs.options import PATH, json_option
from alexnet.verbs.search_output import entry_json, new_terminal, shown, titled


@click.command()
@click.argument("index", type=PATH)
@click.option("--verify", is_flag=True, help="Read every file of the index and compare checksums.")
@click.option("--check", is_flag=True, help="Compare every indexed image with its file as it is now.")
@click.option("--images", "list_images", is_flag=True, help="List the images: id, split, class, path.")
@json_option
def info(index: Path, verify: bool, check: bool, list_images: bool, as_json: bool) -> None:
    """Tell what INDEX holds, and whether it and the images behind it are as they were."""
    from alexnet.description.indexes import describe_index
    from alexnet.retrieval.index.images import Originals
    from alexnet.retrieval.index.reader import read_index

    terminal = new_terminal()
    opened = read_index(index)
    if list_images:
        for row in opened.rows().tolist():
            entry = opened.entry(row)
            if as_json:
                terminal.print_json(entry_json(entry))
            else:
                terminal.print("\t".join([str(entry.id), entry.split, titled(entry) or "", shown(entry)]))
        return
    problems: list[str] = []
    if check:
        originals = Originals(opened)
        with terminal.progress("checking", "images") as meter:
            for place, row in enumerate(opened.rows().tolist()):
                problem = originals.explain(opened.entry(row))
                problems += [f"{shown(opened.entry(row))} {problem}"] if problem else []
                meter(place + 1, len(opened))
    page = describe_index(index, verify=verify)
    if as_json:
        terminal.print_json({"index": escape_name(str(index)), **page.values, "problems": problems})
    else:
        for part in page.parts:
            terminal.show(part)
        if verify:
            terminal.say("Every byte of it is as it was written.")
        if check and not problems:
            terminal.say("Every image is as it was indexed.")
    for problem in problems:
        terminal.show_error("Not as indexed", problem)
    if problems:
        terminal.say(
            f"Index what has changed: {command('search', 'add', index, 'IMAGES')}. Remove what is gone: "
            f"{command('search', 'remove', index, missing=True)}"
        )
        sys.exit(1)
