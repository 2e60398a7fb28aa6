"""From a classifier and pictures to panels: chooses images, asks the network about them, and says how to draw it.

A panel is drawn by calling it with a theme, as often as there are themes. The figures are in figures.py, maps.py and
nearest.py.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError, ImageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.prediction import Prediction
from alexnet.interpretation.drawing import Drawing
from alexnet.interpretation.figures import draw_predictions, whole_percent
from alexnet.interpretation.fonts import explain_stand_ins, legible
from alexnet.interpretation.grad_cam import join_towers, measure_cam_towers
from alexnet.interpretation.maps import draw_activations, draw_heat
from alexnet.interpretation.nearest import Neighbor, draw_neighbors, search_nearest
from alexnet.interpretation.pictures import Pictures
from alexnet.interpretation.saliency import crop_center
from alexnet.interpretation.why import METHODS, explain
from alexnet.pages.themes import ThemeName
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

PANEL_IMAGES, QUERIES, NEIGHBORS, WHY_IMAGES = 8, 5, 6, 4
"""As in figure 4 of the paper: eight images with their guesses; five queries with six neighbours each."""
LEAST_MISTAKES = 2


Panel = Callable[..., Drawing]
"""What was found, ready to be drawn in the theme that it is called with, as theme="dark"."""


class Found(NamedTuple):
    """A panel, and why some images are not in it."""

    panel: Panel
    left_out: list[ImageError]


def predictions_panel(
    classifier: Classifier,
    pictures: Pictures,
    *,
    count: int = PANEL_IMAGES,
    views: int = 1,
    only_errors: bool = False,
    limit: int | None = None,
    tick: Tick = untold,
) -> Found:
    """Return the panel of what a classifier believes about some of the pictures.

    Where classes are known, all pictures are tested and the panel has mistakes in about their share (`choose_panel`),
    or with `only_errors` the mistakes that the network is surest of. Otherwise it has evenly spaced pictures.

    Args:
        limit: Test no more than this many, evenly spaced.
    Raises:
        ConfigError: `only_errors` without known classes, or without mistakes.
        ImageError: no picture can be decoded.
    """
    if pictures.labels is None and not only_errors:
        positions = space_evenly(len(pictures), min(count, limit or count))
        labels = None
    else:
        labels = pictures.labels_of(classifier)
        positions = space_evenly(len(pictures), limit)
    tested: list[int] = []
    predictions: list[Prediction] = []
    left_out: list[ImageError] = []
    outcomes = classifier.predict_each((pictures.give(position) for position in positions), views=views)
    for done, (position, outcome) in enumerate(zip(positions, outcomes, strict=True), start=1):
        if isinstance(outcome, ImageError):
            left_out.append(outcome)
        else:
            tested.append(position)
            predictions.append(outcome)
        tick(done, len(positions))
    if not tested:
        raise left_out[0]
    chosen: Sequence[int] = range(len(tested))
    if labels is not None:
        probabilities = np.stack([prediction.probabilities for prediction in predictions])
        own = labels[tested]
        chosen = choose_mistakes(probabilities, own, count) if only_errors else choose_panel(probabilities, own, count)
        if not chosen:
            raise ConfigError(
                f"--only errors: {counted(len(tested), 'image')} tested and no mistake found; there is nothing to draw."
            )
    return Found(
        show_predictions(
            classifier,
            pictures,
            [tested[index] for index in chosen],
            [predictions[index].probabilities for index in chosen],
            None if labels is None else [int(labels[tested[index]]) for index in chosen],
            mistakes=only_errors,
        ),
        left_out,
    )


def show_predictions(
    classifier: Classifier,
    pictures: Pictures,
    positions: Sequence[int],
    probabilities: Sequence[NDArray[np.float32]],
    labels: Sequence[int | None] | None,
    *,
    mistakes: bool = False,
) -> Panel:
    """Return the panel of chosen pictures whose probabilities are known; `mistakes` gives it a title of its own."""
    titles = classifier.model.class_titles
    images = list(map(pictures.pixels, positions))
    predictions = [
        Prediction(pictures.paths[position], titles, row)
        for position, row in zip(positions, probabilities, strict=True)
    ]

    def draw(*, theme: ThemeName = "light") -> Drawing:
        drawing = draw_predictions(images, predictions, labels, theme)
        if not mistakes:
            return drawing
        caption = f"Wrong first answers, those first of which the network is surest. {drawing.caption}"
        return replace(drawing, name="mistakes", title="The most confident mistakes", caption=caption)

    return draw


def neighbors_panel(
    classifier: Classifier,
    collection: Pictures,
    queries: Pictures | None = None,
    *,
    chosen: Sequence[int] | None = None,
    k: int = NEIGHBORS,
    limit: int | None = None,
    tick: Tick = untold,
) -> Found:
    """Return the panel of queries with the k pictures of the collection that are nearest by the last hidden layer.

    Args:
        queries: Where the queries come from; None takes them from the collection, and an image is then not its own
            neighbour.
        chosen: Positions of the queries; QUERIES of them, spread over the classes, by default.
        limit: Search no more than this many, evenly spaced.
    Raises:
        ConfigError: k is larger than the number of images, or features are not finite.
        ImageError: no query can be decoded.
    """
    source = collection if queries is None else queries
    wanted = list(chosen) if chosen is not None else choose_queries(source, QUERIES)
    places, features, left_out = _gather(classifier, source, wanted)
    if not len(places):
        raise left_out[0]
    searched = space_evenly(len(collection), limit)
    done = 0

    def blocks() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        nonlocal done
        for positions, rows, problems in collection.features(classifier, searched):
            left_out.extend(problem for problem in problems if str(problem) not in map(str, left_out))
            done += len(positions) + len(problems)
            tick(done, len(searched))
            if len(positions):
                yield positions, rows

    own = [int(place) for place in places] if queries is None else None
    available = len(searched) - (queries is None)
    if k > available:
        raise ConfigError(
            f"{counted(k, 'neighbour')} asked for, with {available:,} of the {collection.where} to be searched. Ask "
            "for fewer, or search more."
        )
    distances, found = search_nearest(features, blocks(), k, leave_out=own)

    def show(pictures: Pictures, position: int, distance: float = 0.0) -> Neighbor:
        return Neighbor(
            pictures.pixels(position),
            pictures.paths[position],
            pictures.label(position),
            pictures.title(position),
            pictures.written(position),
            distance,
        )

    rows = [
        (
            show(source, int(place)),
            [show(collection, int(p), float(d)) for p, d in zip(found[row], distances[row], strict=True) if p >= 0],
        )
        for row, place in enumerate(places)
    ]
    explanation = ""
    if collection.labels is not None:
        shown = [each.label for query, others in rows for each in (query, *others) if each.label is not None]
        explanation = explain_stand_ins(collection.class_titles, shown)
    where = collection.where if len(searched) == len(collection) else f"{len(searched):,} of the {collection.where}"
    return Found(partial(draw_neighbors, rows, collection=where, explanation=explanation), left_out)


def why_panel(
    classifier: Classifier,
    pictures: Pictures,
    positions: Sequence[int],
    *,
    method: str,
    class_index: int | None = None,
    tick: Tick = untold,
) -> Found:
    """Return the panel of images beside where a class is decided: one class, or the most probable one of each.

    Args:
        method: A name of `why.METHODS`. With "cam", both towers have a map of their own.
    Raises:
        ImageError: no picture can be decoded.
    """
    images, kept, left_out = pictures.read(positions)
    if not images:
        raise left_out[0]
    predictions = classifier.predict(images)
    best = [int(prediction.probabilities.argmax()) for prediction in predictions]
    classes = [class_index] * len(best) if class_index is not None else best
    titles = classifier.model.class_titles
    written = legible(titles)
    notes = []
    for place, kind, first, prediction in zip(kept, classes, best, predictions, strict=True):
        shown = whole_percent(float(prediction.probabilities[kind]))
        own = pictures.label(place)
        is_wrong = own is not None and pictures.class_names[own] != classifier.class_names[kind]
        notes.append(("" if kind != first else "most probable but wrong, " if is_wrong else "most probable, ") + shown)
    towers = None
    if method == "cam" and classifier.network.spec.towers > 1:
        towers = measure_cam_towers(classifier, images, classes, tick=tick)
    heat = explain(classifier, images, classes, method, tick=tick) if towers is None else join_towers(towers)
    panel = partial(
        draw_heat,
        crop_center(images, classifier),
        list(heat),
        ["" if pictures.labels is None and pictures.sets is None else pictures.written(place) for place in kept],
        [written[kind] for kind in classes],
        notes,
        [pictures.paths[position] for position in kept],
        shows=METHODS[method].shows,
        towers=() if towers is None else list(towers),
        over_picture=method != "gradient",
        explanation=explain_stand_ins(titles, classes),
    )
    return Found(panel, left_out)


def activations_panel(classifier: Classifier, pictures: Pictures, position: int, layer: str) -> Found:
    """Return the panel of what a layer makes of an image; names of layers as `AlexNet.activation_names` lists them.

    Raises:
        ConfigError: the layer is unknown.
        ImageError: the picture cannot be decoded.
    """
    network = classifier.network
    network.locate_activation(layer)
    image = pictures.pixels(position)
    values = classifier.activations(image, [layer])[layer][0]
    base, _, letter = layer.partition(":")
    is_last = base.partition(".")[0] == network.spec.layers[-1].name
    towers = [letter] if letter else [] if is_last or network.spec.towers == 1 else "abcdefgh"[: network.spec.towers]
    (crop,) = crop_center([image], classifier)
    return Found(
        partial(draw_activations, values, layer=base, towers=list(towers), image=crop, source=pictures.paths[position]),
        [],
    )


def choose_panel(probabilities: NDArray[np.float32], labels: NDArray[np.int64], count: int = PANEL_IMAGES) -> list[int]:
    """Return the positions of images to show, in the order of their labels: always the same for the same numbers.

    Mistakes have about the share that they have among all images, but at least LEAST_MISTAKES where there are any, so
    that a panel is neither flattering nor silent about what goes wrong. Classes are taken in turn and evenly spaced.
    """
    is_wrong = probabilities.argmax(1) != labels
    wrong, right = np.flatnonzero(is_wrong), np.flatnonzero(~is_wrong)
    num_wrong = min(len(wrong), max(LEAST_MISTAKES, round(count * float(is_wrong.mean()))), count)
    num_right = min(len(right), count - num_wrong)
    num_wrong = min(len(wrong), count - num_right)
    used: Counter[int] = Counter()
    chosen = _spread_over_classes(wrong, labels, num_wrong, used) + _spread_over_classes(right, labels, num_right, used)
    return sorted(chosen, key=lambda position: (int(labels[position]), position))


def choose_mistakes(probabilities: NDArray[np.float32], labels: NDArray[np.int64], count: int) -> list[int]:
    """Return the positions of the mistakes whose wrong first answer is most probable, the surest first."""
    guesses = probabilities.argmax(1)
    wrong = np.flatnonzero(guesses != labels)
    certainty = probabilities[wrong, guesses[wrong]]
    return [int(position) for position in wrong[np.argsort(-certainty, kind="stable")][:count]]


def choose_queries(pictures: Pictures, count: int) -> list[int]:
    """Return positions spread over the classes, or evenly where these are not known, in ascending order."""
    count = min(count, len(pictures))
    if pictures.labels is None:
        return list(space_evenly(len(pictures), count))
    every = np.arange(len(pictures))
    return sorted(_spread_over_classes(every, pictures.labels, count, Counter()))


def space_evenly(total: int, count: int | None) -> Sequence[int]:
    """Return `count` positions below `total`, evenly spaced and ascending; all of them if there are no more."""
    if count is None or count >= total:
        return range(total)
    return [(2 * turn + 1) * total // (2 * count) for turn in range(count)]


def _spread_over_classes(
    candidates: NDArray[np.int64], labels: NDArray[np.int64], count: int, used: Counter[int]
) -> list[int]:
    """Return `count` candidates, from the classes used least so far, and count their use."""
    groups: dict[int, list[int]] = {}
    for position in candidates.tolist():
        groups.setdefault(int(labels[position]), []).append(position)
    chosen: list[int] = []
    while len(chosen) < count:
        fewest = min(used[label] for label, group in groups.items() if group)
        classes = [label for label in sorted(groups) if groups[label] and used[label] == fewest]
        wanted = min(count - len(chosen), len(classes))
        for label in (classes[(2 * turn + 1) * len(classes) // (2 * wanted)] for turn in range(wanted)):
            chosen.append(groups[label].pop(len(groups[label]) // 2))
            used[label] += 1
    return chosen


def _gather(
    classifier: Classifier, pictures: Pictures, positions: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float32], list[ImageError]]:
    """Return the features of a few pictures at once."""
    batches = list(pictures.features(classifier, positions))
    left_out = [problem for _, _, problems in batches for problem in problems]
    filled = [(places, rows) for places, rows, _ in batches if len(places)]
    if not filled:
        return np.zeros(0, np.int64), np.zeros((0, 0), np.float32), left_out
    return np.concatenate([places for places, _ in filled]), np.concatenate([rows for _, rows in filled]), left_out
