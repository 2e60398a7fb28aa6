"""alexnet draw."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet.errors import ConfigError
from alexnet.text.wording import counted
from alexnet.verbs.draw_options import figure_options, plan_files, write_figure, write_found
from alexnet.verbs.opening import open_classifier
from alexnet.verbs.options import PATH, InOrder, Whole, compute_options, image_files

if TYPE_CHECKING:
    from alexnet.console.terminal import Terminal
    from alexnet.evaluation.classifier import Classifier
    from alexnet.interpretation.pictures import Pictures

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
def filters(model: Path, **options: Any) -> None:
    """Draw the kernels of the first layer (paper, figure 3).

    They are colours, tower above tower. One scale for the whole layer; every weight is an exact square of pixels.
    """
    from alexnet.interpretation.figures import draw_filters

    files = plan_files("filters", options, [model])
    network = open_classifier(model, device="cpu", precision="float32", threads=None)[1].network
    write_figure(files, lambda theme: draw_filters(network, theme))


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
    model: Path,
    images: tuple[Path, ...],
    only: str | None,
    count: int,
    views: str,
    split: str,
    labeled: bool,
    limit: int | None,
    **options: Any,
) -> None:
    """Draw images with their likeliest classes (figure 4, left).

    Each has bars of its five most probable classes. The correct class is marked where it is known: from a store, or
    with --labelled. All images are then tested, and the panel has mistakes in about their share; the choice is always
    the same.
    """
    from alexnet.interpretation.panels import predictions_panel

    files = plan_files("predictions" if not only else "mistakes", options, [model, *images])
    terminal, classifier = _load(model, options)
    pictures = _open(classifier, images, split, labeled)
    with terminal.progress("predicting", "images") as meter:
        found = predictions_panel(
            classifier,
            pictures,
            count=count,
            views=int(views),
            only_errors=only == "errors",
            limit=limit,
            tick=meter,
        )
    write_found(files, found)


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
def neighbors(
    model: Path,
    images: tuple[Path, ...],
    queries: tuple[Path, ...],
    k: int,
    among: str,
    split: str,
    labeled: bool,
    limit: int | None,
    **options: Any,
) -> None:
    """Draw images that the network finds alike (figure 4, right).

    Alike is: near by Euclidean distance of the last hidden layer, 4096 numbers for most dialects. Without --query, five
    images of --split are the queries; of image files, five of these, which are then not their own neighbours.
    """
    from alexnet.interpretation.panels import neighbors_panel
    from alexnet.interpretation.pictures import is_store, open_files

    files = plan_files("neighbours", options, [model, *images, *queries])
    terminal, classifier = _load(model, options)
    collection = _open(classifier, images, among, labeled)
    asked = None
    if queries:
        asked = open_files(image_files(queries), classifier)
    elif is_store(images[0]) and split != among:
        asked = _open(classifier, images, split, labeled)
    with terminal.progress("computing features", "images") as meter:
        found = neighbors_panel(
            classifier,
            collection,
            asked,
            chosen=range(len(asked)) if asked is not None and queries else None,
            k=k,
            limit=limit,
            tick=meter,
        )
    write_found(files, found)


@draw.command()
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--layer", help="conv1, conv1.relu, conv5.pool:a, fc7.relu, …  [default: the first layer]")
@click.option("--index", default=0, type=Whole(0), help="Which of IMAGES, counted from 0.")
@split_option
@figure_options
@compute_options
def activations(
    model: Path,
    images: tuple[Path, ...],
    layer: str | None,
    index: int,
    split: str,
    **options: Any,
) -> None:
    """Draw what a layer makes of an image, tower by tower.

    Its maps share one scale. The centre view is used. docs/dialects.md has a picture of the layers' names; a wrong one
    lists them all.
    """
    from alexnet.interpretation.panels import activations_panel

    files = plan_files("activations", options, [model, *images])
    _, classifier = _load(model, options)
    pictures = _open(classifier, images, split, False)
    _check_positions([index], len(pictures))
    name = layer or classifier.network.activation_names()[0]
    write_found(files, activations_panel(classifier, pictures, index, name))


@draw.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@figure_options
def curves(runs: tuple[Path, ...], **options: Any) -> None:
    """Draw learning curves of one run or of many.

    RUNS are run folders, finished or not.
    """
    from alexnet.interpretation.curves import draw_curves, draw_runs

    files = plan_files("curves", options, runs)
    histories = {name: _read_history(run) for name, run in zip(_name_runs(runs), runs, strict=True)}
    if len(runs) == 1:
        (history,) = histories.values()
        write_figure(files, lambda theme: draw_curves(history, theme, num_classes=_count_classes(runs[0])))
    else:
        write_figure(files, lambda theme: draw_runs(histories, theme))


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
def why(
    model: Path,
    images: tuple[Path, ...],
    method: str,
    class_name: str | None,
    count: int,
    indices: tuple[int, ...],
    split: str,
    **options: Any,
) -> None:
    """Draw where in an image a class is decided.

    Occlusion covers a square at one place after the other and shows how far the probability falls: 169 predictions for
    an image. Gradient shows which pixels move the score most. Grad-CAM (cam) weighs the maps of the last convolution,
    tower by tower and together. The centre view is used.
    """
    from alexnet.interpretation.panels import choose_queries, why_panel
    from alexnet.interpretation.why import METHODS

    files = plan_files("why", options, [model, *images])
    terminal, classifier = _load(model, options)
    kind = None if class_name is None else _find_class(classifier, class_name)
    pictures = _open(classifier, images, split, False)
    _check_positions(indices, len(pictures))
    positions = list(indices) or choose_queries(pictures, count)
    with terminal.progress("explaining", METHODS[method].unit) as meter:
        found = why_panel(classifier, pictures, positions, method=method, class_index=kind, tick=meter)
    write_found(files, found)


def _load(model: Path, options: dict[str, Any]) -> "tuple[Terminal, Classifier]":
    return open_classifier(model, **{name: options[name] for name in ("device", "precision", "threads")})


def _open(classifier: "Classifier", given: tuple[Path, ...], split: str, labeled: bool) -> "Pictures":
    from alexnet.interpretation.pictures import is_store, open_files, open_split

    stores = [path for path in given if is_store(path)]
    if stores and len(given) > 1:
        raise ConfigError(f"{stores[0]} is a store; give it alone, or give image files and folders of them.")
    if stores:
        return open_split(stores[0], split, classifier)
    return open_files(image_files(given), classifier, labeled=labeled)


def _check_positions(indices: Sequence[int], count: int) -> None:
    for index in indices:
        if index >= count:
            raise ConfigError(f"--index {index}: {counted(count, 'image')} given, numbered from 0 to {count - 1:,}.")


def _find_class(classifier: "Classifier", name: str) -> int:
    """Return the index of a class by its name or its readable name."""
    import difflib

    from alexnet.text.class_names import normalize_name

    model = classifier.model
    name = normalize_name(name)
    for names in (model.class_names, model.class_titles):
        if names.count(name) == 1:
            return names.index(name)
    if name in model.class_titles:
        same = [known for known, title in zip(model.class_names, model.class_titles, strict=True) if title == name]
        raise ConfigError(
            f"--class {name}: {counted(len(same), 'class', 'classes')} of this name. Name one of: {', '.join(same)}."
        )
    close = difflib.get_close_matches(name, [*model.class_names, *model.class_titles], n=1)
    known = ", ".join(model.class_names[:10]) + (", …" if len(model.class_names) > 10 else "")
    raise ConfigError(
        f"--class {name}: the model knows no such class. "
        + (f"Did you mean {close[0]!r}? " if close else "")
        + f"It knows {len(model.class_names):,}: {known}."
    )


def _read_history(run: Path) -> list[dict[str, Any]]:
    from alexnet.runs.folder import read_environment, read_metrics

    read_environment(run)  # raises RunError for what is no run
    return read_metrics(run)


def _count_classes(run: Path) -> int | None:
    """Return the number of classes of a run, if it has saved a model."""
    from alexnet.errors import WeightsError
    from alexnet.network.model_file import find_model, read_class_names

    try:
        return len(read_class_names(find_model(run)))
    except WeightsError:
        return None


def _name_runs(runs: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that tell the runs apart."""
    parts = [run.resolve().parts for run in runs]
    depth = 1
    while len({part[-depth:] for part in parts}) < len(set(parts)) and depth < max(map(len, parts)):
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]
