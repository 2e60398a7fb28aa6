"""Images that wait together are computed together, by one thread: a batch costs less than its images one by one.

While a batch is computed the next one gathers. Then it waits for clients that were just answered and are likely to ask
again; else half of them would be computed while the other half waits. It begins when as many are there again, when it
is full, or when no other came for a moment. So one client alone never waits. Everything but the computation happens on
the event loop: no lock, one switch a batch.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.serving.limits import refuse_busy
from alexnet.serving.metrics import Metrics

Computation = Callable[..., Sequence[Any]]
"""Called with a list of images and further arguments; returns something for each image."""

_PATIENCE = 10
"""How often the wait may begin anew while others come and go: a stream of broken pictures holds nobody up."""
_RATE_SHARE = 0.2
"""How much the newest batch counts in the rate that tells a client when to ask again."""


@dataclass(frozen=True, slots=True)
class _Job:
    computation: Computation
    arguments: tuple[Any, ...]
    image: NDArray[np.uint8]
    answer: "asyncio.Future[Any]"

    def is_like(self, other: "_Job") -> bool:
        return self.computation == other.computation and self.arguments == other.arguments


class Batcher:
    """A queue of images and the thread that computes them. To be used from one event loop."""

    def __init__(self, metrics: Metrics, *, largest: int, wait_seconds: float, queue: int) -> None:
        """Prepare to compute.

        Args:
            largest: Images in a batch, at most.
            wait_seconds: How long a batch that is not computed waits for the next image, at most.
            queue: Images that wait, at most.
        """
        self._metrics = metrics
        self._largest, self._wait_seconds, self._queue = largest, wait_seconds, queue
        self._jobs: deque[_Job] = deque()
        self._computing: list[_Job] = []
        self._arriving = 0
        self._expected = 1
        """Images that may be there soon: those of the last batch, and those that waited when it ended."""
        self._timer: asyncio.TimerHandle | None = None
        self._latest = 0.0
        """When those that wait are computed, whatever else may come; by the clock of the event loop."""
        self._seconds_per_image = 0.02
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compute")
        metrics.watch_queue(lambda: len(self._jobs))

    @property
    def pending(self) -> int:
        """Images that wait or are being computed."""
        return len(self._jobs) + len(self._computing)

    @property
    def is_alive(self) -> bool:
        """Whether images are computed."""
        return not self._closed

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Say that an image is on its way, for which others may wait a little."""
        self._arriving += 1
        self._wait()
        try:
            yield
        finally:
            self._arriving -= 1
            if not self._arriving:
                self._begin_if_complete()

    def check_room(self, images: int = 1) -> None:
        """Raise a Refusal, 503 with Retry-After, where so many images find no room in the queue."""
        if len(self._jobs) + images > self._queue:
            raise refuse_busy(max(1, round(self.pending * self._seconds_per_image)))

    async def ask(self, computation: Computation, images: Sequence[NDArray[np.uint8]], *arguments: Any) -> list[Any]:
        """Return what a computation makes of each image. It may be called with more images, of other requests.

        Raises:
            Refusal: the queue is full, or the server ends.
        """
        self.check_room(len(images))
        if self._closed:
            raise refuse_busy()
        loop = asyncio.get_running_loop()
        jobs = [_Job(computation, arguments, image, loop.create_future()) for image in images]
        self._jobs.extend(jobs)
        self._wait()
        self._begin_if_complete()
        results = await asyncio.gather(*(job.answer for job in jobs))
        self._wait()  # the client may ask again once it has its answer
        return list(results)

    def close(self) -> None:
        """End the thread after the batch that it computes; whoever still waits is refused."""
        self._closed = True
        jobs = list(self._jobs)
        self._jobs.clear()
        if jobs and not (loop := jobs[0].answer.get_loop()).is_closed():
            loop.call_soon_threadsafe(_resolve, jobs, [refuse_busy()] * len(jobs))
        self._thread.shutdown()

    def _wait(self) -> None:
        """Begin when nothing comes or goes for a while from now on, or in any case after _PATIENCE such whiles."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._computing or not self._jobs:  # nothing can begin now
            self._latest = now + _PATIENCE * self._wait_seconds
        self._timer = loop.call_at(min(now + self._wait_seconds, self._latest), self._begin)

    def _begin_if_complete(self) -> None:
        if len(self._jobs) >= (self._largest if self._arriving else min(self._largest, self._expected)):
            self._begin()

    def _begin(self) -> None:
        """Compute the first image with those that are alike, unless a batch is computed."""
        if self._computing or not self._jobs:
            return
        batch: list[_Job] = []
        others: list[_Job] = []
        while self._jobs and len(batch) < self._largest:
            job = self._jobs.popleft()
            (others if batch and not job.is_like(batch[0]) else batch).append(job)
        self._jobs.extendleft(reversed(others))
        self._computing = batch
        loop = batch[0].answer.get_loop()
        loop.run_in_executor(self._thread, self._compute, batch).add_done_callback(self._end)

    def _compute(self, batch: Sequence[_Job]) -> tuple[Sequence[Any], float]:
        """Return a result for each image, and the seconds that an image took."""
        start = time.perf_counter()
        results: Sequence[Any]
        try:
            results = batch[0].computation([job.image for job in batch], *batch[0].arguments)
        except Exception as problem:  # raised in those who asked, not in this thread
            results = [problem] * len(batch)
        return results, (time.perf_counter() - start) / len(batch)

    def _end(self, computed: "asyncio.Future[tuple[Sequence[Any], float]]") -> None:
        self._wait()
        batch, self._computing = self._computing, []
        results, seconds = computed.result()
        self._seconds_per_image += _RATE_SHARE * (seconds - self._seconds_per_image)
        self._metrics.batch_size.observe(len(batch))
        self._expected = len(batch) + len(self._jobs)
        _resolve(batch, results)
        self._begin_if_complete()


def _resolve(jobs: Sequence[_Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if job.answer.done():  # the client has left
            continue
        if isinstance(result, Exception):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)
