"""The process: a socket, uvicorn on it, and an end that loses nothing that is being computed."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn

from alexnet.errors import ConfigError
from alexnet.serving.application import Service, build_application
from alexnet.serving.connections import KEPT_FILES, MOST_CONNECTIONS, Watch, make_protocol, raise_file_limit
from alexnet.serving.corrections import Corrections
from alexnet.serving.examples import Example
from alexnet.serving.page import mount_page

END_SECONDS = 4.0
"""How long what is being computed may take when the server is to end."""


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; port 0 takes one that is free.

    Raises:
        ConfigError: the port is taken or may not be used, or there is no such host.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
        except BaseException:
            opened.close()
            raise
    except (OSError, OverflowError, UnicodeError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise ConfigError(f"cannot listen on {host}:{port} ({reason}). Choose another --port, or --host.") from None
    return opened


class Server(uvicorn.Server):
    """uvicorn that ends when it is told to: it waits for what is being computed, but not for open pages."""

    should_exit: bool
    force_exit: bool

    def __init__(
        self, service: Service, *, examples: Sequence[Example] = (), corrections: Corrections | None = None
    ) -> None:
        """Prepare to serve; `serve(sockets=…)` begins. Examples and corrections are those of the page."""
        self._application, self.gate = build_application(service)
        self._page: dict[str, Any] = {"examples": examples, "corrections": corrections}
        self.service = service
        self.file_limit = raise_file_limit()
        self.watch = Watch(
            timeout_seconds=service.limits.timeout_seconds,
            most=(self.file_limit - KEPT_FILES) if self.file_limit else MOST_CONNECTIONS,
        )
        super().__init__(
            uvicorn.Config(
                self.gate,
                http=make_protocol(self.watch),  # type: ignore[arg-type]
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=int(service.limits.timeout_seconds) + 1,  # `Watch` ends idle connections sooner
                timeout_graceful_shutdown=int(END_SECONDS),
            )
        )
        # The last would write a line for each damaged form that a stranger sends.
        for name in ("uvicorn.error", "uvicorn.asgi", "python_multipart.multipart"):
            logging.getLogger(name).setLevel(logging.ERROR)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen and to watch."""
        # Here, since Gradio would leave event loops open if it found none that runs.
        mount_page(self._application, self.service, **self._page)
        await super().startup(sockets)
        self._sweeping = asyncio.get_running_loop().create_task(self.watch.sweep())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, wait for what is being computed, and end."""
        self.gate.is_closing = True
        self._sweeping.cancel()
        leaving = asyncio.get_running_loop().create_task(self._leave_when_idle())
        try:
            await super().shutdown(sockets)
        finally:
            leaving.cancel()
        # Pages that are open hold a request each, which ends with the program and is no error.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        for task in self.server_state.tasks:
            task.cancel()
        if self.force_exit:  # uvicorn then skips the shutdown of the application
            await self.lifespan.shutdown()

    async def _leave_when_idle(self) -> None:
        while self.gate.active or self.service.batcher.pending:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)  # for the last answers to be sent
        self.force_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; at once if told twice."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def run_server(server: Server, listening: socket.socket, tell: Callable[[int], None]) -> None:
    """Serve until SIGINT or SIGTERM; a second SIGINT ends at once.

    Args:
        tell: Called with the most connections once the server listens and the model is warm.
    """
    service = server.service

    async def serve() -> None:
        await service.warm_up()
        serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            tell(server.watch.most)
        await serving

    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(serve())
    finally:
        listening.close()
        service.close()
