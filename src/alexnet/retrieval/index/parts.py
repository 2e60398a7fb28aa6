"""Features of an index in parts, which processes elsewhere compute."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alexnet.cluster.parts import Executor, Stretch, Work, check_images, cut_into_stretches, ends
from alexnet.data.store.format import HEADER_NAME
from alexnet.evaluation.ensemble import open_model
from alexnet.retrieval.index.features import Computed, Extractor, compute_batches
from alexnet.retrieval.index.images import ImageFiles, StoreImages, choose_images
from alexnet.system import set_threads, tune_allocator

Part = tuple[Stretch, dict[tuple[Any, ...], Any]]
"""Places of images, and what the index has of them: key -> digest."""


def compute_in_parts(
    executor: Executor,
    extractor: Extractor,
    images: ImageFiles | StoreImages,
    features: dict[str, Any],
    known: dict[tuple[Any, ...], Any],
    batch_size: int,
) -> Iterator[Computed]:
    """Yield what `compute_features` does.

    Args:
        known: Key -> digest of what the index has when the work begins.
    """
    listed = images.arguments()
    compute = executor.device, extractor.precision, executor.threads
    given = (extractor.file, listed, images.fingerprint(), features, batch_size, *compute)
    keys = images.keys()
    stretches = cut_into_stretches(len(keys), batch_size, bytes_each=4 * features["dimensions"])
    parts = [(part, {key: known[key] for key in keys[part.start : part.stop] if key in known}) for part in stretches]
    pictures = ends([key[0] for key in keys]) if isinstance(images, ImageFiles) else ()
    work = Work(begin_extracting, given, (extractor.file, *(place / HEADER_NAME for place in listed[0]), *pictures))
    return _note_odd(images, executor.run(work, parts))


def _note_odd(
    images: ImageFiles | StoreImages, parts: Iterator[tuple[list[Computed], list[str]]]
) -> Iterator[Computed]:
    for computed, odd in parts:
        images.odd += [note for note in odd if note not in images.odd]
        yield from computed


def begin_extracting(
    model: Path,
    listed: tuple[Any, ...],
    fingerprint: str,
    features: dict[str, Any],
    batch_size: int,
    device: str,
    precision: str,
    threads: int,
) -> Callable[[Part], tuple[list[Computed], list[str]]]:
    """Load the model and list the images, in another process, and return what computes a part of them."""
    set_threads(threads)
    tune_allocator()
    extractor = Extractor(open_model(model, device=device, precision=precision))
    images = choose_images(*listed)
    check_images(str(listed[0][0]), images.fingerprint(), fingerprint)

    def do(part: Part) -> tuple[list[Computed], list[str]]:
        stretch, known = part
        before = len(images.odd)
        own = range(stretch.start, stretch.stop)
        computed = list(compute_batches(extractor, images, features, known, batch_size, own))
        return computed, images.odd[before:]

    return do
