"""A test of models in parts, which processes elsewhere compute."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from alexnet.cluster.parts import Executor, Stretch, Work, check_images, cut_into_stretches, ends
from alexnet.data.store.format import HEADER_NAME
from alexnet.evaluation.classifier import load
from alexnet.evaluation.ensemble import Ensemble
from alexnet.evaluation.evaluate import images_at_a_time
from alexnet.evaluation.labeled_images import LabeledImages, open_labeled_images
from alexnet.evaluation.trial import Tested, answer_batch
from alexnet.network.model_file import find_model
from alexnet.system import set_threads, tune_allocator


def answer_in_parts(
    executor: Executor,
    models: Ensemble,
    folder: Path,
    images: LabeledImages,
    *,
    num_views: int,
    split: str,
) -> Iterator[Tested]:
    """Yield what the models make of the images, batch by batch as `run_trial` takes it.

    Args:
        folder: What the images were opened from; with `split`, see `open_labeled_images`. No clips.
    """
    paths = [member.path for member in models.members]
    precision = models.members[0].compute.precision
    pictures = ends(images.paths, Path(images.name)) if images.store is None else ()
    reads = (*map(find_model, paths), folder / HEADER_NAME, *pictures)
    given = (paths, folder, split, images.fingerprint(), num_views, executor.device, precision, executor.threads)
    parts = cut_into_stretches(len(images), images_at_a_time(num_views))
    return chain.from_iterable(executor.run(Work(begin_answering, given, reads), parts))


def begin_answering(
    paths: list[Path],
    folder: Path,
    split: str,
    fingerprint: str,
    num_views: int,
    device: str,
    precision: str,
    threads: int,
) -> Callable[[Stretch], list[Tested]]:
    """Load the models and list the images, in another process, and return what computes a part of them."""
    set_threads(threads)
    tune_allocator()
    models = Ensemble([load(path, device=device, precision=precision) for path in paths])
    images = open_labeled_images(
        folder, split=split, image_px=models.image_px, framing=models.framing, known=models.class_names
    )
    check_images(str(folder), images.fingerprint(), fingerprint)
    batch = images_at_a_time(num_views)
    return lambda part: [answer_batch(models, images, num_views, own) for own in part.batches(batch)]
