"""OUT.partial: a store that prepare has begun, kept so that the same command continues after any interruption.

    OUT.partial/
      job.json            what is being prepared: only the same images and options may continue it
      command.txt         the command that was typed, for people, if there was one
      lock                held by the process at work, or shared by those of several machines, until it ends
      lock-1-of-2         held by the machine that does the first half of the work
      store/              files of the store to be, under their final names; no header until all else is there
      parts/              for each finished part its sums of pixels, then its record; the record makes it finished
      scratch/            files being written

A part is a fixed stretch of one split's images; those that can be read become one shard. Parts do not depend on each
other, so neither interruptions nor threads change a byte of the result.
"""

import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray

from alexnet.data.prepare.statistics import PixelStatistics
from alexnet.data.sources.source import Label, Source
from alexnet.data.store.format import PARTIAL_SUFFIX, SETS_VERSION, TRAIN, VERSION, check_file, list_shard_files
from alexnet.data.store.writer import StoreFiles, encode_json, publish, split_rows, write_whole_file
from alexnet.errors import StoreError
from alexnet.files.documents import FILE, Form, find_misfit, parse_json
from alexnet.files.record import FileRecord
from alexnet.files.writing import lock_file
from alexnet.text.commands import record_command
from alexnet.version import __version__

LEAVING_SECONDS = 2.0
"""A machine that still counts missing parts leaves within this time."""


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and list(map(type, value)) == [str, str]


_PART: Form = {
    "shard": lambda value: value is None or find_misfit(value, FILE) is None,
    "labels": [lambda value: isinstance(value, int | list)],
    "paths": [_is_string],
    "digests": [_is_string],
    "skipped": [_is_pair],
    "odd": [_is_pair],
}
"""Form of the record of a finished part."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One finished part."""

    shard: FileRecord | None
    """None where no image of the part could be read."""
    labels: list[Label]
    paths: list[str]
    skipped: list[tuple[str, str]]
    """Path and reason of every image that was left out."""
    digests: list[str]
    """Digest of the file of every image that was kept, see `duplicates.digest_file`."""
    odd: list[tuple[str, str]]
    """Path and oddity, as words after "has", of every image that was kept although its file is odd."""


