"""Connections that ask slowly or never. Each has a time limit for its request; when there are too many, the one that
has waited longest is closed.

uvicorn waits for a request as long as the connection lives, so that a thousand idle ones would take every file
descriptor.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

KEPT_FILES = 256
"""File descriptors that are left for everything else."""
MOST_CONNECTIONS = 20_000
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s"
)


def raise_file_limit() -> int | None:
    """Let this process open as many files as it may, and return how many; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + KEPT_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return allowed
    return wanted if soft == resource.RLIM_INFINITY else soft


class Watch:
    """The connections whose request has not arrived whole, the longest waiting first."""

    def __init__(self, *, timeout_seconds: float, most: int) -> None:
        self.timeout_seconds = timeout_seconds
        self.most = most
        """Connections at a time, answered ones included."""
        self._since: dict[WatchedProtocol, float] = {}

    def start(self, protocol: "WatchedProtocol", connections: int) -> None:
        """Begin to wait for the request of a connection; where there are too many, close the longest waiting."""
        self._since.setdefault(protocol, time.monotonic())
        if connections > self.most:
            self._close(next(iter(self._since)))

    def end(self, protocol: "WatchedProtocol") -> None:
        """Say that the request is there, or the connection gone."""
        self._since.pop(protocol, None)

    async def sweep(self, every_seconds: float = 0.5) -> None:
        """Close, for ever, the connections whose time is over."""
        while True:
            await asyncio.sleep(every_seconds)
            latest = time.monotonic() - self.timeout_seconds
            for protocol in [each for each, since in self._since.items() if since < latest]:
                self._close(protocol)

    def _close(self, protocol: "WatchedProtocol") -> None:
        self.end(protocol)
        protocol.give_up(self.timeout_seconds)


class WatchedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, watched."""

    def __init__(self, *args: Any, watch: Watch, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch = watch

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._watch.start(self, len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._watch.end(self)
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what was asked for whole before the client ended its side; else close."""
        asked: bool = self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        if asked:
            self.cycle.keep_alive = False
        return asked

    def on_message_complete(self) -> None:
        """Wait no longer: the request is there."""
        super().on_message_complete()
        self._watch.end(self)

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it is there already."""
        super().on_response_complete()
        if not self.transport.is_closing() and (not self.pipeline or self.cycle.more_body):
            self._watch.start(self, len(self.connections))

    def give_up(self, seconds: float) -> None:
        """Close; say why where a request had begun and nothing was answered yet."""
        if self.cycle is not None and not self.cycle.response_started and self.cycle.more_body:
            sentence = b'{"error": "the request did not arrive within %g s. Send it again."}' % seconds
            self.transport.write(_LATE % (len(sentence), sentence))
            self.transport.close()
        else:
            self.transport.abort()


def make_protocol(watch: Watch) -> Callable[..., asyncio.Protocol]:
    """Return what uvicorn calls for each connection."""

    def create(*args: Any, **kwargs: Any) -> asyncio.Protocol:
        return WatchedProtocol(*args, watch=watch, **kwargs)

    return create
