"""alexnet serve: what a browser and a program get, and what bad requests are told."""

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from evaluation.test_ensemble import write_model
from PIL import Image

import alexnet
from alexnet.cli import cli
from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble, load_ensemble, save_ensemble
from alexnet.serving import MAX_UPLOAD_BYTES, open_server


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.safetensors", seed=0, size=32)


@contextmanager
def serve(model: Classifier | Ensemble, *, views: int = 1) -> Iterator[tuple[str, int]]:
    """The address of a server that answers meanwhile."""
    with open_server(model, "127.0.0.1", 0, views=views, top=2) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield "127.0.0.1", server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def address(model_path: Path) -> Iterator[tuple[str, int]]:
    with serve(alexnet.load(model_path, device="cpu", precision="float32")) as address:
        yield address


def picture() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def ask(address: tuple[str, int], method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes, Any]:
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def test_a_picture_gets_the_probabilities_that_predict_gives(address: tuple[str, int], model_path: Path) -> None:
    (model_path.parent / "picture.png").write_bytes(picture())
    (expected,) = alexnet.load(model_path, device="cpu", precision="float32").predict(
        [model_path.parent / "picture.png"]
    )
    status, body, headers = ask(address, "POST", "/predict", picture())
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["views"] == 1
    answer = json.loads(body)["predictions"]
    assert [(each["name"], each["probability"]) for each in answer] == expected.top(2)


def test_the_page_loads_nothing_from_elsewhere(address: tuple[str, int]) -> None:
    status, body, headers = ask(address, "GET", "/")
    assert status == 200
    assert b"3 classes. Each picture is seen in its centre view alone." in body
    assert re.findall(rb"https?://|src=\"|@import", body) == []
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/predict", b"not a picture", 400, r"the picture: is not an image of a known format \(13 bytes\)\."),
        ("POST", "/predict", b"", 400, r"the picture: is empty \(0 bytes\)\."),
        ("POST", "/predict", picture()[:200], 400, r"the picture: .+ Copy it again from where it came\."),
        ("POST", "/other", b"", 404, r"there is no /other\. Send pictures to /predict\."),
        (
            "GET",
            "/../../etc/passwd",
            b"",
            404,
            r"there is no /\.\./\.\./etc/passwd\. Known: / and, by POST, /predict\.",
        ),
    ],
)
def test_a_bad_request_is_told_what_to_do(
    address: tuple[str, int], method: str, path: str, body: bytes, status: int, message: str
) -> None:
    got, answer, _ = ask(address, method, path, body)
    assert got == status
    assert re.match(message, json.loads(answer)["error"])
    assert ask(address, "POST", "/predict", picture())[0] == 200  # it goes on


def test_a_picture_that_is_too_large_is_refused_before_it_is_read(address: tuple[str, int]) -> None:
    status, answer, _ = ask(address, "POST", "/predict", **{"Content-Length": str(MAX_UPLOAD_BYTES + 1)})
    assert status == 413
    assert "Save a smaller copy" in json.loads(answer)["error"]


def test_an_ensemble_is_served_like_a_model(model_path: Path, tmp_path: Path) -> None:
    members = [alexnet.load(model_path, device="cpu", precision="float32")] * 2
    save_ensemble(tmp_path / "two.json", Ensemble(members))
    model = load_ensemble(tmp_path / "two.json", device="cpu", precision="float32")
    with serve(model, views=10) as address:
        page = ask(address, "GET", "/")[1].decode()
        answer = json.loads(ask(address, "POST", "/predict", picture())[1])
    assert "<title>two.json</title>" in page
    assert "<h1>two.json</h1>" in page
    assert "model.safetensors" not in page
    assert "Each picture is seen in ten views, averaged." in page
    assert answer["views"] == 10


def test_predict_and_serve_tell_their_views_and_agree_on_the_same(model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(picture())
    words = ["predict", str(model_path), str(path), "--threads", "1", "--precision", "float32"]
    for views, seen in ((1, "its centre view alone"), (10, "ten views, averaged")):
        options = [] if views == 10 else ["--views", str(views)]
        said = CliRunner().invoke(cli, [*words, *options])
        assert f"Each picture was seen in {seen} (--views {views})." in " ".join(said.stderr.split())
        assert "seen in" not in said.stdout
        predicted = json.loads(CliRunner().invoke(cli, [*words, *options, "--json"]).stdout)
        with serve(alexnet.load(model_path, device="cpu", precision="float32"), views=views) as address:
            served = json.loads(ask(address, "POST", "/predict", picture())[1])
        assert predicted["views"] == served["views"] == views
        own = [each["probability"] for each in predicted["images"][0]["top"]]
        assert [each["probability"] for each in served["predictions"]] == pytest.approx(own[:2], abs=1e-6)


def test_a_port_that_is_taken_is_named(address: tuple[str, int], model_path: Path) -> None:
    model = alexnet.load(model_path, device="cpu", precision="float32")
    with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{address[1]} \(Address already in use\)\."):
        open_server(model, *address, views=1, top=5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_tells_its_address_and_ends_when_told(model_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "alexnet", "serve", str(model_path), "--port", "0", "--precision", "float32"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(re.search(r":(\d+)/", line)[1])  # type: ignore[index]
        assert ask(("127.0.0.1", port), "POST", "/predict", picture())[0] == 200
        os.kill(process.pid, number)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Each picture is seen in its centre view alone (--views 1)." in " ".join(said.split())
    assert said.strip().endswith("Stopped.")
