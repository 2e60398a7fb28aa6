"""What every request passes first: the key, the limits that need no look at the body, and the counters."""

import base64
import binascii
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from alexnet.serving.batching import Batcher
from alexnet.serving.limits import Limits, Refusal, refuse_busy, refuse_size
from alexnet.serving.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/health", "/ready")
"""What a supervisor asks, without a key."""

GRADIO = "/gradio_api/"
GRADIO_PATHS = ("/gradio_api/heartbeat/", "/gradio_api/queue/join", "/gradio_api/queue/data")
"""What the page needs of Gradio. The rest, which stores files, gives files out or fetches from other hosts, is shut."""

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # The page is written by Gradio, with scripts and styles in it; whatever they are, they reach this server alone.
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline';"
        b" img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; frame-ancestors 'self'",
    ),
)


class Gate:
    """An ASGI application around another."""

    def __init__(
        self,
        application: Application,
        *,
        limits: Limits,
        metrics: Metrics,
        batcher: Batcher,
        computing_paths: Iterable[str],
        known_paths: Iterable[str],
        root_path: str = "",
        api_key: str | None = None,
    ) -> None:
        """Guard an application.

        Args:
            computing_paths: Those that put pictures into the queue.
            known_paths: Those that are counted by name; others as "page".
            root_path: Prefix under which a proxy shows the application, whether it takes the prefix off or not.
            api_key: What a client must show: as a bearer token, as X-API-Key, or as the password of any name.
        """
        self._application = application
        self._limits, self._metrics, self._batcher = limits, metrics, batcher
        self._computing, self._known = frozenset(computing_paths), frozenset(known_paths)
        self._root_path = root_path.rstrip("/")
        self._api_key = api_key
        self._held_bytes = 0
        self.active = 0
        """Requests for a computation that are not answered yet."""
        self.is_closing = False
        """Whether new requests are refused, since the server ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        path = self._take_prefix(scope)
        start = time.perf_counter()
        status = 0

        async def count_and_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        computes = path in self._computing
        self.active += computes
        try:
            await self._answer(scope, path, receive, count_and_send)
        finally:
            self.active -= computes
            counted = path if path in self._known else "page"
            self._metrics.requests.labels(counted, str(status)).inc()
            self._metrics.latency.labels(counted).observe(time.perf_counter() - start)
            if status >= 400:
                self._metrics.errors.labels(counted).inc()

    async def _answer(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            self._check(scope, path, headers)
        except Refusal as refusal:
            await send_refusal(send, refusal)
            return
        held = 0
        received = 0

        async def receive_within_limits() -> Message:
            nonlocal held, received
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            if received > self._limits.max_bytes:
                raise refuse_size(self._limits.max_bytes)
            if size and self._held_bytes + size > self._limits.max_held_bytes:
                raise refuse_busy()
            held += size
            self._held_bytes += size
            return message

        try:
            await self._application(scope, receive_within_limits, send)
        finally:
            self._held_bytes -= held

    def _take_prefix(self, scope: Scope) -> str:
        """Set the root path, and return the path below it."""
        prefix, path = self._root_path, str(scope["path"])
        if prefix:
            below = path.removeprefix(prefix) if path == prefix or path.startswith(prefix + "/") else path
            path = below or "/"
            scope["root_path"], scope["path"] = prefix, prefix + path
            scope["raw_path"] = scope["path"].encode()
        return path

    def _check(self, scope: Scope, path: str, headers: dict[bytes, bytes]) -> None:
        if self._api_key is not None and path not in OPEN_PATHS and not self._shows_key(headers):
            # Browsers ask for name and password then, and send them from then on.
            raise Refusal(
                401,
                "the key is missing or wrong. Send the header Authorization: Bearer KEY; a browser asks for a "
                "password, which is the key, with any name.",
                {"WWW-Authenticate": 'Basic realm="alexnet", charset="UTF-8"'},
            )
        if path.startswith(GRADIO) and not path.startswith(GRADIO_PATHS):
            raise Refusal(404, f"there is no {path}. The page needs none; programs find theirs in /docs.")
        if scope["method"] in ("GET", "HEAD"):
            return
        if headers.get(b"sec-fetch-site") == b"cross-site":
            raise Refusal(403, "the request comes from a page of another site. Open this server's own page.")
        if self.is_closing:
            raise Refusal(503, "the server ends. Ask again when it is back.", {"Retry-After": "5"})
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limits.max_bytes:
            raise refuse_size(self._limits.max_bytes, int(length))
        if path in self._computing:
            self._batcher.check_room()

    def _shows_key(self, headers: dict[bytes, bytes]) -> bool:
        kind, _, value = headers.get(b"authorization", b"").partition(b" ")
        given = headers.get(b"x-api-key", b"")
        if kind.lower() == b"bearer":
            given = value.strip()
        elif kind.lower() == b"basic":
            try:
                given = base64.b64decode(value).partition(b":")[2]
            except (binascii.Error, ValueError):
                return False
        assert self._api_key is not None
        return hmac.compare_digest(given, self._api_key.encode())


async def send_refusal(send: Send, refusal: Refusal) -> None:
    """Answer with a refusal. What the client still sends is passed over, so that it gets to read the answer."""
    body = json.dumps({"error": refusal.sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
