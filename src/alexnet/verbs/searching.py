"""alexnet search: an index of features, its nearest images, binary codes and near-identical images."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet.verbs.options import (
    NEW_FILE,
    PATH,
    device_option,
    image_files,
    json_option,
    precision_option,
    threads_option,
)

if TYPE_CHECKING:
    from alexnet.evaluation.classifier import Classifier
    from alexnet.retrieval.index import Index
    from alexnet.retrieval.querying import Answer
    from alexnet.terminal import Terminal

BITS = ("16", "32", "64", "128", "256")
METHODS = ("autoencoder", "random", "pca", "itq")
"""Names of `retrieval.autoencoder.METHODS`, here so that --help need not load them; a test compares the two."""
THUMBNAIL_PX = 128
SHOWN_GROUPS = 20

model_option = click.option(
    "--model", type=PATH, help="Run or model file that made the index.  [default: where it was then]"
)
seed_option = click.option("--seed", default=0, show_default=True, help="Fixes samples and first weights.")


@click.group()
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
@click.option("--out", required=True, type=PATH, help="Index to create: a folder.")
@click.option(
    "--layer", help="Activation to keep: fc6.relu, conv5.pool, …  [default: the last hidden layer, rectified]"
)
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "float16"]),
    help="Of the features on the disk; float16 takes half the room.",
)
@click.option("--split", "splits", multiple=True, help="Split of a store; repeatable.  [default: all]")
@click.option("--batch-size", default=128, show_default=True, type=click.IntRange(1, 4096), help="Images at a time.")
@device_option
@precision_option
@threads_option
@json_option
def make(
    model: Path,
    images: tuple[Path, ...],
    out: Path,
    layer: str | None,
    dtype: str,
    splits: tuple[str, ...],
    batch_size: int,
    device: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Write the features of IMAGES, as MODEL sees them, into a new index.

    IMAGES are a store, or files and folders; in folders, the folder that holds an image names its class, and train, val
    or test at the top its split. Interrupted, the same command continues. One that cannot be read is named and left out
    (exit code 1).
    """
    from alexnet.evaluation.classifier import load
    from alexnet.retrieval.images import choose_images
    from alexnet.retrieval.index_writer import make_index

    terminal = _begin(threads)
    chosen = choose_images(images, splits)
    classifier = load(model, device=device, precision=precision)
    with terminal.progress("indexing", "images") as meter:
        report = make_index(classifier, chosen, out, layer=layer, dtype=dtype, batch_size=batch_size, tick=meter)
    _tell_changes(terminal, out, report, as_json)


