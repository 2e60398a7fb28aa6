"""Photographs in any kind of source -> a store.

data/sources/kinds.py finds the images, data/prepare/run.py does the work, and data/prepare/partial.py makes it safe to
interrupt at any moment.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from alexnet.cluster.nodes import LOCAL, join_cluster
from alexnet.cluster.parts import Work, ends
from alexnet.data.prepare.clips import THIN_LEVELS, ClipProgress, Sampling, take_frames
from alexnet.data.prepare.part import Settings
from alexnet.data.prepare.partial import PartialStore, describe_job
from alexnet.data.prepare.run import Progress, Run
from alexnet.data.prepare.shares import begin_share, cut_into_shares, turn_of_driver
from alexnet.data.sources.kinds import Source, find_images
from alexnet.data.sources.source import LabelsAre
from alexnet.data.store.existing import find_same_store, read_report
from alexnet.data.store.format import HEADER_NAME
from alexnet.data.store.writer import rows_per_shard
from alexnet.data.video.clip import check_step
from alexnet.errors import AddressError, ConfigError, ImageError, Interrupted, StoreError
from alexnet.files.addresses import local, on_disk, send, working
from alexnet.files.record import hash_file
from alexnet.files.storage import is_address
from alexnet.startup import available_cores
from alexnet.text.names import unescape_name
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What prepare did. The store's report.json holds the same without times."""

    store: Path
    per_class: Mapping[str, Mapping[str, int]]
    """Images kept: split -> class name -> number; one with several classes counts for each of them."""
    kept: Mapping[str, int]
    """Images kept: split -> number."""
    skipped: Sequence[tuple[str, str]]
    """Path and reason of every image left out."""
    odd: Sequence[tuple[str, str]]
    """Path of every image that was kept although its file is odd, and the oddity, as words after "has"."""
    ignored: Mapping[str, int]
    """Files and folders that were passed over as no images, by reason."""
    notes: Sequence[str]
    """What is unusual about the source or about duplicates, in sentences."""
    duplicates: Mapping[str, Any]
    """Images whose files have equal bytes: see `duplicates.find_duplicates`."""
    num_continued: int
    """Images that an earlier, interrupted run had already done."""
    seconds: float
    images_per_second: float
    """Images of this run alone."""
    num_missing: int = 0
    """Images that other machines have still to do, before the store is complete; see `prepare`, argument part."""
    was_complete: bool = False
    """Whether the store was there already, made from the same images with the same options; nothing was written."""
    num_sent: int = 0
    """Files of a complete store that an interrupted command had not sent to its address, and that were sent now."""

    @property
    def num_images(self) -> int:
        """Images kept, all splits together."""
        return sum(self.kept.values())


