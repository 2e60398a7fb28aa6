"""Why this class: the methods that say where in an image a class is decided, under the names that people choose by."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier
from alexnet.interpretation.grad_cam import measure_cam
from alexnet.interpretation.saliency import measure_occlusion, measure_saliency
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

Measure = Callable[..., NDArray[np.float32]]
"""Takes classifier, images, classes and, by name, tick; returns heat. See `explain`."""


class Method(NamedTuple):
    """A way to explain a class, and how to read what it shows."""

    measure: Measure
    unit: str
    """What its progress counts."""
    shows: str
    """What is drawn, as the end of "Each image with its class, and beside it …"."""
    bright: str
    """What a bright spot means for the class, as the end of "Bright where …"."""


METHODS: Mapping[str, Method] = {
    "occlusion": Method(
        measure_occlusion,
        "squares",
        "how far the probability of the class under the map falls when a square around a pixel is covered (Zeiler and "
        "Fergus, 2013)",
        "covering the picture lowers its probability most",
    ),
    "gradient": Method(
        measure_saliency,
        "images",
        "how strongly the score of the class under the map moves when a pixel changes: the largest of the three "
        "absolute derivatives by red, green and blue (Simonyan et al., 2013)",
        "a pixel moves its score most",
    ),
    "cam": Method(
        measure_cam,
        "images",
        "where the maps of the last convolution speak for the class under the map, each weighed by how much it moves "
        "the score (Grad-CAM; Selvaraju et al., 2017)",
        "the last convolution speaks for it",
    ),
}
"""Name of a method -> the method; the most faithful first, as docs/questions.md measures it."""


def explain(
    classifier: Classifier,
    images: Sequence[NDArray[np.uint8]],
    classes: Sequence[int],
    method: str,
    *,
    tick: Tick = untold,
) -> NDArray[np.float32]:
    """Return where in the centre views of images a class each is decided: (N, crop, crop), at least 0.

    Heat has no unit that methods share: compare it within a map only.

    Args:
        images: (S, S, 3) uint8 RGB of the stored size.
        classes: Class index for each image, in the order of `classifier.class_names`.
        method: A name of METHODS.
        tick: Called with what is done and in all, in the method's unit.
    Raises:
        ConfigError: there is no such method or class, or the network is none that the method can explain.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}. Choose one of: {', '.join(METHODS)}.")
    if len(images) != len(classes):
        raise ConfigError(
            f"{counted(len(classes), 'class', 'classes')} for {counted(len(images), 'image')}. Give one for each."
        )
    known = len(classifier.class_names)
    for kind in classes:
        if not 0 <= kind < known:
            raise ConfigError(
                f"class {kind}: the model knows {counted(known, 'class', 'classes')}, numbered from 0 to {known - 1}. "
                "class_names.index finds the number of a name."
            )
    return METHODS[method].measure(classifier, images, classes, tick=tick)
