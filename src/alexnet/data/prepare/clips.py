"""Clips become images before they are prepared: their frames, taken out once into OUT.partial/frames.

    frames/
      00000.rgb           the frames of clip 0 that are kept, one after the other: size x size x 3 bytes each, RGB
      00000.json          the record that makes the clip finished: the times of its frames, what was odd, why it is bad,
                          and the bytes and checksum of 00000.rgb

The frames of a clip belong together, so a clip is on one side of every division. A clip is decoded as it goes; one that
was finished is not decoded again when an interrupted preparation continues, unless its two files do not agree.
"""

import errno
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import IO

import numpy as np

from alexnet.data.images.decode import Framing, explain_unreadable, square_pixels
from alexnet.data.prepare.near_copies import make_thumbnail
from alexnet.data.prepare.part import Settings
from alexnet.data.prepare.run import ALLOWED_BAD
from alexnet.data.sources.arrays import encode_pixels
from alexnet.data.sources.source import FolderFiles, LabeledPath, Source
from alexnet.data.store.format import TRAIN
from alexnet.data.store.writer import encode_json, write_whole_file
from alexnet.data.video.clip import Clip, name_frame, open_clip
from alexnet.errors import ImageError, Interrupted, SourceError, StoreError
from alexnet.files.record import FileRecord, find_damage, record_file
from alexnet.files.writing import whole_file
from alexnet.text.names import escape_name
from alexnet.text.wording import counted

THIN_LEVELS = 2.0
"""Root mean square difference of thumbnails, in grey levels, below which a frame is nearly the one kept before it."""

ClipProgress = Callable[[int, int, float], None]
"""Called with clips done, clips in all, and clips done with the parts of those that are being read."""

SECONDS_BETWEEN = 0.5
"""How often progress is told while long clips are read."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames of a clip are kept."""

    every_s: float
    thin_levels: float = THIN_LEVELS
    """A frame is left out that differs by less from the one kept before it; 0 keeps all."""
    framing: Framing = "square"


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """Which frames of a clip were kept, or why none could be taken."""

    times_s: Sequence[float]
    """Times of the frames that are kept."""
    num_thinned: int
    oddities: Sequence[str]
    frame_px: Sequence[int]
    """Height and width of its first frame, upright; empty where there is none."""
    reason: str | None
    """Why no frame could be taken; None where some were."""
    file: FileRecord = field(default_factory=dict)
    """Of the pixels."""


class FrameFiles:
    """Frames as if each were an image file."""

    def __init__(self, folder: Path, size: int, places: Mapping[str, tuple[int, int]]) -> None:
        self._folder, self._size, self._places = folder, size, places

    def read(self, path: str) -> bytes:
        """The pixels of a frame as an image file."""
        if path not in self._places:  # a clip that was left out
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        clip, row = self._places[path]
        shape = (self._size, self._size, 3)
        offset = row * self._size * self._size * 3
        return encode_pixels(np.memmap(self._folder / f"{clip:05d}.rgb", np.uint8, "r", offset, shape))

    def describe(self, path: str) -> tuple[int, int]:
        """Bytes of its pixels, and which row of which clip it is."""
        clip, row = self._places[path]
        return self._size * self._size * 3, clip << 32 | row