def prepare(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: str | None = None,
    size: int = 256,
    codec: Literal["raw", "jpeg"] = "raw",
    quality: int = 90,
    val_fraction: float | None = None,
    test_fraction: float | None = None,
    val_list: str | os.PathLike[str] | None = None,
    seed: int = 0,
    on_bad_image: Literal["skip", "stop"] = "skip",
    max_bad: float = 0.1,
    workers: int | None = None,
    progress: Progress | None = None,
    class_names_file: str | os.PathLike[str] | None = None,
    group: str | None = None,
    classes_at: int | str | None = None,
    corrections: str | os.PathLike[str] | None = None,
    labels: LabelsAre | None = None,
    shard_rows: int | None = None,
    part: tuple[int, int] = (1, 1),
    every: float | None = None,
    thin: float = THIN_LEVELS,
    clip_progress: ClipProgress | None = None,
    cluster: str | None = None,
    sending: Tick = untold,
) -> PrepareReport:
    """Make a store of labelled photographs, or of the frames of labelled clips.

    Interrupted in any way, the same call continues after the last part that was finished. The same images and options
    give the same bytes, whatever the number of threads and interruptions. Where the store is complete already, nothing
    is written.

    Args:
        source: What `find_images` reads, or the address of such, which is brought whole; it also explains kind,
            val_fraction, test_fraction, val_list, seed, class_names_file, group, classes_at, corrections and labels.
        out: The store to make: a new or empty folder, or one that this very call made. OUT.partial beside it holds the
            work. Or an address, to which the store is sent when it is whole.
        size: Height and width of the stored images in pixels.
        codec: "raw" keeps pixels, "jpeg" keeps them compressed: a tenth of the space, and time to decode in training.
        quality: Quality of "jpeg", 1 to 100.
        on_bad_image: "skip" leaves an image that cannot be read out and reports it; "stop" makes it an error.
        max_bad: The share of bad images above which "skip" stops too, since something systematic must be wrong. Up to
            ten bad images are never too many.
        workers: Decoding threads; when None, one more than CPUs, as one at a time may wait for a file or a lock.
        progress: Called from this thread after every image.
        shard_rows: Images in a part, and so in a shard; as many as fit 96 MiB when None.
        part: (i, n) does the i-th of n shares of the work, with out on a file system that n machines share. Whoever is
            last finishes the store, whose bytes are those of one machine's; until then the report has num_missing.
        every: Read clips in place of images, of each a frame every so many seconds, see `prepare.clips`. A clip is on
            one side of every division, and the group of its frames in the store, unless group says more.
        thin: Of clips: leave out a frame that is nearly the one before it, see `Sampling.thin_levels`.
        clip_progress: Called from this thread as clips are read.
        cluster: Address of a Ray cluster whose nodes share the work, see `cluster.nodes.join_cluster`. workers are then
            the cores of a share, and progress is called after every share.
        sending: Called from this thread with the bytes sent to an address, and all of them.
    Raises:
        AddressError: an address cannot be read or written.
        SourceError: the folder is not laid out as `find_images` needs it, or no image of a class can be read.
        ImageError: an image cannot be read and on_bad_image is "stop".
        StoreError: out is something else, its disk is full or not writable, or OUT.partial belongs to another job.
        Interrupted: Ctrl-C; what is finished is kept.
        ConfigError: an option is outside what is accepted.
        DistributionError: there is no such cluster, its nodes have other disks, or a share was lost again and again.
    """
    started = time.perf_counter()
    if not 1 <= part[0] <= part[1]:
        raise ConfigError(f"part is {part[0]}/{part[1]}; accepted is i/n with i from 1 to n.")
    _check_options(size, on_bad_image, workers, shard_rows, codec, quality, max_bad)
    if cluster is not None and part != (1, 1):
        raise ConfigError("part and cluster are two ways of sharing the work. Give one of them.")
    if every is not None:
        _check_sampling(every, thin, "--part" if part != (1, 1) else "--cluster" if cluster is not None else None)
    if cluster not in (None, LOCAL):
        for place in (source, out):
            on_disk(place, "--cluster, unless it is --cluster local,")
    source = local(source, any_folder=True)
    _check_outside(source, Path(out))
    asked: dict[str, Any] = {
        "kind": kind,
        "val_fraction": val_fraction,
        "test_fraction": test_fraction,
        "val_list": val_list,
        "seed": seed,
        "class_names_file": class_names_file,
        "group": group,
        "classes_at": classes_at,
        "corrections": corrections,
        "labels": labels,
        "clips": every is not None,
    }
    images = find_images(source, **asked)
    rows = shard_rows or rows_per_shard(size)
    options = {
        "size": size,
        "codec": codec,
        **({"quality": quality} if codec == "jpeg" else {}),
        "val_fraction": val_fraction,
        **({"test_fraction": test_fraction} if test_fraction is not None else {}),
        "val_list": Path(val_list).name if val_list is not None else None,
        "seed": seed,
        **({"group": group} if group is not None else {}),
        **({"classes_at": classes_at} if classes_at is not None else {}),
        **({"corrections": hash_file(Path(corrections))} if corrections is not None else {}),
        **({"labels": "several"} if images.has_sets else {}),
        **({"every": every, "thin": thin} if every is not None else {}),
        "shard_rows": rows,
    }
    provenance, job = describe_job(images, options)
    if part != (1, 1) and is_address(out):
        raise AddressError(
            f"{out}: the machines of --part share a folder on a disk. Prepare there, and send the store."
        )
    target = working(out, claim=True)
    existing = find_same_store(target, images, provenance)
    if existing is not None:
        report = read_report(existing)
        if on_bad_image == "stop" and report["skipped"]:
            first = report["skipped"][0]
            raise ImageError(
                f"{target} leaves out {counted(len(report['skipped']), 'image')}; the first is {first['path']}: "
                f"{first['reason']} Keep it so: --on-bad-image skip."
            )
        sent = send(target, last=HEADER_NAME, tick=sending)
        summary = _summarize(target, images, report, run=None, seconds=time.perf_counter() - started)
        return replace(summary, num_sent=sent)
    settings = Settings(
        size=size, rows=rows, codec=codec, quality=quality, stop_on_bad=on_bad_image == "stop", max_bad=max_bad
    )
    run = Run(images, settings, progress)
    shares = [] if cluster is None else cut_into_shares(run.parts())
    try:
        with (
            nullcontext() if cluster is None else join_cluster(cluster, threads=workers) as nodes,
            PartialStore(target, job, turn=part if cluster is None else turn_of_driver(shares)) as partial,
        ):
            threads = workers or available_cores() + 1
            if every is not None:
                sampling = Sampling(every_s=every, thin_levels=thin)
                images = take_frames(
                    images,
                    partial.path / "frames",
                    sampling,
                    settings=settings,
                    workers=threads,
                    progress=clip_progress,
                )
                run = Run(images, settings, progress)
            if nodes is not None:
                given = (source, asked, target, options, settings, nodes.threads + 1)
                work = Work(begin_share, given, (partial.job_file, *_ends(images)))
                run.follow_shares(partial, nodes.run(work, shares))
            else:
                run.read_images(partial, threads)
            missing = run.count_missing(partial)
            if missing or not partial.take_over():
                report = {"splits": {}, "skipped": [], "odd": [], "notes": [], "duplicates": {}}
                seconds = time.perf_counter() - started
                return _summarize(target, images, report, run=run, seconds=seconds, num_missing=missing)
            report = run.finish(partial, provenance)
            partial.publish()
    except KeyboardInterrupt:
        kept = f"; what is done is in {target}.partial" if run.num_kept_safe else ""
        raise Interrupted(
            f"Stopped after {run.num_kept_safe:,} of {counted(run.total, 'image')}. Run the same command again to "
            f"continue{kept}."
        ) from None
    except OSError as error:  # of writing the store: an image that cannot be read is a bad one
        raise StoreError(run.explain_write_error(error, target)) from None
    send(target, last=HEADER_NAME, tick=sending)
    return _summarize(target, images, report, run=run, seconds=time.perf_counter() - started)


