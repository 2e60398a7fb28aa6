"""The work of one preparation: read, decode, check, write, and count the statistics in the same pass.

Images are decoded by a pool of threads (the decoders release the interpreter lock) and written in the order of the
source, part by part, by one that follows the decoders; two parts are in memory.
"""

import errno
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alexnet.data.prepare.near_copies import describe_near_copies, find_near_copies
from alexnet.data.prepare.part import PartReading, Settings, begin_part
from alexnet.data.prepare.partial import Part, PartialStore, split_into_parts
from alexnet.data.prepare.report import Overview, build_page, look_over, measure
from alexnet.data.prepare.statistics import PixelStatistics
from alexnet.data.sources.source import Label, LabeledPath, Source
from alexnet.data.store.duplicates import describe_duplicates, find_duplicates
from alexnet.data.store.format import TEST, TRAIN, VAL
from alexnet.data.store.label_sets import BoolArray, mark_sets
from alexnet.data.store.reader import IMAGES
from alexnet.data.store.writer import SplitContent
from alexnet.errors import ImageError, SourceError, StoreError
from alexnet.text.commands import start_training
from alexnet.text.names import escape_name
from alexnet.text.wording import counted, say_bytes

Progress = Callable[[int, int, int], None]
"""Called with images done, images in all, and how many of those done were left out."""

ALLOWED_BAD = 10
"""Bad images that never stop a preparation, however few images there are."""

SHARE_AFTER = 1000
"""Images after which the share of bad ones is judged; before, as if so many had been read."""


class ShareReport(NamedTuple):
    """What a share of the work came to, of which other processes do others."""

    done: int
    continued: int
    """Images that an earlier run had already done."""
    skipped: list[tuple[int, str, str]]
    """How many images of the share there are up to one that was left out, its path, and the reason."""