@search.command()
@click.argument("index", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--split", "splits", multiple=True, help="Split of a store; repeatable.  [default: all]")
@click.option("--batch-size", default=128, show_default=True, type=click.IntRange(1, 4096), help="Images at a time.")
@model_option
@device_option
@threads_option
@json_option
def add(
    index: Path,
    images: tuple[Path, ...],
    splits: tuple[str, ...],
    batch_size: int,
    model: Path | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Add IMAGES to INDEX; nothing else is computed again.

    What is there already is kept, and a file that has changed replaces what it was. Codes grow with the index.
    """
    from alexnet.retrieval.images import choose_images
    from alexnet.retrieval.index import open_index
    from alexnet.retrieval.index_writer import add_images

    terminal = _begin(threads)
    classifier = _load_model(open_index(index), model, device)
    chosen = choose_images(images, splits)
    with terminal.progress("indexing", "images") as meter:
        report = add_images(index, classifier, chosen, batch_size=batch_size, tick=meter)
    _tell_changes(terminal, index, report, as_json)


@search.command()
@click.argument("index", type=PATH)
@click.argument("images", nargs=-1, type=PATH)
@click.option("--id", "ids", multiple=True, type=int, help="Id of an image, as query --json tells it; repeatable.")
@click.option("--missing", is_flag=True, help="Every image whose file is gone or has changed.")
@json_option
def remove(index: Path, images: tuple[Path, ...], ids: tuple[int, ...], missing: bool, as_json: bool) -> None:
    """Remove images from INDEX: by path (a folder means everything below it), by id, or those that are gone."""
    import os

    import numpy as np

    from alexnet.errors import ConfigError
    from alexnet.retrieval.images import Originals
    from alexnet.retrieval.index_writer import remove_rows

    if not images and not ids and not missing:
        raise click.UsageError("Name images, or give --id or --missing.")
    terminal = _terminal()

    def choose(opened: "Index") -> Any:
        rows = opened.rows()
        entries = [opened.entry(row) for row in rows.tolist()]
        chosen = np.zeros(len(rows), bool)
        for path in images:
            names = {str(path), os.path.abspath(path)}
            below = tuple(f"{name}{os.sep}" for name in names)
            matches = np.array([entry.path in names or entry.path.startswith(below) for entry in entries], bool)
            if not matches.any():
                raise ConfigError(f"{path}: {index} has no such image. Its paths: alexnet search info {index} --images")
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
        terminal.print_json(json.dumps({"index": str(index), "removed": removed, "images": left}))
    else:
        terminal.print(f"{index}: {removed:,} images removed, {left:,} left.")


@search.command()
@click.argument("index", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--k", default=6, show_default=True, type=click.IntRange(1), help="Nearest images to list.")
@click.option("--bits", type=click.Choice(BITS), help="Search the codes of this length.  [default: features, exactly]")
@click.option(
    "--rerank", default=500, show_default=True, type=click.IntRange(0), help="Codes to rank again by exact distance."
)
@click.option(
    "--backend",
    default="exact",
    show_default=True,
    type=click.Choice(["exact", "faiss"]),
    help="faiss: approximate search of large collections (extra search).",
)
@click.option(
    "--faiss", "factory", default="HNSW32,Flat", show_default=True, help="What faiss makes: its factory string."
)
@click.option("--html", type=NEW_FILE, help="Page with thumbnails to write.")
@model_option
@device_option
@threads_option
@json_option
def query(
    index: Path,
    images: tuple[Path, ...],
    k: int,
    bits: str | None,
    rerank: int,
    backend: str,
    factory: str,
    html: Path | None,
    model: Path | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """List the images of INDEX that are nearest to IMAGES, by Euclidean distance of their features.

    An image that is indexed itself is its own nearest, at distance 0. One that cannot be read is named and left out
    (exit code 1). Neighbours whose file is gone or has changed since are marked.
    """
    from alexnet.retrieval.index import open_index
    from alexnet.retrieval.querying import answer, read_queries

    if bits and backend == "faiss":
        raise click.UsageError("Give --bits or --backend faiss, not both.")
    terminal = _begin(threads)
    opened = open_index(index)
    classifier = _load_model(opened, model, device)
    questions = read_queries(opened, classifier, image_files(images))
    with terminal.progress("searching", "images") as meter:
        answers = answer(
            opened,
            questions,
            k,
            bits=int(bits) if bits else None,
            rerank=rerank,
            faiss=factory if backend == "faiss" else None,
            tick=meter,
        )
    if html:
        _write_answers(opened, answers, html)
        terminal.say(f"Page: {html}")
    if as_json:
        terminal.print_json(json.dumps(_answers_json(index, k, answers, questions.left_out)))
    else:
        _show_answers(terminal, answers, index)
    for reason in questions.left_out:
        terminal.show_error("Left out", reason)
    if questions.left_out:
        sys.exit(1)


@search.command()
@click.argument("index", type=PATH)
@click.option("--bits", default="128", show_default=True, type=click.Choice(BITS), help="Length of the codes.")
@click.option(
    "--method",
    default="autoencoder",
    show_default=True,
    type=click.Choice(METHODS),
    help="What learns or draws the codes.",
)
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

    from alexnet.retrieval.autoencoder import fit_encoder
    from alexnet.retrieval.codes import write_codes
    from alexnet.retrieval.comparison import choose_fit_rows
    from alexnet.retrieval.index import open_index
    from alexnet.retrieval.index_writer import sole_writer

    terminal = _begin(threads)
    open_index(index)
    with sole_writer(index):
        opened = open_index(index)
        start = time.monotonic()
        sample = torch.from_numpy(opened.gather(choose_fit_rows(opened.rows(), seed=seed)))
        with terminal.progress("learning", "steps") as meter:
            encoder = fit_encoder(sample, int(bits), method, seed=seed, report=meter)
            meter.restart("encoding")
            write_codes(opened, encoder, tick=meter)
        seconds = time.monotonic() - start
    size = opened.num_rows * int(bits) // 8
    if as_json:
        document = {"index": str(index), "bits": int(bits), "method": method, "bytes": size, "seconds": seconds}
        terminal.print_json(json.dumps(document))
        return
    terminal.print(
        f"{index}: {bits}-bit codes of {len(opened):,} images, {size:,} bytes, by {method} in {seconds:.0f} s. Search them: "
        f"alexnet search query {index} picture.jpg --bits {bits}"
    )


@search.command()
@click.argument("index", type=PATH)
@click.option("--bits", default="16,32,64,128,256", show_default=True, metavar="N,N,…", help="Lengths to compare.")
@click.option("--pixels", is_flag=True, help="Also codes of 32 x 32 pixels; the images are read again.")
@click.option("--out", type=PATH, help="Picture to write, without suffix: .png, .svg and .csv.")
@seed_option
@threads_option
@json_option
def compare(
    index: Path, bits: str, pixels: bool, out: Path | None, seed: int, threads: int | None, as_json: bool
) -> None:
    """Compare codes of INDEX with exact search: recall, and how many neighbours are of the query's class.

    Autoencoder, random hyperplanes, PCA signs and ITQ at equal lengths, fitted without the queries. Nothing is kept.
    """
    from alexnet.retrieval.comparison import PIXELS, compare_codes
    from alexnet.retrieval.index import open_index

    lengths = bits.split(",")
    for length in lengths:
        if length.strip() not in BITS:
            raise click.UsageError(f"--bits {bits}: accepted are {', '.join(BITS)}, separated by commas.")
    if out and not out.parent.is_dir():
        raise click.UsageError(f"--out {out}: there is no folder {out.parent}. Create it, or choose another place.")
    terminal = _begin(threads)
    opened = open_index(index)
    methods = [*METHODS, *([PIXELS] if pixels else [])]
    with terminal.progress("comparing", "codes") as meter:
        result = compare_codes(opened, [int(length) for length in lengths], methods, seed=seed, report=meter)
    if out:
        from alexnet.interpretation.code_figures import draw_codes
        from alexnet.interpretation.drawing import save_drawing

        for path in save_drawing(draw_codes(result), out):
            terminal.say(str(path))
    if as_json:
        terminal.print_json(json.dumps({**result._asdict(), "results": [each._asdict() for each in result.results]}))
    else:
        _show_comparison(terminal, result)


@search.command()
@click.argument("index", type=PATH)
@click.option(
    "--threshold",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Share of the usual distance between neighbours below which images are near-identical.",
)
@click.option("--html", type=NEW_FILE, help="Page with thumbnails to write.")
@threads_option
@json_option
def duplicates(index: Path, threshold: float, html: Path | None, threads: int | None, as_json: bool) -> None:
    """List near-identical images of INDEX, those in more than one split first: they make errors look too low.

    Distances are compared with the median distance of an image to its nearest other. Copies that were resized or
    compressed again are found, which equal bytes (alexnet prepare) do not tell.
    """
    from alexnet.retrieval.index import open_index
    from alexnet.retrieval.near_duplicates import find_near_duplicates

    terminal = _begin(threads)
    opened = open_index(index)
    with terminal.progress("comparing", "images") as meter:
        found = find_near_duplicates(opened, threshold=threshold, tick=meter)
    if html:
        _write_groups(opened, found.groups, html)
        terminal.say(f"Page: {html}")
    across = sum(group.across_splits for group in found.groups)
    if as_json:
        groups = [
            {
                "distance": group.distance,
                "closeness": group.closeness,
                "across_splits": group.across_splits,
                "across_classes": group.across_classes,
                "images": [_entry_json(opened.entry(row)) for row in group.rows],
            }
            for group in found.groups
        ]
        document = {"median_distance": found.median_distance, "threshold": threshold, "groups": groups}
        terminal.print_json(json.dumps(document))
        return
    terminal.print(
        f"{len(found.groups):,} groups of near-identical images among {len(opened):,}, {across:,} of them across splits. "
        f"(Distance below {threshold:g} of {found.median_distance:.4g}, the median between nearest images.)"
    )
    for group in found.groups[:SHOWN_GROUPS]:
        notes = [
            *(["ACROSS SPLITS"] if group.across_splits else []),
            *(["across classes"] if group.across_classes else []),
        ]
        terminal.print(
            f"\ndistance {group.distance:.4g}, {group.closeness:.2f} of the usual  {'  '.join(notes)}".rstrip()
        )
        for row in group.rows:
            entry = opened.entry(row)
            terminal.print("  " + "  ".join(filter(None, [entry.split, entry.label, _shown(entry)])))
    if len(found.groups) > SHOWN_GROUPS:
        terminal.print(f"\n{len(found.groups) - SHOWN_GROUPS:,} more: give --json, or --html PAGE to see them.")


@search.command()
@click.argument("index", type=PATH)
@click.option("--verify", is_flag=True, help="Read every file of the index and compare checksums.")
@click.option("--check", is_flag=True, help="Compare every indexed image with its file as it is now.")
@click.option("--images", "list_images", is_flag=True, help="List the images: id, split, class, path.")
@json_option
def info(index: Path, verify: bool, check: bool, list_images: bool, as_json: bool) -> None:
    """Tell what INDEX holds, and whether it and the images behind it are as they were."""
    from alexnet.retrieval.images import Originals
    from alexnet.retrieval.index import read_index

    terminal = _terminal()
    opened = read_index(index)
    if verify:
        opened.verify()
    if list_images:
        for row in opened.rows().tolist():
            entry = opened.entry(row)
            words = (str(entry.id), entry.split, entry.label or "", _shown(entry))
            terminal.print_json(json.dumps(_entry_json(entry)) if as_json else "\t".join(words))
        return
    problems: list[str] = []
    if check:
        originals = Originals(opened)
        with terminal.progress("checking", "images") as meter:
            for place, row in enumerate(opened.rows().tolist()):
                problem = originals.explain(opened.entry(row))
                problems += [f"{_shown(opened.entry(row))} {problem}"] if problem else []
                meter(place + 1, len(opened))
    header = opened.header
    values = {
        "index": str(index),
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
        terminal.print_json(json.dumps(values))
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
                ["removed", f"{values['removed_rows']:,} rows that still take room"],
            ],
        )
    for problem in problems:
        terminal.show_error("Not as indexed", problem)
    if problems:
        terminal.say(
            f"Index what has changed: alexnet search add {index} IMAGES. Remove what is gone: alexnet search remove "
            f"{index} --missing"
        )
        sys.exit(1)


def _terminal() -> "Terminal":
    from alexnet.terminal import Terminal

    return Terminal()


def _begin(threads: int | None) -> "Terminal":
    from alexnet.system import set_threads, tune_allocator

    set_threads(threads)
    tune_allocator()
    return _terminal()


def _load_model(index: "Index", model: Path | None, device: str) -> "Classifier":
    """The model of an index, in the precision that its features were computed in."""
    from alexnet.errors import SearchError
    from alexnet.evaluation.classifier import load

    place = model or Path(index.header["model"]["path"])
    if model is None and not place.exists():
        raise SearchError(f"{index.path} was made with {place}, which is not there. Say where it is: --model MODEL")
    return load(place, device=device, precision=index.header["model"]["precision"])


def _tell_changes(terminal: "Terminal", index: Path, report: Any, as_json: bool) -> None:
    if as_json:
        terminal.print_json(json.dumps({"index": str(index), **report._asdict()}))
    else:
        words = [f"{report.images:,} images"]
        words += [f"{report.added:,} added"] if report.added != report.images else []
        words += [f"{report.kept:,} were there"] if report.kept else []
        words += [f"{report.replaced:,} replaced, as their files have changed"] if report.replaced else []
        terminal.print(f"{index}: {', '.join(words)}. Search it: alexnet search query {index} picture.jpg")
    for reason in report.left_out:
        terminal.show_error("Left out", reason)
    if report.left_out:
        sys.exit(1)


def _shown(entry: Any) -> str:
    from alexnet.retrieval.images import show_path

    return show_path(entry)


def _entry_json(entry: Any) -> dict[str, Any]:
    return {"id": entry.id, "path": _shown(entry), "class": entry.label, "split": entry.split}


def _answers_json(index: Path, k: int, answers: "list[Answer]", left_out: list[str]) -> dict[str, Any]:
    queries = [
        {
            "query": each.query,
            "neighbours": [
                {"distance": hit.distance, **_entry_json(hit.entry), "problem": hit.problem} for hit in each.hits
            ],
        }
        for each in answers
    ]
    return {"index": str(index), "k": k, "queries": queries, "left_out": left_out}


def _show_answers(terminal: "Terminal", answers: "list[Answer]", index: Path) -> None:
    changed = False
    for each in answers:
        terminal.print(each.query)
        for place, hit in enumerate(each.hits, start=1):
            words = [hit.entry.label, _shown(hit.entry), f"({hit.problem})" if hit.problem else None]
            terminal.print(f"{place:>4}  {hit.distance:>9.4g}  {'  '.join(word for word in words if word)}")
            changed = changed or hit.problem is not None
    if changed:
        terminal.say(
            "Some images are not what was indexed. Index them again: alexnet search add "
            f"{index} IMAGES; or remove them: alexnet search remove {index} --missing"
        )


def _show_comparison(terminal: "Terminal", result: Any) -> None:
    from alexnet.retrieval.comparison import K

    ranks = [r for r in (6, 100, 500) if r in result.results[0].recall]
    depths = [k for k in (6, 100) if k in result.results[0].precision]
    terminal.table(
        ["codes", "bits", *(f"recall, {r} again" for r in ranks), *(f"class, {k} nearest" for k in depths)],
        [
            [
                each.method,
                str(each.bits or "–"),
                *(f"{100 * each.recall[r]:.1f} %" for r in ranks),
                *(f"{100 * each.precision[k]:.1f} %" for k in depths),
            ]
            for each in result.results
        ],
        title=f"{result.queries:,} queries ({result.held_out}) among {result.database:,}; recall of the {K} nearest",
    )


def _thumbnails(index: "Index") -> Callable[[Any], bytes | None]:
    import io

    from PIL import Image

    from alexnet.retrieval.images import Originals

    originals = Originals(index)

    def draw(entry: Any) -> bytes | None:
        pixels = originals.read(entry, THUMBNAIL_PX)
        if pixels is None:
            return None
        image = Image.fromarray(pixels)
        if image.size != (THUMBNAIL_PX, THUMBNAIL_PX):
            image = image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    return draw


def _write_answers(index: "Index", answers: "list[Answer]", path: Path) -> None:
    import io

    from PIL import Image

    from alexnet.data.decode import open_image
    from alexnet.interpretation.page import write_picture_rows

    draw = _thumbnails(index)
    rows = []
    for each in answers:
        buffer = io.BytesIO()
        Image.fromarray(open_image(each.query, size=THUMBNAIL_PX)).save(buffer, "JPEG", quality=85)
        pictures: list[tuple[bytes | None, str]] = [(buffer.getvalue(), "query")]
        for hit in each.hits:
            words = [f"{hit.distance:.4g}", hit.entry.label or "", Path(hit.entry.path).name, hit.problem or ""]
            pictures.append((draw(hit.entry), " · ".join(filter(None, words))))
        rows.append((each.query, pictures))
    lead = f"Among {len(index):,} images of {index.path.name}, by distance of {index.layer}; nearest first."
    write_picture_rows(path, kicker="AlexNet search", title="Nearest images", lead=lead, rows=rows)


def _write_groups(index: "Index", groups: Any, path: Path) -> None:
    from alexnet.interpretation.page import write_picture_rows

    draw = _thumbnails(index)
    rows = []
    for group in groups:
        notes = [
            *(["across splits"] if group.across_splits else []),
            *(["across classes"] if group.across_classes else []),
        ]
        heading = " · ".join([f"distance {group.distance:.4g}, {group.closeness:.2f} of the usual", *notes])
        entries = [index.entry(row) for row in group.rows]
        words = [" · ".join(filter(None, [entry.split, entry.label, Path(entry.path).name])) for entry in entries]
        rows.append((heading, [(draw(entry), each) for entry, each in zip(entries, words, strict=True)]))
    lead = f"{len(groups):,} groups among {len(index):,} images of {index.path.name}."
    write_picture_rows(path, kicker="AlexNet search", title="Near-identical images", lead=lead, rows=rows)
