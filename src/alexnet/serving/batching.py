"""Images that wait together are computed together, by one thread: a batch costs less than its images one by one.

An image never waits while nothing else is on its way: one client is served at once. While a batch is computed, others
gather for the next.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.serving.limits import refuse_busy
from alexnet.serving.metrics import Metrics

Computation = Callable[..., Sequence[Any]]
"""Called with a list of images and further arguments; returns something for each image."""

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
        """Start the thread.

        Args:
            largest: Images in a batch, at most.
            wait_seconds: How long an image waits for others that are on their way, at most.
            queue: Images that wait, at most.
        """
        self._metrics = metrics
        self._largest, self._wait_seconds, self._queue = largest, wait_seconds, queue
        self._jobs: deque[_Job] = deque()
        self._computing = 0
        self._arriving = 0
        self._seconds_per_image = 0.02
        self._changed = threading.Condition()
        self._closed = False
        metrics.watch_queue(lambda: len(self._jobs))
        self._thread = threading.Thread(target=self._run, name="compute", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Images that wait or are being computed."""
        return len(self._jobs) + self._computing

    @property
    def is_alive(self) -> bool:
        """Whether images are computed."""
        return self._thread.is_alive() and not self._closed

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Say that an image is on its way, for which others may wait a little."""
        with self._changed:
            self._arriving += 1
        try:
            yield
        finally:
            with self._changed:
                self._arriving -= 1
                self._changed.notify()

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
        loop = asyncio.get_running_loop()
        jobs = [_Job(computation, arguments, image, loop.create_future()) for image in images]
        with self._changed:
            if self._closed:
                raise refuse_busy()
            self._jobs.extend(jobs)
            self._changed.notify()
        return list(await asyncio.gather(*(job.answer for job in jobs)))

    def close(self) -> None:
        """End the thread after the batch that it computes; whoever still waits is refused."""
        with self._changed:
            self._closed = True
            jobs = list(self._jobs)
            self._jobs.clear()
            self._changed.notify()
        _deliver(jobs, [refuse_busy()] * len(jobs))
        self._thread.join()

    def _run(self) -> None:
        while batch := self._collect():
            start = time.perf_counter()
            results: Sequence[Any]
            try:
                results = batch[0].computation([job.image for job in batch], *batch[0].arguments)
            except Exception as problem:  # whatever it is belongs to those who asked, not to this thread
                results = [problem] * len(batch)
            seconds = (time.perf_counter() - start) / len(batch)
            self._seconds_per_image += _RATE_SHARE * (seconds - self._seconds_per_image)
            self._metrics.batch_size.observe(len(batch))
            self._computing = 0
            _deliver(batch, results)

    def _collect(self) -> list[_Job]:
        """Wait for images and take the first with those that are alike; none when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            self._changed.wait_for(
                lambda: len(self._jobs) >= self._largest or not self._arriving or self._closed, self._wait_seconds
            )
            if self._closed:
                return []
            batch: list[_Job] = []
            others: list[_Job] = []
            while self._jobs and len(batch) < self._largest:
                job = self._jobs.popleft()
                (others if batch and not job.is_like(batch[0]) else batch).append(job)
            self._jobs.extendleft(reversed(others))
            self._computing = len(batch)
            return batch


def _deliver(jobs: Sequence[_Job], results: Sequence[Any]) -> None:
    """Hand results to the event loop, all of a batch at once."""
    if not jobs:
        return
    loop = jobs[0].answer.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(_resolve, jobs, results)


def _resolve(jobs: Sequence[_Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if job.answer.done():  # whoever asked is gone
            continue
        if isinstance(result, Exception):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)
