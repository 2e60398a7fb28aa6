"""What a stranger may send: everyone else is answered within a second all the same, and nothing is given away."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio", reason="needs the extra web, which make test-extras installs")

from PIL import Image

from alexnet.serving.connections import raise_file_limit
from alexnet.serving.limits import Limits
from alexnet.serving.server import END_SECONDS
from serving.conftest import Address, ask, form, picture, serving


@pytest.fixture
def others(address: Address) -> Iterator[None]:
    """Afterwards somebody else is answered: a second later than before, at most."""

    def answer_twice() -> float:
        seconds = []
        for _ in range(2):
            start = time.monotonic()
            assert ask(address, "POST", "/predict", picture()).status == 200
            seconds.append(time.monotonic() - start)
        return min(seconds)

    usual = answer_twice()
    yield
    assert answer_twice() < 1 + 5 * usual  # the machine may be busy with something else


def send(address: Address, data: bytes, *, half_close: bool = False, seconds: float = 20) -> bytes:
    """Send bytes and return everything that comes back until the server closes or is silent."""
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while part := connection.recv(65536):
                answer += part
        return answer


def png(width: int, height: int) -> bytes:
    """A whole PNG of black pixels, one bit each: a thousandth of its size in memory."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = zlib.compressobj(9)
    data = b"".join(row.compress(bytes(1 + width // 8)) for _ in range(height)) + row.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def patched(kind: str, place: Callable[[bytes], int], form: str) -> bytes:
    """A small file of a kind whose head says that it is 60,000 pixels wide and high."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, kind)
    data = bytearray(stream.getvalue())
    at = place(bytes(data))
    struct.pack_into(form, data, at, 60_000, 60_000)
    return bytes(data)


BOMBS = {
    "PNG": png(40_000, 40_000),
    "JPEG": patched("JPEG", lambda data: data.index(b"\xff\xc0") + 5, ">HH"),
    "GIF": patched("GIF", lambda data: 6, "<HH"),
    "BMP": patched("BMP", lambda data: 18, "<ii"),
    "PPM": b"P6 60000 60000 255\n" + bytes(100),
}


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("kind", BOMBS)
def test_a_small_file_that_decodes_to_billions_of_pixels_is_refused(address: Address, kind: str) -> None:
    answer = ask(address, "POST", "/predict", BOMBS[kind])
    assert answer.status == 400
    assert "has more than 120,000,000 pixels" in answer.json["error"]


@pytest.mark.usefixtures("others")
def test_damaged_uploads_get_a_sentence_each(address: Address) -> None:
    generator = np.random.default_rng(0)
    files = []
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        for number in range(8):
            data = bytearray(picture(number, kind))
            for at in generator.integers(0, len(data), 5):
                data[at] ^= int(generator.integers(1, 256))
            files.append((f"{kind}-{number}", bytes(data[: int(generator.integers(10, len(data)))])))
    body, kind = form(*files)
    images = ask(address, "POST", "/predict", body, Content_Type=kind).json["images"]
    assert [image["name"] for image in images] == [name for name, _ in files]
    assert all("error" in image or image["class"] for image in images)
    assert sum("error" in image for image in images) > 30


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: -5\r\n\r\nabc",
        b"POST /predict HTTP/1.1\r\nContent-Length: five\r\n\r\nabc",
        b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200_000 + b"\r\nBad header\r\n\r\n",
        bytes(range(256)) * 50,
    ],
)
def test_what_is_no_http_is_told_so_or_closed(address: Address, garbage: bytes) -> None:
    answer = send(address, garbage, half_close=True)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 405 ")), answer[:300]


@pytest.mark.usefixtures("others")
def test_garbage_behind_a_request_does_not_spoil_its_answer(address: Address) -> None:
    data = picture()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data)
    answer = send(address, head + data + b"\0garbage\r\n\r\n" * 3)
    assert answer.startswith(b"HTTP/1.1 ")
    two = send(address, (head + data) * 2, half_close=True)
    assert two.count(b"HTTP/1.1 200 OK") >= 1


@pytest.mark.usefixtures("others")
def test_a_client_that_ended_its_side_is_answered_if_it_had_asked(address: Address) -> None:
    data = picture()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    assert send(address, head % len(data) + data, half_close=True).startswith(b"HTTP/1.1 200 OK")
    assert send(address, head % (len(data) + 1) + data, half_close=True) == b""


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static-offline-docs/../../../../../../etc/passwd",
        "/static-offline-docs/%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd",
        "/static/../../../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/svelte/../../../etc/passwd",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/stream/../../etc/passwd",
        "//etc/passwd",
        "/docs/../../etc/passwd",
    ],
)
def test_paths_that_climb_lead_nowhere(address: Address, path: str) -> None:
    answer = ask(address, "GET", path)
    assert answer.status in (400, 403, 404, 405), answer.body[:200]
    assert b"root:" not in answer.body


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    "path", ["/gradio_api/upload", "/gradio_api/run/predict", "/gradio_api/component_server", "/upload"]
)
def test_what_the_page_does_not_need_of_gradio_is_shut(address: Address, path: str) -> None:
    body, kind = form(("a.png", picture()))
    assert ask(address, "POST", path, body, Content_Type=kind).status in (404, 405)


def test_names_with_markup_come_back_as_text(address: Address) -> None:
    for name in ("<img src=x onerror=alert(1)>.png", "${alert(1)}", "{{ 1 + 1 }}", "../../a.png"):
        body, kind = form((name, picture()))
        answer = ask(address, "POST", "/predict", body, Content_Type=kind)
        assert answer.json["images"][0]["name"] == name
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    long = json.dumps({"images": [{"name": "n\r\n\x1b" + "x" * 5000, "base64": ""}]}).encode()
    (image,) = ask(address, "POST", "/predict", long, Content_Type="application/json").json["images"]
    assert image["name"] == r"n\x0d\x0a\x1b" + "x" * 196


def open_slowly(address: Address, count: int, beginning: bytes) -> list[socket.socket]:
    connections = []
    for _ in range(count):
        connection = socket.create_connection(address, timeout=20)
        connection.sendall(beginning)
        connections.append(connection)
    return connections


BEGINNINGS = {
    "nothing": b"",
    "half a head": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Le",
    "half a body": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf",
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_slow_connections_are_closed_when_their_time_is_over(load: Any, beginning: str) -> None:
    with serving(load(), limits=Limits(timeout_seconds=1.0)) as server:
        slow = open_slowly(server.address, 200, BEGINNINGS[beginning])
        start = time.monotonic()
        assert ask(server.address, "POST", "/predict", picture()).status == 200
        for connection in slow:
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(4096):
                    answer += part
            if beginning == "half a body":
                assert answer.startswith(b"HTTP/1.1 408 Request Timeout")
                assert answer.endswith(b'{"error": "the request did not arrive within 1 s. Send it again."}')
            else:
                assert answer == b""
            connection.close()
        assert time.monotonic() - start < 20


def test_where_there_are_too_many_connections_the_longest_waiting_makes_room(load: Any) -> None:
    with serving(load()) as server:
        server.watch.most = 50
        slow = open_slowly(server.address, 80, BEGINNINGS["half a body"])
        assert ask(server.address, "POST", "/predict", picture()).status == 200
        assert slow[0].recv(100).startswith(b"HTTP/1.1 408")
        slow[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            slow[-1].recv(100)
        for connection in slow:
            connection.close()


def test_bodies_that_fill_the_memory_are_refused_while_small_ones_pass(load: Any) -> None:
    with serving(load(), limits=Limits(max_bytes=1_000_000)) as server:
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        large = open_slowly(server.address, 12, head + bytes(900_000))
        refused = 0
        for connection in large:
            connection.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                refused += connection.recv(100).startswith(b"HTTP/1.1 503")
        assert refused == 4  # eight bodies of this size are held
        assert ask(server.address, "POST", "/predict", picture()).status == 200
        for connection in large:
            connection.close()


@pytest.mark.slow
def test_ten_thousand_slow_connections_as_far_as_files_allow(model_path: Path) -> None:
    limit = raise_file_limit() or 1024
    count = min(10_000, limit - 300)
    with started(model_path) as (process, address):
        slow = open_slowly(address, count, BEGINNINGS["half a body"])
        for _ in range(5):  # each within the time that a client waits
            assert ask(address, "POST", "/predict", picture()).status == 200
        for connection in slow:
            connection.close()
        assert process.poll() is None


@contextlib.contextmanager
def started(model_path: Path, *options: str) -> Iterator[tuple[Any, Address]]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "alexnet", "serve", str(model_path), "--port", "0", "--precision", "float32"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            found = re.search(r":(\d+)/", line)
            assert found, process.communicate()[1]
            yield process, Address("127.0.0.1", int(found[1]))
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_five_seconds_and_loses_no_answer(model_path: Path, number: int) -> None:
    with started(model_path, "--timeout", "60") as (process, address):
        idle = socket.create_connection(address)  # and neither a silent client nor an open page keeps it
        page = socket.create_connection(address)
        page.sendall(b"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: x\r\n\r\n")
        assert page.recv(1000).startswith(b"HTTP/1.1 200")
        data = picture()
        body, kind = form(*[(f"{n}", data) for n in range(60)])
        waiting = socket.create_connection(address)
        head = "POST /predict?views=10 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n"
        waiting.sendall(head.format(kind, len(body)).encode() + body)
        time.sleep(0.2)  # the request is in the server, in whatever stage
        start = time.monotonic()
        os.kill(process.pid, number)
        answer = b""
        while part := waiting.recv(65536):
            answer += part
        _, said = process.communicate(timeout=20)
        assert END_SECONDS < 5
        assert time.monotonic() - start < 30  # on a machine that may be busy with something else
        for connection in (idle, page, waiting):
            connection.close()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b'"class"') == 60
    assert process.returncode == 0
    assert "Each picture is seen in its centre view alone (--views 1)." in " ".join(said.split())
    assert re.search(r"At most [\d,]+ connections at a time, 256 pictures in the queue\.", said)
    assert said.strip().endswith("Stopped.")


def test_other_hosts_without_a_key_are_warned_of(model_path: Path) -> None:
    for options, warned in ((("--host", "0.0.0.0"), True), (("--host", "0.0.0.0", "--api-key", "k"), False)):
        with started(model_path, *options) as (process, address):
            assert ask(address, "POST", "/predict", picture()).status == (200 if warned else 401)
            os.kill(process.pid, signal.SIGTERM)
            _, said = process.communicate(timeout=20)
        sentence = "Warning: anyone who reaches this address may ask; there is no key. Set one: --api-key KEY."
        assert (sentence in " ".join(said.split())) is warned
