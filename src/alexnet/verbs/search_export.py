"""alexnet search export."""

from pathlib import Path

import click

from alexnet.text.commands import command
from alexnet.text.names import escape_name
from alexnet.text.wording import counted
from alexnet.verbs.options import NEW_PATH, PATH, json_option
from alexnet.verbs.search_output import new_terminal

ENGINES = ("lance", "parquet", "faiss")
"""Names of `retrieval.index.exporting.ENGINES`, here so that --help need not load them; a test compares the two."""


@click.command("export")
@click.argument("index", type=PATH)
@click.option("--to", "engine", required=True, type=click.Choice(ENGINES), help="Whose files to write.")
@click.option("--out", required=True, type=NEW_PATH, help="A folder for lance, a file for the others; must not exist.")
@click.option("--faiss", "factory", help="What faiss makes: its factory string.  [default: Flat]")
@json_option
def export(index: Path, engine: str, out: Path, factory: str | None, as_json: bool) -> None:
    """Write the images of INDEX for another engine: a LanceDB table, a Parquet file, or a faiss index.

    Tables have the columns id, path, split, class, vector and, where INDEX has codes, code_128 and the like. A faiss
    index has the ids alone; alexnet search info INDEX --images tells whose they are. INDEX stays as it is.
    """
    from alexnet.retrieval.index.exporting import export_index
    from alexnet.retrieval.index.reader import open_index

    if factory is not None and engine != "faiss":
        raise click.UsageError(f"--faiss says what faiss makes, and --to is {engine}. Leave one of them out.")
    terminal = new_terminal()
    opened = open_index(index)
    with terminal.progress("exporting", "images") as meter:
        export_index(opened, engine, out, factory=factory or "Flat", tick=meter)  # type: ignore[arg-type]
    if as_json:
        document = {"index": escape_name(str(index)), "to": engine, "out": escape_name(str(out)), "images": len(opened)}
        terminal.print_json(document)
        return
    ids = f" Whose the ids are: {command('search', 'info', index, images=True)}" if engine == "faiss" else ""
    terminal.print(f"{out}: {counted(len(opened), 'image')} of {opened.dimensions:,} features for {engine}.{ids}")
