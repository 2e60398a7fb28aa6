"""Parts of work: what is done with each, and who does it.

A verb says only how its work is cut into parts and what joins their results. Doing a part twice must be harmless: it
writes under a name of its own, or nothing but what it returns. So a part that was lost is done again elsewhere, and the
result does not depend on who did what.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from alexnet.errors import DistributionError

P = TypeVar("P")
R = TypeVar("R")

PART_IMAGES, PART_BYTES = 512, 64 * 2**20
"""Images that a network sees in a part, and bytes of what it makes of them, unless one batch has more: seconds to do
again where a node is lost."""

PATIENCE_S = 60.0
"""How long a part waits for a process that had it before, was lost, and is about to end."""


@dataclass(frozen=True, slots=True)
class Work(Generic[P, R]):
    """What is done with each of many parts."""

    begin: Callable[..., Callable[[P], R]]
    """A function of a module. A process calls it once, with `arguments`: it opens what all parts need, and returns what
    does one part."""
    arguments: tuple[Any, ...]
    reads: tuple[Path, ...] = ()
    """Files by which another machine shows that it sees the same disk as this one."""


def ends(paths: Sequence[Any], folder: Path | None = None) -> tuple[Path, ...]:
    """Return the first and the last of many files, by which a machine without the rest is told: for `Work.reads`."""
    return tuple(Path(folder or "", path) for path in [*paths[:1], *paths[-1:]] if isinstance(path, str | os.PathLike))


def check_images(place: str, own: str, given: str) -> None:
    """Compare digests of a list of images, this process's own and that of the one that gave the work out.

    Raises:
        DistributionError: they differ.
    """
    if own != given:
        raise DistributionError(
            f"{place}: node {os.uname().nodename} lists other images there than the machine of the command. Do not "
            "change them while they are worked on; all nodes need the same files under the same paths."
        )


class Executor(Protocol):
    """Who does the parts."""

    threads: int
    """Cores of each part."""
    device: str
    """Where a part computes: "cpu", "cuda" or "auto"."""

    def run(self, work: Work[P, R], parts: Sequence[P]) -> Iterator[R]:
        """Yield what became of the parts, in their order, as each is known.

        What a part raises is raised here: that of the first part that fails, in their order.
        """


class ThisProcess:
    """Does one part after the other, here."""

    threads, device = 1, "auto"

    def run(self, work: Work[P, R], parts: Sequence[P]) -> Iterator[R]:
        """As `Executor.run`."""
        return map(work.begin(*work.arguments), parts)


class Stretch(NamedTuple):
    """Consecutive images, from `start` to before `stop`."""

    start: int
    stop: int

    def batches(self, size: int) -> list[range]:
        """Return its images in batches of `size`, of which the last may have fewer."""
        return [range(start, min(start + size, self.stop)) for start in range(self.start, self.stop, size)]


def cut_into_stretches(total: int, batch_size: int, *, bytes_each: int = 0) -> list[Stretch]:
    """Return `total` images as parts of whole batches.

    The last bits of what a network makes of an image depend on the images beside it. So a batch is never divided, and
    parts of any size give what one machine does.

    Args:
        bytes_each: Size of what is made of an image.
    """
    images = min(PART_IMAGES, PART_BYTES // bytes_each) if bytes_each else PART_IMAGES
    length = max(1, images // batch_size) * batch_size
    return [Stretch(start, min(start + length, total)) for start in range(0, total, length)]