class Run:
    """One call of prepare: counts, and the two stages of the work."""

    def __init__(self, source: Source, settings: Settings, progress: Progress | None) -> None:
        self.source = source
        self.settings = settings
        self.size = settings.size
        self.total = sum(len(entries) for entries in source.splits.values())
        self.num_continued = 0
        self.num_kept_safe = 0  # images of finished parts
        self._progress = progress
        self._num_done = 0
        self._num_skipped = 0

    def parts(self) -> list[tuple[str, int, Sequence[LabeledPath]]]:
        """Return the parts of the store, all splits one after the other: split, number in it, images."""
        return [
            (split, number, entries[stretch])
            for split, entries in self.source.splits.items()
            for number, stretch in enumerate(split_into_parts(len(entries), self.settings.rows))
        ]

    def read_images(self, partial: PartialStore, workers: int, own: range | None = None) -> None:
        """Finish every part that is not finished yet, after a look at the bytes of those that an earlier run wrote.

        Args:
            own: Which of the parts, all splits one after the other; those of the turn of `partial` where None.
        """
        todo = []
        turn, machines = partial.turn
        parts = self.parts()
        wanted = range(turn - 1, len(parts), machines) if own is None else own
        self.total = sum(len(parts[position][2]) for position in wanted)
        for position in wanted:
            split, number, entries = parts[position]
            part = partial.load_part(split, number)
            # An earlier run may have left out what this one must not; it may be readable by now.
            if part is None or (part.skipped and self.settings.stop_on_bad):
                todo.append((split, number, entries))
            else:
                if part.shard is not None:
                    partial.verify_part(split, number, part.shard)
                self._count_finished(part)
        self.num_continued = self.num_kept_safe
        self._check_space(partial.path)
        # Parts lie in two buffers in turn: fresh memory for each would cost a tenth of the time. A part is queued when
        # its buffer is written, while the one before it is decoded, so that no decoder is ever idle.
        rows = max((len(entries) for _, _, entries in todo), default=0)
        buffers = [np.empty((rows, self.size, self.size, 3), np.uint8) for _ in range(2)]
        decoders = ThreadPoolExecutor(workers, "decode")
        writer = ThreadPoolExecutor(1, "write")
        readings = (
            begin_part(decoders, self.source, self.settings, split, number, entries, buffers[turn % 2][: len(entries)])
            for turn, (split, number, entries) in enumerate(todo)
        )
        writing: Future[Part | None] | None = None
        try:
            ahead = next(readings, None)
            while ahead is not None:
                reading = ahead
                writing = writer.submit(reading.write_ahead, partial)
                ahead = next(readings, None)
                self._follow_part(reading)
                # What is left out was accepted: only now may it be saved.
                self.num_kept_safe += _count(writing.result() or reading.write(partial))
                writing = None
        finally:
            decoders.shutdown(cancel_futures=True)
            writer.shutdown()  # finishes a part that is being written
            if writing is not None and writing.exception() is None and (part := writing.result()) is not None:
                self.num_kept_safe += _count(part)

    def follow_shares(self, partial: PartialStore, shares: Iterable[ShareReport]) -> None:
        """Count the images of shares that others do, each when it is done, and stop where too many are bad."""
        self._check_space(partial.path)
        for share in shares:
            self.num_continued += share.continued
            self.num_kept_safe += share.done
            before = self._num_done
            for number, path, reason in share.skipped:
                self._num_done = before + number
                self._num_skipped += 1
                self._check_share(ImageError(f"{escape_name(path)}: {reason}"))
            self._num_done = before + share.done
            if self._progress is not None:
                self._progress(self._num_done, self.total, self._num_skipped)

    def count_missing(self, partial: PartialStore) -> int:
        """Return how many images are in parts that no machine has finished yet."""
        return sum(len(entries) for split, number, entries in self.parts() if partial.load_part(split, number) is None)

    def finish(self, partial: PartialStore, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Write the rest of the store, and the header last; returns the report."""
        statistics = PixelStatistics(self.size)
        contents: dict[str, SplitContent] = {}
        skipped, odd = list(self.source.left_out), list(self.source.odd)
        per_class: dict[str, list[int]] = {}
        digests: dict[str, list[str]] = {}
        own: dict[str, list[Label]] = {}
        num_classes = len(self.source.class_names)
        for split, entries in self.source.splits.items():
            shards, paths = [], []
            labels: list[Label] = []
            digests[split] = []
            for number in range(len(split_into_parts(len(entries), self.settings.rows))):
                part = partial.load_part(split, number)
                assert part is not None
                if part.shard is not None:
                    shards.append(part.shard)
                if split == TRAIN:
                    statistics.merge(partial.load_statistics(number, self.size, len(part.labels)))
                labels += part.labels
                paths += part.paths
                skipped += part.skipped
                odd += part.odd
                digests[split] += part.digests
            targets = _mark(labels, num_classes) if self.source.has_sets else np.array(labels, np.int64)
            groups = [self.source.groups[path] for path in paths] if self.source.groups else None
            contents[split] = SplitContent(shards=shards, labels=targets, paths=paths, groups=groups)
            own[split] = labels
            every = np.array([label for each in labels for label in _classes(each)], np.int64)
            per_class[split] = np.bincount(every, minlength=num_classes).tolist()
        self._check_classes(per_class, dict(skipped))
        duplicates = find_duplicates(
            {split: content.paths for split, content in contents.items()},
            own,
            digests,
            self.source.read,
        )
        equal = describe_duplicates(duplicates, has_sets=self.source.has_sets)
        notes = [*self.source.notes, *_describe_odd(odd), *equal]
        options = provenance["options"]
        for split, called in ((VAL, "validation"), (TEST, "test")):
            if options.get(f"{split}_fraction") is not None and options.get("group") is None:
                notes += self._look_for_near_copies(partial.files.folder, contents, digests, split, called)
        report = {
            "splits": {
                split: {
                    "found": len(self.source.splits[split]),
                    "kept": len(own[split]),
                    "per_class": dict(zip(self.source.class_names, counts, strict=True)),
                }
                for split, counts in per_class.items()
            },
            "skipped": [{"path": escape_name(path), "reason": reason} for path, reason in skipped],
            "odd": [{"path": escape_name(path), "oddity": oddity} for path, oddity in odd],
            "ignored": dict(self.source.ignored),
            "notes": notes,
            "duplicates": duplicates,
        }
        partial.files.finish(
            size=self.size,
            class_names=self.source.class_names,
            class_titles=self.source.class_titles,
            splits=contents,
            statistics=statistics,
            provenance={**provenance, "found": sum(map(len, self.source.splits.values())), "skipped": len(skipped)},
            report=report,
            page=build_page(
                provenance["source"],
                report,
                self._look_over(partial.files.folder, contents[TRAIN], statistics, report),
                start_training("STORE", self.size),  # the same bytes whatever the store is called; the page says so
                self.source.read,
            ),
            codec=self.settings.codec,
        )
        return report

    def _look_over(
        self, folder: Path, train: SplitContent, statistics: PixelStatistics, report: Mapping[str, Any]
    ) -> Overview:
        images = IMAGES[self.settings.codec](folder, train.shards, self.size)
        return look_over(
            self.source.class_titles,
            {split: each["per_class"] for split, each in report["splits"].items()},
            images.__getitem__,
            train.labels,
            train.paths,
            statistics,
            lambda path: self.source.originals_px.get(path) or measure(path, self.source.read),
        )

    def _look_for_near_copies(
        self,
        folder: Path,
        contents: Mapping[str, SplitContent],
        digests: Mapping[str, Sequence[str]],
        split: str,
        called: str,
    ) -> list[str]:
        """Return notes about pictures of one series on both sides of a division that was drawn image by image."""
        train, other = (
            IMAGES[self.settings.codec](folder, contents[each].shards, self.size) for each in (TRAIN, split)
        )
        paths = contents[TRAIN].paths, contents[split].paths
        found = find_near_copies((train.__getitem__, other.__getitem__), paths, (digests[TRAIN], digests[split]))
        return describe_near_copies(found, *paths, split=split, called=called)

    def explain_write_error(self, error: OSError, target: Path) -> str:
        """The message for a store that cannot be written (further)."""
        place = f"{target}.partial"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"The disk is full after {self.num_kept_safe:,} of {counted(self.total, 'image')}; the rest "
                f"needs {say_bytes(self._bytes_needed())}. Free space and run the same command again: it continues "
                f"in {place}."
            )
        return (
            f"{place} cannot be written ({error.strerror or error}). Check the permissions of "
            f"{target.absolute().parent}, or choose another --out."
        )

    def _follow_part(self, reading: PartReading) -> None:
        """Count the images of a part as they are decoded, until all are, and stop where too many are bad."""
        for error in reading.errors():
            self._num_done += 1
            if error is not None:
                if self.settings.stop_on_bad:
                    raise ImageError(f"{error} Or leave it out: --on-bad-image skip.")
                self._num_skipped += 1
                self._check_share(error)
            if self._progress is not None:
                self._progress(self._num_done, self.total, self._num_skipped)

    def _check_share(self, error: ImageError) -> None:
        """Stop where so many images are bad that something systematic must be wrong."""
        most = self.settings.max_bad * max(self._num_done, min(self.total, SHARE_AFTER))
        if self._num_skipped > max(most, ALLOWED_BAD):
            raise SourceError(
                f"{self.source.root}: {self._num_skipped:,} of the first {counted(self._num_done, 'image')} cannot be "
                f"used, more than the share of {self.settings.max_bad:g} that --max-bad allows. The last: {error} If "
                "this is as it should be, raise --max-bad; what is done is kept."
            )

    def _count_finished(self, part: Part) -> None:
        self.num_kept_safe += _count(part)
        self._num_done += _count(part)
        self._num_skipped += len(part.skipped)

    def _bytes_needed(self) -> int:
        """Return the size of the images that are missing; of JPEG the usual tenth."""
        num_bytes = (self.total - self.num_kept_safe) * self.size * self.size * 3
        return num_bytes // 10 if self.settings.codec == "jpeg" else num_bytes

    def _check_space(self, folder: Path) -> None:
        free = shutil.disk_usage(folder).free
        if free < self._bytes_needed():
            raise StoreError(
                f"The store needs {say_bytes(self._bytes_needed())} more and the disk of {folder} has "
                f"{say_bytes(free)} left. Free space and run the same command again, or choose another --out."
            )

    def _check_classes(self, per_class: Mapping[str, Sequence[int]], skipped: Mapping[str, str]) -> None:
        for split, counts in per_class.items():
            entries = self.source.splits[split]
            bad = [(label, entry.path) for entry in entries for label in entry.classes if not counts[label]]
            if not bad or (split != TRAIN and any(counts)):
                continue
            what = f"class {self.source.class_names[bad[0][0]]}" if any(counts) else f"the {split} split"
            number = sum(1 for label, _ in bad if label == bad[0][0]) if any(counts) else len(entries)
            first = bad[0][1]
            raise SourceError(
                f"{self.source.root}: {what} has {counted(number, 'image')}, none of which can be read. The first: "
                f"{first}: {skipped[first]}"
            )


def _describe_odd(odd: Sequence[tuple[str, str]]) -> list[str]:
    """Return a note about odd files, if there are any."""
    if not odd:
        return []
    kinds = Counter(oddity for _, oddity in odd).most_common()
    what = "; ".join(f"{count:,} with {oddity}" for oddity, count in kinds)
    return [f"Odd, but whole, and kept: {counted(len(odd), 'image')} ({what}). report.json names them."]


def _classes(label: Label) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else (label,)


def _mark(labels: Sequence[Label], num_classes: int) -> BoolArray:
    return mark_sets(list(map(_classes, labels)), num_classes)


def _count(part: Part) -> int:
    return len(part.labels) + len(part.skipped)