class PartialStore:
    """The unfinished store of one job, locked for this process while the context is open.

    Args:
        out: The store to be.
        job: Plain values that decide every byte of the result.
        turn: (i, n) for the i-th of n machines that share the work, each with a lock of its own.
        patience_s: How long a lock is waited for that another process holds.
    Raises (on entering):
        StoreError: another job left its unfinished store here, or another process is at work on it.
    """

    def __init__(
        self, out: Path, job: Mapping[str, Any], *, turn: tuple[int, int] = (1, 1), patience_s: float = 0.0
    ) -> None:
        self.out = out
        self.path = out.with_name(out.name + PARTIAL_SUFFIX)
        self.turn = turn
        # Machines write under temporary names in folders of their own: the process numbers in them may be equal.
        self.files = StoreFiles(self.path / "store", self.path / "scratch" / f"{turn[0]}-of-{turn[1]}")
        self.job_file = self.path / "job.json"
        """What is prepared here."""
        self._parts = self.path / "parts"
        self._job = encode_json(job)
        self._patience_s = patience_s
        self._lock: IO[bytes] | None = None
        self._own_lock: IO[bytes] | None = None

    def __enter__(self) -> "PartialStore":
        self.path.mkdir(parents=True, exist_ok=True)
        shares = self.turn != (1, 1)
        self._lock = self._wait_for(self.path / "lock", shared=shares)
        if self._lock is None:
            raise StoreError(
                f"Another process is preparing {self.path}. Wait until it has finished, or choose another --out."
            )
        if shares:
            self._own_lock = self._wait_for(self.path / "lock-{}-of-{}".format(*self.turn))
            if self._own_lock is None:
                self._lock.close()
                raise StoreError(
                    f"Another process does part {self.turn[0]}/{self.turn[1]} of {self.path}. Wait until it has "
                    "finished; where you give parts yourself, give each process its own --part."
                )
        try:
            is_begun = self.job_file.exists()
            if is_begun:
                self._check_job(self._read_job())
            shutil.rmtree(self.files.scratch, ignore_errors=True)  # half-written files of a killed run
            self.files.make_folders()
            self._parts.mkdir(exist_ok=True)
            if not is_begun:
                record_command(self.path)
                write_whole_file(self.job_file, [self._job], self.files.scratch)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._release()

    def _wait_for(self, path: Path, *, shared: bool = False) -> IO[bytes] | None:
        last = time.monotonic() + self._patience_s
        while (lock := lock_file(path, shared=shared)) is None and time.monotonic() < last:
            time.sleep(0.1)
        return lock

    def _release(self) -> None:
        for lock in (self._lock, self._own_lock):
            if lock is not None:
                lock.close()

    def take_over(self) -> bool:
        """Become the only one at work here, which may finish the store; False if others are at work still.

        All parts are done by now: whoever else is here finishes the store, or is about to leave and is waited for.
        """
        if self.turn == (1, 1):
            return True
        if self._lock is not None:
            self._lock.close()
        self._lock = None
        last = time.monotonic() + LEAVING_SECONDS
        while self._parts.is_dir():
            try:
                self._lock = lock_file(self.path / "lock")
            except FileNotFoundError:  # another machine has finished the store
                return False
            if self._lock is not None or time.monotonic() > last:
                break
            time.sleep(0.1)
        return self._lock is not None and self._parts.is_dir()

    def load_part(self, split: str, number: int) -> Part | None:
        """The record of a part if it is finished; one that is damaged is not, and is made again."""
        try:
            fields = parse_json(self._part_file(split, number, "json").read_bytes())
            if find_misfit(fields, _PART) is not None:
                return None
            fields["labels"] = [tuple(label) if isinstance(label, list) else label for label in fields["labels"]]
            return Part(
                **{**fields, **{name: [(path, what) for path, what in fields[name]] for name in ("skipped", "odd")}}
            )
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def save_part(
        self,
        split: str,
        number: int,
        images: NDArray[np.uint8],
        labels: list[Label],
        paths: list[str],
        skipped: list[tuple[str, str]],
        digests: Sequence[str],
        oddities: Sequence[str],
        encoded: Sequence[bytes] | None = None,
        blocks: Iterable[NDArray[np.uint8]] | None = None,
    ) -> Part:
        """Write a part's shard and sums and, last, the record that makes it finished.

        Args:
            images: Those that could be read, (rows, size, size, 3), with their labels, paths, digests and oddities.
            encoded: Their JPEG bytes, of which images are the pixels, for a store that keeps these; else None.
            blocks: The images in turn, while images, digests and oddities are still being filled. If it raises, nothing
                is saved. Not for encoded images.
        """
        # An earlier record of this part would vouch for a shard that is being replaced.
        self._part_file(split, number, "json").unlink(missing_ok=True)
        statistics = PixelStatistics(images.shape[1])
        if not len(images):
            shard = None
            self.files.remove_shard(split, number)
        elif encoded is None:
            blocks = blocks or split_rows(images)
            shard = self.files.write_shard(
                split, number, images, statistics.count(blocks) if split == TRAIN else blocks
            )
        else:
            shard = self.files.write_jpegs(split, number, encoded)
            statistics.add(images)
        if split == TRAIN:
            sums = np.concatenate([statistics.pixel_sums.ravel(), statistics.color_products.ravel()])
            write_whole_file(self._part_file(split, number, "sums"), [sums.data], self.files.scratch)
        odd = [(path, oddity) for path, oddity in zip(paths, oddities, strict=True) if oddity]
        part = Part(shard=shard, labels=labels, paths=paths, skipped=skipped, digests=list(digests), odd=odd)
        write_whole_file(self._part_file(split, number, "json"), [encode_json(part.__dict__)], self.files.scratch)
        return part

    def load_statistics(self, number: int, size: int, num_images: int) -> PixelStatistics:
        """Exact sums of one finished part of the training split, whose images number num_images."""
        sums = np.fromfile(self._part_file(TRAIN, number, "sums"), np.uint64)
        statistics = PixelStatistics(size)
        statistics.num_images = num_images
        statistics.pixel_sums = sums[:-9].reshape(size, size, 3)
        statistics.color_products = sums[-9:].reshape(3, 3)
        return statistics

    def verify_part(self, split: str, number: int, shard: FileRecord) -> None:
        """Read a shard back and compare; a part that differs is forgotten, so that it is made again.

        Raises:
            StoreError: it differs.
        """
        try:
            for record in list_shard_files(shard):
                check_file(self.files.folder, record, every_byte=True)
        except StoreError:
            self._part_file(split, number, "json").unlink(missing_ok=True)
            raise StoreError(
                f"{self.files.folder / shard['file']} reads back differently from what was written: check the disk. "
                "Run the same command again; it makes this file anew."
            ) from None

    def publish(self) -> None:
        """Give the finished store its name in one step, then remove everything else."""
        publish(self.files.folder, self.out)
        shutil.rmtree(self.path)

    def _part_file(self, split: str, number: int, suffix: str) -> Path:
        return self._parts / f"{split}-{number:05d}.{suffix}"

    def _read_job(self) -> Mapping[str, Any]:
        try:
            job = parse_json(self.job_file.read_bytes())
            if isinstance(job, dict):
                return job
        except ValueError:
            pass
        raise StoreError(
            f"{self.job_file} is damaged, so that nobody knows what was begun there. Start over: rm -r "
            f"{shlex.quote(str(self.path))}"
        )

    def _check_job(self, other: Mapping[str, Any]) -> None:
        job = json.loads(self._job)
        changed = sorted(key for key in job if other.get(key) != job[key])
        if changed:
            raise StoreError(
                f"{self.path} was begun with other images or options ({', '.join(changed)} changed), so it cannot be "
                f"continued. Run that command again, choose another --out, or start over: rm -r "
                f"{shlex.quote(str(self.path))}"
            )


def split_into_parts(count: int, rows: int) -> Sequence[slice]:
    """The stretches of a split of count images that become its shards."""
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def describe_job(images: Source, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the store records of its origin, and what an unfinished store must agree with to be continued.

    The second has the time of change of every file. The first does not, so that a copy of the images is the same.
    """
    listing, state = hashlib.sha256(), hashlib.sha256()
    labels = (entry.label for entries in images.splits.values() for entry in entries)
    for (path, num_bytes, changed), label in zip(images.describe_files(), labels, strict=True):
        line = f"{json.dumps(path)} {num_bytes}\n"
        listing.update(line.encode())
        state.update(f"{label} {changed} {json.dumps(images.groups.get(path))} {line}".encode())
    versions = {"alexnet": __version__, "pillow": PIL.__version__, "simplejpeg": simplejpeg.__version__}
    provenance = {
        "source": images.root.resolve().name,
        "kind": images.kind,
        "listing_sha256": listing.hexdigest(),
        "options": dict(options),
        **versions,
    }
    job = {
        **options,
        **versions,
        "kind": images.kind,
        "store_version": SETS_VERSION if images.has_sets else VERSION,
        "classes": list(zip(images.class_names, images.class_titles, strict=True)),
    }
    return provenance, {**job, "source": provenance["source"], "images": state.hexdigest()}
