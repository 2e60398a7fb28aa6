"""An S3 server on this machine, and an empty bucket for each test."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SERVER = Path(__file__).with_name("server.py")


class Storage:
    """The server, as tests see it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def fail(self, *faults: dict[str, Any]) -> None:
        """Have requests fail; see server.py."""
        request = urllib.request.Request(f"{self.url}/_faults", json.dumps(faults).encode(), method="POST")
        urllib.request.urlopen(request).close()

    def log(self) -> list[str]:
        """What was asked since faults were last set."""
        with urllib.request.urlopen(f"{self.url}/_log") as answer:
            return list(json.load(answer))

    def wait_for(self, request: str, seconds: float = 60) -> None:
        """Wait until a request came, as "PUT …/store.json"."""
        method, end = request.split()
        until = time.monotonic() + seconds
        while not any(each.startswith(method) and each.endswith(end) for each in self.log()):
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)


@pytest.fixture(scope="session")
def server() -> Iterator[Storage]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        storage = Storage(f"http://127.0.0.1:{port}")
        for _ in range(600):
            try:
                storage.fail()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        yield storage
        process.terminate()


@pytest.fixture
def bucket(server: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket; the cache is empty too."""
    import fsspec
    import s3fs

    from alexnet.files import cache

    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        cache.FOLDER_VARIABLE: str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    server.fail()
    name = f"b{abs(hash(str(tmp_path))):x}"
    fsspec.filesystem("s3").mkdir(name)
    yield f"s3://{name}"
    server.fail()


@pytest.fixture
def another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make the cache empty, as it is on a machine that knows nothing yet."""
    from alexnet.files import cache

    def move() -> None:
        monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / f"cache-{time.monotonic_ns()}"))

    return move
