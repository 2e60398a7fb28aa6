"""alexnet search codes, compare, duplicates and info."""

import sys
from pathlib import Path

import click

from alexnet.text.commands import command
from alexnet.text.names import escape_name
from alexnet.text.wording import counted
from alexnet.verbs.options import CHANGED, DISK, NEW_FILE, PATH, SEED, Number, json_option, threads_option
from alexnet.verbs.search_output import entry_json, new_terminal, show_comparison, shown, titled, write_groups

BITS = ("16", "32", "64", "128", "256")
METHODS = ("autoencoder", "random", "pca", "itq")
"""Names of `retrieval.codes.fitting.METHODS`, here so that --help need not load them; a test compares the two."""
SHOWN_GROUPS, SHOWN_IMAGES = 20, 20
"""Groups of near-identical images that are printed, at most, and images of each."""

seed_option = click.option("--seed", default=0, type=SEED, help="Fixes samples and first weights.")


@click.command()
@click.argument("index", type=CHANGED)
@click.option("--bits", default="128", type=click.Choice(BITS), help="Length of the codes.")
@click.option("--method", default="autoencoder", type=click.Choice(METHODS), help="What learns or draws the codes.")
@seed_option
@threads_option
@json_option
def codes(index: Path, bits: str, method: str, seed: int, threads: int | None, as_json: bool) -> None:
    """Learn short binary codes of the images in INDEX, for query --bits.

    The autoencoder is trained on up to 20,000 of the features (about half a minute on two cores). Codes of the same
    length are replaced; alexnet search compare tells how good they are.
    """
    import time

    import torch

    from alexnet.functions.opening import begin
    from alexnet.retrieval.codes.comparison import FIT_ROWS, choose_rows
    from alexnet.retrieval.codes.encoding import write_codes
    from alexnet.retrieval.codes.fitting import fit_encoder
    from alexnet.retrieval.index.changes import sole_writer
    from alexnet.retrieval.index.reader import open_index

    terminal = begin(threads)
    open_index(index)
    with sole_writer(index):
        opened = open_index(index)
        start = time.monotonic()
        sample = torch.from_numpy(opened.gather(choose_rows(opened.rows(), FIT_ROWS, seed)))
        with terminal.progress("learning", "steps") as meter:
            encoder = fit_encoder(sample, int(bits), method, seed=seed, report=meter)
            meter.restart("encoding")
            write_codes(opened, encoder, tick=meter)
        seconds = time.monotonic() - start
    size = opened.num_rows * int(bits) // 8
    if as_json:
        document = {
            "index": escape_name(str(index)),
            "bits": int(bits),
            "method": method,
            "bytes": size,
            "seconds": seconds,
        }
        terminal.print_json(document)
        return
    terminal.print(
        f"{index}: {bits}-bit codes of {counted(len(opened), 'image')}, {size:,} bytes, by {method} in {seconds:.0f} "
        f"s. Search them: {command('search', 'query', index, 'picture.jpg', bits=bits)}"
    )


