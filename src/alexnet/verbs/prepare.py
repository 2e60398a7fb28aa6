"""alexnet prepare."""

import re
from pathlib import Path
from typing import Any

import click

from alexnet.text.commands import start_training
from alexnet.text.wording import counted, list_reasons
from alexnet.verbs.options import (
    MOST_THREADS,
    PATH,
    SEED,
    SOURCE,
    TARGET,
    Number,
    Place,
    Whole,
    cluster_option,
    json_option,
)

SOURCE_KINDS = [
    "table",
    "fiftyone",
    "coco",
    "ilsvrc",
    "cifar",
    "pixels",
    "published",
    "parquet",
    "arrow",
    "webdataset",
    "numpy",
    "archive",
    "folders",
]
"""Names of `data.sources.kinds.KINDS`, here so that --help need not load them; a test compares the two."""


@click.command()
@click.argument("source", type=SOURCE)
@click.option("--out", required=True, type=TARGET, help="Store to create: a folder, or an address.")
@click.option(
    "--source", "kind", type=click.Choice(SOURCE_KINDS), help="What SOURCE is.  [default: the first that recognises it]"
)
@click.option(
    "--val-fraction",
    type=Number(0, 1, min_open=True, max_open=True),
    help="Share of each class to set aside for validation, where SOURCE has no validation images.",
)
@click.option(
    "--test-fraction",
    type=Number(0, 1, min_open=True, max_open=True),
    help="Share of each class to set aside as a third split, test: for errors that nothing was chosen by.",
)
@click.option(
    "--val-list",
    type=PATH,
    help="Text file that names the validation images and, where SOURCE does not, their classes.",
)
@click.option(
    "--group",
    metavar="RULE",
    help="Images that the fractions keep on one side: a regular expression found in the path, such as "
    "'(patient[0-9]+)', a column of the table, or folder.",
)
@click.option(
    "--classes-at",
    metavar="DEPTH",
    callback=lambda context, parameter, value: _read_depth(value),
    help="Which folders are the classes: 1, 2, … folders down, or path for each folder with images, as a/airfield.  "
    "[default: 1, where that is clear]",
)
@click.option(
    "--labels",
    type=click.Choice(["one", "several"]),
    help="How many labels a picture of a table or of COCO's JSON has; several: dog|cat, or nothing for none of the "
    "classes.  [default: one for tables, unless a label has |; several for COCO]",
)
@click.option(
    "--corrections",
    type=PATH,
    help="CSV of labels to change and images to drop, as the page of evaluate --suspects saves it.",
)
@click.option(
    "--every",
    type=Number(0.001),
    help="SOURCE holds clips: take a frame every so many seconds. A clip stays on one side.",
)
@click.option(
    "--thin",
    default=2.0,
    type=Number(0, 255),
    help="Of clips: leave out a frame that differs from the one before by less, in grey levels of thumbnails; 0 keeps "
    "all.",
)
@click.option(
    "--codec",
    default="raw",
    type=click.Choice(["raw", "jpeg"]),
    help="Keep pixels, or JPEGs of a tenth of the size that are decoded during training.",
)
@click.option("--quality", default=90, type=Whole(1, 100), help="Of the JPEGs of --codec jpeg.")
@click.option("--size", default=256, type=Whole(8, 4096), help="Side of the stored images in pixels.")
@click.option("--seed", default=0, type=SEED, help="Fixes which images the fractions set aside.")
@click.option(
    "--on-bad-image",
    default="skip",
    type=click.Choice(["skip", "stop"]),
    help="Leave unreadable images out and list them, or end with an error at the first.",
)
@click.option(
    "--max-bad",
    default=0.1,
    type=Number(0, 1),
    help="Share of unreadable images above which something systematic is wrong, and the run stops. "
    "Ten are never too many.",
)
@click.option("--class-names", "class_names_file", type=PATH, help="TSV with a readable name for each class.")
@click.option("--workers", type=Whole(1, MOST_THREADS), help="Threads that decode.  [default: one more than cores]")
@click.option(
    "--part",
    metavar="I/N",
    callback=lambda context, parameter, value: _read_part(value),
    help="Do one of N shares of the work, on N machines that share --out; the last to end finishes the store.",
)
@cluster_option
@json_option
def prepare(source: Path, out: Place, size: int, part: tuple[int, int], as_json: bool, **options: Any) -> None:
    """Bring images to 256x256 and measure their mean and colours, once (paper, section 2).

    SOURCE holds train/<class>/… and val/<class>/…, or <class>/… together with --val-fraction: a folder, or a zip or
    tar archive, which is not unpacked. Also read are ImageNet's and CIFAR's own archives, tables of paths and labels
    (CSV, TSV), COCO's JSON, WebDataset, Hugging Face's files, FiftyOne's exports, the folders of torchvision's data
    sets and .npz: see docs/data.md; with --every clips: see docs/video.md. The shorter side becomes 256 pixels, the
    centre is kept. Interrupted, the same command continues.
    """
    import dataclasses

    from alexnet.console.terminal import Terminal
    from alexnet.data.prepare.prepare import prepare as prepare_store

    terminal = Terminal()
    with terminal.progress("reading", "clips") as meter:
        is_reading, is_sending = True, False

        def tell(done: int, total: int, skipped: int) -> None:
            nonlocal is_reading
            if is_reading:
                meter.restart("preparing", "images")
                is_reading = False
            meter(done, total, f"{skipped:,} left out" if skipped else "")

        def send(done: int, total: int) -> None:
            nonlocal is_sending
            if not is_sending:
                meter.restart("sending", "MB")
                is_sending = True
            meter(done, total, unit_scale=1e-6)

        report = prepare_store(
            source,
            out,
            size=size,
            part=part,
            progress=tell,
            clip_progress=lambda done, total, parts: meter(done, total, work=(parts, total)),
            sending=send,
            **options,
        )
    if as_json:
        terminal.print_json(dataclasses.asdict(report))
        return
    if not report.per_class:
        terminal.say(
            f"Part {part[0]} of {part[1]} is done. "
            + (
                f"Missing of other parts: {counted(report.num_missing, 'image')}; whoever ends last finishes the store."
                if report.num_missing
                else "Another machine finishes the store; if there is none when all have ended, run this again."
            )
        )
        return
    _show_preparation(terminal, report, out, size)