def take_frames(
    clips: Source,
    folder: Path,
    sampling: Sampling,
    *,
    settings: Settings,
    workers: int,
    progress: ClipProgress | None = None,
) -> Source:
    """The frames of clips as a source of images, which read from folder.

    Args:
        folder: Made where it is missing. What it holds of an interrupted call is used.
        settings: Of the store: the side of the frames, which are made square as images are, and what to do with clips
            that are bad.
        workers: Clips that are decoded at a time; each decoder has threads of its own besides.
    Raises:
        ImageError: a clip is bad and none may be.
        SourceError: too many are bad, or all of a class.
        StoreError: the disk is full, or folder not writable.
        Interrupted: Ctrl-C; clips that are finished are kept.
    """
    entries = [entry for listed in clips.splits.values() for entry in listed]
    records: dict[int, ClipRecord] = {}
    reading = _Reading(clips, folder, sampling, settings.size, [0.0] * len(entries))
    pool = ThreadPoolExecutor(workers, "clips")
    try:
        (folder / "scratch").mkdir(parents=True, exist_ok=True)
        numbers = {pool.submit(reading.take, entry.path, number): number for number, entry in enumerate(entries)}
        waiting = set(numbers)
        while waiting:
            finished, waiting = wait(waiting, SECONDS_BETWEEN, FIRST_COMPLETED)
            for future in finished:
                records[numbers[future]] = future.result()
                _check_bad(clips, entries[numbers[future]].path, records, len(entries), settings, numbers[future])
            if progress is not None:
                progress(len(records), len(entries), sum(reading.shares))
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped after {len(records):,} of {counted(len(entries), 'clip')}. Run the same command again to "
            f"continue; what is done is in {folder.parent}."
        ) from None
    except OSError as error:  # not one of reading a clip, which is in its record
        raise StoreError(
            f"{folder} cannot be written ({error.strerror or error}). Free space or check its permissions, and run the "
            "same command again: it continues."
        ) from None
    finally:
        reading.stop.set()
        pool.shutdown(cancel_futures=True)
    _check_classes(clips, entries, records)
    return _list_frames(clips, folder, records, sampling, settings.size)


@dataclass
class _Reading:
    """What the threads that take frames share."""

    clips: Source
    folder: Path
    sampling: Sampling
    size: int
    shares: list[float]
    """How much of each clip was read, from 0 to 1, as its header tells its length."""
    stop: Event = field(default_factory=Event)

    def take(self, path: str, number: int) -> ClipRecord:
        finished, pixels = self.folder / f"{number:05d}.json", self.folder / f"{number:05d}.rgb"
        record = self._recall(finished)
        if record is None:
            with whole_file(pixels) as temporary, temporary.open("wb") as file:
                record = self._write_frames(path, number, file)
            record = replace(record, file=record_file(self.folder, pixels.name))
            write_whole_file(finished, [encode_json(record.__dict__)], self.folder / "scratch")
        self.shares[number] = 1.0
        return record

    def _recall(self, finished: Path) -> ClipRecord | None:
        """The record of a clip that was finished; None where there is none, or it or the pixels are damaged."""
        try:
            record = ClipRecord(**json.loads(finished.read_bytes()))
            return None if find_damage(self.folder, record.file, every_byte=True) else record
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def _write_frames(self, path: str, number: int, file: IO[bytes]) -> ClipRecord:
        times: list[float] = []
        frame_px: Sequence[int] = ()
        num_thinned = 0
        seen = square = np.zeros(0, np.uint8)
        kept = thumbnail = np.zeros(0)
        try:
            clip = self._open(path)
            for time_s, pixels in clip.frames(self.sampling.every_s):
                if self.stop.is_set():
                    raise Interrupted("")
                frame_px = frame_px or pixels.shape[:2]
                if pixels is not seen:
                    seen, square = pixels, square_pixels(pixels, self.size, framing=self.sampling.framing)
                    thumbnail = make_thumbnail(square)
                self.shares[number] = min(1.0, time_s / clip.duration_s) if clip.duration_s else 0.0
                if times and np.sqrt(((thumbnail - kept) ** 2).mean()) < self.sampling.thin_levels:
                    num_thinned += 1
                    continue
                kept = thumbnail
                times.append(time_s)
                file.write(square.data)
        except ImageError as problem:
            reason = str(problem).removeprefix(f"{escape_name(path)}: ")
            return ClipRecord(times_s=[], num_thinned=0, oddities=[], frame_px=(), reason=reason)
        return ClipRecord(
            times_s=times, num_thinned=num_thinned, oddities=clip.oddities, frame_px=frame_px, reason=None
        )

    def _open(self, path: str) -> Clip:
        if isinstance(self.clips.files, FolderFiles):
            return open_clip(self.clips.files.locate(path), name=path)
        try:
            return open_clip(self.clips.read(path), name=path)
        except OSError as error:
            raise ImageError(explain_unreadable(path, error)) from None


