"""alexnet draw."""

from pathlib import Path
from typing import Any

import click

from alexnet.verbs.draw_options import figure_options, show_drawn
from alexnet.verbs.options import PATH, InOrder, Number, Whole, compute_options

WHY_METHODS = ("occlusion", "gradient", "cam")
"""Names of `interpretation.why.METHODS`, the first the default; a test compares them."""

split_option = click.option("--split", default="val", help="Split, where a store is given.")
labeled_option = click.option(
    "--labelled", "labeled", is_flag=True, help="The folder that holds an image file names its class."
)
limit_option = click.option("--limit", type=Whole(1), help="Use this many images, evenly spaced.  [default: all]")


@click.group(cls=InOrder)
def draw() -> None:
    """Draw what a network knows: figures 3 and 4 of the paper, and more.

    Each figure is a picture, PNG or SVG, with the numbers behind it as CSV beside it. MODEL is a run folder or a model
    file; IMAGES are a store, image files, or folders of them.

    \b
    alexnet draw filters RUN
    alexnet draw predictions RUN STORE --only errors --out mistakes.png
    alexnet draw neighbours RUN STORE --query mine.jpg
    """


@draw.command()
@click.argument("model", type=PATH)
@figure_options
def filters(model: Path, as_json: bool, **options: Any) -> None:
    """Draw the kernels of the first layer (paper, figure 3).

    They are colours, tower above tower. One scale for the whole layer; every weight is an exact square of pixels.
    """
    from alexnet.functions import draw as figures

    show_drawn(figures.filters(model, show=True, **options), as_json=as_json)


@draw.command()
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option(
    "--only", type=click.Choice(["errors"]), help="Mistakes only, those first of which the network is surest."
)
@click.option("--count", default=8, type=Whole(1, 100), help="Images to show.")
@click.option("--views", default="10", type=click.Choice(["1", "9", "10"]), help="As in alexnet evaluate.")
@split_option
@labeled_option
@limit_option
@figure_options
@compute_options
def predictions(
    model: Path, images: tuple[Path, ...], only: str | None, views: str, as_json: bool, **options: Any
) -> None:
    """Draw images with their likeliest classes (figure 4, left).

    Each has bars of its five most probable classes. The correct class is marked where it is known: from a store, or
    with --labelled. All images are then tested, and the panel has mistakes in about their share; the choice is always
    the same.
    """
    from alexnet.functions import draw as figures

    show_drawn(
        figures.predictions(model, images, only_errors=only == "errors", views=int(views), show=True, **options),
        as_json=as_json,
    )


@draw.command("neighbours")
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--query", "queries", multiple=True, type=PATH, help="Image file to find neighbours of; repeatable.")
@click.option("--k", default=6, type=Whole(1, 20), help="Neighbours of each query.")
@click.option("--among", default="train", help="Split to search, where a store is given.")
@split_option
@labeled_option
@limit_option
@figure_options
@compute_options
def neighbors(model: Path, images: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Draw images that the network finds alike (figure 4, right).

    Alike is: near by Euclidean distance of the last hidden layer, 4096 numbers for most dialects. Without --query, five
    images of --split are the queries; of image files, five of these, which are then not their own neighbours.
    """
    from alexnet.functions import draw as figures

    show_drawn(figures.neighbors(model, images, show=True, **options), as_json=as_json)


@draw.command()
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--layer", help="conv1, conv1.relu, conv5.pool:a, fc7.relu, …  [default: the first layer]")
@click.option("--index", default=0, type=Whole(0), help="Which of IMAGES, counted from 0.")
@split_option
@figure_options
@compute_options
def activations(model: Path, images: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Draw what a layer makes of an image, tower by tower.

    Its maps share one scale. The centre view is used. docs/dialects.md has a picture of the layers' names; a wrong one
    lists them all.
    """
    from alexnet.functions import draw as figures

    show_drawn(figures.activations(model, images, show=True, **options), as_json=as_json)


@draw.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@figure_options
def curves(runs: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Draw learning curves of one run or of many.

    RUNS are run folders, finished or not.
    """
    from alexnet.functions import draw as figures

    show_drawn(figures.curves(runs, **options), as_json=as_json)


@draw.command()
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option(
    "--method",
    default=WHY_METHODS[0],
    type=click.Choice(WHY_METHODS),
    help="How to find out; docs/questions.md says which to trust.",
)
@click.option("--class", "class_name", help="Class that is explained.  [default: each image's most probable]")
@click.option("--count", default=4, type=Whole(1, 40), help="Images to show.")
@click.option("--index", "indices", multiple=True, type=Whole(0), help="Show this one, counted from 0; repeatable.")
@split_option
@figure_options
@compute_options
def why(model: Path, images: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Draw where in an image a class is decided.

    Occlusion covers a square at one place after the other and shows how far the probability falls: 169 predictions for
    an image. Gradient shows which pixels move the score most. Grad-CAM (cam) weighs the maps of the last convolution,
    tower by tower and together. The centre view is used.
    """
    from alexnet.functions import draw as figures

    show_drawn(figures.why(model, images, show=True, **options), as_json=as_json)


@draw.command()
@click.argument("model", type=PATH)
@click.argument("clip", type=PATH)
@click.option(
    "--every",
    type=Number(0.001),
    metavar="SECONDS",
    help="Time between frames.  [default: that which a model of clips learned from; else 0.5]",
)
@figure_options
@compute_options
def timeline(model: Path, clip: Path, as_json: bool, **options: Any) -> None:
    """Draw how probable each class is at each moment of a clip, under a strip of its frames.

    MODEL may be a model of clips (train --temporal): a moment is then what its head scores, a frame or a few in a row.
    """
    from alexnet.functions import draw as figures

    show_drawn(figures.timeline(model, clip, show=True, **options), as_json=as_json)