def _read_depth(text: str | None) -> int | str | None:
    if text is None or text == "path":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is no depth of folders. Accepted: 1, 2 and so on, or path.")
    return int(text)


def _read_part(text: str | None) -> tuple[int, int]:
    share = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text or "1/1")
    if not (share and 1 <= int(share[1]) <= int(share[2])):
        raise click.BadParameter(f"{(text or '')[:20]!r} is not a share of the work. Accepted: 1/4, 2/4 and so on.")
    return int(share[1]), int(share[2])


def _show_preparation(terminal: Any, report: Any, out: Place, size: int) -> None:
    from alexnet.console.terminal import duration
    from alexnet.text.names import escape_name

    terminal.table(
        ["split", "images", "classes"],
        [[split, f"{report.kept[split]:,}", str(len(counts))] for split, counts in report.per_class.items()],
    )
    for note in report.notes:
        terminal.say(note)
    if report.ignored:
        terminal.say(f"Passed over: {list_reasons(report.ignored)}.")
    if report.skipped:
        terminal.print("")
        rows = [[escape_name(path), reason] for path, reason in report.skipped[:10]]
        terminal.table(["left out", "reason"], rows)
        more = f"… and {len(report.skipped) - 10:,} more. " if len(report.skipped) > 10 else ""
        terminal.print(f"{more}As data: {out}/report.json")
    terminal.say(f"Pictures of each class, and what was left out: {out}/report.html")
    terminal.say(
        f"{out} is already complete, made from these images with these options; "
        + (
            f"what was missing there was sent, {counted(report.num_sent, 'file')}."
            if report.num_sent
            else "nothing was written."
        )
        if report.was_complete
        else f"{out}: verified, {duration(report.seconds)}, {report.images_per_second:,.0f} images/s."
    )
    if start := start_training(out, size):
        terminal.say(f"Train with: {start}")