def _check_bad(
    clips: Source, path: str, records: Mapping[int, ClipRecord], total: int, settings: Settings, number: int
) -> None:
    """Stop at a bad clip where none is allowed, or where so many are bad that something systematic must be wrong."""
    if records[number].reason is None:
        return
    what = f"{escape_name(path)}: {records[number].reason}"
    if settings.stop_on_bad:
        raise ImageError(f"{what} Or leave it out: --on-bad-image skip.")
    bad = sum(record.reason is not None for record in records.values())
    if bad > max(ALLOWED_BAD, settings.max_bad * total):
        raise SourceError(
            f"{clips.root}: {bad:,} of {counted(total, 'clip')} cannot be used, more than the share of "
            f"{settings.max_bad:g} that --max-bad allows. The last: {what} If this is as it should be, raise --max-bad."
        )


def _check_classes(clips: Source, entries: Sequence[LabeledPath], records: Mapping[int, ClipRecord]) -> None:
    """Refuse clips if a class has none left to train on, or a split has none at all."""
    numbers = iter(range(len(entries)))
    for split, listed in clips.splits.items():
        bad = [(entry, records[number]) for entry, number in zip(listed, numbers, strict=False)]
        left = {entry.label for entry, record in bad if record.times_s}
        lost = [(entry, record) for entry, record in bad if entry.label not in left]
        if not lost or (split != TRAIN and left):
            continue
        (entry, record), name = lost[0], clips.class_names[lost[0][0].classes[0]]
        what = f"class {name}" if left else f"the {split} split"
        number = sum(1 for each, _ in lost if not left or each.label == entry.label)
        raise SourceError(
            f"{clips.root}: {what} has {counted(number, 'clip')}, none of which can be read. The first: "
            f"{escape_name(entry.path)}: {record.reason}"
        )


def _list_frames(
    clips: Source, folder: Path, records: Mapping[int, ClipRecord], sampling: Sampling, size: int
) -> Source:
    splits: dict[str, list[LabeledPath]] = {}
    groups: dict[str, str] = {}
    places: dict[str, tuple[int, int]] = {}
    originals_px: dict[str, Sequence[int]] = {}
    number = 0
    for split, listed in clips.splits.items():
        splits[split] = []
        for entry in listed:
            for row, time_s in enumerate(records[number].times_s):
                frame = name_frame(entry.path, time_s)
                splits[split].append(LabeledPath(frame, entry.label))
                groups[frame] = clips.groups.get(entry.path, entry.path)
                places[frame] = number, row
                originals_px[frame] = records[number].frame_px
            number += 1
    paths = [entry.path for listed in clips.splits.values() for entry in listed]
    thinned = sum(record.num_thinned for record in records.values())
    note = (
        f"A frame every {sampling.every_s:g} s of {counted(len(records), 'clip')}: {counted(len(places), 'image')}"
        + (f"; {thinned:,} left out that were nearly the one before." if thinned else ".")
    )
    return replace(
        clips,
        files=FrameFiles(folder, size, places),
        splits=splits,
        groups=groups,
        originals_px=originals_px,
        notes=(*clips.notes, note),
        left_out=[
            (path, str(record.reason)) for path, record in zip(paths, _sort(records), strict=True) if record.reason
        ],
        odd=[(path, what) for path, record in zip(paths, _sort(records), strict=True) for what in record.oddities],
    )


def _sort(records: Mapping[int, ClipRecord]) -> list[ClipRecord]:
    return [records[number] for number in sorted(records)]
