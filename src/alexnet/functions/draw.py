"""Figures of what a network knows (paper, figures 3 and 4, and more): `alexnet draw`.

Every function writes a picture and, beside it, the numbers behind it as CSV, and returns what it wrote. Those that they
have in common:

- `model` is a run folder or a model file; `images` a store, or image files and folders of them, one or several.
- `out` is the file to write, .png or .svg; where it is None, the figure's name, .png, in the current folder. `formats`
  are written beside or instead of its suffix; `theme` is the background, "light" or "dark". A file that is there is
  kept, unless `overwrite`.
- `split` is that of a store. `labeled` says that the folder that holds an image file names its class. `limit` uses so
  many images, evenly spaced.
- `device`, `precision`, `threads` and `show` are as for `alexnet.train`.

They raise ConfigError where an option or a file is not accepted, WeightsError and StoreError where model or store are
damaged or do not fit together, and SourceError where a folder holds no images. An image that cannot be read is left out
and named.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet.errors import ConfigError, WeightsError
from alexnet.evaluation.classifier import Classifier
from alexnet.files.addresses import local
from alexnet.functions.figure_files import Drawn, plan_files
from alexnet.functions.opening import Place, Places, as_paths, begin, image_files, open_classifier
from alexnet.interpretation.curves import draw_curves, draw_runs
from alexnet.interpretation.figures import draw_filters
from alexnet.interpretation.panels import (
    NEIGHBORS,
    PANEL_IMAGES,
    WHY_IMAGES,
    activations_panel,
    choose_queries,
    neighbors_panel,
    predictions_panel,
    why_panel,
)
from alexnet.interpretation.pictures import Pictures, is_store, open_files, open_split
from alexnet.interpretation.timeline import draw_timeline, look_over_time
from alexnet.interpretation.why import METHODS
from alexnet.network.model_file import find_model, is_temporal, read_class_names
from alexnet.pages.themes import ThemeName
from alexnet.runs.folder import read_environment, read_metrics
from alexnet.temporal.clip_model import open_temporal
from alexnet.text.class_names import normalize_name
from alexnet.text.wording import counted

__all__ = ["Drawn", "activations", "curves", "filters", "neighbors", "predictions", "timeline", "why"]


def filters(
    model: Place,
    *,
    out: Place | None = None,
    formats: Sequence[str] = (),
    theme: ThemeName = "light",
    overwrite: bool = False,
    show: bool = False,
) -> Drawn:
    """Draw the kernels of the first layer (figure 3): colours, tower above tower.

    One scale for the whole layer; every weight is an exact square of pixels.
    """
    files = plan_files("filters", out, formats, theme, overwrite, as_paths(model))
    _, classifier = open_classifier(local(model), device="cpu", precision="float32", threads=None, quiet=not show)
    return files.write(lambda theme: draw_filters(classifier.network, theme))


def predictions(
    model: Place,
    images: Places,
    *,
    only_errors: bool = False,
    count: int = PANEL_IMAGES,
    views: int = 10,
    split: str = "val",
    labeled: bool = False,
    limit: int | None = None,
    out: Place | None = None,
    formats: Sequence[str] = (),
    theme: ThemeName = "light",
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    show: bool = False,
) -> Drawn:
    """Draw images with bars of their five most probable classes (figure 4, left).

    Where the correct class is known, all images are tested, and the panel has mistakes in about their share; the choice
    is always the same.

    Args:
        only_errors: Mistakes only, those first of which the network is surest.
        count: Images to show.
        views: 1, 9 or 10, as for `alexnet.evaluate`.
    """
    given = as_paths(images)
    name = "mistakes" if only_errors else "predictions"
    files = plan_files(name, out, formats, theme, overwrite, [local(model), *given])
    terminal, classifier = open_classifier(
        local(model), device=device, precision=precision, threads=threads, quiet=not show
    )
    pictures = _open(classifier, given, split, labeled)
    with terminal.progress("predicting", "images") as meter:
        found = predictions_panel(
            classifier, pictures, count=count, views=views, only_errors=only_errors, limit=limit, tick=meter
        )
    return files.write(*found)


def neighbors(
    model: Place,
    images: Places,
    *,
    queries: Places = (),
    k: int = NEIGHBORS,
    among: str = "train",
    split: str = "val",
    labeled: bool = False,
    limit: int | None = None,
    out: Place | None = None,
    formats: Sequence[str] = (),
    theme: ThemeName = "light",
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    show: bool = False,
) -> Drawn:
    """Draw images that the network finds alike (figure 4, right): near by Euclidean distance of the last hidden layer.

    Args:
        queries: Image files, and folders of them, to find neighbours of; where there are none, five images of `split`,
            or of the image files, which are then not their own neighbours.
        k: Neighbours of each.
        among: Split of a store to search.
    """
    given, wanted = as_paths(images), as_paths(queries)
    files = plan_files("neighbours", out, formats, theme, overwrite, [local(model), *given, *wanted])
    terminal, classifier = open_classifier(
        local(model), device=device, precision=precision, threads=threads, quiet=not show
    )
    collection = _open(classifier, given, among, labeled)
    asked = None
    if wanted:
        asked = open_files(image_files(wanted), classifier)
    elif is_store(given[0]) and split != among:
        asked = _open(classifier, given, split, labeled)
    with terminal.progress("computing features", "images") as meter:
        found = neighbors_panel(
            classifier,
            collection,
            asked,
            chosen=range(len(asked)) if asked is not None and wanted else None,
            k=k,
            limit=limit,
            tick=meter,
        )
    return files.write(*found)


def activations(
    model: Place,
    images: Places,
    *,
    layer: str | None = None,
    index: int = 0,
    split: str = "val",
    out: Place | None = None,
    formats: Sequence[str] = (),
    theme: ThemeName = "light",
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    show: bool = False,
) -> Drawn:
    """Draw what a layer makes of the centre view of an image, tower by tower, on one scale.

    Args:
        layer: As "conv1.relu" or "conv5.pool:a"; the first layer where None.
        index: Which of the images, counted from 0.
    """
    given = as_paths(images)
    files = plan_files("activations", out, formats, theme, overwrite, [local(model), *given])
    _, classifier = open_classifier(local(model), device=device, precision=precision, threads=threads, quiet=not show)
    pictures = _open(classifier, given, split, False)
    _check_positions([index], len(pictures))
    name = layer or classifier.network.activation_names()[0]
    return files.write(*activations_panel(classifier, pictures, index, name))


def curves(
    runs: Places,
    *,
    out: Place | None = None,
    formats: Sequence[str] = (),
    theme: ThemeName = "light",
    overwrite: bool = False,
) -> Drawn:
    """Draw learning curves.

    Args:
        runs: Folders of one run or of many, finished or not.
    Raises:
        RunError: a folder is none of a run.
    """
    given = as_paths(runs)
    files = plan_files("curves", out, formats, theme, overwrite, given)
    histories = {name: _read_history(run) for name, run in zip(_name_runs(given), given, strict=True)}
    if len(given) > 1:
        return files.write(lambda theme: draw_runs(histories, theme))
    (history,) = histories.values()
    return files.write(lambda theme: draw_curves(history, theme, num_classes=_count_classes(given[0])))


def why(
    model: Place,
    images: Places,
    *,
    method: str = next(iter(METHODS)),
    class_name: str | None = None,
    count: int = WHY_IMAGES,
    indices: Sequence[int] = (),
    split: str = "val",
    out: Place | None = None,
    formats: Sequence[str] = (),
    theme: ThemeName = "light",
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    show: bool = False,
) -> Drawn:
    """Draw where in an image a class is decided, in its centre view.

    Args:
        method: "occlusion" covers a square at one place after the other and shows how far the probability falls: 169
            predictions for an image; "gradient" shows which pixels move the score most; "cam" weighs the maps of the
            last convolution (Grad-CAM), tower by tower and together.
        class_name: Class that is explained, by its name or readable name; each image's most probable where None.
        count: Images to show.
        indices: Which of them, counted from 0; spread over the classes where empty.
    """
    if method not in METHODS:
        raise ConfigError(f"method {method!r}: accepted are {', '.join(METHODS)}.")
    given = as_paths(images)
    files = plan_files("why", out, formats, theme, overwrite, [local(model), *given])
    terminal, classifier = open_classifier(
        local(model), device=device, precision=precision, threads=threads, quiet=not show
    )
    kind = None if class_name is None else _find_class(classifier, class_name)
    pictures = _open(classifier, given, split, False)
    _check_positions(indices, len(pictures))
    positions = list(indices) or choose_queries(pictures, count)
    with terminal.progress("explaining", METHODS[method].unit) as meter:
        found = why_panel(classifier, pictures, positions, method=method, class_index=kind, tick=meter)
    return files.write(*found)


def timeline(
    model: Place,
    clip: Place,
    *,
    every: float | None = None,
    out: Place | None = None,
    formats: Sequence[str] = (),
    theme: ThemeName = "light",
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    show: bool = False,
) -> Drawn:
    """Draw how probable each class is at each moment of a clip, under a strip of its frames.

    Of a model of clips, a moment is what its head scores: a frame, or a few in a row. Of another, it is a frame in its
    centre view.

    Args:
        model: A model of clips, a model file or a run folder.
        clip: A video, or an animated GIF or WebP.
        every: Seconds between frames; those that a model of clips learned from, else 0.5, where None.
    Raises:
        ImageError: the clip cannot be read, or is too short for the model.
    """
    path = local(clip)
    files = plan_files("timeline", out, formats, theme, overwrite, [local(model), path])
    if is_temporal(local(model)):
        terminal = begin(threads, quiet=not show)
        found = look_over_time(open_temporal(local(model), device=device, precision=precision), path, every)
    else:
        terminal, classifier = open_classifier(
            local(model), device=device, precision=precision, threads=threads, quiet=not show
        )
        found = look_over_time(classifier, path, every)
    for note in found.odd:
        terminal.say(note)
    return files.write(lambda theme: draw_timeline(found, theme))


def _open(classifier: Classifier, given: Sequence[Path], split: str, labeled: bool) -> Pictures:
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


def _find_class(classifier: Classifier, name: str) -> int:
    """Return the index of a class by its name or its readable name."""
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
    read_environment(run)  # raises RunError for what is no run
    return read_metrics(run)


def _count_classes(run: Path) -> int | None:
    """Return the number of classes of a run, if it has saved a model."""
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
