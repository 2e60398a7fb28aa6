"""The clips whose frames a split of a store holds, and the features of these frames."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.loader import Images
from alexnet.data.store.reader import Store
from alexnet.data.video.clip import parse_frame
from alexnet.errors import StoreError
from alexnet.evaluation.classifier import Classifier
from alexnet.text.commands import command
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted

STEP = "every"
"""What stores and models of clips call the seconds between frames that were asked for; near copies may be left out."""


@dataclass(frozen=True, slots=True)
class Clips:
    """The clips of a split, in the order of their first frames."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    """(N,) of the store's classes."""
    frames: tuple[NDArray[np.int64], ...]
    """Of each clip, the positions of its frames in the split, in the order of their times."""
    seconds: tuple[NDArray[np.float64], ...]
    """Of each clip, when these frames are shown."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def every_seconds(self) -> float:
        """Median of the times between neighbouring frames; 0 where no clip has two."""
        gaps = np.concatenate([np.diff(times) for times in self.seconds])
        return float(np.median(gaps)) if len(gaps) else 0.0

    @property
    def num_uneven(self) -> int:
        """Clips whose frames are not all as far apart as most are, as where near copies were left out."""
        every = self.every_seconds
        return sum(bool((np.abs(np.diff(times) - every) > 0.01 * every).any()) for times in self.seconds)

    def describe_unevenness(self) -> str:
        """Say of how many clips it is so, and what it means."""
        return (
            f"In {counted(self.num_uneven, 'clip')} of {len(self):,} frames are not equally far apart, as where near "
            "copies were left out; a head counts frames, not seconds. --thin 0 of prepare keeps all."
        )

    def fill_up(self) -> tuple[Tensor, Tensor]:
        """Return the frames of all clips as (N, T), where shorter ones repeat their last, and the lengths, (N,)."""
        longest = max(map(len, self.frames))
        rows = [np.pad(frames, (0, longest - len(frames)), mode="edge") for frames in self.frames]
        return torch.from_numpy(np.stack(rows)), torch.tensor([len(frames) for frames in self.frames])

    def each_frame(self) -> "Clips":
        """Return every frame as a clip of its own."""
        lengths = list(map(len, self.frames))
        return Clips(
            tuple(np.repeat(self.names, lengths).tolist()),
            np.repeat(self.labels, lengths),
            tuple(np.concatenate(self.frames)[:, None]),
            tuple(np.concatenate(self.seconds)[:, None]),
        )


def find_step(store: Store) -> float | None:
    """Return the seconds between frames that a store was made with; None where it does not say."""
    step = store.provenance.get("options", {}).get(STEP)
    return float(step) if isinstance(step, int | float) else None


def list_clips(store: Store, split: str) -> Clips:
    """Return the clips of a split.

    Raises:
        StoreError: the store does not say which images are frames of one clip, and when they are shown; the frames of a
            clip have several classes; the split is missing or empty.
    """
    part = store[split]
    if not len(part):
        raise StoreError(f"{store.path}: split {split!r} has no images. It has: {', '.join(store.filled_splits)}.")
    clips: dict[str, list[tuple[float, int]]] = {}
    for position, (path, group) in enumerate(zip(part.paths, part.groups or part.paths, strict=True)):
        found = parse_frame(path)
        if part.groups is None or found is None:
            raise StoreError(
                f"{store.path}: does not say of which clip {path} is a frame, and when it is shown. Make a store of "
                f"clips: {command('prepare', 'CLIPS', every=0.5, thin=0, out='STORE')}"
            )
        clips.setdefault(group, []).append((found[1], position))
    ordered = [sorted(frames) for frames in clips.values()]
    frames = tuple(np.array([position for _, position in each]) for each in ordered)
    for name, positions in zip(clips, frames, strict=True):
        if len(set(part.labels[positions].tolist())) > 1:
            raise StoreError(f"{store.path}: the frames of {name} are of several classes. Give each clip one class.")
    return Clips(
        tuple(clips),
        part.labels[[positions[0] for positions in frames]],
        frames,
        tuple(np.array([seconds for seconds, _ in each]) for each in ordered),
    )


def compute_features(classifier: Classifier, images: Images, *, tick: Tick = untold) -> Tensor:
    """Return what the last layer of the image model reads of images in their centre view: (N, D) float32 on the CPU.

    In the paper's network these are the features of section 6.1, as the dropout after them scales them. They take 16
    KiB an image there.
    """
    parts, done = [], 0
    for outputs in classifier.compute_outputs(images, views=1):
        parts.append(outputs.features)
        done += len(outputs.features)
        tick(done, len(images))
    return torch.cat(parts)


def check_lengths(clips: Clips, least_frames: int, *, where: str, what: str) -> None:
    """Refuse clips with fewer frames than a head reads.

    Args:
        where: Of which store they are.
        what: The head that reads them.
    Raises:
        StoreError: there is one.
    """
    lengths = list(map(len, clips.frames))
    num_short, fewest = sum(length < least_frames for length in lengths), min(lengths)
    if num_short:
        raise StoreError(
            f"{where}: {counted(num_short, 'clip')} with fewer frames than the {least_frames} that a {what} reads, as "
            f"{clips.names[lengths.index(fewest)]}, with {fewest}. Take frames more often (prepare --every), or leave "
            "the clip out."
        )
