"""A model of clips in one file: the image model it stands on, and its heads."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.data.images.decode import square_pixels
from alexnet.data.video.clip import open_clip, say_odd
from alexnet.errors import ImageError, WeightsError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.evaluate import VIEWS_AT_A_TIME
from alexnet.files.tensors import copy_into, read_document, read_tensors, write_tensors
from alexnet.network.model_file import TEMPORAL_KIND, Model, assemble_model, describe, tensors_of
from alexnet.temporal.clips import compute_features
from alexnet.temporal.heads import HEADS, FrameByFrame, Head
from alexnet.text.class_names import normalize_name
from alexnet.text.names import escape_name
from alexnet.text.wording import counted

FORMAT = 1
_IMAGE, _HEAD, _FRAMES = "image.", "head.", "frames."
"""What the names of tensors begin with: of the image model, the head, and the layer beside it."""


@dataclass(frozen=True, slots=True)
class TemporalModel:
    """An image model as it was, and what was learned about clips on its features."""

    image_model: Model
    kind: str
    """Of the head: a name of `heads.HEADS`."""
    head: Head
    frame_by_frame: FrameByFrame
    """A linear layer that learned the same classes from single frames, to compare with."""
    class_names: tuple[str, ...]
    class_titles: tuple[str, ...]
    every_seconds: float
    """Time between the frames that it learned from."""
    provenance: dict[str, Any]


class Look(NamedTuple):
    """What a model makes of a clip of T frames, of which M moments are scored."""

    probabilities: NDArray[np.float32]
    """(K,) of the clip."""
    moments: NDArray[np.float32]
    """(M, K) of each moment: one for each frame, or for each few frames in a row."""
    weights: NDArray[np.float32]
    """(M,), what each moment counts; they sum to 1."""
    frames: NDArray[np.float32]
    """(T, K) of each frame by itself."""


class Seen(NamedTuple):
    """A clip, and what a model makes of it."""

    source: str
    times_s: tuple[float, ...]
    """When its frames are shown."""
    look: Look
    odd: tuple[str, ...]
    """Notes on what is odd about it."""


class TemporalClassifier:
    """A model of clips ready for use."""

    def __init__(self, model: TemporalModel, path: Path, *, device: str = "auto", precision: str = "auto") -> None:
        self.model, self.path = model, path
        self.images = Classifier(model.image_model, path, device=device, precision=precision)
        """What computes the features of frames."""
        self.class_names, self.class_titles = model.class_names, model.class_titles
        self.image_px, self.framing = self.images.image_px, self.images.framing

    def look(self, clip: str | Path, *, every_s: float | None = None) -> Seen:
        """Return what a clip is. One frame after the other is decoded; only their features are kept.

        Args:
            clip: A video, or an animated GIF or WebP.
            every_s: Seconds between frames; those of the clips it learned from where this is None.
        Raises:
            ImageError: it cannot be decoded, or has fewer frames than the head reads.
            ConfigError: every_s is no time between frames.
        """
        name = str(clip)
        opened = open_clip(clip)
        frames = opened.frames(self.model.every_seconds if every_s is None else every_s)
        times: list[float] = []
        parts: list[Tensor] = []
        while some := list(itertools.islice(frames, VIEWS_AT_A_TIME)):
            times += [frame.time_s for frame in some]
            pixels = [square_pixels(frame.pixels, self.image_px, framing=self.framing) for frame in some]
            parts.append(compute_features(self.images, pixels))
        if len(times) < self.model.head.least_frames:
            raise ImageError(
                f"{escape_name(name)}: has {counted(len(times), 'frame')}; the {self.model.kind} of {self.path} reads "
                f"{self.model.head.least_frames} or more. Take frames more often with --every, or give a longer clip."
            )
        odd = tuple(say_odd(name, oddity) for oddity in opened.oddities)
        return Seen(name, tuple(times), self.look_at_features(torch.cat(parts)), odd)

    def look_at_features(self, features: Tensor) -> Look:
        """Return what the (T, D) features of the frames of a clip say, T no less than the head reads."""
        counts = torch.tensor([len(features)])
        with torch.inference_mode():
            (scores,), (weights,) = self.model.head.look(features[None], counts)
            (alone,), _ = self.model.frame_by_frame.look(features[None], counts)
            together = (weights[:, None] * scores).sum(0)
            rows = (each.softmax(-1).numpy() for each in (together, scores, alone))
        probabilities, moments, frames = rows
        return Look(probabilities, moments, weights.numpy(), frames)


def save_temporal(path: Path, model: TemporalModel) -> None:
    """Write the file of a model of clips; it appears whole or not at all."""
    parts = ((_IMAGE, tensors_of(model.image_model)), (_HEAD, model.head.state_dict()),
             (_FRAMES, model.frame_by_frame.state_dict()))  # fmt: skip
    tensors = {before + name: tensor for before, part in parts for name, tensor in part.items()}
    document = {
        "kind": TEMPORAL_KIND,
        "format": FORMAT,
        "head": model.kind,
        "class_names": list(model.class_names),
        "class_titles": list(model.class_titles),
        "every_seconds": model.every_seconds,
        "provenance": model.provenance,
        "image_model": describe(model.image_model),
    }
    write_tensors(path, tensors, document)


def load_temporal(path: Path) -> TemporalModel:
    """Read the file of a model of clips.

    Raises:
        WeightsError: it is missing, damaged, something else, or its parts do not fit together.
    """
    document = read_document(path, kinds=(TEMPORAL_KIND,), newest_format=FORMAT)
    try:
        kind = str(document["head"])
        names = tuple(normalize_name(str(name)) for name in document["class_names"])
        titles = tuple(map(str, document["class_titles"]))
        every, provenance = float(document["every_seconds"]), dict(document["provenance"])
        image_document = dict(document["image_model"])
    except (KeyError, TypeError, ValueError) as problem:
        raise WeightsError(
            f"{path}: its header is incomplete or malformed ({problem}). Obtain the file again."
        ) from None
    if kind not in HEADS:
        raise WeightsError(f"{path}: its head is {kind!r}; known are {', '.join(HEADS)}. Update alexnet.")
    if len(names) < 2 or len(names) != len(titles) or not 0 <= every < math.inf:
        raise WeightsError(f"{path}: its header is incomplete or malformed (class_names). Obtain the file again.")
    tensors = read_tensors(path)

    def begin_with(start: str) -> dict[str, Tensor]:
        return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}

    image_model = assemble_model(path, image_document, begin_with(_IMAGE))
    parts = []
    for start, make in ((_HEAD, HEADS[kind]), (_FRAMES, FrameByFrame)):
        part = make(image_model.network.num_features, len(names)).eval()
        copy_into(path, part.state_dict(), begin_with(start), called=start)
        parts.append(part)
    head, frame_by_frame = parts
    assert isinstance(frame_by_frame, FrameByFrame)
    return TemporalModel(image_model, kind, head, frame_by_frame, names, titles, every, provenance)


def open_temporal(path: Path, *, device: str = "auto", precision: str = "auto") -> TemporalClassifier:
    """Return a model of clips ready for use.

    Raises:
        WeightsError: see `load_temporal`.
        ConfigError: the device or precision is not to be had.
    """
    return TemporalClassifier(load_temporal(path), path, device=device, precision=precision)
