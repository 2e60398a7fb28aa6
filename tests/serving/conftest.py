"""A small model behind a server in a thread of the test."""

import asyncio
import http.client
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from evaluation.test_ensemble import write_model
from PIL import Image

import alexnet


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Any

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(address: Address, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """Send one request and read the answer; underscores in names of headers stand for hyphens."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Answer(response.status, response.read(), response.headers)
    finally:
        connection.close()


def picture(seed: int = 0, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def form(*files: tuple[str, bytes]) -> tuple[bytes, str]:
    """The body and Content-Type of a form with files."""
    parts = [
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in files
    ]
    return b"".join(parts) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model.safetensors", seed=0, size=32)


@contextmanager
def serving(model: Any, *, options: Any = None, limits: Any = None, index: Any = None, **page: Any) -> Iterator[Any]:
    """A server that answers meanwhile; `address` is where."""
    from alexnet.serving.answers import Answers
    from alexnet.serving.application import Options, Service
    from alexnet.serving.limits import Limits
    from alexnet.serving.server import Server, open_socket

    listening = open_socket("127.0.0.1", 0)
    service = Service(Answers(model, index=index), options or Options(top=2), limits or Limits())
    server: Any = Server(service, **page)
    thread = threading.Thread(target=_run, args=(server, listening))
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive()
        server.address = Address(*listening.getsockname())
        yield server
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        service.close()


def _run(server: Any, listening: Any) -> None:
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.service.warm_up())
        runner.run(server.serve(sockets=[listening]))


@pytest.fixture(scope="session")
def load(model_path: Path) -> Callable[[], Any]:
    return lambda: alexnet.load(model_path, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def server(load: Callable[[], Any]) -> Iterator[Any]:
    with serving(load()) as server:
        yield server


@pytest.fixture(scope="module")
def address(server: Any) -> Address:
    found: Address = server.address
    return found
