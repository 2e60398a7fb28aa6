"""What the server counts, as Prometheus reads it."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second time series for each, of when it began
CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one application; each has a registry of its own, so that several can live in a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter("alexnet_requests", "Requests answered.", ("path", "status"), registry=self._registry)
        self.errors = Counter(
            "alexnet_errors", "Pictures and requests that were refused or failed.", ("path",), registry=self._registry
        )
        self.latency = Histogram(
            "alexnet_request_seconds", "From a request's head to the end of its answer.", ("path",),
            registry=self._registry, buckets=_SECONDS,
        )  # fmt: skip
        self.batch_size = Histogram(
            "alexnet_batch_images", "Images computed together.", registry=self._registry, buckets=_IMAGES
        )
        self._queue = Gauge("alexnet_queue_images", "Images that wait to be computed.", registry=self._registry)

    def watch_queue(self, count: Callable[[], int]) -> None:
        """Take the length of the queue from a function whenever it is asked for."""
        self._queue.set_function(count)

    def write(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)
