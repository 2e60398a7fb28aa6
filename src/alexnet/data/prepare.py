"""A folder of photographs -> a store: read, decode, check, and count the statistics in the same pass.

Images are decoded by a pool of threads (Pillow releases the interpreter lock) and written in the order of the source,
part by part; at most three parts are in memory. data/partial_store.py makes it safe to interrupt at any moment.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alexnet.data.decode import decode_image, explain_unreadable, show_name
from alexnet.data.partial_store import Part, PartialStore, describe_job, refuse_existing, split_into_parts
from alexnet.data.sources import LabeledPath, Source, find_images
from alexnet.data.statistics import PixelStatistics
from alexnet.data.store_format import TRAIN
from alexnet.data.store_writer import SplitContent, rows_per_shard
from alexnet.errors import ConfigError, ImageError, Interrupted, SourceError, StoreError

Progress = Callable[[int, int, int], None]
"""Called with images done, images in all, and how many of those done were left out."""


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What prepare did. The store's report.json holds the same without times."""

    store: Path
    per_class: Mapping[str, Mapping[str, int]]
    """Images kept: split -> class name -> number."""
    skipped: Sequence[tuple[str, str]]
    """Path and reason of every image left out."""
    ignored: Mapping[str, int]
    """Files and folders that were passed over as no images, by reason."""
    notes: Sequence[str]
    """What is unusual about the source, in sentences."""
    num_continued: int
    """Images that an earlier, interrupted run had already done."""
    seconds: float
    images_per_second: float
    """Images of this run alone."""

    @property
    def num_images(self) -> int:
        """Images kept, all splits together."""
        return sum(sum(counts.values()) for counts in self.per_class.values())


def prepare(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size: int = 256,
    val_fraction: float | None = None,
    seed: int = 0,
    on_bad_image: Literal["skip", "stop"] = "skip",
    workers: int | None = None,
    progress: Progress | None = None,
    class_names_file: str | os.PathLike[str] | None = None,
    shard_rows: int | None = None,
) -> PrepareReport:
    """Make a store of the photographs in a folder.

    Interrupted in any way, the same call continues after the last part that was finished. The same images and options
    give the same bytes, whatever the number of threads and interruptions.

    Args:
        source: A folder in one of the layouts of `find_images`, which also explains val_fraction, seed and
            class_names_file.
        out: The store to make; it must not exist, or be an empty folder. OUT.partial beside it holds the work.
        size: Height and width of the stored images in pixels.
        on_bad_image: "skip" leaves an image that cannot be read out and reports it; "stop" makes it an error.
        workers: Decoding threads; the number of CPUs when None.
        progress: Called from this thread after every image.
        shard_rows: Images in a part, and so in a shard; as many as fit 96 MiB when None.
    Raises:
        SourceError: the folder is not laid out as `find_images` needs it, or no image of a class can be read.
        ImageError: an image cannot be read and on_bad_image is "stop".
        StoreError: out exists, its disk is full or not writable, or OUT.partial belongs to another job.
        Interrupted: Ctrl-C; what is finished is kept.
        ConfigError: an option is outside what is accepted.
    """
    started = time.perf_counter()
    _check_options(size, on_bad_image, workers, shard_rows)
    target = Path(out)
    _check_outside(Path(source), target)
    images = find_images(source, val_fraction=val_fraction, seed=seed, class_names_file=class_names_file)
    rows = shard_rows or rows_per_shard(size)
    options = {"size": size, "val_fraction": val_fraction, "seed": seed, "shard_rows": rows}
    provenance, job = describe_job(images, options)
    refuse_existing(target, provenance)
    run = _Run(images, size, rows, on_bad_image == "stop", progress)
    try:
        with PartialStore(target, job) as partial:
            run.read_images(partial, workers or os.cpu_count() or 1)
            report = run.finish(partial, provenance)
            partial.publish()
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted after {run.num_kept_safe:,} of {run.total:,} images. Run the same command again to continue; "
            f"what is done is in {target}.partial."
        ) from None
    except OSError as error:  # reading errors were turned into bad images, so this is the disk of the store
        raise StoreError(run.explain_write_error(error, target)) from None
    seconds = time.perf_counter() - started
    return PrepareReport(
        store=target,
        per_class={split: fields["per_class"] for split, fields in report["splits"].items()},
        skipped=[(item["path"], item["reason"]) for item in report["skipped"]],
        ignored=images.ignored,
        notes=images.notes,
        num_continued=run.num_continued,
        seconds=seconds,
        images_per_second=(run.total - run.num_continued) / seconds,
    )


