"""Preparing shared among the nodes of a cluster: each share is some consecutive parts of the store."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from alexnet.cluster.parts import PATIENCE_S
from alexnet.data.prepare.part import Settings
from alexnet.data.prepare.partial import PartialStore, describe_job, split_into_parts
from alexnet.data.prepare.run import Run, ShareReport
from alexnet.data.sources.kinds import find_images
from alexnet.errors import StoreError

SHARE_PARTS = 4
"""Parts of the store in a share: while one is written, the next is decoded."""

Share = tuple[tuple[int, int], range]
"""Its turn, see `PartialStore`, and which parts of the store it is, in the order of `Run.parts`."""


def cut_into_shares(parts: Sequence[Any]) -> list[Share]:
    """Return shares of the parts of a store; the turn after the last is of the process that gives them out."""
    stretches = split_into_parts(len(parts), SHARE_PARTS)
    turns = len(stretches) + 1
    return [((turn, turns), range(each.start, each.stop)) for turn, each in enumerate(stretches, 1)]


def turn_of_driver(shares: Sequence[Share]) -> tuple[int, int]:
    """Return the turn of the process that gives shares out, and finishes the store."""
    return len(shares) + 1, len(shares) + 1


def begin_share(
    source: str | os.PathLike[str],
    asked: Mapping[str, Any],
    target: Path,
    options: Mapping[str, Any],
    settings: Settings,
    workers: int,
) -> Callable[[Share], ShareReport]:
    """List the images, in another process, and return what does a share of them.

    Args:
        asked: Arguments of `find_images`.
        options: See `describe_job`: only the same images continue the same store.
    """
    images = find_images(source, **asked)
    _, job = describe_job(images, options)
    lenient = replace(settings, max_bad=1.0)  # whether too many are bad is judged where all are counted

    def do(share: Share) -> ShareReport:
        turn, own = share
        run = Run(images, lenient, None)
        try:
            with PartialStore(target, job, turn=turn, patience_s=PATIENCE_S) as partial:
                run.read_images(partial, workers, own)
                parts = run.parts()[own.start : own.stop]
                finished = [partial.load_part(split, number) for split, number, _ in parts]
        except OSError as error:
            raise StoreError(run.explain_write_error(error, target)) from None
        numbers = {entry.path: number for number, entry in enumerate(chain.from_iterable(part[2] for part in parts), 1)}
        left_out = chain.from_iterable(part.skipped for part in finished if part is not None)
        skipped = [(numbers[path], path, reason) for path, reason in left_out]
        return ShareReport(run.total, run.num_continued, skipped)

    return do
