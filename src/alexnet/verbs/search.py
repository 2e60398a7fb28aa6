"""alexnet search: an index of features, its nearest images, binary codes and near-identical images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet.text.commands import command
from alexnet.text.names import escape_name
from alexnet.text.wording import counted
from alexnet.verbs.ending import tell_left_out
from alexnet.verbs.options import (
    CHANGED,
    NEW_FILE,
    PATH,
    TARGET,
    InOrder,
    Place,
    Whole,
    cluster_option,
    compute_options,
    device_option,
    devices_option,
    every_option,
    json_option,
    read_devices,
    threads_option,
    timeout_option,
)
from alexnet.verbs.search_codes import BITS, codes, compare, duplicates, info
from alexnet.verbs.search_export import export
from alexnet.verbs.search_output import (
    answers_json,
    new_terminal,
    show_answers,
    tell_changes,
    write_answers,
)

if TYPE_CHECKING:
    from alexnet.retrieval.index.reader import Index


model_option = click.option(
    "--model", type=PATH, help="Run, model or ensemble file that made the index.  [default: where it was then]"
)


@click.group(cls=InOrder)
def search() -> None:
    """Find alike images in a collection by what the network knows of them (paper, section 6.1).

    \b
    alexnet search index RUN PHOTOS --out INDEX        features of every image, once
    alexnet search query INDEX picture.jpg             the nearest images
    alexnet search codes INDEX --bits 128              then: search query INDEX picture.jpg --bits 128
    alexnet search duplicates INDEX                    near-identical images, also across splits
    """


@search.command("index")
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--out", required=True, type=TARGET, help="Index to create: a folder, or an address.")
@click.option(
    "--layer", help="Activation to keep: fc6.relu, conv5.pool, …  [default: the last hidden layer, rectified]"
)
@click.option(
    "--dtype",
    default="float32",
    type=click.Choice(["float32", "float16"]),
    help="Of the features on the disk; float16 takes half the room.",
)
@click.option("--split", "splits", multiple=True, help="Split of a store; repeatable.  [default: all]")
@click.option("--batch-size", default=128, type=Whole(1, 4096), help="Images at a time.")
@every_option
@compute_options
@devices_option
@timeout_option
@cluster_option
@json_option
def make(
    model: Path,
    images: tuple[Path, ...],
    out: Place,
    device: str,
    devices: str | None,
    timeout_seconds: float,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the features of IMAGES, as MODEL sees them, into a new index.

    IMAGES are a store, or files and folders; in folders, the folder that holds an image names its class, and train, val
    or test at the top its split. Of a clip there is an entry for a frame every half second, called clip.mp4@12.5s.
    Interrupted, the same command continues; finished, it says so. One that cannot be read is named and left out (exit
    code 1).
    """
    from alexnet.distribution.launch import COMPLETES
    from alexnet.distribution.session import join_world, start_if_asked
    from alexnet.functions import searching

    places = read_devices(devices, cluster=options["cluster"])
    if start_if_asked(places, advice=COMPLETES):
        return
    with join_world(None, places, device, timeout_seconds, advice=COMPLETES) as (world, own_device):
        report = searching.index(model, images, out, device=own_device, world=world, show=True, **options)
    if world.is_main:
        tell_changes(new_terminal(), out, report, as_json)


