"""alexnet search info."""

import sys
from pathlib import Path

import click

from alexnet.text.commands import command
from alexnet.text.names import escape_name
from alexnet.text.wording import counted
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
    from alexnet.retrieval.index.images import Originals
    from alexnet.retrieval.index.reader import read_index

    terminal = new_terminal()
    opened = read_index(index)
    if verify:
        opened.verify()
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
    header = opened.header
    values = {
        "index": escape_name(str(index)),
        "finished": header["finished"],
        "images": len(opened),
        "removed_rows": opened.num_rows - len(opened),
        "layer": opened.layer,
        "dimensions": opened.dimensions,
        "dtype": header["features"]["dtype"],
        "classes": len(opened.class_names),
        "codes": {bits: codes["method"] for bits, codes in header["codes"].items()},
        "model": header["model"],
        "bytes": sum(record["bytes"] for record in opened.file_records()),
        "problems": problems,
    }
    if as_json:
        terminal.print_json(values)
    else:
        names = ", ".join(f"{bits} bits ({method})" for bits, method in values["codes"].items())
        terminal.table(
            ["", str(index)],
            [
                ["images", f"{len(opened):,}" + ("" if header["finished"] else " so far: unfinished")],
                ["features", f"{opened.dimensions:,} of {opened.layer}, {values['dtype']}"],
                ["classes", f"{len(opened.class_names):,}"],
                ["codes", names or "none"],
                ["model", f"{header['model']['dialect']}, weights {header['model']['weights_sha256'][:12]}…"],
                ["size", f"{values['bytes']:,} bytes"],
                ["removed", f"{counted(values['removed_rows'], 'row')} still taking room"],
            ],
        )
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