@click.command()
@click.argument("index", type=PATH)
@click.option("--bits", default="16,32,64,128,256", metavar="N,N,…", help="Lengths to compare.")
@click.option("--pixels", is_flag=True, help="Also codes of 32 x 32 pixels; the images are read again.")
@click.option("--out", type=DISK, help="Picture to write, without suffix: .png, .svg and .csv.")
@seed_option
@threads_option
@json_option
def compare(
    index: Path, bits: str, pixels: bool, out: Path | None, seed: int, threads: int | None, as_json: bool
) -> None:
    """Compare codes of INDEX with exact search: recall, and how many neighbours are of the query's class.

    Autoencoder, random hyperplanes, PCA signs and ITQ at equal lengths, fitted without the queries. Nothing is kept.
    """
    from alexnet.retrieval.codes.comparison import PIXELS, compare_codes
    from alexnet.retrieval.index.reader import open_index

    lengths = bits.split(",")
    for length in lengths:
        if length.strip() not in BITS:
            raise click.UsageError(f"--bits {bits}: accepted are {', '.join(BITS)}, separated by commas.")
    if out and not out.parent.is_dir():
        raise click.UsageError(f"--out {out}: there is no folder {out.parent}. Create it, or choose another place.")
    from alexnet.functions.opening import begin

    terminal = begin(threads)
    opened = open_index(index)
    methods = [*METHODS, *([PIXELS] if pixels else [])]
    with terminal.progress("comparing", "codes") as meter:
        result = compare_codes(opened, [int(length) for length in lengths], methods, seed=seed, report=meter)
    if out:
        from alexnet.interpretation.drawing import save_drawing
        from alexnet.interpretation.evaluation_figures import draw_codes

        for path in save_drawing(draw_codes(result), out):
            terminal.say(str(path))
    if as_json:
        terminal.print_json({**result._asdict(), "results": [each._asdict() for each in result.results]})
    else:
        show_comparison(terminal, result)


@click.command()
@click.argument("index", type=PATH)
@click.option(
    "--threshold",
    default=0.5,
    type=Number(0, min_open=True),
    help="Share of the distance to the images around them below which images are near-identical.",
)
@click.option("--exact", is_flag=True, help="Compare all pairs, also of more than 50,000 images.")
@click.option("--html", type=NEW_FILE, help="Page with thumbnails to write.")
@threads_option
@json_option
def duplicates(
    index: Path, threshold: float, exact: bool, html: Path | None, threads: int | None, as_json: bool
) -> None:
    """List near-identical images of INDEX, those in more than one split first: they make errors look too low.

    A distance is compared with that to the twentieth nearest image, so that pictures which are merely alike stay out.
    Copies that were compressed again, resized or cut are found, which equal bytes (alexnet prepare) do not tell.
    More than 50,000 images are compared inside random trees, since all pairs would take too long.
    """
    from alexnet.functions.opening import begin
    from alexnet.retrieval.index.reader import open_index
    from alexnet.retrieval.near_duplicates import find_near_duplicates

    terminal = begin(threads)
    opened = open_index(index)
    with terminal.progress("comparing", "images") as meter:
        found = find_near_duplicates(opened, threshold=threshold, exact=exact or None, tick=meter)
    if html:
        write_groups(opened, found.groups, html)
        terminal.say(f"Page: {html}")
    across = sum(group.across_splits for group in found.groups)
    if as_json:
        groups = [
            {
                "distance": group.distance,
                "closeness": group.closeness,
                "across_splits": group.across_splits,
                "across_classes": group.across_classes,
                "images": [entry_json(opened.entry(row)) for row in group.rows],
            }
            for group in found.groups
        ]
        document = {"median_distance": found.median_distance, "threshold": threshold, "groups": groups}
        terminal.print_json(document)
        return
    terminal.print(
        f"{counted(len(found.groups), 'group')} of near-identical images among {len(opened):,}, {across:,} of them "
        f"across splits."
    )
    for group in found.groups[:SHOWN_GROUPS]:
        notes = [
            *(["ACROSS SPLITS"] if group.across_splits else []),
            *(["across classes"] if group.across_classes else []),
        ]
        terminal.print(
            f"\ndistance {group.distance:.4g}, {group.closeness:.2f} of that to others  {'  '.join(notes)}".rstrip()
        )
        for row in group.rows[:SHOWN_IMAGES]:
            entry = opened.entry(row)
            terminal.print("  " + "  ".join(filter(None, [entry.split, titled(entry), shown(entry)])))
        if len(group.rows) > SHOWN_IMAGES:
            terminal.print(f"  … and {len(group.rows) - SHOWN_IMAGES:,} more")
    if len(found.groups) > SHOWN_GROUPS:
        terminal.print(f"\n{len(found.groups) - SHOWN_GROUPS:,} more: give --json, or --html PAGE to see them.")


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