@search.command()
@click.argument("index", type=CHANGED)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--split", "splits", multiple=True, help="Split of a store; repeatable.  [default: all]")
@click.option("--batch-size", default=128, type=Whole(1, 4096), help="Images at a time.")
@every_option
@model_option
@device_option
@threads_option
@json_option
def add(
    index: Path,
    images: tuple[Path, ...],
    splits: tuple[str, ...],
    batch_size: int,
    every: float,
    model: Path | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Add IMAGES to INDEX; nothing else is computed again.

    What is there already is kept, and a file that has changed replaces what it was. Codes grow with the index.
    """
    from alexnet.functions.opening import begin
    from alexnet.functions.searching import open_indexed_model
    from alexnet.retrieval.index.images import choose_images
    from alexnet.retrieval.index.reader import open_index
    from alexnet.retrieval.index.writer import add_images

    terminal = begin(threads)
    classifier = open_indexed_model(terminal, open_index(index), model, device)
    chosen = choose_images(images, splits, every)
    with terminal.progress("indexing", "images") as meter:
        report = add_images(index, classifier, chosen, batch_size=batch_size, tick=meter)
    tell_changes(terminal, index, report, as_json)


@search.command()
@click.argument("index", type=CHANGED)
@click.argument("images", nargs=-1, type=PATH)
@click.option("--id", "ids", multiple=True, type=Whole(0), help="Id of an image, as query --json tells it; repeatable.")
@click.option("--missing", is_flag=True, help="Every image whose file is gone or has changed.")
@json_option
def remove(index: Path, images: tuple[Path, ...], ids: tuple[int, ...], missing: bool, as_json: bool) -> None:
    """Remove images from INDEX: by path (a folder means everything below it), by id, or those that are gone."""
    import os

    import numpy as np

    from alexnet.errors import ConfigError
    from alexnet.retrieval.index.images import Originals
    from alexnet.retrieval.index.writer import remove_rows

    if not images and not ids and not missing:
        raise click.UsageError("Name images, or give --id or --missing.")
    terminal = new_terminal()

    def choose(opened: "Index") -> Any:
        rows = opened.rows()
        entries = [opened.entry(row) for row in rows.tolist()]
        chosen = np.zeros(len(rows), bool)
        for path in images:
            names = {str(path), os.path.abspath(path)}
            below = tuple(f"{name}{os.sep}" for name in names)
            matches = np.array([entry.path in names or entry.path.startswith(below) for entry in entries], bool)
            if not matches.any():
                what = "of this folder" if path.is_dir() else "of this path"
                raise ConfigError(
                    f"{path}: {index} holds no image {what}, or none any more. What it holds: "
                    f"{command('search', 'info', index, images=True)}"
                )
            chosen |= matches
        own = np.array([entry.id for entry in entries])
        for number in ids:
            if number not in own:
                raise ConfigError(f"--id {number}: {index} has no image of this id.")
            chosen |= own == number
        if missing:
            originals = Originals(opened)
            with terminal.progress("checking", "images") as meter:
                for place, entry in enumerate(entries):
                    chosen[place] |= originals.explain(entry) is not None
                    meter(place + 1, len(entries))
        return rows[chosen]

    removed, left = remove_rows(index, choose)
    if as_json:
        terminal.print_json({"index": escape_name(str(index)), "removed": removed, "images": left})
    else:
        terminal.print(f"{index}: {counted(removed, 'image')} removed, {left:,} left.")


@search.command()
@click.argument("index", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--k", type=Whole(1), help="Nearest images to list.  [default: 6, or all if there are fewer]")
@click.option("--bits", type=click.Choice(BITS), help="Search the codes of this length.  [default: features, exactly]")
@click.option("--rerank", default=500, type=Whole(0), help="Codes to rank again by exact distance.")
@click.option(
    "--backend",
    default="exact",
    type=click.Choice(["exact", "faiss"]),
    help="faiss: approximate search of large collections (extra search).",
)
@click.option("--faiss", "factory", default="HNSW32,Flat", help="What faiss makes: its factory string.")
@click.option("--exclude-self", is_flag=True, help="Leave out the query itself, where it is indexed, and its copies.")
@click.option("--html", type=NEW_FILE, help="Page with thumbnails to write.")
@model_option
@device_option
@threads_option
@json_option
def query(
    index: Path,
    images: tuple[Path, ...],
    k: int | None,
    bits: str | None,
    backend: str,
    factory: str,
    html: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """List the images of INDEX that are nearest to IMAGES, by Euclidean distance of their features.

    An image that is indexed itself is its own nearest, at distance 0; --exclude-self gives its place to another. One
    that cannot be read is named and left out (exit code 1). Neighbours whose file is gone or has changed since are
    marked. Equally near images stand in the order of their paths.
    """
    from alexnet.functions import searching
    from alexnet.retrieval.index.reader import open_index

    if bits and backend == "faiss":
        raise click.UsageError("Give --bits or --backend faiss, not both.")
    terminal = new_terminal()
    opened = open_index(index)
    k = k or min(searching.NEAREST, len(opened))
    answers, left_out = searching.search(
        opened,
        images,
        k=k,
        bits=int(bits) if bits else None,
        faiss=factory if backend == "faiss" else None,
        show=True,
        **options,
    )
    if html:
        write_answers(opened, answers, html)
        terminal.say(f"Page: {html}")
    if as_json:
        terminal.print_json(answers_json(index, k, answers, left_out))
    else:
        show_answers(terminal, answers, index)
    tell_left_out(terminal, left_out)


for _verb in (codes, compare, duplicates, info, export):
    search.add_command(_verb)