class _Run:
    """One call of prepare: counts, and the two stages of the work."""

    def __init__(self, source: Source, size: int, rows: int, stop_on_bad: bool, progress: Progress | None) -> None:
        self.source = source
        self.size = size
        self.rows = rows
        self.total = sum(len(entries) for entries in source.splits.values())
        self.num_continued = 0
        self.num_kept_safe = 0  # images of finished parts
        self._stop_on_bad = stop_on_bad
        self._progress = progress
        self._num_done = 0
        self._num_skipped = 0

    def read_images(self, partial: PartialStore, workers: int) -> None:
        """Finish every part that is not finished yet."""
        todo = []
        for split, entries in self.source.splits.items():
            for number, stretch in enumerate(split_into_parts(len(entries), self.rows)):
                part = partial.load_part(split, number)
                if part is None:
                    todo.append((split, number, entries[stretch]))
                else:
                    self._count_finished(part)
        self.num_continued = self.num_kept_safe
        self._check_space(partial.path)
        decoders = ThreadPoolExecutor(workers, "decode")
        writer = ThreadPoolExecutor(1, "write")
        writing: Future[None] | None = None
        try:
            for split, number, entries in todo:
                images, skipped = self._read_part(decoders, entries)
                kept = [entry for entry in entries if entry.path not in skipped]
                if writing is not None:
                    writing.result()
                writing = writer.submit(self._write_part, partial, split, number, images, kept, skipped)
            if writing is not None:
                writing.result()
        finally:
            decoders.shutdown(cancel_futures=True)
            writer.shutdown()  # a part that is complete is still written

    def finish(self, partial: PartialStore, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Read everything back, write the rest of the store, and the header last; returns the report."""
        statistics = PixelStatistics(self.size)
        contents: dict[str, SplitContent] = {}
        skipped: list[tuple[str, str]] = []
        per_class: dict[str, list[int]] = {}
        num_classes = len(self.source.class_names)
        for split, entries in self.source.splits.items():
            shards, labels, paths = [], [], []
            for number in range(len(split_into_parts(len(entries), self.rows))):
                part = partial.load_part(split, number)
                assert part is not None
                if part.shard is not None:
                    partial.verify_part(split, number, part.shard)
                    shards.append(part.shard)
                if split == TRAIN:
                    statistics.merge(partial.load_statistics(number, self.size, len(part.labels)))
                labels += part.labels
                paths += part.paths
                skipped += part.skipped
            contents[split] = SplitContent(shards=shards, labels=np.array(labels, np.int64), paths=paths)
            per_class[split] = np.bincount(contents[split].labels, minlength=num_classes).tolist()
        self._check_classes(per_class, dict(skipped))
        report = {
            "splits": {
                split: {
                    "found": len(self.source.splits[split]),
                    "kept": sum(counts),
                    "per_class": dict(zip(self.source.class_names, counts, strict=True)),
                }
                for split, counts in per_class.items()
            },
            "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
            "ignored": dict(self.source.ignored),
            "notes": list(self.source.notes),
        }
        partial.files.finish(
            size=self.size,
            class_names=self.source.class_names,
            class_titles=self.source.class_titles,
            splits=contents,
            statistics=statistics,
            provenance={**provenance, "found": self.total, "skipped": len(skipped)},
            report=report,
        )
        return report

    def explain_write_error(self, error: OSError, target: Path) -> str:
        """The message for a store that cannot be written (further)."""
        place = f"{target}.partial"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"The disk is full after {self.num_kept_safe:,} of {self.total:,} images; the rest needs "
                f"{self._bytes_needed() / 1e9:.1f} GB. Free space and run the same command again: it continues "
                f"in {place}."
            )
        return (
            f"{place} cannot be written ({error.strerror or error}). Check the permissions of "
            f"{target.absolute().parent}, or choose another --out."
        )

    def _read_part(
        self, decoders: ThreadPoolExecutor, entries: Sequence[LabeledPath]
    ) -> tuple[NDArray[np.uint8], dict[str, str]]:
        """Images of a part that can be read, and path -> reason of the others."""
        images = np.empty((len(entries), self.size, self.size, 3), np.uint8)

        def read_into(row: int) -> ImageError | None:
            path = entries[row].path
            try:
                images[row] = decode_image(self.source.read(path), size=self.size, name=path)
            except ImageError as error:
                return error
            except OSError as error:
                return ImageError(explain_unreadable(path, error))
            return None

        skipped: dict[str, str] = {}
        futures = [decoders.submit(read_into, row) for row in range(len(entries))]
        for entry, future in zip(entries, futures, strict=True):
            error = future.result()
            if error is not None:
                if self._stop_on_bad:
                    raise ImageError(f"{error} Or leave it out: --on-bad-image skip.")
                self._num_skipped += 1
                skipped[entry.path] = str(error).removeprefix(f"{show_name(entry.path)}: ")
            self._num_done += 1
            if self._progress is not None:
                self._progress(self._num_done, self.total, self._num_skipped)
        kept = [row for row, entry in enumerate(entries) if entry.path not in skipped]
        return (images if len(kept) == len(entries) else images[kept]), skipped

    def _write_part(
        self,
        partial: PartialStore,
        split: str,
        number: int,
        images: NDArray[np.uint8],
        kept: Sequence[LabeledPath],
        skipped: Mapping[str, str],
    ) -> None:
        labels, paths = [entry.label for entry in kept], [entry.path for entry in kept]
        part = partial.save_part(split, number, images, labels, paths, list(skipped.items()))
        self.num_kept_safe += _count(part)

    def _count_finished(self, part: Part) -> None:
        self.num_kept_safe += _count(part)
        self._num_done += _count(part)
        self._num_skipped += len(part.skipped)

    def _bytes_needed(self) -> int:
        return (self.total - self.num_kept_safe) * self.size * self.size * 3

    def _check_space(self, folder: Path) -> None:
        free = shutil.disk_usage(folder).free
        if free < self._bytes_needed():
            raise StoreError(
                f"The store needs {self._bytes_needed() / 1e9:.1f} GB more and the disk of {folder} has "
                f"{free / 1e9:.1f} GB left. Free space and run the same command again, or choose another --out."
            )

    def _check_classes(self, per_class: Mapping[str, Sequence[int]], skipped: Mapping[str, str]) -> None:
        for split, counts in per_class.items():
            bad = [entry for entry in self.source.splits[split] if not counts[entry.label]]
            if not bad or (split != TRAIN and any(counts)):
                continue
            what = f"class {self.source.class_names[bad[0].label]}" if any(counts) else f"the {split} split"
            number = sum(1 for entry in bad if entry.label == bad[0].label) if any(counts) else len(bad)
            raise SourceError(
                f"{self.source.root}: none of the {number:,} images of {what} can be read. The first: {bad[0].path}: "
                f"{skipped[bad[0].path]}"
            )


def _count(part: Part) -> int:
    return len(part.labels) + len(part.skipped)


def _check_options(size: int, on_bad_image: str, workers: int | None, shard_rows: int | None) -> None:
    for name, value in (("size", size), ("workers", workers), ("shard_rows", shard_rows)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")
    if on_bad_image not in ("skip", "stop"):
        raise ConfigError(f"on_bad_image is {on_bad_image!r}; accepted are 'skip' and 'stop'.")


def _check_outside(source: Path, target: Path) -> None:
    if target.resolve().is_relative_to(source.resolve()):
        raise StoreError(f"{target} lies inside {source}, where it would be read as images. Choose another --out.")
