"""alexnet features."""

from pathlib import Path
from typing import Any, Literal

import click

from alexnet.verbs.ending import tell_left_out, tell_odd
from alexnet.verbs.options import NEW_FILE, PATH, Whole, cluster_option, compute_options, every_option, json_option


@click.command()
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option(
    "--layers",
    metavar="NAME,NAME,…",
    help="Activations to write: conv1, conv1.relu, conv5.pool:a, …  [default: the last hidden layer, rectified]",
)
@click.option(
    "--to",
    default="file",
    type=click.Choice(["file", "projector"]),
    help="projector: a folder of tables and a sprite for TensorFlow's Embedding Projector.",
)
@click.option(
    "--out", required=True, type=NEW_FILE, help="File to create: .npz, .h5 or .parquet; or the projector's folder."
)
@click.option("--batch-size", default=16, type=Whole(1, 4096), help="Images computed together.")
@every_option
@compute_options
@cluster_option
@json_option
def features(
    model: Path,
    images: tuple[Path, ...],
    layers: str | None,
    to: Literal["file", "projector"],
    out: Path,
    batch_size: int,
    every: float,
    as_json: bool,
    **compute: Any,
) -> None:
    """Write what layers of MODEL make of IMAGES into a file: one row per image, its path beside it.

    IMAGES are files or folders; the centre view of each is used, and of clips that of a frame every half second, called
    clip.mp4@12.5s. One that cannot be read has no row and is named (exit
    code 1). docs/dialects.md has a picture of the layers' names; a wrong one lists them all. The file also holds where
    it comes from: weights, dialect, preprocessing.

    \b
    alexnet features RUN PHOTOS --layers conv5.pool,fc7.relu --out features.npz
    alexnet features RUN PHOTOS --to projector --out PROJECTION     then: tensorboard --logdir PROJECTION
    """

    from alexnet.console.terminal import Terminal
    from alexnet.functions import exporting
    from alexnet.text.names import escape_name

    names = [name.strip() for name in layers.split(",")] if layers else None
    report = exporting.features(
        model, images, out, to, layers=names, batch_size=batch_size, every=every, show=True, **compute
    )
    terminal = Terminal()
    if as_json:
        terminal.print_json({**report._asdict(), "path": escape_name(str(report.path))})
    else:
        rows = [[name, " x ".join(map(str, (report.rows, *shape)))] for name, shape in report.shapes.items()]
        terminal.table(["layer", "shape"], rows, title=str(out))
    tell_odd(terminal, report.odd)
    tell_left_out(terminal, report.left_out)
