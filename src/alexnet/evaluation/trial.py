"""Testing several models in one pass over the images, each of which is decoded once."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.batches.shard import BatchShard
from alexnet.distribution.world import SINGLE_PROCESS, World
from alexnet.errors import ConfigError, WeightsError
from alexnet.evaluation.ensemble import Ensemble, weighted_mean
from alexnet.evaluation.evaluate import Evaluation, images_at_a_time, match_classes, measure_errors
from alexnet.evaluation.labeled_images import LabeledImages
from alexnet.evaluation.prediction import Answer
from alexnet.evaluation.set_evaluation import SetEvaluation, arrange_columns, explain_labels, measure_sets
from alexnet.text.progress import Tick
from alexnet.text.wording import counted


@dataclass(frozen=True, slots=True)
class Trial:
    """What a pass over the images gave."""

    probabilities: list[NDArray[np.float32]]
    """(N, K) of each model."""
    labels: NDArray[Any]
    """(N,) int64, as the models number their classes, or (N, K) bool, of the images that could be decoded."""
    numbers: NDArray[np.int64]
    """(N,) positions of these images in `images`."""
    marks: list[bytes]
    """N digests, see `mark_image`."""
    images: LabeledImages
    image_px: int
    class_names: tuple[str, ...]
    num_views: int
    distances: list[NDArray[np.float32] | None]
    """(N,) of each model, see `Rejection.measure`; None of one without a rejection."""

    @property
    def paths(self) -> list[str]:
        """Paths of the tested images."""
        return [self.images.paths[number] for number in self.numbers.tolist()]

    def decode(self, position: int) -> NDArray[np.uint8]:
        """Return the tested image at this position, (S, S, 3) RGB."""
        return self.images.decode(int(self.numbers[position]))

    def average(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (N, K) mean of the models' probabilities under these weights, one for each, which sum to 1."""
        return weighted_mean(self.probabilities, weights)

    def measure(self, probabilities: NDArray[np.float32], *, k: int | None = None) -> Evaluation:
        """Return the errors that these probabilities make."""
        import torch

        return measure_errors(
            torch.from_numpy(probabilities), self.labels, class_names=self.class_names, num_views=self.num_views, k=k
        )

    def measure_sets(self, probabilities: NDArray[np.float32], thresholds: Sequence[float]) -> SetEvaluation:
        """Return what these probabilities are worth, at (K,) thresholds, where classes are independent."""
        limits, names = np.array(thresholds), self.class_names
        return measure_sets(probabilities, self.labels, limits, class_names=names, num_views=self.num_views)


class Tested(NamedTuple):
    """What became of some consecutive images."""

    numbers: list[int]
    """Positions of those that could be decoded."""
    marks: list[str]
    """Their digests in hexadecimal, see `mark_image`."""
    reasons: list[str]
    """Why the others could not."""
    answers: list[Answer]
    """Of each model."""


def run_trial(
    models: Ensemble,
    images: LabeledImages,
    *,
    num_views: int,
    tick: Tick | None = None,
    world: World = SINGLE_PROCESS,
    tested: Iterable[Tested] | None = None,
) -> Trial:
    """Return every model's probabilities of the images.

    Args:
        world: Processes that call this together. Each computes a part of the images; all return all.
        tested: The images, a batch of `images_at_a_time` after the other, where others compute them.
    Raises:
        WeightsError: the images have a class that the models do not know, or another kind of labels.
        ConfigError: no image could be decoded.
    """
    if (models.independent is not None) != images.has_sets:
        raise WeightsError(explain_labels(str(models.members[0].path), images.name, learned_sets=not images.has_sets))
    known = match_classes(
        images.class_names, models.class_names, given_by=images.name, known_by=str(models.members[0].path)
    )
    numbers: list[int] = []
    marks: list[bytes] = []
    parts: list[list[NDArray[np.float32]]] = [[] for _ in models.members]
    distances: list[list[NDArray[np.float32]]] = [[] for _ in models.members]

    for batch in _test_together(models, images, num_views, world) if tested is None else tested:
        for each, far, answer in zip(parts, distances, batch.answers, strict=True):
            each.append(answer.probabilities)
            if answer.distances is not None:
                far.append(answer.distances)
        numbers += batch.numbers
        marks += map(bytes.fromhex, batch.marks)
        images.left_out += batch.reasons
        if tick:
            tick(len(numbers) + len(images.left_out), len(images))
    if not numbers:
        raise ConfigError(
            f"{images.name}: {counted(len(images), 'image')}, none of which can be decoded. {images.left_out[0]}"
        )
    chosen = np.array(numbers, np.int64)
    return Trial(
        [np.concatenate(parts.pop(0)) for _ in models.members],  # each is held twice only while it is joined
        arrange_columns(images.labels[chosen], known, len(models.class_names))
        if images.has_sets
        else known[images.labels[chosen]],
        chosen,
        marks,
        images,
        models.image_px,
        models.class_names,
        num_views,
        [np.concatenate(own) if own else None for own in distances],
    )


def answer_batch(models: Ensemble, images: LabeledImages, num_views: int, own: Sequence[int]) -> Tested:
    """Return what the models make of images at these positions, computed together."""
    found, pixels, reasons = images.read(own)
    answers = models.answer_members(pixels, views=num_views)
    return Tested(found, [mark_image(image).hex() for image in pixels], reasons, answers)


def _test_together(models: Ensemble, images: LabeledImages, num_views: int, world: World) -> Iterator[Tested]:
    """Yield all batches, of which the processes of the world take turns; each gets those of all."""
    for positions in BatchShard(world.rank, world.world_size).turns(len(images), images_at_a_time(num_views)):
        own = positions[positions >= 0].tolist()
        tested = world.run_on_all_ranks(partial(answer_batch, models, images, num_views, own))
        answers = [
            Answer(
                world.all_gather_rows(answer.probabilities),
                None if answer.distances is None else world.all_gather_rows(answer.distances),
            )
            for answer in tested.answers
        ]
        facts = zip(*world.all_gather_objects([tested.numbers, tested.marks, tested.reasons]), strict=True)
        numbers, marks, reasons = (list(chain.from_iterable(each)) for each in facts)
        yield Tested(numbers, marks, reasons, answers)


def mark_image(image: NDArray[np.uint8]) -> bytes:
    """Return a digest of the middle row: equal for equal images, and nearly always only for these."""
    return hashlib.blake2b(image[len(image) // 2].tobytes(), digest_size=16).digest()
