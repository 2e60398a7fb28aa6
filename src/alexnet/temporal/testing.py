"""What time is worth: the errors of single frames, of their mean, and of a head over the frames of a clip."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.data.store.reader import Store
from alexnet.evaluation.evaluate import match_classes
from alexnet.evaluation.metrics import find_errors, wilson_interval
from alexnet.temporal.clip_model import TemporalClassifier
from alexnet.temporal.clips import STEP, Clips, check_lengths, compute_features, find_step, list_clips
from alexnet.text.names import escape_name
from alexnet.text.progress import Tick, untold


@dataclass(frozen=True, slots=True)
class ClipErrors:
    """Errors on labelled clips. Rates are fractions in [0, 1]; intervals are Wilson's, 95 %, over clips."""

    clips: int
    frames: int
    every_seconds: float
    """Time between the frames."""
    frame_error: float
    """Of single frames. They are no independent samples, so it has no interval."""
    mean_error: float
    """Of the mean of their probabilities over a clip."""
    mean_interval: tuple[float, float]
    error: float
    """Of the head."""
    interval: tuple[float, float]
    class_names: tuple[str, ...]
    class_clips: tuple[int, ...]
    class_errors: tuple[float, ...]
    """Errors of the head per class, as counts."""
    probabilities: NDArray[np.float32]
    """(N, K) of the head."""
    labels: NDArray[np.int64]
    """(N,)"""
    notes: tuple[str, ...]
    """How the frames lie in time otherwise than those that the head learned from; it counts frames, not seconds."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs, without the probabilities."""
        return {
            "clips": self.clips,
            "frames": self.frames,
            "every_seconds": self.every_seconds,
            "frame_error": self.frame_error,
            "mean_error": self.mean_error,
            "mean_interval": list(self.mean_interval),
            "error": self.error,
            "interval": list(self.interval),
            "notes": list(self.notes),
            "classes": [
                {"name": escape_name(name), "clips": clips, "error": errors / clips if clips else None}
                for name, clips, errors in zip(self.class_names, self.class_clips, self.class_errors, strict=True)
            ],
        }


def measure_clip_errors(
    classifier: TemporalClassifier, store: Store, *, split: str = "val", tick: Tick = untold
) -> ClipErrors:
    """Return the errors on the clips of a split; classes are matched by name.

    Raises:
        StoreError: the store holds no clips, no such split, or clips that are shorter than the head reads.
        WeightsError: its images have another size, or it has a class that the model does not know.
    """
    classifier.images.check_size(store)
    clips = list_clips(store, split)
    model = classifier.model
    check_lengths(clips, model.head.least_frames, where=str(store.path), what=model.kind)
    known = match_classes(
        store.class_names, classifier.class_names, given_by=str(store.path), known_by=str(classifier.path)
    )
    features = compute_features(classifier.images, store[split].images, tick=tick)
    looks = [classifier.look_at_features(features[torch.from_numpy(rows)]) for rows in clips.frames]
    labels = known[clips.labels]
    probabilities = np.stack([look.probabilities for look in looks])
    means = np.stack([look.frames.mean(0) for look in looks])
    singles = np.concatenate([look.frames for look in looks])
    wrong = find_errors(probabilities, labels)
    wrong_means = float(find_errors(means, labels).sum())
    wrong_singles = find_errors(singles, np.repeat(labels, [len(look.frames) for look in looks]))
    count, classes = len(clips), len(classifier.class_names)
    return ClipErrors(
        clips=count,
        frames=len(singles),
        every_seconds=clips.every_seconds,
        frame_error=float(wrong_singles.mean()),
        mean_error=wrong_means / count,
        mean_interval=wilson_interval(wrong_means, count),
        error=float(wrong.mean()),
        interval=wilson_interval(float(wrong.sum()), count),
        class_names=classifier.class_names,
        class_clips=tuple(np.bincount(labels, minlength=classes).tolist()),
        class_errors=tuple(np.bincount(labels, wrong, classes).tolist()),
        probabilities=probabilities,
        labels=labels,
        notes=tuple(_compare_steps(classifier, store, clips)),
    )


def _compare_steps(classifier: TemporalClassifier, store: Store, clips: Clips) -> Iterator[str]:
    model, tested = classifier.model, find_step(store)
    learned = model.provenance.get(STEP)
    if clips.every_seconds and abs(clips.every_seconds - model.every_seconds) > 0.01 * model.every_seconds:
        yield (
            f"{classifier.path} learned from frames {model.every_seconds:g} s apart, and those of {store.path} are "
            f"{clips.every_seconds:g} s apart; a motion looks faster or slower to it."
        )
    elif learned and tested and learned != tested:  # most are as far apart only as near copies were left out
        yield (
            f"{classifier.path} learned from a store of --every {learned:g}, and {store.path} is one of --every "
            f"{tested:g}; a motion looks faster or slower to it."
        )
    if clips.num_uneven:
        yield clips.describe_unevenness()