def _ends(images: Source) -> tuple[Path, ...]:
    entries = [each for each in images.splits.values() if len(each)]
    return ends([entries[0][0].path, entries[-1][-1].path], images.root)


def _summarize(
    target: Path,
    images: Source,
    report: Mapping[str, Any],
    *,
    run: Run | None,
    seconds: float,
    num_missing: int = 0,
) -> PrepareReport:
    """Return what is told about a store; without a run, it was there."""
    num_done = sum(len(entries) for entries in images.splits.values()) if run is None else run.total
    num_continued = num_done if run is None else run.num_continued
    return PrepareReport(
        store=target,
        per_class={split: fields["per_class"] for split, fields in report["splits"].items()},
        kept={split: fields["kept"] for split, fields in report["splits"].items()},
        skipped=[(unescape_name(item["path"]), item["reason"]) for item in report["skipped"]],
        odd=[(unescape_name(item["path"]), item["oddity"]) for item in report.get("odd", ())],
        ignored=images.ignored,
        notes=report["notes"],
        duplicates=report["duplicates"],
        num_continued=num_continued,
        seconds=seconds,
        images_per_second=(num_done - num_continued) / seconds,
        num_missing=num_missing,
        was_complete=run is None,
    )


def _check_options(
    size: int,
    on_bad_image: str,
    workers: int | None,
    shard_rows: int | None,
    codec: str,
    quality: int,
    max_bad: float,
) -> None:
    for name, value in (("size", size), ("workers", workers), ("shard_rows", shard_rows)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")
    for name, word, accepted in (("on_bad_image", on_bad_image, ("skip", "stop")), ("codec", codec, ("raw", "jpeg"))):
        if word not in accepted:
            raise ConfigError(f"{name} is {word!r}; accepted are {accepted[0]!r} and {accepted[1]!r}.")
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality is {quality}; it lies between 1 and 100.")
    if not 0 <= max_bad <= 1:
        raise ConfigError(f"max_bad is {max_bad}; it is a share, between 0 and 1.")


def _check_sampling(every: float, thin: float, shared_by: str | None) -> None:
    check_step(every)
    if not thin >= 0:
        raise ConfigError(f"thin is {thin}; it is a difference in grey levels, 0 to keep all frames.")
    if shared_by:
        raise ConfigError(
            "Clips are prepared on one machine, as the number of their frames is not known before. Leave out "
            f"{shared_by}."
        )


def _check_outside(source: Path, target: Path) -> None:
    if target.resolve().is_relative_to(source.resolve()):
        raise StoreError(f"{target} lies inside {source}, where it would be read as images. Choose another --out.")
